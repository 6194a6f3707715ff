r"""Trains a network: from scratch, from a search, or further on your clips.

  autox3d-train --gin_file=gin/videos/train.gin --gin=DATA=videos \
    --gin=ARCH=runs/search --gin=INIT_FROM=runs/search --run_dir=runs/train

DATA is a folder with one folder of videos per class, a CSV with the columns
path and label, or records. The run directory gets arch.json, weights.npz,
training.json, checkpoints and summaries for TensorBoard. The same command
resumes a run that was stopped.
"""

from autox3d_tf.runs import gin_app


def main():
    gin_app.main("autox3d_tf.training.run:run_training")


if __name__ == "__main__":
    main()
