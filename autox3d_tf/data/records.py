"""Clips as JPEG frames in TFRecord shards, readable in any order.

A folder of records holds the shards and `index.json`, which says where each
clip lies; see `record_layout` for what is there.
"""

import concurrent.futures
import contextlib
import copy
import dataclasses
import math
import os
import threading

import numpy as np
import tensorflow as tf
from absl import logging
from google.protobuf import message

from autox3d_tf.base import locks, progress
from autox3d_tf.data import decoding, record_layout, sources
from autox3d_tf.data import manifest as manifest_lib

INDEX_NAME = "index.json"
SCHEMA_VERSION = 1
_PLACE = ("shard", "offset", "header", "length")  # of a clip, in the index
_READ_ERRORS = (
    OSError,
    LookupError,
    ValueError,
    tf.errors.OpError,
    message.DecodeError,
)


def make_records(
    manifest: manifest_lib.Manifest,
    out_dir,
    *,
    short_side: int = 80,
    quality: int = 90,
    num_shards: int | None = None,
    workers: int | None = None,
) -> str:
    """Writes the usable clips of a manifest as records; returns the index path.

    Interrupted, it goes on where it stopped: finished shards are kept. Clips
    that are not `ok`, or that do not decode, are left out and listed in the
    index with the reason; if that leaves none, there is no index.

    Args:
        manifest: From `scan.scan` or `manifest.read_manifest`.
        out_dir: Folder, local or on any file system TensorFlow knows.
        short_side: Frames are scaled to this shorter side, never enlarged.
        quality: Of the JPEG pictures, 1 to 100.
        num_shards: Number of files; by default one per 200 clips, but no fewer
            than 8 if there are as many clips.
        workers: Shards written at a time; by default one per core.

    Raises:
        ValueError: If there is no usable clip, or most are gone, or the folder
            holds other or incomplete records, or another process writes there.
    """
    out_dir = os.fspath(out_dir)
    usable = manifest.select()
    if not usable.rows:
        raise ValueError(
            "`manifest` must have usable clips. Received: "
            f"{len(manifest)} rows, none with status='ok'."
        )
    if not 1 <= quality <= 100 or short_side < 1:
        raise ValueError(
            "`quality` must be in [1, 100] and `short_side` positive. "
            f"Received: quality={quality}, short_side={short_side}."
        )
    count = len(usable)
    num_shards = num_shards or max(math.ceil(count / 200), min(8, count))
    job = {
        "schema_version": SCHEMA_VERSION,
        "manifest_fingerprint": manifest.fingerprint,
        "short_side": short_side,
        "quality": quality,
        "num_shards": min(num_shards, count),
    }
    check_folder(out_dir)
    tf.io.gfile.makedirs(out_dir)
    with _alone(out_dir):
        return _make_records(manifest, usable, job, out_dir, workers)


class RecordSource(sources.ClipSource):
    """Clips of a folder of records; `fetch` returns JPEG pictures.

    Args:
        folder: What `make_records` wrote.
    """

    encoded = True

    def __init__(self, folder):
        self.folder = os.fspath(folder)
        index = record_layout.read_json(
            record_layout.join(self.folder, INDEX_NAME)
        )
        if index.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(
                f"Cannot read these records. Expected: schema_version="
                f"{SCHEMA_VERSION}. Received: schema_version="
                f"{index.get('schema_version')!r} in {self.folder!r}. Make "
                "them again."
            )
        self.index = {k: v for k, v in index.items() if k != "clips"}
        try:
            rows = tuple(map(manifest_lib.ClipRow.of, index["clips"]))
            self._places = {
                clip["path"]: tuple(clip[name] for name in _PLACE)
                for clip in index["clips"]
            }
            classes = tuple(index["classes"])
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"The {INDEX_NAME} of these records is incomplete: {error}. "
                f"Received: {self.folder!r}. Make them again."
            ) from None
        super().__init__(manifest_lib.Manifest(self.folder, rows, classes))

    @property
    def all_rows(self) -> tuple[manifest_lib.ClipRow, ...]:
        """The rows of these clips and of those that could not be stored."""
        left_out = map(manifest_lib.ClipRow.of, self.index["left_out"])
        return (*self.manifest.rows, *left_out)

    def stored_as(self) -> tuple:
        return "records", self.index["short_side"], self.index["quality"]

    def subset(self, manifest) -> "RecordSource":
        """Returns a source of the rows of `manifest`, a selection of ours."""
        other = copy.copy(self)
        other.manifest = manifest
        return other

    def size_of(self, position: int) -> int:
        return self._places[self.manifest.rows[position].path][-1]

    def fetch(self, position: int, indices) -> np.ndarray:
        """Returns JPEG pictures as an array of bytes objects, `(n,)`."""
        row = self.manifest.rows[position]
        shard, offset, header, _ = self._places[row.path]
        try:
            with record_layout.Reader(
                record_layout.join(self.folder, shard)
            ) as reader:
                spans = record_layout.picture_spans(reader(offset, header), row)
                pictures = {}
                for number in sorted({int(i) for i in indices}):
                    start, length = spans[number]
                    pictures[number] = reader(offset + header + start, length)
        except _READ_ERRORS as error:
            raise decoding.VideoError(
                f"{row.path}: cannot be read from the records in {shard} "
                f"({str(error).splitlines()[0]})."
            ) from None
        for number, picture in pictures.items():
            if not picture.startswith(b"\xff\xd8"):
                raise decoding.VideoError(
                    f"{row.path}: frame {number} in {shard} is damaged. Make "
                    "the records again."
                )
        return np.array([pictures[int(i)] for i in indices], dtype=object)


