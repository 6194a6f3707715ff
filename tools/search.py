r"""Searches for an architecture under a compute budget.

  autox3d-search --gin_file=gin/videos/search.gin --gin=DATA=videos \
    --gin=TARGET_MACS=8e6 --run_dir=runs/search

DATA is a folder with one folder of videos per class, a CSV with the columns
path and label, or records. The run directory gets arch.json, which training,
evaluation and export read, space.json, inherited.npz, search.json, the history,
checkpoints and summaries for TensorBoard. The same command resumes a search
that was stopped.
"""

from autox3d_tf.runs import gin_app


def main():
    gin_app.main("autox3d_tf.search.run:run_search")


if __name__ == "__main__":
    main()
