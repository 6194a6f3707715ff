r"""Looks at every video of a data set and lists what is usable.

  autox3d-scan videos --out=manifest.csv
  autox3d-scan annotations.csv --root=videos --out=manifest.csv

The data set is a folder with one folder of videos per class (root/label/x.mp4
or root/split/label/x.mp4), or a CSV with the columns path and label, and
perhaps split, fold or group. Each video is decoded. Those that are missing,
empty, truncated, too short, not decodable or a copy of another are named, and
left out of training and evaluation.
"""

import pathlib

from absl import flags

from autox3d_tf.data import scan
from autox3d_tf.runs import gin_app

FLAGS = flags.FLAGS

flags.DEFINE_string("out", None, "The CSV file to write.")
flags.DEFINE_string(
    "root", None, "Where the paths of a CSV start; by default its own folder."
)
flags.DEFINE_integer("min_frames", 2, "Fewer frames are too short.", 1)
flags.DEFINE_integer("workers", None, "Videos at a time; one per core.", 1)


def _run(sources: list[str]) -> int:
    if len(sources) != 1:
        raise gin_app.UsageError(
            "Give one folder of videos or one CSV file. Try --help."
        )
    manifest = scan.scan(
        sources[0],
        root=FLAGS.root,
        min_frames=FLAGS.min_frames,
        workers=FLAGS.workers,
    )
    print(scan.summarize(manifest))
    if FLAGS.out:
        manifest.save(pathlib.Path(FLAGS.out))
        print(f"Wrote {FLAGS.out}.")
    if not manifest.select().rows:
        raise ValueError(f"{sources[0]} has no usable clip.")
    return 0


def main():
    gin_app.run_plain(_run)


if __name__ == "__main__":
    main()