def check_folder(folder) -> None:
    """Keeps records out of a folder of something else, such as the videos.

    Raises:
        ValueError: If it has files, and none of records.
    """
    folder = os.fspath(folder)
    if not tf.io.gfile.isdir(folder):
        return
    names = sorted(tf.io.gfile.listdir(folder))
    others = [n for n in names if not n.startswith(("scan.part", "."))]
    if others and not any(n.startswith(("clips-", INDEX_NAME)) for n in others):
        raise ValueError(
            "`out_dir` must be empty or hold records. Received: "
            f"{folder!r}, which has {others[0]}. Choose another folder."
        )


@contextlib.contextmanager
def _alone(out_dir: str):
    """Keeps other processes of this machine from writing to a local folder.

    The folder itself is locked, so that nothing is left in it.
    """
    if "://" in out_dir:
        yield
        return
    folder = os.open(out_dir, os.O_RDONLY)
    try:
        if not locks.lock(folder):
            raise ValueError(
                f"Another process writes records to {out_dir!r}. Wait for its "
                "end, or choose another folder."
            )
        yield
    finally:
        os.close(folder)


def _make_records(manifest, usable, job: dict, out_dir: str, workers) -> str:
    """Writes what is not there yet; returns the index path."""
    index_path = record_layout.join(out_dir, INDEX_NAME)
    if tf.io.gfile.exists(index_path):
        _check_same_job(record_layout.read_json(index_path), job, out_dir)
        _check_shards(index_path, job, out_dir)
        return index_path
    parts = _write_shards(usable, job, out_dir, workers)
    written = any(part["clips"] for part in parts)
    if written:
        _write_index(index_path, manifest, job, parts)
    for number in range(job["num_shards"]):
        tf.io.gfile.remove(_part_path(out_dir, number, job))
    if not written:
        raise ValueError(
            f"None of the {len(usable)} clips can be read. The first: "
            f"{parts[0]['left_out'][0]['detail']}"
        )
    return index_path


def _write_shards(usable, job, out_dir: str, workers) -> list[dict]:
    """Writes the shards that are not there; returns their index parts."""
    stopped = threading.Event()
    # Whatever files are called when it goes on, a shard has the same clips.
    ordered = sorted(usable.rows, key=lambda row: (row.identity, row.path))

    def write(number):
        rows = ordered[number :: job["num_shards"]]
        return _write_shard(usable, rows, number, job, out_dir, stopped)

    workers = workers or os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        parts = pool.map(write, range(job["num_shards"]))
        try:
            return list(
                progress.bar(
                    parts,
                    title="records",
                    unit="shard",
                    total=job["num_shards"],
                )
            )
        finally:  # an error, or Ctrl-C: the pool waits for what is running
            stopped.set()


def _write_index(path: str, manifest, job: dict, parts: list[dict]) -> None:
    left_out = [
        dataclasses.asdict(row) for row in manifest.rows if row.status != "ok"
    ] + [entry for part in parts for entry in part["left_out"]]
    for entry in left_out:
        logging.warning(
            "Left out: %s (%s: %s).",
            entry["path"],
            entry["status"],
            entry["detail"],
        )
    index = {
        **job,
        "classes": list(manifest.classes),
        "clips": [entry for part in parts for entry in part["clips"]],
        "left_out": left_out,
    }
    record_layout.write_json(path, index)


