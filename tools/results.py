r"""Makes the tables and the plot of a comparison from its result files.

  autox3d-results docs/results/egogestar

Writes README.md and accuracy.png into the folder and prints the text: accuracy
with deviation and 95 % interval per method and budget, differences paired by
seed, multiply-adds at equal accuracy, adaptive against fixed samples.
"""

from autox3d_tf.runs import binary


def _main(arguments):
    if len(arguments) != 1:
        raise binary.UsageError(
            "Give the folder of results: autox3d-results FOLDER"
        )
    from autox3d_tf.studies import page

    print(page.write_page(arguments[0]), end="")


def main():
    binary.run_plain(_main)


if __name__ == "__main__":
    main()
