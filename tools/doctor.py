r"""Finds out what int8 costs a trained network, and what helps.

  autox3d-doctor --gin_file=gin/export/doctor_trained.gin \
    --gin=TRAINED=runs/train --run_dir=runs/doctor --gin=BOUND=0.003

TRAINED is the run directory of autox3d-train. What is tried is judged on its
validation clips; if there are none, on training videos that are not calibrated
on, at least half of them. Prints where the signal is lost and one table of all
that was tried: accuracy, size, milliseconds, memory. The cheapest way whose
loss, and one standard error of it, are within BOUND is written as a .tflite:
int8 with the fewest remedies, fine-tuned if nothing simpler in int8 will do,
else with wider parts, else wider as a whole. With FINE_TUNING=None the
quantization-aware training is left out.

It treats clips, not the streams of causal networks: autox3d-export clips the
ranges of int8_stream and equalizes its channels.
"""

from autox3d_tf.runs import gin_app


def main():
    gin_app.main("autox3d_edge.doctor_run:run_doctor")


if __name__ == "__main__":
    main()
