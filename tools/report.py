r"""Draws a search as one self-contained HTML page.

  autox3d-report runs/search

Writes report.html into the directory: entropy, samples and cost over time,
the probabilities of all choices, the network that was chosen, networks that
were judged and runners-up. A search that is still going is drawn so far.
--baselines adds the tables of a comparison.
"""

from absl import flags

from autox3d_tf.runs import binary

FLAGS = flags.FLAGS


def _main(arguments):
    if len(arguments) != 1:
        raise binary.UsageError(
            "Give the directory of one search: autox3d-report RUN_DIR"
        )
    from autox3d_tf.search import report
    from autox3d_tf.studies import plan, tables

    compared = ()
    if FLAGS.baselines is not None:
        compared = tables.sections(plan.read_results(FLAGS.baselines))
    print(report.write_report(arguments[0], compared))


def _define_flags():
    flags.DEFINE_string("baselines", None, "Results folder of a comparison.")


def main():
    binary.run_plain(_main, define=_define_flags)


if __name__ == "__main__":
    main()
