"""What a device has to time for a latency table, as a folder it can run.

Networks are drawn so that every candidate of every choice appears equally
often (a Latin hypercube), converted and cut into their parts. A second,
uniform draw of whole networks serves to check. The folder holds the .tflite
files, an index and the few modules that time them; on the device numpy and an
interpreter are enough:

    cd bundle && python -m autox3d_edge.latency_table .

Networks of a causal space are timed as they run there, one frame at a time.
"""

import contextlib
import hashlib
import itertools
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tf_keras
from absl import logging

from autox3d_edge import (
    cut,
    float_lowering,
    input_zero_point,
    latency_table,
    lowering,
    quantize,
    stream_convert,
    stream_lowering,
)
from autox3d_tf import cost, space
from autox3d_tf.base import checks
from autox3d_tf.base import files as files_lib
from autox3d_tf.cost import latency
from autox3d_tf.runs import claim
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.space import weight_names

_CALIBRATION_FRAMES = 2  # what a stream takes does not depend on its values
PRECISIONS = ("fp32", "fp16", "dynamic", "int8")
_MODULES = (
    "autox3d_edge/__init__.py",
    "autox3d_edge/benchmark.py",
    "autox3d_edge/flatbuffer.py",
    "autox3d_edge/graph_check.py",
    "autox3d_edge/interpreters.py",
    "autox3d_edge/latency_fit.py",
    "autox3d_edge/latency_table.py",
    "autox3d_edge/manifest.py",
    "autox3d_edge/streaming.py",
    "autox3d_edge/table_reader.py",
)
_INDEX = "index.json"
_UNFINISHED = ".unfinished"  # in a folder until it is whole
_WRITTEN = ("models", "autox3d_edge", "autox3d_tf")


def make_bundle(
    search_space: space.SearchSpace,
    folder: str | os.PathLike,
    *,
    precisions: Sequence[str] = ("int8", "fp32"),
    num_classes: int = 10,
    samples: int = 48,
    check: int = 20,
    seed: int = 0,
    progress: Callable[[str], Any] = logging.info,
) -> pathlib.Path:
    """Writes the folder; returns it.

    Args:
        search_space: Whose blocks are to be timed.
        folder: Where to write; must be absent or empty, or one that was left
            unfinished, which is made anew. One that is whole and was made of
            the same by the same versions is taken as it is.
        precisions: Of `PRECISIONS`.
        num_classes: Outputs of the networks.
        samples: Networks that are cut into parts, and timed as wholes too.
        check: Whole networks that the table has not seen.
        seed: Of the draws and the weights.
        progress: Is told about each network.

    Raises:
        ValueError: An unknown precision, too few samples for each candidate to
            be in one, or a folder that is not empty or another process's.
    """
    most = max(map(_candidates, search_space.choices))
    if 0 < samples < most:
        raise ValueError(
            f"`samples` must be at least {most}, for each candidate of space "
            f"{search_space.name!r} to be in one. Received: samples={samples}."
        )
    for precision in precisions:
        checks.check_choice("precisions", precision, PRECISIONS)
    folder, rng = pathlib.Path(folder), np.random.default_rng(seed)
    asked = {
        "space": {
            "name": search_space.name,
            "fingerprint": search_space.fingerprint,
            "definition": search_space.to_dict(),
        },
        "num_classes": num_classes,
        "precisions": list(precisions),
        "samples": samples,
        "check": check,
    }
    made = run_dir_lib.provenance(seed=seed)
    if _is_there(folder, asked, made):
        progress(f"{folder} is there")
        return folder
    with _unfinished(folder):
        writer = _Writer(folder, precisions, num_classes, rng)
        archs = [
            *balanced_networks(search_space, samples, rng),
            *uniform_networks(search_space, check, rng),
        ]
        for number, arch in enumerate(archs, 1):
            fitted = number <= samples
            writer.add(arch, "calibrate" if fitted else "check", parts=fitted)
            progress(f"{number} of {len(archs)} networks converted")
        _copy_modules(folder)
        files_lib.write_json(  # last: what has an index is whole
            folder / _INDEX,
            {
                "kind": "latency_bundle",
                "schema_version": latency.SCHEMA_VERSION,
                "provenance": made,
                "per": per(search_space),
                **asked,
                "archs": writer.archs,
                "states": writer.states,
                "models": writer.models,
                "sha256": writer.hashes,
            },
        )
    return folder


def _is_there(folder, asked, made) -> bool:
    """Whether a folder is whole, and what would be made now."""
    try:
        index = latency_table.read_index(folder)
    except ValueError:
        return False
    makers = "inputs", "versions", "git_commit"
    there = index.get("provenance", {})
    return files_lib.to_json(asked) == {
        name: index.get(name) for name in asked
    } and all(there.get(name) == made[name] for name in makers)


@contextlib.contextmanager
def _unfinished(folder: pathlib.Path) -> Iterator[None]:
    """Marks a folder until it is whole; empties one that was left marked."""
    mark = folder / _UNFINISHED
    if not mark.exists() and folder.exists() and any(folder.iterdir()):
        raise ValueError(
            "`folder` must be absent or empty. Received: "
            f"folder={str(folder)!r}. Name another, or remove an old bundle."
        )
    with claim.claim(mark) as ours:
        if not ours:
            raise ValueError(
                "`folder` must be no other process's. Received: "
                f"folder={str(folder)!r}. Wait for its end, or name another."
            )
        (folder / _INDEX).unlink(missing_ok=True)
        for name in _WRITTEN:
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / "models").mkdir()
        yield
        mark.unlink()


