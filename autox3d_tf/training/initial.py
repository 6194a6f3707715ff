"""Where a network begins: fresh, inherited or trained weights."""

import os
import pathlib
from collections.abc import Sequence

import keras
import numpy as np
from absl import logging

from autox3d_tf import models
from autox3d_tf.base import files as files_lib
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.space import archive
from autox3d_tf.training import files

# In a directory, the first of these that is there; and what names its classes.
WEIGHT_FILES = {files.WEIGHTS: files.RECORD, "inherited.npz": "search.json"}
CHECKPOINT_SUFFIXES = (".pyth", ".pth", ".pt")  # of SlowFast, PyTorchVideo
_LAST_LAYER = ("head/logits_kernel", "head/logits_bias")
_OTHER_NETWORK = "Give the network that they were made for, or other weights."


def find_arch(
    arch: str | os.PathLike | arch_lib.ArchSpec,
    clip_size: tuple[int, int, int] = (13, 160, 160),
    frame_stride: int = 6,
) -> arch_lib.ArchSpec:
    """Returns the network of a checkpoint, or what `space.get_arch` does.

    Args:
        arch: A name, an arch.json, a directory with one, or the checkpoint of
            an X3D of SlowFast or PyTorchVideo.
        clip_size, frame_stride: Of the network of a checkpoint, which does
            not tell them.
    """
    path = None if isinstance(arch, arch_lib.ArchSpec) else pathlib.Path(arch)
    if path and path.suffix in CHECKPOINT_SUFFIXES and not path.is_dir():
        return models.architecture_of_checkpoint(
            path, name=path.stem, clip_size=clip_size, frame_stride=frame_stride
        )
    return archive.get_arch(arch)


def weights_path(init_from: str | os.PathLike) -> pathlib.Path:
    """Returns the file of weights that `init_from`, file or run, means."""
    path = pathlib.Path(init_from)
    found = path if path.is_file() else _weights_in(path)
    if found is None:
        raise ValueError(
            "`init_from` must be a file of weights or a run directory with one "
            f"({' or '.join(WEIGHT_FILES)}). Received: init_from={str(path)!r}."
        )
    return found


def _weights_in(folder: str | os.PathLike) -> pathlib.Path | None:
    paths = (pathlib.Path(folder, name) for name in WEIGHT_FILES)
    return next((path for path in paths if path.is_file()), None)


def mention_weights(arch: str | os.PathLike | arch_lib.ArchSpec) -> None:
    """Logs that a run, given for its network, has weights of it as well."""
    if not isinstance(arch, arch_lib.ArchSpec) and _weights_in(arch):
        logging.info(
            "All weights start anew. %s has some of this network: "
            "--gin=INIT_FROM=%s, in another --run_dir, starts from them.",
            arch,
            arch,
        )


def assign_initial(
    model: keras.Model,
    path: str | os.PathLike,
    replace_head: bool = False,
    labels: Sequence[str] | None = None,
) -> None:
    """Sets the weights of a file.

    Where the file of a run names its classes, the last layer gets its outputs
    in the order of the model's; classes without names are taken for the
    model's if there are as many.

    Args:
        model: Gets them.
        path: A file of `models.save_weights`, or a checkpoint of SlowFast or
            PyTorchVideo.
        replace_head: Whether a last layer for other classes is left out.
        labels: The model's classes, in the order of its outputs; None where
            they have no names.

    Raises:
        ValueError: Naming the first weights that do not fit.
    """
    classes = model.output_shape[-1]
    others = _other_classes(path, classes, labels)
    if others is not None:
        if not replace_head:
            raise ValueError(_refused(others))
        logging.info("The last layer starts anew: %s.", others)
    elif labels is not None and labels_of(path) is None:
        logging.info(
            "The last layer is kept: %s does not name its %d classes, which "
            "are taken for those of the data, in their order.",
            path,
            classes,
        )
    if pathlib.Path(path).suffix in CHECKPOINT_SUFFIXES:
        report = models.load_torch_checkpoint(
            model, path, replace_head=others is not None
        )
        logging.info("Initial weights from %s. %s", path, report)
        return
    given, own = models.load_weights(path), models.weight_values(model)
    if others is not None:
        given |= {name: own[name] for name in _LAST_LAYER}
    _check_same_names(path, given, own)
    if others is None:
        _order_outputs(given, labels_of(path), labels)
    models.assign_weights(model, given)
    logging.info("Initial weights from %s.", path)


def check_classes(path: str | os.PathLike, labels: Sequence[str]) -> None:
    """Raises ValueError if weights are for other classes; see above."""
    others = _other_classes(path, len(labels), labels)
    if others is not None:
        raise ValueError(_refused(others))


def labels_of(path: str | os.PathLike) -> list[str] | None:
    """Returns the classes of weights by name, where a run says them."""
    path = pathlib.Path(path)
    record = path.parent / WEIGHT_FILES.get(path.name, "")
    if not record.is_file():
        return None
    return files_lib.read_json(record, "the record of a run").get("labels")


def _other_classes(path, classes: int, labels) -> str | None:
    """Says how the classes of weights differ from a model's, if they do."""
    if pathlib.Path(path).suffix in CHECKPOINT_SUFFIXES:
        found = models.open_torch_checkpoint(path).num_classes
    else:
        bias = models.load_weights(path).get(_LAST_LAYER[1])
        found = classes if bias is None else len(bias)
    if found != classes:
        return f"{path} has {found} classes, the data {classes}"
    names = labels_of(path)
    if names is None or labels is None or set(names) == set(labels):
        return None
    apart = sorted(set(names) ^ set(labels))
    return (
        f"{path} has other classes than the data: only one of them has "
        f"{', '.join(map(repr, apart[:4]))}"
    )


def _refused(others: str) -> str:
    return (
        f"{others}. Start the last layer anew: "
        "--gin=TrainingOptions.replace_head=True."
    )


def _order_outputs(weights: dict[str, np.ndarray], names, labels) -> None:
    """Puts the last layer's outputs into the order of `labels`, in place."""
    if names is None or labels is None or list(names) == list(labels):
        return
    order = [names.index(label) for label in labels]
    for name in _LAST_LAYER:
        weights[name] = weights[name][..., order]
    logging.info("The last layer's outputs are put into the data's order.")


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
                f"weights of it, such as {min(names)}. {_OTHER_NETWORK}"
            )
    for name, value in own.items():
        if given[name].shape != value.shape:
            raise ValueError(
                f"{path} is for another network: {name} has shape "
                f"{given[name].shape}, not {value.shape}. {_OTHER_NETWORK}"
            )
