"""The trained network and the clips that exports are made and tested with."""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from absl import logging

from autox3d_edge import export, parity
from autox3d_edge import label_cache as label_cache_lib
from autox3d_edge import manifest as manifest_lib
from autox3d_tf.base import text as text_lib
from autox3d_tf.data import pipeline
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.training import files, inputs
from autox3d_tf.training import protocol as protocol_lib

_KEPT_BYTES = 1 << 29  # of clips to test on; each file looks at all of them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sources:
    """What an export begins with.

    Attributes:
        trained: The run directory of the training.
        model: The trained network.
        record: Its training.json.
        data: How clips are cut.
        train: The clips it was trained on.
        calibration: uint8 clips `(T, H, W, 3)` from them.
        drawn: How these were drawn: their number, by class, seed and hash.
        test: The videos to test on, None if there are none.
        clips, targets: uint8 clips of them, read when they are taken, and
            their classes; may be empty.
        protocol: What an accuracy on them is measured with, None if empty.
        label_cache: Which classes networks say they are of.
        seed: Of all that is drawn.
    """

    trained: str
    model: keras.Model
    record: dict[str, Any]
    data: pipeline.DataOptions
    train: Any
    calibration: list[np.ndarray]
    drawn: dict[str, Any]
    test: Any
    clips: Sequence[np.ndarray]
    targets: np.ndarray
    protocol: dict[str, Any] | None
    label_cache: label_cache_lib.LabelCache
    seed: int

    @property
    def augmented(self) -> pipeline.DataOptions:
        """How clips of the size that the network takes are augmented.

        That is the size of evaluation, which may be another than in training.
        """
        crop = self.data.eval_size[1]
        if crop == self.data.crop_size:
            return self.data
        scale = crop / self.data.crop_size
        sides = (round(scale * side) for side in self.data.short_side_range)
        return dataclasses.replace(
            self.data,
            crop_size=crop,
            short_side_range=tuple(max(crop, side) for side in sides),
        )

    @property
    def about(self) -> export.About:
        """What a file of the network says of itself."""
        validation = self.record.get("validation")
        return export.About(
            labels=self.record["labels"],
            preprocessing=preprocessing(self.data, self.train.manifest.rows),
            provenance={
                "files": self.record["files"],
                "seed": self.seed,
                "calibration": self.drawn,
            },
            accuracy={"trained": {"validation": validation}},
            test=self._test if len(self.clips) else None,
            card=files.read_card(self.trained),
        )

    @property
    def calibrated_rows(self) -> set[int]:
        """Places in the manifest of the training clips calibrated on."""
        count = len(self.calibration)
        drawn = pipeline.balanced_positions(self.train.labels, count, self.seed)
        return set(drawn)

    def with_calibration(self, count: int) -> "Sources":
        """Returns the same as if only `count` were drawn to calibrate on."""
        calibration = self.calibration[:count]
        drawn = _drawn(self.train, calibration, self.seed)
        return dataclasses.replace(self, calibration=calibration, drawn=drawn)

    def _test(self, run: parity.Scorer, content: bytes) -> dict[str, Any]:
        """Returns the accuracy of a file and on how many clips it agrees.

        That is, says what the trained network says.
        """
        found = self.labels_of_file(run, content, "the file")
        return {
            **score(found, self.targets),
            "agrees": int((found == self.keras_labels).sum()),
            "protocol": self.protocol,
        }

    def labels_of_file(
        self, run: parity.Scorer, content: bytes, title: str
    ) -> np.ndarray:
        """Classes that a flatbuffer, which `run` runs, says they are of."""
        digest = hashlib.sha256(content).hexdigest()
        return self.label_cache.labels(run, digest, title)

    @functools.cached_property
    def keras_labels(self) -> np.ndarray:
        """Classes that the trained network says the test clips are of."""
        return self.label_cache.labels(
            parity.keras_scorer(self.model),
            self.record["files"][files.WEIGHTS],
            "the network as trained",
        )


def load(
    trained: str,
    data: pipeline.DataOptions | None,
    folder: pathlib.Path,
    *,
    source: str | None = None,
    calibration_clips: int,
    test_part: str | None,
    seed: int,
) -> Sources:
    """Reads a trained network and draws the clips.

    Args:
        trained: The run directory of a training.
        data: Where clips are and how they are cut; None as in the training.
        source: Then, where other clips are, to be cut in the same way.
        folder: Where a list of the clips is kept, if it has to be made.
        calibration_clips: How many to draw from the training part, classes
            in turn; all if there are fewer.
        test_part: Part to test on; None for no test.
        seed: Of the draw.
    """
    model, record = files.load_trained(trained), files.read_record(trained)
    data = inputs.resolve(record, trained, data, source)
    if data.eval_clip_size != tuple(model.arch.clip_size):
        raise ValueError(
            "`data` must cut clips of "
            f"{text_lib.times(model.arch.clip_size)}, as the training did. "
            f"Received: {text_lib.times(data.eval_clip_size)}. Give "
            "CLIP_FRAMES and CROP_SIZE, or take gin/export/trained.gin, which "
            "knows them."
        )
    folder.mkdir(parents=True, exist_ok=True)
    begun = run_dir_lib.is_run(folder)
    data = pipeline.pin_manifest(data, folder, begun=begun)
    train = pipeline.open_source(data, "train")
    count = min(calibration_clips, len(train))
    calibration = pipeline.calibration_clips(
        pipeline.open_source(data, "train", whole=True), data, count, seed
    )
    test, clips, targets, protocol = _test_clips(
        data, test_part, record["labels"], model.arch
    )
    if test is not None:
        inputs.warn_of_trained(trained, test)
    return Sources(
        trained=trained,
        model=model,
        record=record,
        data=data,
        train=train,
        calibration=calibration,
        drawn=_drawn(train, calibration, seed),
        test=test,
        clips=clips,
        targets=targets,
        protocol=protocol,
        label_cache=label_cache_lib.LabelCache(clips, protocol, folder),
        seed=seed,
    )