def per(search_space: space.SearchSpace) -> str:
    """What the milliseconds of a space are for, one of `latency.PER`."""
    return "frame" if search_space.causal else "clip"


def balanced_networks(
    search_space: space.SearchSpace, count: int, rng: np.random.Generator
) -> Iterator[arch_lib.ArchSpec]:
    """Yields networks of full depth with each candidate equally often."""
    columns = []
    for choice in search_space.choices:
        places = np.arange(count) % _candidates(choice)
        columns.append(rng.permutation(places))
    for indices in zip(*columns, strict=True):
        yield search_space.decode(indices)


def _candidates(choice) -> int:
    """How many there are for a block that is there."""
    return sum(candidate != space.SKIP for candidate in choice.candidates)


def uniform_networks(
    search_space: space.SearchSpace, count: int, rng: np.random.Generator
) -> Iterator[arch_lib.ArchSpec]:
    """Yields networks drawn uniformly over all choices."""
    for _ in range(count):
        yield search_space.decode(
            [rng.integers(len(choice)) for choice in search_space.choices]
        )


def random_weights(
    arch: arch_lib.ArchSpec, num_classes: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Returns weights that keep activations in range; time needs no more.

    No squeeze-excite channel is dead: of one that is, int8 calibration makes
    a scale of 1e-9, which XNNPACK refuses and LiteRT 2.3 does not survive.
    """
    weights = {}
    for name, shape in weight_names.weight_shapes(arch, num_classes).items():
        if name.endswith(("_gamma", "_variance", "se_reduce_bias")):
            weights[name] = np.ones(shape, np.float32)
        elif len(shape) == 1:
            weights[name] = np.zeros(shape, np.float32)
        else:
            values = rng.standard_normal(shape, np.float32)
            weights[name] = values / np.float32(np.sqrt(np.prod(shape[:-1])))
    return weights


class _Writer:
    """Converts and lists what is to be timed."""

    def __init__(self, folder, precisions, num_classes, rng):
        self.folder, self.precisions = folder, precisions
        self.num_classes, self.rng = num_classes, rng
        self.archs, self.states = [], []
        self.models, self.hashes = [], {}
        self._seen = set()

    def add(self, arch, role, parts=False):
        """Adds a whole network, and its parts where they are new."""
        names = [None]
        ends = {}
        for part in cost.parts_of(arch, arch.clip_size, self.num_classes):
            ends[part.name] = lowering.last_layer(part.name)
            if parts and self._is_new(part):
                names.append(part.name)
        ends["head"] = None
        files: dict[str | None, dict[str, str]] = {name: {} for name in names}
        models, states = self._convert(arch)
        for precision, model in models.items():
            pieces = cut.Cutter(model).parts(ends) if parts else {}
            pieces[None] = model
            for number, name in enumerate(names, len(self.models)):
                file = f"models/{number:04}_{precision}.tflite"
                (self.folder / file).write_bytes(pieces[name])
                digest = hashlib.sha256(pieces[name]).hexdigest()
                self.hashes[file] = digest
                files[name][precision] = file
        for name in names:
            self.models.append(
                {
                    "role": role if name is None else "part",
                    "arch": len(self.archs),
                    "part": name,
                    "files": files[name],
                }
            )
        self.archs.append(arch.to_dict())
        self.states.append(states)

    def _convert(self, arch):
        """Precision -> file; and states, output of a frame -> input."""
        weights = random_weights(arch, self.num_classes, self.rng)
        convert = self._stream if arch.causal else self._clip
        found = convert(arch, weights)
        tf_keras.backend.clear_session()  # or each network makes all slower
        return found

    def _clip(self, arch, weights):
        shape = (*arch.clip_size, 3)
        clip = self.rng.integers(0, 256, shape, np.uint8)
        (clip,) = quantize.check_calibration([clip], shape)
        frozen, files = {}, {}
        for precision in self.precisions:
            lower = float_lowering.choose(precision)
            if lower not in frozen:
                frozen[lower] = quantize.freeze(lower(arch, weights))
            content = quantize.convert_on(
                frozen[lower], precision, lambda: [[clip.astype(np.float32)]]
            )
            files[precision] = input_zero_point.absorb(content)
        return files, {}

    def _stream(self, arch, weights):
        frames, *size = arch.clip_size
        shape = (_CALIBRATION_FRAMES, *size, 3)
        clip = self.rng.integers(0, 256, shape, np.uint8)
        lowered = stream_lowering.lower_stream(arch, weights)
        converter = stream_convert.Converter(lowered, [clip], memory=frames)
        files = {}
        for precision in self.precisions:
            files[precision], states = converter.convert(precision)
        return files, {state.output: state.input for state in states}

    def _is_new(self, part) -> bool:
        key = tuple(sorted(latency.terms(part).items()))
        new = key not in self._seen
        self._seen.add(key)
        return new


def _copy_modules(folder):
    here = pathlib.Path(lowering.__file__).parent.parent
    library = pathlib.Path(cost.__file__).parent.parent
    sources = itertools.chain(
        ((here / name, name) for name in _MODULES),
        (
            (path, f"autox3d_tf/{path.relative_to(library)}")
            for path in (
                library / "__init__.py",
                *library.glob("base/*.py"),
                *library.glob("cost/*.py"),
                *library.glob("space/*.py"),
            )
        ),
    )
    for path, name in sources:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / name)
