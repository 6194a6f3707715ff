r"""Times exported .tflite files on this device, in turns.

  autox3d-benchmark model_fp32.tflite model_int8.tflite --threads_list=1,2

Prints median milliseconds per clip, the middle half of the repeats, and the
ratio to the first line. Needs no TensorFlow.
"""

import json
import pathlib

from absl import flags

from autox3d_tf.runs import gin_app

FLAGS = flags.FLAGS
flags.DEFINE_list("threads_list", ["1", "2"], "Numbers of threads to try.")
flags.DEFINE_integer("repeats", 30, "Timed runs of each.", lower_bound=1)
flags.DEFINE_string("runtime", None, "Interpreter to use; the first found.")
flags.DEFINE_string("json", None, "Also write the result to this file.")


def _main(arguments):
    import dataclasses

    from autox3d_edge import benchmark

    if not arguments:
        raise gin_app.UsageError("Name at least one .tflite file.")
    try:
        threads = [int(number) for number in FLAGS.threads_list]
    except ValueError:
        raise gin_app.UsageError(
            f"--threads_list must be numbers. Received: {FLAGS.threads_list}."
        ) from None
    names = {path: pathlib.Path(path) for path in arguments}
    timings = benchmark.benchmark_files(
        names, threads, FLAGS.repeats, runtime=FLAGS.runtime
    )
    device = benchmark.device_description(FLAGS.runtime)
    print(benchmark.format_table(timings))
    print(
        f"{device['processor']}, {device['cores']} cores, {device['runtime']}"
    )
    if FLAGS.json:
        record = {
            "device": device,
            "timings": [dataclasses.asdict(t) for t in timings],
        }
        pathlib.Path(FLAGS.json).write_text(json.dumps(record, indent=1))


def main():
    """Console script."""
    gin_app.run_plain(_main)


if __name__ == "__main__":
    main()
