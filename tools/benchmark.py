r"""Times exported .tflite files on this device, in turns; makes latency tables.

  autox3d-benchmark model_fp32.tflite model_int8.tflite --threads_list=1,2

Prints median milliseconds per clip, the middle half of the repeats, and the
ratio to the first line. Needs no TensorFlow. What the operators of a file take,
by kind, each cut out and timed alone:

  autox3d-benchmark --profile model_int8.tflite

A latency table holds what the parts of a search space take on a device, for
a search with milliseconds as its budget. Here and now:

  autox3d-benchmark --space=egogestar --table=table.json
  autox3d-benchmark --table=table.json --check=20

The second line predicts networks that the table has not seen and times them;
the table holds its space, also one of your own (--space=mine/space.json).
A table that is there is not measured again: remove it first. Stopped and called
again the first line goes on, with the networks that table.json.bundle has once
all are converted, after the last whole round.
Of a causal space the table is per frame, moving the states included.
For another device, make a bundle, carry it there and run it with Python,
numpy and an interpreter:

  autox3d-benchmark --space=egogestar --bundle=bundle
  (on the device) cd bundle; python -m autox3d_edge.latency_table .

What the activation, kernels over time and squeeze-excite of a network cost, per
clip, also of one that runs frame by frame:

  autox3d-benchmark --arch=x3d_s --variants=variants
  (on the device) autox3d-benchmark variants/*.tflite
"""

import pathlib
import shutil

from absl import flags

from autox3d_edge import interpreters
from autox3d_tf.base import files as files_lib
from autox3d_tf.runs import binary

FLAGS = flags.FLAGS


def _time_files(paths, threads):
    import dataclasses

    from autox3d_edge import benchmark

    names = {str(path): pathlib.Path(path) for path in paths}
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
        files_lib.write_json(FLAGS.json, record)


def _profile(paths, threads):
    from autox3d_edge import manifest, op_profile

    for path in paths:
        model, _ = manifest.read_model(path)
        for count in threads:
            found = op_profile.profile(
                model, count, FLAGS.repeats, FLAGS.runtime
            )
            print(f"{path}, threads {count}")
            print(op_profile.format_profile(found))


def _make_table(threads):
    """Makes and measures a bundle, kept until the table is there."""
    from autox3d_edge import latency_table

    files_lib.check_writable(FLAGS.table)
    if pathlib.Path(FLAGS.table).exists():  # hours of measuring
        raise binary.UsageError(
            f"--space measures a new table. Received: --table={FLAGS.table}, "
            "which is there. Leave out --space to check it; to measure again, "
            "remove it or name another."
        )
    folder = f"{FLAGS.table}.bundle"
    _make_bundle(folder)
    latency_table.write_table(
        folder, FLAGS.table, threads=threads, runtime=FLAGS.runtime
    )
    shutil.rmtree(folder)


def _make_bundle(folder):
    from autox3d_edge import latency_bundle
    from autox3d_tf import space

    latency_bundle.make_bundle(
        space.get_space(FLAGS.space),
        folder,
        precisions=FLAGS.precisions,
        num_classes=FLAGS.num_classes or 10,
        samples=FLAGS.samples,
        check=FLAGS.check,
        progress=print,
    )


def _write_variants():
    from autox3d_edge import variants
    from autox3d_tf.training import initial

    return variants.write_variants(
        initial.find_arch(FLAGS.arch),
        FLAGS.variants,
        precisions=FLAGS.precisions,
        num_classes=FLAGS.num_classes or 400,
        progress=print,
    )


def _check_table(threads):
    from autox3d_edge import latency_check

    print(
        latency_check.check_table(
            FLAGS.table, FLAGS.check, threads, FLAGS.runtime
        )
    )


def _main(arguments):
    _check_flags(arguments)
    threads = _threads()
    if not FLAGS.bundle:  # before hours of measuring
        interpreters.load_module(FLAGS.runtime)
    if FLAGS.json:
        files_lib.check_writable(FLAGS.json)
    if FLAGS.variants:
        _time_files(_write_variants(), threads)
    elif FLAGS.bundle:
        _make_bundle(FLAGS.bundle)
    elif FLAGS.table and FLAGS.space:
        _make_table(threads)
    elif FLAGS.table:
        _check_table(threads)
    elif not arguments:
        raise binary.UsageError(
            "Name .tflite files, or --table, --bundle or --variants."
        )
    elif FLAGS.profile:
        _profile(arguments, threads)
    else:
        _time_files(arguments, threads)


def _check_flags(arguments):
    """Refuses flags that do not go together."""
    made = [n for n in ("table", "bundle", "variants") if getattr(FLAGS, n)]
    if bool(FLAGS.arch) != bool(FLAGS.variants):
        raise binary.UsageError("--arch and --variants go together.")
    if FLAGS.space and not (FLAGS.bundle or FLAGS.table):
        raise binary.UsageError("--space needs --table or --bundle.")
    if FLAGS.bundle and not FLAGS.space:
        raise binary.UsageError("--bundle needs --space.")
    if len(made) > 1:
        raise binary.UsageError(
            "Give one of --table, --bundle and --variants. "
            f"Received: --{', --'.join(made)}."
        )
    if arguments and made:
        raise binary.UsageError(
            "Files are timed by themselves, without --table, --bundle or "
            f"--variants. Received: {' '.join(arguments)}."
        )
    if FLAGS.profile and made:
        raise binary.UsageError(f"--profile takes files, without --{made[0]}.")
    for name in ("profile", "table", "bundle"):
        if FLAGS.json and getattr(FLAGS, name):
            raise binary.UsageError(f"--{name} takes no --json; leave it out.")


def _threads():
    try:
        threads = [int(number) for number in FLAGS.threads_list]
    except ValueError:
        raise binary.UsageError(
            f"--threads_list must be numbers. Received: {FLAGS.threads_list}."
        ) from None
    for count in threads:  # before hours of measuring
        interpreters.check_threads("threads_list", count)
    return threads


def _define_flags():
    flags.DEFINE_list("threads_list", ["1"], "Numbers of threads to try.")
    flags.DEFINE_integer("repeats", 30, "Timed runs of each.", lower_bound=1)
    flags.DEFINE_string("runtime", None, "Interpreter; the first found.")
    flags.DEFINE_bool("profile", False, "Time files by kind of operator.")
    flags.DEFINE_string("json", None, "Also write the result to this file.")
    flags.DEFINE_string(
        "table", None, "Latency table to write, with --space, or to check."
    )
    flags.DEFINE_string("bundle", None, "Folder to write for a device.")
    flags.DEFINE_string("space", None, "Search space whose parts are timed.")
    flags.DEFINE_list("precisions", ["int8", "fp32"], "Of what is made.")
    flags.DEFINE_string("arch", None, "Network whose variants are timed.")
    flags.DEFINE_string("variants", None, "Folder to write them to.")
    flags.DEFINE_integer(
        "num_classes",
        None,
        "Outputs of the networks; by default 10 for a table, 400 for variants.",
        1,
    )
    flags.DEFINE_integer("samples", 48, "Networks cut into parts.", 1)
    flags.DEFINE_integer("check", 20, "Networks predicted and timed.", 0)


def main():
    binary.run_plain(_main, define=_define_flags)


if __name__ == "__main__":
    main()
