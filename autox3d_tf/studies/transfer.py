"""How much a start helps when there are few clips of each class."""

import collections
import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from absl import logging

from autox3d_tf.base import checks, repeats
from autox3d_tf.base import files as files_lib
from autox3d_tf.data import pipeline
from autox3d_tf.evaluation import metrics, report
from autox3d_tf.evaluation import run as run_lib
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.training import initial
from autox3d_tf.training import options as options_lib
from autox3d_tf.training import protocol as protocol_lib

FORMAT, SCHEMA_VERSION = "autox3d_tf.transfer", 1
SCRATCH = "scratch"
TABLE = "table.md"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferOptions:
    """What is compared.

    Attributes:
        clips_per_class: Sizes of the training set; None for all clips.
        seeds: Of the choice of clips, the last layer and the order.
        steps: Of each training, whatever the number of clips.
        warmup_steps: Of these, with a growing learning rate.
    """

    clips_per_class: tuple[int | None, ...] = (1, 3, 5, None)
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 300
    warmup_steps: int = 20

    def __post_init__(self):
        for name in ("clips_per_class", "seeds"):
            checks.check_not_empty(self, name)
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError(
                "`warmup_steps` must be fewer than `steps`. Received: "
                f"warmup_steps={self.warmup_steps}, steps={self.steps}. Give "
                "--gin=TransferOptions.warmup_steps=..."
            )


def compare_starts(
    *,
    train_fn: Callable[..., dict[str, Any]],
    data: pipeline.DataOptions,
    training: options_lib.TrainingOptions,
    optimizer: options_lib.OptimizerOptions,
    options: TransferOptions,
    run_dir: str,
    results_dir: str,
    pretrained: str | None = None,
    inherited: str | None = None,
) -> str:
    """Trains from each start on few clips, tests, and prints a table.

    Each run leaves a small JSON file in `results_dir`, from which the table
    is made; finished runs are not repeated.

    Args:
        train_fn: `run_training`, with the network bound.
        data: Clips; `test` is tested on.
        training, optimizer: The same for each start; their epochs give way to
            the steps of `options`.
        options: Sizes, seeds and length.
        run_dir: Gets a directory per run.
        results_dir: Gets a JSON file per run, and the table.
        pretrained: Run directory of a training of the same network on other
            clips; None for no such start.
        inherited: The same for that of a search.

    Returns:
        The table, Markdown.
    """
    starts = {SCRATCH: None, "pretrained": pretrained, "inherited": inherited}
    starts = {
        name: start
        for name, start in starts.items()
        if start is not None or name == SCRATCH
    }
    results = pathlib.Path(results_dir)
    _check_same(results, training, optimizer, options, starts, data)
    # Seeds outermost: an interrupted table has whole columns to compare.
    for seed, count, name in itertools.product(
        options.seeds, options.clips_per_class, starts
    ):
        key = f"{name}_{count or 'all'}_{seed}"
        path = results / f"{key}.json"
        if path.is_file():
            continue
        keras.utils.clear_session()
        few = dataclasses.replace(data, clips_per_class=count, clips_seed=seed)
        trained = pathlib.Path(run_dir, key)
        record = train_fn(
            data=few,
            **_lengths(training, optimizer, options, few),
            init_from=starts[name],
            run_dir=str(trained),
            seed=seed,
        )
        result = run_lib.run_evaluation(trained=str(trained))
        entry = _entry(name, count, seed, options, record, result)
        files_lib.write_json(path, entry)
        logging.info("Wrote %s.", path)
    text = format_table(read_results(results))
    files_lib.write_text(results / TABLE, text + "\n")
    print(text)
    return text


def _check_same(results, training, optimizer, options, starts, data) -> None:
    """Refuses a folder with runs of other options: a table is of one kind."""
    tested = files_lib.to_json(
        protocol_lib.protocol_of_clips(pipeline.open_source(data, "test"), data)
    )
    weights = {
        name: start and files_lib.file_sha256(initial.weights_path(start))
        for name, start in starts.items()
    }
    for path in sorted(results.glob("*.json")):
        entry = _read_result(path)
        wanted = {
            "steps": options.steps,
            "training": files_lib.to_json(training),
            "optimizer": files_lib.to_json(optimizer),
        }
        found = {name: entry[name] for name in wanted}
        found["protocol"] = {
            name: value
            for name, value in entry["protocol"].items()
            if name in tested
        }
        wanted["protocol"] = {name: tested[name] for name in found["protocol"]}
        if entry["start"] in weights:
            wanted["weights"] = weights[entry["start"]]
            found["weights"] = (entry["init_from"] or {}).get("sha256")
        for part in ("training", "optimizer"):  # lengths are in steps
            wanted[part] = {
                name: value
                for name, value in wanted[part].items()
                if name in found[part] and not name.endswith("epochs")
            }
            found[part] = {name: found[part][name] for name in wanted[part]}
        changes = run_dir_lib.differences(found, wanted)
        if changes:
            raise ValueError(
                "`results_dir` must be a new folder or one of the same "
                f"options. Received: {path} ({'; '.join(changes)})."
            )


