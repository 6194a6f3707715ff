"""How a clip lies in a file: one record per clip, its pictures within reach.

A record is a `tf.train.SequenceExample` in a TFRecord file. Its context (names,
sizes, and where each picture starts) comes first, then the JPEG pictures, so a
reader fetches the context and just the frames it wants.
"""

import json
import os

import tensorflow as tf

FRAMING = 12  # TFRecord: length and its checksum, before the payload
TRAILER = 4  # and the checksum of the payload, after it
_PICTURES = "image/encoded"
_OFFSETS = "image/offset"


def encode_clip(row, pictures) -> tuple[bytes, int]:
    """Returns the serialized record of a clip and the length of its context.

    Args:
        row: The clip's `ClipRow`.
        pictures: JPEG bytes of each frame.
    """
    body = tf.train.SequenceExample()
    body.feature_lists.feature_list[_PICTURES].feature.extend(
        tf.train.Feature(bytes_list=tf.train.BytesList(value=[picture]))
        for picture in pictures
    )
    body = body.SerializeToString(deterministic=True)
    offsets, end = [], 0
    for picture in pictures:
        start = body.index(picture, end)
        end = start + len(picture)
        offsets.extend((start, end))
    head = tf.train.SequenceExample()
    features = head.context.feature
    for name in ("path", "label", "group", "split"):
        value = getattr(row, name).encode()
        features[f"clip/{name}"].bytes_list.value.append(value)
    for name in ("frames", "height", "width"):
        features[f"clip/{name}"].int64_list.value.append(getattr(row, name))
    features["clip/fps"].float_list.value.append(row.fps)
    features[_OFFSETS].int64_list.value.extend(offsets)
    head = head.SerializeToString(deterministic=True)
    # Two messages one after the other are, by definition, their union.
    return head + body, len(head)


def picture_spans(header: bytes, row) -> list[tuple[int, int]]:
    """Returns `(start, length)` of each picture, counted from the body."""
    context = tf.train.SequenceExample.FromString(header).context.feature
    if list(context["clip/path"].bytes_list.value) != [row.path.encode()]:
        raise ValueError("the place holds something else")
    ends = context[_OFFSETS].int64_list.value
    return [(a, b - a) for a, b in zip(ends[::2], ends[1::2], strict=True)]


class Reader:
    """Reads byte ranges of a file, local or remote."""

    def __init__(self, path: str):
        self._local = os.open(path, os.O_RDONLY) if "://" not in path else None
        if self._local is None:
            self._remote = tf.io.gfile.GFile(path, "rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._local is None:
            self._remote.close()
        else:
            os.close(self._local)

    def __call__(self, start: int, length: int) -> bytes:
        if self._local is None:
            self._remote.seek(start)
            data = self._remote.read(length)
        else:
            data = os.pread(self._local, length, start)
        if len(data) != length:
            raise ValueError("the file ends too early")
        return data


def join(folder: str, name: str) -> str:
    """Returns the path of a file in a folder of any file system."""
    return f"{folder.rstrip('/')}/{name}"


def read_json(path: str) -> dict:
    """Returns the object in a file. Raises ValueError if it is none."""
    with tf.io.gfile.GFile(path, "r") as stream:
        try:
            found = json.load(stream)
        except ValueError as error:
            raise ValueError(
                f"{path} is damaged: {error}. Make the records again, in "
                "another folder."
            ) from None
    if not isinstance(found, dict):
        raise ValueError(
            f"{path} must hold an object. Received: {type(found).__name__}."
        )
    return found


def write_json(path: str, value: dict) -> None:
    """Writes an object to a file, whole or not at all."""
    partial = f"{path}.partial"
    with tf.io.gfile.GFile(partial, "w") as stream:
        json.dump(value, stream)
    tf.io.gfile.rename(partial, path, overwrite=True)
