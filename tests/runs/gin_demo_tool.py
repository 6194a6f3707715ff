"""Runs the demo of the tests.

gin_demo_tool.py --gin_file=demo.gin --run_dir=runs/demo
"""

import os

from absl import flags

from autox3d_tf.runs import binary, gin_app

TOP = flags.DEFINE_integer("top", 3, "How many labels to print.")


def plain(arguments):
    if not arguments:
        raise binary.UsageError("Give a video.")
    if arguments[0] == "missing.mp4":
        raise FileNotFoundError("missing.mp4 does not exist")
    print(f"{arguments[0]} top {TOP.value}")


if __name__ == "__main__":
    name = os.environ.get("DEMO", "run_demo")
    if name == "plain":
        binary.run_plain(plain)
    gin_app.main(f"tests.runs.gin_demo:{name}")
