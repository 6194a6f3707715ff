"""Opens a data set: a manifest, a class folder or records, and its parts."""

import dataclasses
import hashlib
import os
import pathlib

from absl import logging

from autox3d_tf.base import checks, locks
from autox3d_tf.base import text as text_lib
from autox3d_tf.data import decoding, parts, records, scan, sources
from autox3d_tf.data import manifest as manifest_lib
from autox3d_tf.data import options as options_lib

_NAMED = 5  # clips that a warning names; the rest is counted


def open_source(
    options: options_lib.DataOptions,
    part: str = "train",
    *,
    whole: bool = False,
):
    """Opens the clips of one part of a data set.

    Args:
        options: Says where the data is and what belongs to which part.
        part: `train`, `val`, `test` or `all`. Where neither splits nor folds
            are named in the options, the manifest's own splits train, val and
            test are used; failing that, a share of each class is held out,
            chosen by the hash of its groups, of the contents of clips without
            a group, or of their paths where contents are not known.
        whole: Decode videos in their full size, as a device does; otherwise
            large ones are made smaller at once, to twice what is needed.

    Returns:
        A `sources.ClipSource`.

    Raises:
        ValueError: If the data is not there or none of a known kind, or the
            part is not told from the others or has no usable clip.
    """
    checks.check_choice("part", part, options_lib.PARTS)
    source = _open_all(options, part, whole)
    manifest = source.manifest.select(exclude_labels=options.exclude_labels)
    manifest = parts.select_part(manifest, options, part)
    if not manifest.rows:
        raise ValueError(
            f"`part` must have clips. Received: part={part!r} of "
            f"{options.source!r}, which has none that is usable."
        )
    if isinstance(source, sources.VideoSource):
        _check_present(manifest, options.source)
    _log_part(manifest, options, part)
    _warn_of_unknown_rates(manifest, options, part)
    source = source.subset(manifest)
    if options.memory_mib:
        source = sources.MemorySource(source, options.memory_mib << 20)
    return source


def _open_all(options, part, whole):
    path = pathlib.Path(options.source)
    if records.are_finished(options.source):
        source = records.RecordSource(options.source)
        _check_size(source, options, part)
        return source
    # Twice what is needed keeps the final scaling sharp, and memory small.
    limit = 2 * max(options.short_side_range[1], options.eval_size[0])
    limit = None if whole else limit
    if path.is_file():
        manifest = manifest_lib.read_manifest(path)
        if manifest.is_scanned:
            return sources.VideoSource(_usable(manifest), limit)
    return sources.VideoSource(_usable(scan_cached(options)), limit)


def _check_present(manifest, path) -> None:
    """Refuses a part of a list whose videos are not all there."""
    missing = [
        row.path
        for row in manifest.rows
        if not os.path.exists(manifest.absolute_path(row))
    ]
    if missing:
        raise decoding.VideoError(
            f"{path} lists videos that must be there. Received: {len(missing)} "
            f"of {len(manifest)} missing, the first {missing[0]!r} in "
            f"{manifest.root!r}. "
            + (
                "Put them back, where a run is to go on; for a new one, "
                "autox3d-scan makes a list without them."
                if len(missing) < len(manifest)
                else "Say where they are: --gin=DATA=folder."
            )
        )


def _check_size(source, options, part) -> None:
    """Refuses records of clips made smaller than they are asked for.

    A video that is not larger itself is never made smaller.
    """
    stored, wanted = source.index["short_side"], options.eval_size[0]
    if part == "train":
        wanted = max(wanted, options.short_side_range[0])
    if stored < wanted and any(
        min(row.height, row.width) == stored for row in source.manifest.rows
    ):
        raise ValueError(
            f"The records in {options.source} must have a short side of at "
            f"least {wanted} pixels. Received: {stored}. Make them again, "
            f"with autox3d-make-records --short_side={wanted} or more."
        )


def _usable(manifest):
    bad = [
        f"{row.path} ({row.status}{row.detail and f': {row.detail}'})"
        for row in manifest.rows
        if row.status != "ok"
    ]
    if bad:
        logging.warning(
            "%d of %d clips are left out as unusable: %s.",
            len(bad),
            len(manifest),
            text_lib.some(bad, _NAMED),
        )
    return manifest.select()


