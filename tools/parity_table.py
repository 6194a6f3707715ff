r"""Compares X3D here with the published one: outputs, and cost. Markdown.

  autox3d-parity-table ../shared/golden

The folder holds small networks made with SlowFast and PyTorchVideo
(NAME.pyth), each with a clip and what it gives after the stem, after each stage
and as logits (NAME_io.npz). They are imported, and the largest difference is
printed per stage. Without a folder only the costs are compared, in parameters
and multiply-adds at the crops of training and testing (400 classes). Exit code
1 if anything is apart.
"""

import pathlib

import numpy as np

from autox3d_tf import cost, space
from autox3d_tf.base import text as text_lib
from autox3d_tf.runs import binary

TOLERANCE = 1e-4  # of outputs in float32
STAGES = ("stem", "res2", "res3", "res4", "res5", "logits")
# X3D as SlowFast builds it. Network: parameters; multiply-adds at the training
# crop; clip and multiply-adds at the testing crop.
PUBLISHED = {
    "x3d_xs": (3_794_322, 605_256_512, (4, 182, 182), 838_807_664),
    "x3d_s": (3_794_322, 1_962_892_112, (13, 182, 182), 2_721_933_356),
    "x3d_m": (3_794_322, 4_732_468_736, (16, 256, 256), 6_180_613_376),
    "x3d_l": (6_153_432, 18_367_710_176, (16, 356, 356), 24_764_017_280),
    "x3d_xl": (11_095_904, 35_837_627_616, (16, 356, 356), 48_406_849_600),
}


def stage_errors(path: pathlib.Path) -> dict[str, float]:
    """Returns the largest absolute difference after each of `STAGES`.

    Args:
        path: Of the checkpoint; what it gives lies beside it.
    """
    import keras

    from autox3d_tf import models

    try:
        with np.load(path.with_name(f"{path.stem}_io.npz")) as file:
            golden = {name: file[name] for name in ("clip", *STAGES)}
    except (OSError, KeyError) as error:
        raise ValueError(
            f"{path} must have outputs beside it, {path.stem}_io.npz with "
            f"clip, {', '.join(STAGES)}. Received: {error}."
        ) from None
    checkpoint = models.open_torch_checkpoint(path)
    arch = checkpoint.architecture(
        clip_size=golden["clip"].shape[1:4], frame_stride=1
    )
    model = models.build_model(arch, checkpoint.num_classes)
    models.load_torch_checkpoint(model, path)
    last = [f"stage{i}_block{len(s)}" for i, s in enumerate(arch.stages, 1)]
    taps = [model.get_layer(name).output for name in ("stem", *last, "head")]
    outputs = keras.Model(model.input, taps)(golden["clip"])
    return {
        name: float(np.abs(output - golden[name]).max())
        for name, output in zip(STAGES, outputs, strict=True)
    }


def format_errors(errors: dict[str, dict[str, float]]) -> str:
    """Returns a table of `stage_errors` by the network's name."""
    lines = [
        "| largest difference after | " + " | ".join(errors) + " |",
        "|---|" + "---|" * len(errors),
    ]
    for stage in STAGES:
        found = " | ".join(f"{e[stage]:.1e}" for e in errors.values())
        lines.append(f"| {stage} | {found} |")
    return "\n".join(lines)


def compare_costs() -> list[tuple[str, str, int, int]]:
    """Returns network, what, ours and the published number."""
    rows = []
    for name, published in PUBLISHED.items():
        params, train_macs, clip, test_macs = published
        arch = space.get_arch(name)
        at_train, at_test = cost.cost_of(arch), cost.cost_of(arch, clip)
        rows += [
            (name, "parameters", at_train.params, params),
            (
                name,
                f"MACs, {text_lib.times(arch.clip_size)}",
                at_train.macs,
                train_macs,
            ),
            (name, f"MACs, {text_lib.times(clip)}", at_test.macs, test_macs),
        ]
    return rows


def format_costs(rows: list[tuple[str, str, int, int]]) -> str:
    """Returns a table of `compare_costs`."""
    lines = ["| network | cost | here | published | apart |"]
    lines.append("|---|---|---|---|---|")
    for name, what, ours, published in rows:
        lines.append(
            f"| {name} | {what} | {ours:,} | {published:,} | "
            f"{ours - published:,} |"
        )
    return "\n".join(lines)


def _run(folders: list[str]) -> int:
    if len(folders) > 1:
        raise binary.UsageError("Give one folder of golden networks.")
    apart = False
    for folder in folders:
        paths = sorted(pathlib.Path(folder).glob("*.pyth"))
        if not paths:
            raise ValueError(f"There is no golden network (.pyth) in {folder}.")
        errors = {path.stem: stage_errors(path) for path in paths}
        print(format_errors(errors) + "\n")
        apart |= any(
            not error <= TOLERANCE  # NaN too
            for found in errors.values()
            for error in found.values()
        )
    rows = compare_costs()
    print(format_costs(rows))
    return int(apart or any(ours != there for _, _, ours, there in rows))


def main():
    binary.run_plain(_run)


if __name__ == "__main__":
    main()
