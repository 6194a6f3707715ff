"""Exports a trained network in several precisions and compares them."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import tf_keras
from absl import logging

from autox3d_edge import (
    audit,
    benchmark,
    export,
    export_table,
    interpreters,
    long_videos,
    mixed,
    quantize,
    sources,
    stream_convert,
    stream_export,
)
from autox3d_edge import fine_tuning as fine_tuning_lib
from autox3d_tf.base import checks
from autox3d_tf.base import files as files_lib
from autox3d_tf.data import pipeline
from autox3d_tf.runs import claim
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.training import card as card_lib
from autox3d_tf.training import files, inputs

PRECISIONS = (
    *quantize.PRECISIONS,
    "mixed",
    "qat",
    *(name + stream_export.SUFFIX for name in stream_convert.PRECISIONS),
)
_RECORD = "export.json"
_TABLE = "export.txt"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What is exported and how it is measured.

    Attributes:
        precisions: "fp32", "fp16", "dynamic", "int8", "int16x8", "mixed",
            which is int8 but for the parts that are `kept`, and "qat", which
            is int8 after quantization-aware training; of a causal network
            also "fp32_stream", "int8_stream", ...: a file that takes one
            frame at a time (see `stream_convert.PRECISIONS`).
        kept: Parts of "mixed" ("stem", a block, "head") -> "int16x8" or
            "fp32".
        calibration_clips: Clips drawn from the training part, classes in
            turn, for the integer precisions; all if there are fewer.
        test_part: Part the files are tested on; None for no test.
        threads: Numbers of threads to time.
        repeats: Timed runs of each.
        runtime: The oldest runtime that must load the files.
        fine_tuning: The training of "qat".
    """

    precisions: tuple[str, ...] = ("fp32", "int8")
    kept: Mapping[str, str] = dataclasses.field(default_factory=dict)
    calibration_clips: int = 100
    test_part: str | None = "test"
    threads: tuple[int, ...] = (1, 2)
    repeats: int = 30
    runtime: str = audit.DEFAULT_RUNTIME
    fine_tuning: fine_tuning_lib.FineTuningOptions = dataclasses.field(
        default_factory=fine_tuning_lib.FineTuningOptions
    )

    def __post_init__(self):
        for name in ("precisions", "threads"):
            checks.check_not_empty(self, name)
        for count in self.threads:
            interpreters.check_threads("threads", count)
        for name in ("calibration_clips", "repeats"):
            checks.check_field(self, name, lambda v: v >= 1, "at least 1")
        unknown = [name for name in self.precisions if name not in PRECISIONS]
        if unknown:
            raise ValueError(
                f"`precisions` must be of {', '.join(PRECISIONS)}. "
                f"Received: {', '.join(unknown)}."
            )
        if bool(self.kept) != ("mixed" in self.precisions):
            raise ValueError(
                "`kept` must map parts to precisions if 'mixed' is among the "
                "`precisions`, and only then, such as {'stem': 'fp32'}. "
                f"Received: kept={dict(self.kept)}, "
                f"precisions={self.precisions}."
            )
        audit.check_runtime(self.runtime)


