"""How right a stream is that is left running on videos longer than a clip.

A causal network learns on clips, each from a reset. What comes after as many
frames as these have, it may never have seen: full kernels over time and means
of nothing but late frames.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autox3d_edge import manifest as manifest_lib
from autox3d_edge import sources, stream_export, streaming

_TIMES = (4, 3, 2)  # as long as a clip; the first that half of the videos are


@dataclasses.dataclass(frozen=True, kw_only=True)
class LongVideos:
    """Test videos, in frames as a stream takes them.

    Attributes:
        clips: uint8 `(times * T, H, W, 3)`.
        targets: Their classes.
        times: How many times the frames of a clip they have.
    """

    clips: Sequence[np.ndarray]
    targets: np.ndarray
    times: int


def find(loaded: sources.Sources) -> LongVideos | None:
    """Returns the middle of each test video that is long enough.

    As long as at least half of the videos can be, up to four times a clip;
    None where that is less than twice.
    """
    if loaded.test is None:
        return None
    data = loaded.data
    if data.sampling != "dense":
        stride = sources.pace(loaded.train.manifest.rows, data)["stride"]
        data = dataclasses.replace(  # in each video's own frames
            data, sampling="dense", stride=stride, stride_fps=None
        )
    lengths = np.array(
        [
            row.frames / (data.stride_of(row.fps) * data.clip_frames)
            for row in loaded.test.manifest.rows
        ]
    )
    for times in _TIMES:
        positions = np.flatnonzero(lengths >= times)
        if 2 * len(positions) >= len(lengths) > 0:
            long = dataclasses.replace(
                data, clip_frames=times * data.clip_frames
            )
            return LongVideos(
                clips=sources.DeviceClips(loaded.test, long, positions),
                targets=loaded.targets[positions],
                times=times,
            )
    return None


def score(
    paths: Mapping[str, str | os.PathLike], videos: LongVideos | None
) -> dict[str, Any] | None:
    """Returns how often streams are right after each clip's worth of frames.

    Args:
        paths: Precision -> exported file; only streams are looked at.
        videos: From `find`.

    Returns:
        `videos`, their number; `frames`, after which the label was taken; and
        `right`, by precision and in their order. None if there are none.
    """
    names = [name for name in paths if name.endswith(stream_export.SUFFIX)]
    if videos is None or not names:
        return None
    runs = {}
    for name in names:
        model, manifest = manifest_lib.read_model(paths[name])
        runs[name] = streaming.StreamRunner(model, manifest.stream)
    right = {name: np.zeros(videos.times, int) for name in runs}
    for clip, target in zip(videos.clips, videos.targets, strict=True):
        every = len(clip) // videos.times
        for name, run in runs.items():
            run.reset()
            scores = [run.push(frame[None]) for frame in clip]
            right[name] += np.argmax(scores[every - 1 :: every], 1) == target
    return {
        "videos": len(videos.clips),
        "frames": [every * (i + 1) for i in range(videos.times)],
        "right": {name: counts.tolist() for name, counts in right.items()},
    }


def format_score(found: Mapping[str, Any] | None) -> list[str]:
    """Returns a line for each stream, for people; None says that no more."""
    if found is None:
        return [
            "left running: not tested, since no half of the test videos is "
            "twice as long as a clip of the training; those of segments span "
            "whole videos"
        ]
    frames = ", ".join(map(str, found["frames"]))
    return [
        f"{name} left running, right after {frames} frames of "
        f"{found['videos']} videos: "
        + ", ".join(f"{count / found['videos']:.1%}" for count in counts)
        for name, counts in found["right"].items()
    ]