def scan_cached(options) -> manifest_lib.Manifest:
    """Scans the source, or reads what an earlier scan of it found.

    That is kept in `cache_dir`, and is of no use once a file has changed.
    """
    if records.are_begun(options.source):
        raise ValueError(
            f"The records in {options.source} are not finished. Go on with "
            "autox3d-make-records, as it was started."
        )
    if options.cache_dir is None:
        return scan.scan(options.source, min_frames=options.min_frames)
    listed = scan.list_clips(options.source)
    key = hashlib.sha256(f"{options.min_frames}\n".encode())
    for row in listed.rows:
        path = os.path.abspath(listed.absolute_path(row))
        facts = os.stat(path) if os.path.exists(path) else None
        stamp = (facts.st_size, facts.st_mtime_ns) if facts else ()
        key.update(f"{path} {row.cells()} {stamp}\n".encode())
    cached = pathlib.Path(
        options.cache_dir, f"manifest-{key.hexdigest()[:16]}.csv"
    )
    if cached.exists():
        return manifest_lib.read_manifest(cached)
    cached.parent.mkdir(parents=True, exist_ok=True)
    with locks.turn(cached.with_suffix(".lock")):
        if not cached.exists():  # another process may have scanned meanwhile
            log = cached.with_suffix(".part")
            scan.scan(
                options.source, min_frames=options.min_frames, log_path=log
            ).save(cached)
            log.unlink(missing_ok=True)
    return manifest_lib.read_manifest(cached)


def pin_manifest(
    options: options_lib.DataOptions, folder: pathlib.Path, *, begun: bool
) -> options_lib.DataOptions:
    """Returns options whose source is a list that has been looked through.

    A folder of videos, or a list of videos nobody has looked at, is scanned,
    and the result is kept. Records and scanned lists stay as they are.

    Args:
        options: Name the clips.
        folder: Of a run. It gets the list, and what the scan found too unless
            there is a `cache_dir`.
        begun: Whether the run has: then it goes on with its list, whatever
            has become of the clips.
    """
    if records.are_finished(options.source):
        return options
    source = pathlib.Path(options.source)
    if source.is_file() and manifest_lib.read_manifest(source).is_scanned:
        return options
    # As seen from the run, so that both may be moved together.
    place = os.path.relpath(source.resolve(), folder.resolve())
    key = hashlib.sha256(f"{place} {options.min_frames}".encode())
    kept = folder / f"manifest-{key.hexdigest()[:8]}.csv"
    if not (begun and kept.exists()):
        cache_dir = options.cache_dir or str(folder)
        cached = dataclasses.replace(options, cache_dir=cache_dir)
        scan_cached(cached).save(kept)
    return dataclasses.replace(options, source=str(kept))


def _log_part(manifest, options, part) -> None:
    counts = manifest.count()
    logging.info(
        "%s: %d clips in %d classes from %s, manifest %s.",
        part,
        len(manifest),
        len(manifest.classes),
        options.source,
        manifest.fingerprint[:12],
    )
    empty = [name for name, count in counts.items() if not count]
    if empty:
        logging.warning("%s: no clip of %s.", part, ", ".join(empty))
    short = [
        f"{row.path} ({row.frames})"
        for row in manifest.rows
        if row.frames < options.clip_frames
    ]
    if short:
        logging.warning(
            "%s: %d clips have fewer than %d frames and repeat some: %s.",
            part,
            len(short),
            options.clip_frames,
            text_lib.some(short, _NAMED),
        )


def _warn_of_unknown_rates(manifest, options, part) -> None:
    """Says where `stride_fps` does nothing, for want of `fps` in a list."""
    if options.sampling != "dense" or options.stride_fps is None:
        return
    unknown = sum(not row.fps for row in manifest.rows)
    if unknown:
        logging.warning(
            "%s: %d clips have no fps in %s: their frames are %d apart, "
            "whatever stride_fps says. autox3d-scan finds the rates.",
            part,
            unknown,
            options.source,
            options.stride,
        )
