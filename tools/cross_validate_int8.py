r"""Measures what int8 costs in accuracy, over folds of the clips.

  autox3d-cross-validate-int8 --out=runs/int8 \
    runs/x3d_ego_0 runs/x3d_ego_1 runs/x3d_ego_2 runs/x3d_ego_3

Each argument is the run directory of autox3d-train on all folds but one, or a
training in that of autox3d-compare-searches (NETWORK/train2). Each
network is exported in fp32, plain int8, as the doctor chooses on validation
clips (if there are none, on training clips that are not calibrated on), and
int8 after quantization-aware training, and tested on the fold left out. One
small file per network and fold goes to --out; what is there already is not
measured again. Prints the drop in points over all files in --out, with a paired
95 % interval.
"""

import pathlib

from absl import flags

from autox3d_tf.runs import binary

FLAGS = flags.FLAGS


def _run(arguments):
    out = pathlib.Path(FLAGS.out)
    if not arguments and not any(out.glob("*.json")):
        raise binary.UsageError(
            f"Give run directories of trainings, or an --out with results: "
            f"{out} has none. Try --help."
        )
    from autox3d_edge import cross_validation, doctor, doctor_run, fine_tuning

    options = doctor_run.DoctorRunOptions(
        doctor=doctor.DoctorOptions(
            bound=FLAGS.bound, int8_only_if_enough=True
        ),
        fine_tuning=fine_tuning.FineTuningOptions(steps=FLAGS.steps),
        judged_clips=FLAGS.judged_clips,
    )
    for trained in arguments:
        name = f"int8_{FLAGS.steps}_{FLAGS.seed}"  # one fine-tuning in each
        work_dir = pathlib.Path(trained, name)
        cross_validation.assess(trained, out, work_dir, options, FLAGS.seed)
    print(cross_validation.format_table(cross_validation.read(out)))


def _define_flags():
    flags.DEFINE_string("out", "int8_folds", "Folder of the results.")
    flags.DEFINE_integer("steps", 300, "Updates of the fine-tuning.", 1)
    flags.DEFINE_integer("judged_clips", 300, "The doctor chooses on.", 1)
    flags.DEFINE_float("bound", 0.003, "Loss that the doctor allows.", 0, 1)
    flags.DEFINE_integer("seed", 0, "Of all that is drawn.", 0)


def main():
    binary.run_plain(_run, define=_define_flags, threads=True)


if __name__ == "__main__":
    main()