def run_export(
    *,
    trained: str,
    options: ExportOptions,
    run_dir: str,
    data: pipeline.DataOptions | None = None,
    source: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Writes model_<precision>.tflite for each precision, and a table.

    Each file is audited and compared with the trained model before it is put
    in place, and tested on real clips through the interpreter that a device
    would use.

    Args:
        trained: The run directory of a training.
        options: Precisions and measurements.
        run_dir: Where the files go; may be that of the training.
        data: Clips to calibrate and to test with; None for those of the
            training, cut as there.
        source: Or others, cut in the same way.
        seed: Of the choice of calibration clips.

    Returns:
        What export.json says.
    """
    folder = pathlib.Path(run_dir)
    with claim.alone(folder):
        loaded = sources.load(
            trained,
            data,
            folder,
            source=source,
            calibration_clips=options.calibration_clips,
            test_part=options.test_part,
            seed=seed,
        )
        _warn_of_another(folder, loaded.record["files"])
        mixed.check_kept(options.kept, mixed.part_names(loaded.model.arch))
        converter = export.make_converter(
            loaded.model, loaded.model.arch, loaded.calibration
        )
        references = export.references_of(loaded.model, converter.lowered())
        streams = _stream_exporter(loaded, options.precisions, references)
        about = dataclasses.replace(loaded.about, runtime=options.runtime)
        reports, paths = {}, {}
        for precision in options.precisions:
            path = folder / f"model_{precision}.tflite"
            reports[precision] = _export(
                loaded,
                converter,
                references,
                streams,
                precision,
                path,
                options,
                about,
            )
            paths[precision] = path
        timings = benchmark.benchmark_files(
            paths, options.threads, options.repeats
        )
        result = {
            "trained": str(trained),
            "arch": loaded.model.arch.name,
            "fingerprint": loaded.model.arch.fingerprint,
            "trained_files": loaded.record["files"],
            "keras": sources.score(loaded.keras_labels, loaded.targets)
            if len(loaded.clips)
            else None,
            "test_part": options.test_part,
            "protocol": loaded.protocol,
            "calibration": loaded.drawn,
            "files": reports,
            "drifts": stream_export.drifts(paths, loaded.clips),
            "left_running": long_videos.score(paths, long_videos.find(loaded)),
            "timings": [dataclasses.asdict(t) for t in timings],
            "device": benchmark.device_description(),
            "provenance": run_dir_lib.provenance(data=loaded.data, seed=seed),
        }
        _write(result, options.threads, loaded, folder)
        loaded.label_cache.forget()
    return result


def _warn_of_another(folder, trained_files) -> None:
    """Says so where files of another network would stay."""
    path = folder / _RECORD
    if not path.is_file():
        return
    there = files_lib.read_json(path, "an export").get("trained_files")
    if there not in (None, trained_files):
        logging.warning(
            "%s holds an export of another network: files of it that are not "
            "made anew (%s) stay.",
            folder,
            ", ".join(sorted(p.name for p in folder.glob("model_*.tflite"))),
        )


def _stream_exporter(
    loaded, precisions, references
) -> stream_export.Exporter | None:
    """Returns what writes the streams; None if none is wanted.

    Raises:
        ValueError: The network cannot take one frame at a time.
    """
    if not any(name.endswith(stream_export.SUFFIX) for name in precisions):
        return None
    model = loaded.model
    stream_export.check_streams(model.arch, sources.preprocessing(loaded.data))
    return stream_export.Exporter(
        model, model.arch, loaded.calibration, references
    )


def _export(
    loaded, converter, references, streams, precision, path, options, about
):
    """Writes one file; "qat" is fine-tuned first, beside it."""
    if precision.endswith(stream_export.SUFFIX):
        return streams.export(
            path,
            precision.removesuffix(stream_export.SUFFIX),
            **sources.pace(loaded.train.manifest.rows, loaded.data),
            about=about,
        )
    if precision != "qat":
        return export.export_model(
            loaded.model,
            loaded.model.arch,
            path,
            precision=precision,
            calibration=loaded.calibration,
            kept=options.kept if precision == "mixed" else None,
            converter=converter,
            references=references,
            about=about,
        )
    content = fine_tune(
        loaded, converter.lowered(), options.fine_tuning, path.with_suffix("")
    )
    return export.write_model(
        content,
        path,
        arch=loaded.model.arch,
        precision=precision,
        references=references,
        parity_clips=loaded.calibration,
        about=about_fine_tuning(about, options.fine_tuning),
    )


def about_fine_tuning(
    about: export.About, options: fine_tuning_lib.FineTuningOptions
) -> export.About:
    """Returns what a file says of itself with how it was fine-tuned."""
    made = {"fine_tuning": files_lib.to_json(options)}
    return dataclasses.replace(
        about, provenance={**(about.provenance or {}), **made}
    )


def fine_tune(
    loaded: sources.Sources,
    lowered: tf_keras.Model,
    options: fine_tuning_lib.FineTuningOptions,
    run_dir: str | os.PathLike,
) -> bytes:
    """Returns the int8 flatbuffer, fine-tuned on the training clips."""

    def make_batches(first_step):
        return pipeline.make_train_dataset(
            loaded.train,
            loaded.augmented,
            batch_size=options.batch_size,
            seed=loaded.seed,
            first_step=first_step,
            total_steps=options.steps,
        )

    identity = {
        "files": loaded.record["files"],
        "calibration": loaded.drawn,
        "data": inputs.portable(loaded.data, pathlib.Path(run_dir).parent),
    }
    with pipeline.video_errors():
        return fine_tuning_lib.fine_tune(
            lowered,
            loaded.calibration,
            make_batches,
            options,
            run_dir,
            identity,
        )


def _write(result, threads, loaded, folder):
    text = export_table.format_export(result, threads)
    files_lib.write_json(folder / _RECORD, result)
    files_lib.write_text(folder / _TABLE, text + "\n")
    card = files.read_card(loaded.trained, files=f"```\n{text}\n```")
    files_lib.write_text(folder / card_lib.NAME, card)
    print(text)
    logging.info("Wrote %s.", folder / _RECORD)
