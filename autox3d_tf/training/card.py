"""The model card: what a network is, was made of and can do. Markdown."""

import pathlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autox3d_tf import cost
from autox3d_tf.base import text as text_lib
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.training import protocol as protocol_lib

NAME = "model_card.md"
NOT_STATED = "not stated"
_MOST_NAMES = 20  # of classes; the rest is counted


def model_card(
    arch: arch_lib.ArchSpec,
    record: Mapping[str, Any],
    accuracies: Sequence[Mapping[str, Any]] = (),
    files: str = "",
) -> str:
    """Returns the card of a network.

    Args:
        arch: The network.
        record: What training.json says; `labels` is required, the rest is
            said to be unknown where it is missing.
        accuracies: Entries of accuracy.json; see `accuracy`.
        files: A last section about files made from the network.
    """
    sections = {
        "Architecture": _architecture(arch, record),
        "Data": _data(record),
        "Recipe": _recipe(record),
        "Accuracy": _accuracy(record, accuracies),
        "Provenance": _provenance(arch, record),
        "Intended use and limits": _limits(arch, record),
        "Licence": [f"Weights: {record.get('licence', NOT_STATED)}."],
    }
    if files:
        sections["Files"] = [files]
    parts = [f"# Model card: {arch.name}\n"]
    for title, lines in sections.items():
        parts.append(f"## {title}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _architecture(arch, record) -> Iterator[str]:
    size = record.get("macs", {}).get("clip_size", arch.clip_size)
    found = cost.cost_of(arch, tuple(size), len(record["labels"]))
    yield f"{arch.name}, fingerprint {arch.fingerprint[:12]}: " + (
        f"{found.params:,} parameters, {found.macs:,} MACs per view of "
        f"{text_lib.times(found.clip_size)} and {found.num_classes} classes. "
        "One MAC is one multiply-add of a convolution or matrix product, with "
        "sizes rounded up at strides; norms and activations are not counted."
    )
    yield ""
    yield "| part | kind | inner | out | out size | MACs | parameters |"
    yield "|---|---|---|---|---|---|---|"
    for part in found.layers:
        kind, inner = part.kind, ""
        if part.kind == "block":
            spec = part.block.spec
            kind = spec.block_type
            kind += ", se" if spec.attention == "se" else ""
            inner = str(spec.inner_filters)
        yield (
            f"| {part.name} | {kind} | {inner} | {part.out_channels} | "
            f"{text_lib.times(part.out_size)} | {part.macs:,} | "
            f"{part.params:,} |"
        )


def _data(record) -> Iterator[str]:
    labels = record["labels"]
    yield f"- {len(labels)} classes: {text_lib.some(labels, _MOST_NAMES)}."
    counts = record.get("clips", {})
    if counts:
        said = ", ".join(f"{part} {count}" for part, count in counts.items())
        yield f"- Clips: {said}."
    else:
        yield "- Clips: unknown."
    config = record.get("config", {})
    if "manifest" in config:
        yield f"- Manifest of the clips trained on: {config['manifest']}."
    if "preprocessing" in record:
        how = _values(record["preprocessing"])
        yield f"- How clips are sampled and cropped: {how}."


def _recipe(record) -> Iterator[str]:
    if "import" in record:
        yield "Not trained here. " + " ".join(record["import"])
        return
    config = record.get("config", {})
    if "training" not in config:
        yield "Unknown."
        return
    for name in ("training", "optimizer", "data"):
        yield f"- {name}: {_values(config[name])}."
    start = config.get("init_from")
    if start:
        yield (
            "- Started from the weights "
            f"{text_lib.without_folders(start['path'])}, sha256 "
            f"{start['sha256'][:12]}."
        )
    else:
        yield "- Started from random weights."


def _accuracy(record, accuracies) -> Iterator[str]:
    validation = record.get("validation")
    if validation:
        said = protocol_lib.protocol_line(
            validation["protocol"], validation["clips"]
        )
        share = 100 * validation["accuracy"]
        yield f"- validation after training: top-1 {share:.1f} %: {said}"
    for entry in accuracies:
        for line in entry["lines"]:
            yield f"- part {entry['part']}: {line}"
    if not validation and not accuracies:
        yield "Not evaluated. autox3d-evaluate adds what it finds."


def _provenance(arch, record) -> Iterator[str]:
    made = record.get("provenance", {})
    versions = made.get("versions", {})
    for name, value in (
        ("date", made.get("created")),
        ("seed", record.get("config", {}).get("seed")),
        ("config hash", record.get("config_hash")),
        ("weights, sha256", record.get("files", {}).get("weights.npz")),
        ("architecture", arch.provenance.get("source")),
        ("git commit", made.get("git_commit")),
        ("Python", made.get("python")),
        ("versions", _values(versions) if versions else None),
        ("command", _command(made.get("command"))),
    ):
        if value not in (None, ""):
            yield f"- {name}: {value}"


def _command(words: Sequence[str] | None) -> str | None:
    """A line to type, wherever the program is on this machine."""
    if not words:
        return None
    program, *arguments = words
    arguments = map(text_lib.without_folders, arguments)
    return shlex.join([pathlib.Path(program).name, *arguments])


def _limits(arch, record) -> Iterator[str]:
    yield (
        f"For telling the {len(record['labels'])} classes above apart in short "
        f"videos cut into clips of {arch.clip_size[0]} frames as said above. "
        "It always predicts one of them, even where none is to be seen, and "
        "its scores are not calibrated probabilities. An accuracy holds for "
        "clips like those of its manifest: test it on your own cameras, scenes "
        "and people. It was not examined for differences between groups of "
        "people, and is not meant for decisions about them."
    )


def accuracy(result: Mapping[str, Any], lines: Sequence[str]) -> dict[str, Any]:
    """Returns the entry of accuracy.json for an evaluation.

    Args:
        result: Of an evaluation: its `part` and `protocol` tell entries apart.
        lines: Its accuracies, each with the protocol, for people.
    """
    names = ("part", "protocol", "top1", "top1_correct", "top1_interval")
    return {
        "weights": result["trained"]["files"]["weights.npz"],
        **{name: result[name] for name in (*names, "clips")},
        "created": result["provenance"]["created"],
        "lines": list(lines),
    }


def with_accuracy(
    entries: Sequence[Mapping[str, Any]], new: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """Returns the entries, one of the same part and protocol replaced."""

    def key(entry):
        return entry["part"], entry["protocol"]

    return [entry for entry in entries if key(entry) != key(new)] + [new]


def _values(values: Mapping[str, Any]) -> str:
    """Writes what is not off: neither None, False, 0 nor empty."""
    return ", ".join(
        f"{name}={text_lib.without_folders(str(value))}"
        for name, value in values.items()
        if value
    )
