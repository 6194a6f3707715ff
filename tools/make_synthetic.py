r"""Writes synthetic videos whose class is only in the motion.

  autox3d-make-synthetic clips --num_classes=4 --clips_per_class=40

The folder gets one folder of mp4 files per class (left, right, ...) and a
manifest.csv. No single frame tells the class. The same seed writes the same
clips.
"""

from absl import flags

from autox3d_tf.runs import binary

FLAGS = flags.FLAGS


def _main(arguments):
    from autox3d_tf.data import synthetic

    if len(arguments) != 1:
        raise binary.UsageError("Name the folder to write. Try --help.")
    binary.check_folder("What is written", arguments[0])
    manifest = synthetic.write_synthetic(
        arguments[0],
        kind=FLAGS.kind,
        num_classes=FLAGS.num_classes,
        clips_per_class=FLAGS.clips_per_class,
        seed=FLAGS.seed,
        frames=FLAGS.frames,
        size=FLAGS.size,
        noise=FLAGS.noise,
        distractors=FLAGS.distractors,
        speed=FLAGS.speed,
        noise_power=FLAGS.noise_power,
    )
    print(f"{len(manifest.rows)} videos in {arguments[0]}.")


def _define_flags():
    flags.DEFINE_enum(
        "kind",
        "single",
        ["single", "pairs", "movers"],
        "The class is the motion of one disc, which way a disc and which way a "
        "cross goes, or which of eight shapes moves.",
    )
    flags.DEFINE_integer(
        "num_classes", 4, "Classes, at most 8, of pairs at most 16.", 2, 16
    )
    flags.DEFINE_integer(
        "clips_per_class", 40, "Videos of each.", lower_bound=1
    )
    flags.DEFINE_integer("frames", 24, "Frames of a video.", lower_bound=2)
    flags.DEFINE_integer("size", 64, "Height and width.", lower_bound=16)
    flags.DEFINE_float("noise", 3.0, "Deviation of each pixel, of 255.", 0.0)
    flags.DEFINE_float(
        "noise_power",
        0.0,
        "Each clip's noise is --noise times a uniform number to this power.",
        0.0,
    )
    flags.DEFINE_integer("distractors", 0, "Discs that stand still.", 0)
    flags.DEFINE_float(
        "speed",
        1.0,
        "Widths of the picture covered in a clip, on average.",
        0.0,
    )
    flags.DEFINE_integer("seed", 0, "Seed of everything random.")


def main():
    binary.run_plain(_main, define=_define_flags)


if __name__ == "__main__":
    main()
