r"""Compares starts where there are few clips of each class.

  autox3d-transfer-table --gin_file=gin/transfer/egogestar.gin \
    --gin=DATA=egogestar/manifest.csv --gin=PRETRAINED=runs/pretrained \
    --run_dir=runs/transfer --gin=RESULTS=results/transfer

Trains the same network from scratch and from other weights on 1, 3, 5 and all
clips per class, with several seeds, and tests each. Every run leaves a small
JSON file in RESULTS; the table is made from these. Stopped, the same command
goes on, and when all is done it only prints the table.
tools/measure_transfer.sh makes everything, synthetic clips included.
"""

from autox3d_tf.runs import gin_app


def main():
    gin_app.main("autox3d_tf.studies.transfer:compare_starts")


if __name__ == "__main__":
    main()
