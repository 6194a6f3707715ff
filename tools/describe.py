r"""Says what a network costs, or what a search space holds.

  autox3d-describe x3d_s
  autox3d-describe runs/search --num_classes=10     (the arch.json in there)
  autox3d-describe x3d_m --clip_size=16x256x256
  autox3d-describe egogestar --num_classes=10       (a search space)
  autox3d-describe space:x3d_s                      (the space, not the network)
  autox3d-describe egogestar --latency_table=table.json --precision=int8

With a table of autox3d-benchmark --table it predicts milliseconds, on as many
threads as --latency_threads says; of a space it says how much they vary among
networks of equal multiply-adds. Without a name it lists the networks and the
spaces it knows. One MAC is one multiply-add; convolutions and matrix products
are counted.
"""

from absl import flags

from autox3d_tf import cost
from autox3d_tf.cost import describe
from autox3d_tf.runs import binary

FLAGS = flags.FLAGS


def _run(names: list[str]) -> None:
    if not names:
        print(describe.known())
        return
    table = None
    if FLAGS.latency_table:
        table = cost.load_latency_table(
            FLAGS.latency_table,
            FLAGS.precision,
            FLAGS.latency_threads,
            FLAGS.runtime,
        )
    texts = [
        describe.describe(name, FLAGS.clip_size, FLAGS.num_classes, table)
        for name in names
    ]
    print("\n\n".join(texts))


def _define_flags():
    flags.DEFINE_integer(
        "num_classes",
        None,
        "Outputs of the network; by default those of its search, or 400.",
        1,
    )
    binary.define_clip_size("By default what the network is meant for.")
    flags.DEFINE_string("latency_table", None, "Of autox3d-benchmark --table.")
    flags.DEFINE_string("precision", "int8", "Column of the table.")
    flags.DEFINE_integer(
        "latency_threads", 1, "Column of the table: threads it is timed on.", 1
    )
    flags.DEFINE_string(
        "runtime", None, "Interpreter the table must be of; any by default."
    )


def main():
    binary.run_plain(_run, define=_define_flags)


if __name__ == "__main__":
    main()
