"""Compares what models say of videos on two machines; see check.sh.

`scores.py EXPECTED.npz VIDEO_FOLDER MODEL...`: where EXPECTED is not there, it
is written, with the pixels that each model was shown; else this machine is
shown the same pixels, and compared. The exit code is 1 if it says something
else. Numpy, PyAV and an interpreter only.
"""

import pathlib
import platform
import sys

import numpy as np

from autox3d_edge import Recognizer, interpreters
from autox3d_tf.data import decoding, locating

VIDEOS = 100  # of the folder, evenly over its sorted files
FLOAT = ("fp32", "fp16")  # all others compute with integers
FLOAT_ERROR = 1e-4  # of a score
# Interpreters round integers differently, and where a network hesitates that
# decides: the same label on so many videos.
INT8_SAME = 0.9


def main(expected: str, folder: str, *models: str) -> int:
    videos = _some_videos(folder)
    here = f"{platform.machine()}, {interpreters.describe()}"
    if not pathlib.Path(expected).exists():
        found = {"machine": here}
        for model in models:
            recognizer = Recognizer(model)
            clips = [recognizer.read_clip(video) for video in videos]
            found[f"{model} clips"] = np.stack(clips)
            found[f"{model} scores"] = _scores(recognizer, clips)
        np.savez(expected, **found)
        return 0
    there = np.load(expected)
    print(f"{here}, against {there['machine']}; {len(videos)} videos\n")
    columns = "same label", "error of a score, mean, largest", "right", "there"
    print(" | ".join(("model", *columns)))
    print(" | ".join(("---", *("---:" for _ in columns))))
    differ = []
    for model in models:
        recognizer = Recognizer(model)
        scores = there[f"{model} scores"]
        found = _scores(recognizer, there[f"{model} clips"])
        errors = np.abs(found - scores).max(1)
        same = (found.argmax(1) == scores.argmax(1)).mean()
        right, right_there = (
            _right(recognizer.labels, values, videos)
            for values in (found, scores)
        )
        name = pathlib.Path(model).name
        print(
            f"{name} | {same:.1%} | {errors.mean():.2g}, {errors.max():.2g} | "
            f"{right} | {right_there}"
        )
        if recognizer.manifest.precision in FLOAT:
            passed = errors.max() <= FLOAT_ERROR
        else:
            passed = same >= INT8_SAME
        if not passed:
            differ.append(name)
    if differ:
        print(f"\nThey differ: {', '.join(differ)}.", file=sys.stderr)
    return int(bool(differ))


def _scores(recognizer, clips) -> np.ndarray:
    return np.stack([recognizer.scores(clip) for clip in clips])


def _right(labels, scores, videos) -> str:
    """Share of right labels, if those are the names of the folders."""
    folders = [pathlib.Path(video).parent.name for video in videos]
    if not set(folders) <= set(labels):
        return "-"
    named = np.array(labels)[scores.argmax(1)]
    return f"{np.mean(named == np.array(folders)):.1%}"


def _some_videos(folder: str) -> list[str]:
    root = pathlib.Path(folder)
    found = [str(root / video) for video in locating.find_videos(root)]
    if not found:
        raise SystemExit(f"There is no video below {folder}.")
    count = min(VIDEOS, len(found))
    return [found[i * len(found) // count] for i in range(count)]


if __name__ == "__main__":
    try:
        if len(sys.argv) < 4:
            raise ValueError(__doc__)
        sys.exit(main(*sys.argv[1:]))
    except (ValueError, decoding.VideoError) as error:
        sys.exit(str(error))
