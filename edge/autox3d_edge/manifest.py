"""What a .tflite says about itself: a zip appended behind the flatbuffer.

TFLite ignores bytes behind the flatbuffer, and the standard library's zipfile
finds an archive at the end of any file. It holds `manifest.json`, `labels.txt`
and `model_card.md`, so `unzip -p model.tflite labels.txt` works too. Standard
library only.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autox3d_edge import flatbuffer
from autox3d_tf.base import checks

FORMAT = "autox3d_edge"
SCHEMA_VERSION = 1
MAX_BYTES = 20_000  # compressed, the names of the classes apart
MOST_FRAMES = 1_000_000  # from one of a clip to the next, or in a second
FRAME, SCORES = "frame", "scores"  # tensors of a stream
STATE_TYPES = {  # least and largest value before the first frame
    "uint8": (0, 255),
    "int8": (-128, 127),
    "int32": (-(2**31), 2**31 - 1),
    "float32": (0, 0),
}
_MANIFEST, _LABELS, _CARD = "manifest.json", "labels.txt", "model_card.md"
_MOST_BYTES = 16 << 20  # of it unpacked: what is read is not to fill a memory
_DATE = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same content


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a video becomes the clip that the network takes.

    Attributes:
        clip_frames: Frames of a clip.
        sampling: "segment" (one frame of each equal segment of the video) or
            "dense" (frames `stride` apart).
        stride: Frames of the video per frame of the clip; of segments, whose
            length is that of the video, the median of the training videos.
        short_side: Frames are scaled so that the shorter side has this length.
        squash: Both sides are scaled to that length, whatever the shape.
        crop_size: Side of the square cut out of the centre.
        standardize: The colours of the clip are shifted and scaled to a
            given mean and deviation; "frame" for each frame by itself
            (autox3d_tf.data.sampling.standardize).
        stride_fps: Frame rate that the stride counts in; 0.0 for that of each
            training video, which a device takes to be `fps`.
        fps: Frames per second of the training videos, the median; 0.0 if not
            known.
    """

    clip_frames: int
    sampling: str = "segment"
    stride: int | float = 1
    short_side: int
    crop_size: int
    squash: bool = False
    standardize: bool | str = False
    stride_fps: float = 0.0
    fps: float = 0.0

    def __post_init__(self):
        checks.check_choice("sampling", self.sampling, ("segment", "dense"))
        whole = ["clip_frames", "short_side", "crop_size"]
        if self.sampling == "dense":
            whole.append("stride")
        for name in whole:
            checks.check_positive_int(name, getattr(self, name))
        for name, least in (("stride", 1), ("stride_fps", 0), ("fps", 0)):
            _check_number(name, getattr(self, name), least)
        for name, known in (
            ("squash", (False, True)),
            ("standardize", (False, True, "frame")),
        ):
            value = getattr(self, name)
            if (type(value), value) not in [(type(v), v) for v in known]:
                raise ValueError(
                    f"`{name}` must be one of {known}. "
                    f"Received: {name}={value!r}."
                )
        if self.crop_size > self.short_side:
            raise ValueError(
                "`crop_size` must be at most `short_side`. Received: "
                f"crop_size={self.crop_size}, short_side={self.short_side}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamState:
    """What a stream carries from one frame to the next.

    Attributes:
        input, output: Names of the tensors; the output is the next input. Both
            have the same shape, type, scale and zero point.
        shape, dtype: Of both; "uint8", "int8", "int32" or "float32".
        initial: Value of every element before the first frame.
    """

    input: str
    output: str
    shape: tuple[int, ...]
    dtype: str
    initial: int

    def __post_init__(self):
        for name in ("input", "output"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(
                    f"`{name}` must be the name of a tensor. "
                    f"Received: {name}={getattr(self, name)!r}."
                )
        for size in self.shape:
            checks.check_positive_int("shape", size)
        checks.check_choice("dtype", self.dtype, STATE_TYPES)
        least, largest = STATE_TYPES[self.dtype]
        if type(self.initial) is not int or not (
            least <= self.initial <= largest
        ):
            raise ValueError(
                f"`initial` must be an integer from {least} to {largest}. "
                f"Received: initial={self.initial!r}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stream:
    """How a file is fed that takes one frame at a time.

    The frame is the input `FRAME`, `(1, height, width, 3)`; `SCORES` are those
    of what was seen so far.

    Attributes:
        states: All other inputs and outputs.
        memory: Means over time are of all frames up to so many; after that,
            each frame counts for one of so many.
        stride: Frames of the training videos per frame that the network looks
            at, the median.
        fps: Frames that the network looks at per second of the training
            videos, the median; 0.0 if not known.
    """

    states: tuple[StreamState, ...]
    memory: int
    stride: int = 1
    fps: float = 0.0

    def __post_init__(self):
        checks.check_positive_int("memory", self.memory)
        checks.check_positive_int("stride", self.stride)
        _check_number("stride", self.stride, 1)
        _check_number("fps", self.fps, 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelManifest:
    """All that a device or a person needs to know about a model file.

    Attributes:
        labels: Name of each class, in the order of the scores.
        preprocessing: How a video becomes a clip.
        precision: "fp32", "int8", ...
        arch: The ArchSpec as JSON types, with its fingerprint.
        provenance: Run, seed, versions, hashes of inputs.
        accuracy: Numbers with their protocol.
        stream: How to feed it frame by frame; None if it takes clips.
    """

    labels: tuple[str, ...]
    preprocessing: Preprocessing
    precision: str
    arch: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    accuracy: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    stream: Stream | None = None


def pack(model: bytes, manifest: ModelManifest, card: str = "") -> bytes:
    """Returns the flatbuffer with its manifest behind it.

    Args:
        model: The flatbuffer.
        manifest: What it says about itself.
        card: The model card, for people; Markdown.

    Raises:
        ValueError: The manifest takes more than `MAX_BYTES` beside the names
            of the classes, or holds what JSON cannot.
    """
    record = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "model_bytes": len(model),
        "model_sha256": hashlib.sha256(model).hexdigest(),
        **dataclasses.asdict(manifest),
    }
    try:
        text = json.dumps(record, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:  # NaN and infinity, too
        raise ValueError(
            "`manifest` must hold JSON types and finite numbers. Received: "
            f"{error}."
        ) from error
    # A line for each class, whatever is in its name.
    lines = (" ".join(label.splitlines()) for label in manifest.labels)
    labels = "".join(f"{line}\n" for line in lines)
    # Behind the model, so that the zip's offsets count from its start: a zip
    # with something before it, which every reader takes.
    content = io.BytesIO(model)
    content.seek(0, io.SEEK_END)
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, entry in (
            (_MANIFEST, text),
            (_LABELS, labels),
            (_CARD, card),
        ):
            archive.writestr(
                zipfile.ZipInfo(name, _DATE), entry, zipfile.ZIP_DEFLATED
            )
    extra = content.tell() - len(model)
    limit = MAX_BYTES + 3 * len(labels.encode())  # so often are they in there
    if extra > limit:
        raise ValueError(
            f"`manifest` must take at most {limit} bytes compressed. "
            f"Received: {extra} bytes. Shorten `provenance`."
        )
    return content.getvalue()


def read_manifest(path: str | os.PathLike | bytes) -> ModelManifest:
    """Returns the manifest of a model file, after checking the whole file."""
    return read_model(path)[1]


def read_card(path: str | os.PathLike | bytes) -> str:
    """Returns the model card inside a model file, empty if it has none."""
    read_model(path)  # checks the file, but not the card
    data, path = _read(path)
    with _open_zip(data, path) as archive:
        if _CARD not in archive.namelist():
            return ""
        return _entry(archive, _CARD).decode()


def read_model(
    path: str | os.PathLike | bytes,
) -> tuple[bytes, ModelManifest]:
    """Returns the flatbuffer and the manifest of a file of ours.

    Everything is checked before any interpreter sees the bytes.

    Args:
        path: The file, or its content.

    Raises:
        ValueError: The file is missing, cut short, changed, or not ours.
    """
    data, path = _read(path)
    record = _read_record(data, path)
    size, wanted = record.get("model_bytes"), record.get("model_sha256")
    if not isinstance(size, int) or not isinstance(wanted, str):
        raise ValueError(
            f"The manifest of {path} is incomplete: it has no `model_bytes` "
            "or no `model_sha256`. Export the model again."
        )
    digest = hashlib.sha256(data[:size]).hexdigest()
    if digest != wanted:
        raise ValueError(
            f"{path} is damaged: its model was changed after export. Expected: "
            f"sha256={wanted[:12]}. Received: {digest[:12]}."
        )
    return data[:size], _to_manifest(record, path)


def _read(path) -> tuple[bytes, Any]:
    """Returns the content of a .tflite file, and what to call it in errors."""
    if isinstance(path, (bytes, bytearray, memoryview)):
        data, path = bytes(path), "`path`"
    elif not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise ValueError(
            "`path` must be a file or its content in bytes. "
            f"Received: {path!r}."
        )
    else:
        data = _content(path)
    if not _is_model(data):
        raise ValueError(
            f"{path} is not a .tflite file. Received: {data[:8]!r}, ..."
        )
    return data, path


def _content(path) -> bytes:
    """Content of a file; of what is no model, and may be endless, 8 bytes."""
    try:
        with open(path, "rb") as file:
            start = file.read(8)
            return start + file.read() if _is_model(start) else start
    except (OSError, ValueError) as error:  # ValueError: it has a NUL
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"Cannot read {path}: {reason}.") from error


def _is_model(data: bytes) -> bool:
    return data[4:8] == flatbuffer.IDENTIFIER


def _read_record(data: bytes, path) -> dict[str, Any]:
    with _open_zip(data, path) as archive:
        record = json.loads(_entry(archive, _MANIFEST))
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(f"{path} was not exported by {FORMAT}.")
    if record.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"Cannot read the manifest of {path}. Expected: schema_version="
            f"{SCHEMA_VERSION}. Received: {record.get('schema_version')!r}."
        )
    return record


@contextlib.contextmanager
def _open_zip(data: bytes, path) -> Iterator[zipfile.ZipFile]:
    """Yields what is behind a model; what cannot be read is a ValueError."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield archive
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise ValueError(
            f"{path} has no readable manifest: it was cut short, damaged, or "
            f"not exported by {FORMAT} ({error})."
        ) from error
    except Exception as error:  # zlib.error, NotImplementedError, struct.error
        raise ValueError(
            f"{path} is damaged: its manifest cannot be unpacked ({error})."
        ) from error


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    entry = archive.getinfo(name)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is neither stored nor deflated")
    size = entry.file_size
    if size > _MOST_BYTES:
        raise ValueError(f"{name} of {size} bytes, more than {_MOST_BYTES}")
    with archive.open(entry) as unpacked:
        return unpacked.read(size)  # without, it unpacks all that is there


def _to_manifest(record: Mapping[str, Any], path) -> ModelManifest:
    names = [field.name for field in dataclasses.fields(ModelManifest)]
    try:
        values = {name: record[name] for name in names}
        labels = values["labels"]
        if not isinstance(labels, list) or any(
            not isinstance(label, str) for label in labels
        ):
            raise ValueError("`labels` is no list of texts")
        for name in ("arch", "provenance", "accuracy"):
            if not isinstance(values[name], dict):
                raise ValueError(f"`{name}` is no object")
        values["labels"] = tuple(labels)
        values["preprocessing"] = Preprocessing(**values["preprocessing"])
        values["stream"] = _to_stream(values["stream"])
        return ModelManifest(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"The manifest of {path} is incomplete: {error}."
        ) from error


def _to_stream(record: Mapping[str, Any] | None) -> Stream | None:
    if record is None:
        return None
    states = tuple(
        StreamState(**{**state, "shape": tuple(state["shape"])})
        for state in record["states"]
    )
    return Stream(**{**record, "states": states})


def _check_number(name: str, value, least: int) -> None:
    if type(value) not in (int, float) or not least <= value <= MOST_FRAMES:
        raise ValueError(
            f"`{name}` must be a number of at least {least}, at most "
            f"{MOST_FRAMES}. Received: {name}={value!r}."
        )


def check_labels(labels: Sequence[str], num_classes: int) -> tuple[str, ...]:
    """Returns labels as a tuple. Raises ValueError unless one per class."""
    labels = tuple(str(label) for label in labels)
    if len(labels) != num_classes:
        raise ValueError(
            f"`labels` must name the {num_classes} classes of the model. "
            f"Received: {len(labels)} labels."
        )
    return labels
