"""One network with other operations in it, to see what those cost a device.

Which of them is fast differs from one device to the next; what they cost in
accuracy, a training tells.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tf_keras
from absl import logging

from autox3d_edge import export, float_lowering, latency_bundle, quantize
from autox3d_edge import manifest as manifest_lib
from autox3d_tf.base import checks
from autox3d_tf.space import arch as arch_lib

# In the place of kernels that reach over time and space at once.
_CHEAPER = {"3x3x3": ("separable", "1x3x3"), "3x5x5": ("1x5x5",)}


def variants_of(arch: arch_lib.ArchSpec) -> dict[str, arch_lib.ArchSpec]:
    """Returns the network, and by what is changed, each with one change.

    Every other activation; its depthwise kernels separable, and without time;
    and no squeeze-excite.
    """
    found = {
        activation: dataclasses.replace(arch, activation=activation)
        for activation in arch_lib.ACTIVATIONS
    }
    for block_type in ("separable", "1x3x3", "1x5x5"):
        found[block_type] = _replace_blocks(
            arch,
            lambda block, wanted=block_type: (
                {"block_type": wanted}
                if wanted in _CHEAPER.get(block.block_type, ())
                else {}
            ),
        )
    found["no_se"] = _replace_blocks(arch, lambda _: {"attention": "none"})
    changed = {name: one for name, one in found.items() if one != arch}
    return {arch.activation: arch, **changed}


def write_variants(
    arch: arch_lib.ArchSpec,
    folder: str | os.PathLike,
    *,
    precisions: Sequence[str] = ("int8", "fp32"),
    num_classes: int = 400,
    seed: int = 0,
    progress: Callable[[str], Any] = logging.info,
) -> list[pathlib.Path]:
    """Exports each of `variants_of` with random weights.

    Beside the files of each lies its architecture, for a training.

    Args:
        arch: The network.
        folder: Gets a .tflite per variant and precision, ARCH_VARIANT.json.
        precisions: Of `quantize.PRECISIONS`.
        num_classes: Outputs of the network.
        seed: Of weights and calibration.
        progress: Is told about each network.

    Returns:
        The files; per precision, that of the network as it is comes first.

    Raises:
        ValueError: An unknown precision.
    """
    for precision in precisions:
        checks.check_choice("precisions", precision, quantize.PRECISIONS)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {precision: [] for precision in precisions}
    variants = variants_of(arch)
    for number, (name, variant) in enumerate(variants.items(), 1):
        rng = np.random.default_rng(seed)
        weights = latency_bundle.random_weights(variant, num_classes, rng)
        variant.save(folder / f"{arch.name}_{name}.json")
        clip = rng.integers(0, 256, (*arch.clip_size, 3), np.uint8)
        for precision in precisions:
            manifest = manifest_lib.ModelManifest(
                labels=tuple(map(str, range(num_classes))),
                preprocessing=export.default_preprocessing(arch),
                precision=precision,
                arch=variant.to_dict(),
                provenance={"weights": f"random, seed {seed}"},
            )
            path = folder / f"{arch.name}_{name}_{precision}.tflite"
            lowered = float_lowering.choose(precision)(variant, weights)
            content = quantize.convert(lowered, precision, [clip])
            path.write_bytes(manifest_lib.pack(content, manifest))
            paths[precision].append(path)
        tf_keras.backend.clear_session()
        progress(f"{number} of {len(variants)} networks exported")
    return [path for precision in precisions for path in paths[precision]]


def _replace_blocks(arch, change):
    stages = tuple(
        tuple(dataclasses.replace(block, **change(block)) for block in blocks)
        for blocks in arch.stages
    )
    return dataclasses.replace(arch, stages=stages)