def preprocessing(
    data: pipeline.DataOptions, rows: Sequence = ()
) -> manifest_lib.Preprocessing:
    """What a device does with a video: the evaluation's middle view.

    Args:
        data: How clips are cut.
        rows: Of the manifest of the training clips.
    """
    short_side, crop_size = data.eval_size
    dense = data.sampling == "dense"
    stride = data.stride if dense else 1
    if data.sampling == "segment" and rows:
        stride = max(1.0, round(float(np.median(_strides(rows, data))), 3))
    rates = [row.fps for row in rows if row.fps]
    return manifest_lib.Preprocessing(
        clip_frames=data.clip_frames,
        sampling=data.sampling,
        stride=stride,
        short_side=short_side,
        crop_size=crop_size,
        squash=data.squash,
        standardize=data.standardize,
        stride_fps=(dense and data.stride_fps) or 0.0,
        fps=round(float(np.median(rates)), 3) if rates else 0.0,
    )


def pace(rows, data: pipeline.DataOptions) -> dict[str, Any]:
    """How fast training clips show their videos: `stride` and `fps`.

    Args:
        rows: Of the manifest of the training clips.
        data: How these were cut.
    """
    strides = _strides(rows, data)
    rates = [
        row.fps / stride
        for row, stride in zip(rows, strides, strict=True)
        if row.fps
    ]
    return {
        "stride": max(1, round(float(np.median(strides)))),
        "fps": round(float(np.median(rates)), 3) if rates else 0.0,
    }


def _strides(rows, data) -> list[float]:
    """Frames of each video per frame of a clip of it."""
    if data.sampling == "dense":
        return [data.stride_of(row.fps) for row in rows]
    return [row.frames / data.clip_frames for row in rows]


def score(labels: np.ndarray, targets: Sequence[int]) -> dict[str, Any]:
    """Returns how many are right, of how many."""
    right = int((labels == targets).sum())
    return {
        "right": right,
        "clips": len(targets),
        "top1": right / len(targets),
    }


def _drawn(train, calibration, seed) -> dict[str, Any]:
    count = len(calibration)
    numbers = train.labels  # made anew each time
    drawn = pipeline.balanced_positions(numbers, count, seed)
    labels = [train.classes[numbers[position]] for position in drawn]
    digest = hashlib.sha256(b"".join(clip.tobytes() for clip in calibration))
    return {
        "clips": count,
        "per_class": {name: labels.count(name) for name in train.classes},
        "seed": seed,
        "sha256": digest.hexdigest(),
        "manifest": train.manifest.fingerprint,
    }


def _test_clips(data, part, labels, arch):
    untested = None, [], np.array([], int), None
    if part is None:
        return untested
    try:
        source = pipeline.open_source(data, part, whole=True)
    except ValueError as error:
        if not inputs.has_part(data, part):  # such as `test`, the default
            logging.warning("No clips to test: %s", error)
            return untested
        raise ValueError(f"{error} Without a test: --gin=PART=None.") from error
    targets = inputs.outputs_of(source, labels)[source.labels]
    protocol = protocol_lib.protocol_of(arch, source, data, len(labels))
    clips = DeviceClips(source, data, range(len(source)))
    return source, clips, targets, protocol


class DeviceClips(Sequence):
    """Clips as a device sees them, read when they are taken.

    As all of them may be gigabytes, those that do not fit in half a gigabyte
    are read again each time.

    Args:
        source: From `pipeline.open_source`.
        data: How they are cut.
        positions: Which of its videos.
    """

    def __init__(
        self, source, data: pipeline.DataOptions, positions: Sequence[int]
    ):
        self._source, self._data, self._positions = source, data, positions
        self._kept, self._left = {}, _KEPT_BYTES

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, number: int) -> np.ndarray:
        if not 0 <= number < len(self):
            raise IndexError(number)
        clip = self._kept.get(number)
        if clip is None:
            clip = pipeline.device_clip(
                self._source, self._data, self._positions[number]
            )
            if clip.nbytes <= self._left:
                self._kept[number] = clip
                self._left -= clip.nbytes
        return clip