def _lengths(training, optimizer, options, data) -> dict[str, Any]:
    """Returns the options with epochs that make the steps wanted."""
    clips = len(pipeline.open_source(data, "train"))

    def epochs(steps):  # rounded up to whole steps later
        return max(0.0, (steps - 0.5) * training.batch_size / clips)

    return {
        "training": dataclasses.replace(training, epochs=epochs(options.steps)),
        "optimizer": dataclasses.replace(
            optimizer, warmup_epochs=epochs(options.warmup_steps)
        ),
    }


def _entry(name, count, seed, options, record, result) -> dict[str, Any]:
    config = record["config"]
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "start": name,
        "clips_per_class": count,
        "seed": seed,
        "steps": options.steps,
        "train_clips": record["train_clips"],
        "train_manifest": config["manifest"],
        "arch": record["arch"],
        "params": record["params"],
        "training": config["training"],
        "optimizer": config["optimizer"],
        "init_from": config["init_from"],
        "weights": result["trained"]["files"]["weights.npz"],
        **{
            key: result[key]
            for key in (
                "top1",
                "top1_correct",
                "top1_interval",
                "clips",
                "annotated_clips",
                "protocol",
            )
        },
        "seconds": record["seconds_since_start_or_resume"],
        "provenance": run_dir_lib.provenance(),
    }


def read_results(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the runs whose JSON files lie in a folder."""
    found = []
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        found.append(_read_result(path))
    if not found:
        raise ValueError(f"There is no result of a transfer in {folder}.")
    return found


def _read_result(path: pathlib.Path) -> dict[str, Any]:
    return files_lib.read_record(
        path, "a result", "a transfer", FORMAT, SCHEMA_VERSION
    )


def format_table(entries: Sequence[Mapping[str, Any]]) -> str:
    """Returns accuracies by clips per class and start, Markdown.

    A cell is the mean over seeds with the 95 % interval by Student's t (by
    Wilson, of the test clips, for a single seed), and the clips that each seed
    got right.
    """
    cells = collections.defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry["seed"]):
        cells[entry["clips_per_class"], entry["start"]].append(entry)
    sizes = sorted({size for size, _ in cells}, key=lambda n: (n is None, n))
    starts = list(dict.fromkeys(entry["start"] for entry in entries))
    starts.sort(key=lambda name: name != SCRATCH)
    lines = [
        "| clips per class | " + " | ".join(starts) + " |",
        "|---|" + "---|" * len(starts),
    ]
    for size in sizes:
        row = [_cell(cells.get((size, start), ())) for start in starts]
        name = "all" if size is None else str(size)
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    first = entries[0]
    lines += [
        "",
        f"top-1 of {first['arch']} after {_unique(entries, 'steps')} steps of "
        f"{first['training']['batch_size']} clips; mean over the seeds "
        f"{_unique(entries, 'seed')} with its 95 % interval (Student), and "
        f"the clips that each got right: {report.protocol_line(first)}",
    ]
    return "\n".join(lines)


def _cell(entries) -> str:
    if not entries:
        return "-"
    top1 = [entry["top1"] for entry in entries]
    mean, (_, margin) = sum(top1) / len(top1), repeats.spread(top1)
    right = ", ".join(str(entry["top1_correct"]) for entry in entries)
    low, high = max(0.0, mean - margin), min(1.0, mean + margin)
    if len(entries) == 1:
        low, high = metrics.wilson_interval(
            entries[0]["top1_correct"], entries[0]["clips"]
        )
    return (
        f"{report.percent(mean)} ({100 * low:.0f} to {100 * high:.0f}; {right})"
    )


def _unique(entries, name: str) -> str:
    return ", ".join(map(str, sorted({entry[name] for entry in entries})))
