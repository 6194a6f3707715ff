r"""Looks at every video of a data set and lists what is usable.

  autox3d-scan videos --out=manifest.csv
  autox3d-scan annotations.csv --root=videos --out=manifest.csv
  autox3d-scan kinetics400 --out=manifest.csv \
    --annotations=train.csv --annotations=val.csv
  autox3d-scan hmdb51 --out=manifest.csv \
    --format=hmdb51 --annotations=testTrainMulti_7030_splits

The data set is a folder with one folder of videos per class (root/label/x.mp4
or root/split/label/x.mp4), or a CSV with the columns path and label, and
perhaps split, fold or group; or a folder of videos, however laid out, and the
lists that Kinetics, Something-Something V2, UCF101 or HMDB51 are published
with; or lines of a path and the number of a class. Each clip listed is looked
for and decoded. Those that are missing, empty, truncated, too short, not
decodable or a copy of another are named, and left out of training and
evaluation. Stopped, the same command with --out goes on.
"""

import pathlib

from absl import flags

from autox3d_tf.data import annotations, scan
from autox3d_tf.runs import binary

FLAGS = flags.FLAGS


def _run(sources: list[str]) -> int:
    if len(sources) != 1:
        raise binary.UsageError(
            "Give one folder of videos or one list of clips. Try --help."
        )
    if FLAGS.out and pathlib.Path(FLAGS.out).is_dir():
        raise binary.UsageError(
            f"--out must be a file. Received: the folder {FLAGS.out}."
        )
    out = FLAGS.out and pathlib.Path(FLAGS.out)
    log = out and out.with_name(f"{out.name}.part")
    manifest = scan.scan(
        sources[0],
        root=FLAGS.root,
        format=FLAGS.format,
        annotations=FLAGS.annotations,
        reading=annotations.ReadOptions(
            split=FLAGS.split,
            split_number=FLAGS.split_number,
            labels=FLAGS.labels,
        ),
        min_frames=FLAGS.min_frames,
        workers=FLAGS.workers,
        log_path=log or None,
    )
    print(scan.summarize(manifest))
    if out:
        manifest.save(out)
        log.unlink(missing_ok=True)
        print(f"Wrote {out}.")
    if not manifest.select().rows:
        raise ValueError(f"{sources[0]} has no usable clip.")
    return 0


def _define_flags():
    flags.DEFINE_string("out", None, "The CSV file to write.")
    flags.DEFINE_string(
        "root",
        None,
        "Where the videos of a list are; by default in its own folder.",
    )
    flags.DEFINE_enum("format", "auto", scan.FORMATS, "What lists the clips.")
    flags.DEFINE_multi_string(
        "annotations",
        [],
        "A list of the clips in the folder, or the folder of its lists; may be "
        "repeated.",
    )
    flags.DEFINE_string(
        "split",
        "",
        "Split of all clips; by default what the list or its name say.",
    )
    flags.DEFINE_integer(
        "split_number",
        1,
        "Which official split of UCF101 or HMDB51, if --annotations is a "
        "folder.",
        1,
        3,
    )
    flags.DEFINE_string(
        "labels",
        None,
        "Names of the classes: labels.json, or one a line in the order of "
        "their numbers.",
    )
    flags.DEFINE_integer("min_frames", 2, "Fewer frames are too short.", 1)
    flags.DEFINE_integer("workers", None, "Videos at a time; one per core.", 1)


def main():
    binary.run_plain(_run, define=_define_flags)


if __name__ == "__main__":
    main()
