r"""Turns videos into records, which training reads faster.

  autox3d-make-records manifest.csv --out=records --short_side=80

The data set is a manifest of autox3d-scan, or one folder or list that
autox3d-scan takes. Frames are stored as JPEG pictures in TFRecord files; --out
may lie on any file system that TensorFlow knows. Stopped, the same command goes
on. Clips that cannot be used are named in index.json.
"""

import pathlib

from absl import flags

from autox3d_tf.data import annotations, scan
from autox3d_tf.data import manifest as manifest_lib
from autox3d_tf.runs import binary

FLAGS = flags.FLAGS


def _run(sources: list[str]) -> None:
    if len(sources) != 1 or not FLAGS.out:
        raise binary.UsageError(
            "Give one manifest or folder of videos, and --out. Try --help."
        )
    if "://" not in FLAGS.out:
        binary.check_folder("--out", FLAGS.out)
    from autox3d_tf.data import records  # imports TensorFlow

    records.check_folder(FLAGS.out)  # before the videos are looked at
    log = None if "://" in FLAGS.out else pathlib.Path(FLAGS.out, "scan.part")
    manifest = _manifest(sources[0], log)
    index = records.make_records(
        manifest,
        FLAGS.out,
        short_side=FLAGS.short_side,
        quality=FLAGS.quality,
        num_shards=FLAGS.num_shards,
        workers=FLAGS.workers,
    )
    if log is not None:
        log.unlink(missing_ok=True)
    written = len(records.RecordSource(FLAGS.out).manifest)
    print(f"{written} of {len(manifest)} clips in {index}.")


def _manifest(source: str, log) -> manifest_lib.Manifest:
    """Returns a list whose videos have been looked at."""
    path = pathlib.Path(source)
    if path.is_file() and annotations.detect(path) is None:
        manifest = manifest_lib.read_manifest(source)
        if manifest.is_scanned:
            return manifest
    manifest = scan.scan(
        source,
        min_frames=FLAGS.min_frames,
        workers=FLAGS.workers,
        log_path=log,
    )
    print(scan.summarize(manifest))
    return manifest


def _define_flags():
    flags.DEFINE_string("out", None, "The folder to write.")
    flags.DEFINE_integer(
        "short_side", 80, "Shorter side of the pictures; never enlarged.", 1
    )
    flags.DEFINE_integer("quality", 90, "Of the JPEG pictures.", 1, 100)
    flags.DEFINE_integer(
        "num_shards",
        None,
        "Files to write; by default one per 200 clips, but no fewer than 8 if "
        "there are as many clips.",
        1,
    )
    flags.DEFINE_integer("min_frames", 2, "Fewer frames are too short.", 1)
    flags.DEFINE_integer("workers", None, "Files at a time; one per core.", 1)


def main():
    binary.run_plain(_run, define=_define_flags)


if __name__ == "__main__":
    main()
