"""A PyTorch checkpoint as a run directory, as if it had been trained here."""

import dataclasses
import os
import pathlib
from typing import Any

from absl import logging

from autox3d_tf import cost, models
from autox3d_tf.base import files as files_lib
from autox3d_tf.data import sampling
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.training import card, files

_STRIDE_FPS = 30.0  # what SlowFast and PyTorchVideo count strides in


def import_checkpoint(
    path: str | os.PathLike,
    run_dir: str | os.PathLike,
    *,
    arch: arch_lib.ArchSpec | None = None,
    labels: str | os.PathLike | None = None,
    clip_size: tuple[int, int, int] | None = None,
    frame_stride: int | None = None,
    short_side: int | None = None,
    licence: str = card.NOT_STATED,
) -> models.ImportReport:
    """Writes what a training leaves, so that all that reads it can go on.

    Args:
        path: Checkpoint of SlowFast or PyTorchVideo.
        run_dir: Where to write; new, or of the same import.
        arch: The network; by default what the checkpoint's tensors show.
        labels: A text file with the names of the classes, one a line, in the
            order of the outputs; `class_0`, ... by default.
        clip_size, frame_stride: Of the network; by default those of `arch`,
            or else of X3D-S, (13, 160, 160) and 6.
        short_side: Pictures are scaled to in evaluation; by default to 8/7 of
            the crop, as X3D was tested: 182 for 160, 256 for 224.
        licence: Of the weights, for the model card.

    Returns:
        What was loaded, left and missing.

    Raises:
        ValueError: In one line; see `models.load_torch_checkpoint`.
    """
    checkpoint = models.open_torch_checkpoint(path)
    if arch is None:
        arch = checkpoint.architecture(name=pathlib.Path(path).stem)
    arch = dataclasses.replace(
        arch,
        clip_size=clip_size or arch.clip_size,
        frame_stride=frame_stride or arch.frame_stride,
    )
    crop = min(arch.clip_size[1:])
    short_side = short_side or crop * 8 // 7
    if short_side < crop:
        raise ValueError(
            f"`short_side` must be at least the crop, {crop}. Received: "
            f"short_side={short_side}."
        )
    names = _labels(labels, checkpoint.num_classes)
    model = models.build_model(arch, checkpoint.num_classes)
    report = models.load_torch_checkpoint(model, path)
    config = {
        "kind": "import",
        "checkpoint": files_lib.file_sha256(path),
        "arch": arch.fingerprint,
        "labels": names,
        "short_side": short_side,
    }
    run = run_dir_lib.RunDir(run_dir, config)
    run.write_provenance(checkpoint=str(path))
    files.save_trained(
        run, model, _record(arch, names, config, report, licence)
    )
    logging.info("Wrote %s.", run.file(files.RECORD))
    return report


def _labels(path, num_classes: int) -> list[str]:
    if path is None:
        return [f"class_{number}" for number in range(num_classes)]
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(
            f"Cannot read labels from {path}: {error.strerror}."
        ) from error
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if len(names) != num_classes or len(set(names)) != num_classes:
        raise ValueError(
            f"`labels` must name the checkpoint's {num_classes} classes, one "
            f"a line. Received: {len(names)} lines, {len(set(names))} "
            f"different ones, in {path}."
        )
    return names


def _record(arch, labels, config, report, licence) -> dict[str, Any]:
    frames, height, width = arch.clip_size
    found = cost.cost_of(arch, arch.clip_size, len(labels))
    return {
        "labels": labels,
        "preprocessing": {
            "clip_frames": frames,
            "sampling": "dense",
            "stride": arch.frame_stride,
            "stride_fps": _STRIDE_FPS,
            "short_side": config["short_side"],
            "crop_size": min(height, width),
            "mean": sampling.MEAN,
            "deviation": sampling.DEVIATION,
        },
        "arch": arch.name,
        "params": found.params,
        "macs": {"clip_size": arch.clip_size, "per_view": found.macs},
        "licence": licence,
        "config": config,
        "import": str(report).splitlines(),
        "provenance": run_dir_lib.provenance(**config),
    }