def _write_shard(
    manifest, rows, number: int, job: dict, out_dir: str, stopped
) -> dict:
    """Writes one shard, unless it is there already; returns its index part."""
    part_path = _part_path(out_dir, number, job)
    shard = _shard_name(number, job)
    if tf.io.gfile.exists(part_path):
        part = record_layout.read_json(part_path)
        _check_same_job(part, job, out_dir)
        return part
    partial = record_layout.join(out_dir, f"{shard}.partial")
    clips, left_out, position = [], [], 0
    with tf.io.TFRecordWriter(partial) as writer:
        for row in rows:
            try:
                stored, payload, header = _encode(manifest, row, job, stopped)
            except decoding.VideoError as error:
                failed = dataclasses.replace(
                    row, status="undecodable", detail=str(error)
                )
                left_out.append(dataclasses.asdict(failed))
                continue
            writer.write(payload)
            clips.append(
                {
                    **dataclasses.asdict(stored),
                    "shard": shard,
                    "offset": position + record_layout.FRAMING,
                    "length": len(payload),
                    "header": header,
                }
            )
            position += (
                record_layout.FRAMING + len(payload) + record_layout.TRAILER
            )
    _check_there(manifest, rows)
    tf.io.gfile.rename(
        partial, record_layout.join(out_dir, shard), overwrite=True
    )
    part = {**job, "clips": clips, "left_out": left_out}
    record_layout.write_json(part_path, part)
    return part


def _check_there(manifest, rows) -> None:
    """Tells a disk that went away from single clips that did.

    The latter are left out for good; the former is not to be.
    """
    paths = [manifest.absolute_path(row) for row in rows]
    gone = [path for path in paths if not os.path.exists(path)]
    if 2 * len(gone) > len(rows):
        raise ValueError(
            f"The clips must be where the manifest says. Received: {len(gone)} "
            f"of {len(rows)} looked at are gone, such as {gone[0]}. If their "
            "disk comes back, the same command goes on; else scan again."
        )


def _encode(manifest, row, job, stopped: threading.Event):
    """Returns the row as stored, its record and the length of the header.

    Raises:
        concurrent.futures.CancelledError: Once it is stopped.
        decoding.VideoError: If the clip does not decode.
    """
    path = manifest.absolute_path(row)
    short_side = job["short_side"]
    if row.width and row.height:
        short_side = min(short_side, row.width, row.height)
    pictures, shape = [], (0, 0)
    for frame in decoding.iter_frames(path, short_side):
        if stopped.is_set():
            raise concurrent.futures.CancelledError
        shape = frame.shape[:2]
        pictures.append(
            tf.io.encode_jpeg(frame, quality=job["quality"]).numpy()
        )
    if row.frames and len(pictures) != row.frames:
        raise decoding.VideoError(
            f"{path}: {len(pictures)} frames decode, the manifest says "
            f"{row.frames}. Scan again."
        )
    stored = dataclasses.replace(
        row, frames=len(pictures), height=shape[0], width=shape[1]
    )
    return stored, *record_layout.encode_clip(stored, pictures)


def _check_same_job(found: dict, job: dict, out_dir: str) -> None:
    changed = [name for name, value in job.items() if found.get(name) != value]
    if not changed:
        return
    if changed == ["manifest_fingerprint"]:
        raise ValueError(
            f"`out_dir` must be empty or hold records of the same clips. "
            f"Received: {out_dir!r}, whose records are of other clips, or of a "
            "list from before another scan. Remove it, or choose another "
            "folder."
        )
    name = changed[0]
    raise ValueError(
        f"`out_dir` must be empty or hold records of the same job. "
        f"Received: {out_dir!r} made with {name}={found.get(name)!r} "
        f"instead of {job[name]!r}. Choose another folder."
    )


def _check_shards(index_path: str, job: dict, out_dir: str) -> None:
    for number in range(job["num_shards"]):
        shard = record_layout.join(out_dir, _shard_name(number, job))
        if not tf.io.gfile.exists(shard):
            raise ValueError(
                f"`out_dir` must hold all of its shards. Received: {out_dir!r} "
                f"without {_shard_name(number, job)}. Remove {index_path} to "
                "write them again."
            )


def are_finished(folder) -> bool:
    """Whether a folder holds records."""
    return tf.io.gfile.exists(record_layout.join(os.fspath(folder), INDEX_NAME))


def are_begun(folder) -> bool:
    """Whether there are records that are not finished."""
    shards = record_layout.join(os.fspath(folder), "clips-*.tfrecord*")
    return bool(tf.io.gfile.glob(shards)) and not are_finished(folder)


def _shard_name(number: int, job: dict) -> str:
    return f"clips-{number:05d}-of-{job['num_shards']:05d}.tfrecord"


def _part_path(out_dir: str, number: int, job: dict) -> str:
    return record_layout.join(out_dir, f"{_shard_name(number, job)}.json")
