r"""Classifies videos with an exported .tflite.

  autox3d-classify --model=model_int8.tflite video.mp4 another.mp4
  autox3d-classify --model=model_int8.tflite folder_of_videos
  autox3d-classify --model=model_int8.tflite /dev/video0

Labels and preprocessing come from the model file. What a camera shows is
named frame by frame by a stream (model_int8_stream.tflite), and by a network of
clips from its last frames, again every few frames, as many as last as long as
in training by the camera's clock. Needs no TensorFlow: numpy,
PyAV and one of LiteRT, tflite-runtime, TensorFlow Lite. A file that cannot be
read is named and the others go on; the exit code is then 1.
"""

import pathlib
import sys

from absl import flags

from autox3d_tf.runs import binary

FLAGS = flags.FLAGS


def _videos(arguments):
    """Yields the files of all arguments; folders are searched."""
    from autox3d_tf.data import locating

    for argument in arguments:
        path = pathlib.Path(argument)
        if not path.is_dir():
            yield path
            continue
        found = [path / video for video in locating.find_videos(path)]
        yield from found or [path]  # which fails as any that cannot be read


def _print(name, results):
    text = "  ".join(f"{label} {share:.1%}" for label, share in results)
    line = " ".join(f"{name}: {text}".splitlines())  # one for each video
    print(line, flush=True)


def _classify_camera(recognizer, path, top, most_looks):
    """Names what a camera shows whenever the network has looked."""
    from autox3d_tf.data import decoding

    latest, looks = None, 0
    for frame, seconds in decoding.watch(path):
        # In poor light cameras are slower than they say.
        scores = recognizer.push(frame, seconds if recognizer.fps else None)
        if scores is latest:
            continue
        latest, looks = scores, looks + 1
        _print(path, recognizer.named(scores, top))
        if looks == most_looks:
            return


def _recognizer(fps=None):
    """Opens the model; `fps` are the frames per second of a camera."""
    from autox3d_edge import Recognizer

    return Recognizer(
        FLAGS.model,
        num_threads=FLAGS.interpreter_threads,
        runtime=FLAGS.runtime,
        hop=FLAGS.camera_hop or None,
        window=FLAGS.camera_frames or None,
        fps=fps,
    )


def _main(arguments):
    from autox3d_tf.data import decoding

    if not FLAGS.model:
        raise binary.UsageError("--model must name a .tflite file.")
    if not arguments:
        raise binary.UsageError("Name a video, a folder or a camera device.")
    recognizer, failed = None, 0  # a camera has one of its own
    for path in _videos(arguments):
        if decoding.is_camera(path):
            fps = decoding.frame_rate(path) or None
            with _recognizer(fps) as watching:
                _classify_camera(watching, path, FLAGS.top, FLAGS.camera_clips)
            continue
        recognizer = recognizer or _recognizer()
        try:
            _print(path, recognizer.classify(path, FLAGS.top))
        except decoding.VideoError as error:
            print(error, file=sys.stderr)  # names the file
            failed += 1
    if failed:
        print(f"{failed} of the videos could not be read", file=sys.stderr)
    return 1 if failed else 0


def _define_flags():
    flags.DEFINE_string("model", None, "The .tflite file.")
    flags.DEFINE_integer(
        "top", 3, "Labels printed for each video.", lower_bound=1
    )
    flags.DEFINE_integer(
        "interpreter_threads", 1, "Threads of the interpreter.", lower_bound=1
    )
    flags.DEFINE_string("runtime", None, "Interpreter to use; the first found.")
    flags.DEFINE_integer(
        "camera_frames", 0, "Camera frames to a clip; 0 for the model's own.", 0
    )
    flags.DEFINE_integer(
        "camera_hop",
        0,
        "Look at every so many camera frames; 0 for the model's.",
        0,
    )
    flags.DEFINE_integer(
        "camera_clips", 0, "Looks at a camera, then stop; 0 for no end.", 0
    )


def main():
    binary.run_plain(_main, define=_define_flags)


if __name__ == "__main__":
    main()
