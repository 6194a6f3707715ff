"""Where a network begins: fresh, inherited or trained weights."""

import os
import pathlib

import keras
import numpy as np
from absl import logging

from autox3d_tf import models
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.space import archive
from autox3d_tf.training import files

# In a directory, the first of these that is there.
WEIGHT_FILES = (files.WEIGHTS, "inherited.npz")
CHECKPOINT_SUFFIXES = (".pyth", ".pth", ".pt")  # of SlowFast, PyTorchVideo
_LAST_LAYER = ("head/logits_kernel", "head/logits_bias")


def find_arch(
    arch: str | os.PathLike | arch_lib.ArchSpec,
    clip_size: tuple[int, int, int] = (13, 160, 160),
    frame_stride: int = 6,
) -> arch_lib.ArchSpec:
    """Returns a named network, or that of a file or run directory.

    Args:
        arch: A name, an arch.json, a directory with one, or the checkpoint of
            an X3D of SlowFast or PyTorchVideo.
        clip_size, frame_stride: Of the network of a checkpoint, which does
            not tell them.
    """
    if isinstance(arch, arch_lib.ArchSpec):
        return arch
    path = pathlib.Path(arch)
    if str(arch) in archive.ARCHIVE:  # whatever directories are called
        return archive.get_arch(str(arch))
    if path.is_dir():
        return arch_lib.load_arch(path / files.ARCH)
    if path.suffix in CHECKPOINT_SUFFIXES:
        return models.architecture_of_checkpoint(
            path, name=path.stem, clip_size=clip_size, frame_stride=frame_stride
        )
    if path.suffix == ".json" or path.is_file():
        return arch_lib.load_arch(path)
    raise ValueError(
        f"`arch` must be an arch.json, a run directory or one of "
        f"{', '.join(archive.ARCHIVE)}. Received: arch={str(arch)!r}."
    )


def weights_path(init_from: str | os.PathLike) -> pathlib.Path:
    """Returns the file of weights that `init_from`, file or run, means."""
    path = pathlib.Path(init_from)
    if path.is_file():
        return path
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    raise ValueError(
        "`init_from` must be a file of weights or a run directory with one "
        f"({' or '.join(WEIGHT_FILES)}). Received: init_from={str(path)!r}."
    )


def assign_initial(
    model: keras.Model, path: str | os.PathLike, replace_head: bool = False
) -> None:
    """Sets the weights of a file.

    Args:
        model: Gets them.
        path: A file of `models.save_weights`, or a checkpoint of SlowFast or
            PyTorchVideo.
        replace_head: Whether a last layer for other classes is left out.

    Raises:
        ValueError: Naming the first weights that do not fit.
    """
    if pathlib.Path(path).suffix in CHECKPOINT_SUFFIXES:
        _assign_checkpoint(model, path, replace_head)
        return
    given, own = models.load_weights(path), models.weight_values(model)
    found, classes = _classes_of(given), _classes_of(own)
    if found not in (None, classes):
        if not replace_head:
            raise ValueError(_other_classes(path, found, classes))
        for name in _LAST_LAYER:
            given[name] = own[name]
        logging.info(
            "The last layer starts anew: %d classes instead of %d.",
            classes,
            found,
        )
    _check_same_names(path, given, own)
    models.assign_weights(model, given)
    logging.info("Initial weights from %s.", path)


def _assign_checkpoint(model, path, replace_head: bool) -> None:
    classes = models.open_torch_checkpoint(path).num_classes
    own = model.output_shape[-1]
    if classes != own and not replace_head:
        raise ValueError(_other_classes(path, classes, own))
    report = models.load_torch_checkpoint(
        model, path, replace_head=classes != own
    )
    logging.info("Initial weights from %s. %s", path, report)


def check_classes(path: str | os.PathLike, classes: int) -> None:
    """Raises ValueError if weights are for other classes; see above."""
    if pathlib.Path(path).suffix in CHECKPOINT_SUFFIXES:
        found = models.open_torch_checkpoint(path).num_classes
    else:
        found = _classes_of(models.load_weights(path))
    if found not in (None, classes):
        raise ValueError(_other_classes(path, found, classes))


def _classes_of(weights: dict[str, np.ndarray]) -> int | None:
    bias = weights.get(_LAST_LAYER[1])
    return None if bias is None else len(bias)


def _other_classes(path, given: int, own: int) -> str:
    return (
        f"{path} has {given} classes, the data {own}. "
        "Start the last layer anew: --gin=TrainingOptions.replace_head=True."
    )


def _check_same_names(
    path, given: dict[str, np.ndarray], own: dict[str, np.ndarray]
) -> None:
    for what, names in (
        ("lacks", own.keys() - given.keys()),
        ("has also", given.keys() - own.keys()),
    ):
        if names:
            raise ValueError(
                f"{path} is for another network: it {what} {len(names)} "
                f"weights of it, such as {min(names)}."
            )
    for name, value in own.items():
        if given[name].shape != value.shape:
            raise ValueError(
                f"{path} is for another network: {name} has shape "
                f"{given[name].shape}, not {value.shape}."
            )
