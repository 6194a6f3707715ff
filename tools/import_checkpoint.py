r"""Imports an X3D checkpoint of SlowFast or PyTorchVideo.

  autox3d-import-checkpoint x3d_s.pyth --run_dir=runs/x3d_s \
    --labels=kinetics_400.txt
  autox3d-import-checkpoint x3d_m.pyth --run_dir=runs/x3d_m --arch=x3d_m

Writes the directory that a training leaves (arch.json, weights.npz,
training.json, model_card.md), which autox3d-evaluate reads, and autox3d-train
to start from. The file is read without PyTorch and nothing in it is run. A
report says what was loaded, left and missing.
"""

from absl import flags

from autox3d_tf.runs import binary

FLAGS = flags.FLAGS


def _run(names: list[str]) -> None:
    if len(names) != 1 or not FLAGS.run_dir:
        raise binary.UsageError("Give one checkpoint and --run_dir.")
    from autox3d_tf.training import imported, initial

    report = imported.import_checkpoint(
        names[0],
        FLAGS.run_dir,
        arch=None if FLAGS.arch is None else initial.find_arch(FLAGS.arch),
        labels=FLAGS.labels,
        clip_size=FLAGS.clip_size,
        frame_stride=FLAGS.frame_stride,
        short_side=FLAGS.short_side,
        licence=FLAGS.licence,
    )
    print(report)
    print(f"Wrote {FLAGS.run_dir}.")


def _define_flags():
    flags.DEFINE_string("run_dir", None, "Where to write. Required.")
    flags.DEFINE_string(
        "arch",
        None,
        "A named network or an arch.json; by default what the tensors show.",
    )
    flags.DEFINE_string(
        "labels", None, "Text file with the names of the classes, one a line."
    )
    binary.define_clip_size("By default that of --arch, or else 13x160x160.")
    flags.DEFINE_string(
        "licence", "not stated", "Of the weights, for the card."
    )
    flags.DEFINE_integer(
        "frame_stride",
        None,
        "Video frames per clip frame; by default those of --arch, or else 6.",
        1,
    )
    flags.DEFINE_integer(
        "short_side",
        None,
        "Of pictures in evaluation; by default 8/7 of the crop, as X3D was "
        "tested.",
        1,
    )


def main():
    binary.run_plain(_run, define=_define_flags)


if __name__ == "__main__":
    main()
