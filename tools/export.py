r"""Exports a trained network as .tflite files, audited, tested and timed.

  autox3d-export --gin_file=gin/export/trained.gin \
    --gin=TRAINED=runs/train --run_dir=runs/export

TRAINED is the run directory of autox3d-train. Writes model_fp32.tflite,
model_int8.tflite, ... and a table: accuracy, size and milliseconds of each.
Nothing is written that fails the audit: an int8 file holds no float tensor.
"""

from autox3d_tf.runs import gin_app


def main():
    gin_app.main("autox3d_edge.export_run:run_export")


if __name__ == "__main__":
    main()
