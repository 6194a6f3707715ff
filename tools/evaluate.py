r"""Evaluates a trained network: n clips x m crops, in one pass.

  autox3d-evaluate --gin_file=gin/evaluate/trained.gin \
    --gin=TRAINED=runs/mine --gin=PART=val --gin=TEMPORAL_VIEWS=4

TRAINED is the run directory of autox3d-train; clips are cut as it says. Prints
top-1, top-5, mean class accuracy, accuracy by number of views and the confusion
matrix (of many classes the worst); writes them, what was said of each clip
(predictions.csv) and the logits of each view into a folder inside TRAINED, or
--run_dir.
"""

from autox3d_tf.runs import gin_app


def main():
    gin_app.main("autox3d_tf.evaluation.run:run_evaluation")


if __name__ == "__main__":
    main()
