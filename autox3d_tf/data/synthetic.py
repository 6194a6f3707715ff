"""Synthetic clips whose class is only in the motion.

Soft textured shapes wander over a noisy background. Their positions are uniform
over the picture at every single frame, whatever the class (what leaves on one
side enters on the other), so no frame alone tells anything about the class.
"""

import dataclasses
import fractions
import itertools
import math
import pathlib
from collections.abc import Callable, Sequence

import av
import numpy as np

from autox3d_tf.base import checks
from autox3d_tf.base import files as files_lib
from autox3d_tf.data import locating
from autox3d_tf.data import manifest as manifest_lib

MANIFEST_NAME = "manifest.csv"
_FPS, _NUM_FOLDS = 12, 4


def _straight(dx, dy):
    def path(time, speed, phase):
        del phase
        return speed * time * dx, speed * time * dy

    return path


def _any_way(time, speed, phase):
    angle = 2 * np.pi * phase
    return speed * time * np.cos(angle), speed * time * np.sin(angle)


def _circle(turn):
    def path(time, speed, phase):
        # The same distance per frame as on a straight line of this speed.
        radius = 0.2
        angle = 2 * np.pi * phase + turn * speed * time / radius
        return radius * np.cos(angle), radius * np.sin(angle)

    return path


def _shake(dx, dy):
    def path(time, speed, phase):
        # A triangle wave: constant speed, turning at both ends.
        wave = 0.25 * np.abs(2 * np.mod(speed * time / 0.5 + phase, 1) - 1)
        return 2 * wave * dx, 2 * wave * dy

    return path


# In pixel coordinates y points down, so a growing angle turns clockwise.
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
MOTIONS = {
    **{name: _straight(*way) for name, way in WAYS.items()},
    "clockwise": _circle(1),
    "counterclockwise": _circle(-1),
    "horizontal_shake": _shake(1, 0),
    "vertical_shake": _shake(0, 1),
}


def _disc(dx, dy, radius):
    return np.sqrt(dy**2 + dx**2) - radius


def _ring(dx, dy, radius):
    return np.abs(_disc(dx, dy, 0.85 * radius)) - 0.25 * radius


def _bar(half_width, half_height):
    """A rectangle, in radii."""

    def bar(dx, dy, radius):
        return np.maximum(
            np.abs(dx) - half_width * radius, np.abs(dy) - half_height * radius
        )

    return bar


def _cross(dx, dy, radius):
    return np.minimum(
        _bar(0.2, 1.25)(dx, dy, radius), _bar(1.25, 0.2)(dx, dy, radius)
    )


def _saltire(dx, dy, radius):
    return _cross((dx + dy) / np.sqrt(2), (dx - dy) / np.sqrt(2), radius)


def _triangle(dx, dy, radius):
    sides = 0.9 * np.abs(dx) - 0.45 * dy - 0.35 * radius
    return np.maximum(dy - 0.7 * radius, sides)


# Distance from the edge, negative inside.
SHAPES = {
    "disc": _disc,
    "cross": _cross,
    "square": _bar(0.8, 0.8),
    "ring": _ring,
    "saltire": _saltire,
    "triangle": _triangle,
    "lying_bar": _bar(1.3, 0.35),
    "standing_bar": _bar(0.35, 1.3),
}

# What is in a clip of a class, and how it moves. In a pair a disc and a cross
# both move, whatever the class: a network has to tell which of them goes which
# way. Of the movers' shapes all are in every clip and one moves, any way: a
# network has to find it and to tell what it is.
KINDS: dict[str, dict[str, tuple[tuple[str, Callable], ...]]] = {
    "single": {name: (("disc", path),) for name, path in MOTIONS.items()},
    "pairs": {
        f"disc_{one}_cross_{other}": (
            ("disc", MOTIONS[one]),
            ("cross", MOTIONS[other]),
        )
        for one, other in itertools.product(WAYS, repeat=2)
    },
    "movers": {
        f"{mover}_moves": tuple(
            (shape, _any_way if shape == mover else _straight(0, 0))
            for shape in SHAPES
        )
        for mover in SHAPES
    },
}


def write_synthetic(
    out_dir,
    *,
    num_classes: int = 4,
    clips_per_class: int = 24,
    seed: int = 0,
    frames: int = 24,
    size: int = 64,
    noise: float = 3.0,
    distractors: int = 0,
    noise_power: float = 0.0,
    kind: str = "single",
    speed: float = 1.0,
) -> manifest_lib.Manifest:
    """Writes class folders of mp4 clips and `manifest.csv`; returns the latter.

    Clip i of a class is in fold i modulo 4. The same arguments give the same
    clips; they are written over, but videos that do not belong to them are
    refused.

    Args:
        out_dir: Folder to write to.
        num_classes: How many classes of the kind to use, in order.
        clips_per_class: Clips of each class.
        seed: Seed of everything random.
        frames, size: Length, and width and height of each clip.
        noise: Standard deviation of what is added to each pixel, of 255.
        distractors: Discs that stand still, beside what moves.
        noise_power: Each clip's noise is `noise * u ** noise_power`, u uniform
            in [0, 1): the same for all clips at 0, uniform at 1. Above that
            most clips are easy ones, from which networks learn what to look
            for, and the rest hard ones, which tell networks apart.
        kind: A key of `KINDS`: `single`, one disc and up to 8 motions;
            `pairs`, a disc and a cross and the 16 pairs of their directions;
            `movers`, 8 shapes of which one moves.
        speed: Widths of the picture that what moves covers in a clip, on
            average; each goes at 0.7 to 1.3 of it.
    """
    classes = _classes_of(kind, num_classes)
    _check_clips(frames, size, speed, noise, noise_power, distractors)
    checks.check_positive_int("clips_per_class", clips_per_class)
    out_dir = pathlib.Path(out_dir)
    _check_folder(out_dir, classes, clips_per_class)
    rows = []
    for class_number, (name, moving) in enumerate(classes.items()):
        (out_dir / name).mkdir(parents=True, exist_ok=True)
        for number in range(clips_per_class):
            path = _path_of(name, number)
            rng = np.random.default_rng([seed, class_number, number])
            level = noise
            if noise_power:  # no draw without: clips stay what they were
                level *= rng.random() ** noise_power
            clip = draw_clip(
                moving,
                rng,
                frames=frames,
                size=size,
                noise=level,
                distractors=distractors,
                speed=speed,
            )
            write_video(out_dir / path, clip, _FPS)
            rows.append(
                manifest_lib.ClipRow(
                    path=path,
                    label=name,
                    fold=number % _NUM_FOLDS,
                    frames=frames,
                    fps=float(_FPS),
                    width=size,
                    height=size,
                    duration=frames / _FPS,
                    sha256=files_lib.file_sha256(out_dir / path),
                )
            )
    manifest = manifest_lib.Manifest(
        str(out_dir), tuple(rows), tuple(sorted(classes))
    )
    manifest.save(out_dir / MANIFEST_NAME)
    return manifest


def _path_of(name: str, number: int) -> str:
    return f"{name}/{name}_{number:04d}.mp4"


def _check_folder(out_dir, classes, clips_per_class) -> None:
    """A folder scanned later must hold nothing but the clips."""
    ours = {
        _path_of(name, number)
        for name in classes
        for number in range(clips_per_class)
    }
    found = {path.as_posix() for path in locating.find_videos(out_dir)}
    if found - ours:
        raise ValueError(
            "`out_dir` must hold no other videos. Received: "
            f"{str(out_dir)!r} with {len(found - ours)} others, such as "
            f"{min(found - ours)}. Choose another folder or remove them."
        )


def _classes_of(kind, num_classes):
    """The first classes of a kind. Raises ValueError if it has fewer."""
    checks.check_choice("kind", kind, KINDS)
    classes = KINDS[kind]
    if not 2 <= num_classes <= len(classes):
        raise ValueError(
            f"`num_classes` must be in [2, {len(classes)}] for kind {kind!r}. "
            f"Received: num_classes={num_classes}."
        )
    return dict(itertools.islice(classes.items(), num_classes))


def _check_clips(frames, size, speed, noise, noise_power, distractors):
    if size < 16 or size % 2:
        raise ValueError(
            f"`size` must be even and at least 16. Received: size={size}."
        )
    if frames < 2:
        raise ValueError(
            f"`frames` must be at least 2. Received: frames={frames}."
        )
    if not 0 < speed < math.inf:
        raise ValueError(f"`speed` must be positive. Received: speed={speed}.")
    if not all(0 <= x < math.inf for x in (noise, noise_power, distractors)):
        raise ValueError(
            "`noise`, `noise_power` and `distractors` must be at least 0. "
            f"Received: noise={noise}, noise_power={noise_power}, "
            f"distractors={distractors}."
        )


def draw_clip(
    moving: Sequence[tuple[str, Callable]],
    rng: np.random.Generator,
    *,
    frames: int,
    size: int,
    noise: float = 3.0,
    distractors: int = 0,
    speed: float = 1.0,
) -> np.ndarray:
    """Returns one clip, uint8 `(frames, size, size, 3)`.

    Args:
        moving: Shape, of `SHAPES`, and path, as those of `MOTIONS`, of all
            that the class is about; see `KINDS`.
        rng: Everything random.
        frames, size, noise, distractors, speed: As `write_synthetic`.
    """
    clip = _smooth_noise(rng, size, cells=4) * 100 + 15
    movers = []
    for shape, path in moving:
        blob = _Blob.draw(rng, size, shape)
        own, phase = speed * rng.uniform(0.7, 1.3) / frames, rng.random()
        movers.append((blob, path(np.arange(frames), own, phase)))
    if len(movers) > 1:  # any may be in front
        movers = [movers[index] for index in rng.permutation(len(movers))]
    still = np.zeros(1)
    for _ in range(distractors):
        clip = _Blob.draw(rng, size).over(clip, still, still)
    for blob, places in movers:
        clip = blob.over(clip, *places)
    clip = clip + rng.normal(scale=noise, size=clip.shape)
    return clip.clip(0, 255).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class _Blob:
    """A piece of a texture, in pictures' units."""

    colour: np.ndarray
    texture: np.ndarray
    radius: float
    start: np.ndarray
    shape: str

    @classmethod
    def draw(cls, rng, size, shape="disc"):
        return cls(
            rng.uniform(130, 255, size=3),
            _smooth_noise(rng, size, cells=8) * 0.6 + 0.4,
            rng.uniform(0.1, 0.16),
            rng.random(2),
            shape,
        )

    def over(self, clip, x, y):
        """Draws it over a clip, `(T, H, W, 3)`, moved by x and y, `(T,)`."""
        size = len(self.texture)
        grid = (np.arange(size) + 0.5) / size
        # Distance to its middle around the edges: left continues at right.
        dx, dy = (
            np.mod(grid[None, :] - (start + moved)[:, None] + 0.5, 1) - 0.5
            for start, moved in zip(self.start, (x, y), strict=True)
        )
        distance = SHAPES[self.shape](
            dx[:, None, :], dy[:, :, None], self.radius
        )  # (T, H, W)
        mask = 1 / (1 + np.exp(distance * 80))[..., None]
        columns = np.floor((dx + 0.5) * size).astype(int) % size
        rows = np.floor((dy + 0.5) * size).astype(int) % size
        moved = self.texture[rows[:, :, None], columns[:, None, :]]
        return clip * (1 - mask) + self.colour * moved * mask


def _smooth_noise(rng, size, cells):
    """Returns noise in [0, 1], `(size, size, 3)`, that varies over cells."""
    coarse = rng.random((cells, cells, 3))
    coarse = np.concatenate([coarse, coarse[:1]], axis=0)
    coarse = np.concatenate([coarse, coarse[:, :1]], axis=1)
    place = np.arange(size) * cells / size
    low = place.astype(int)
    share = (place - low)[:, None]
    rows = (
        coarse[low] * (1 - share[..., None])
        + coarse[low + 1] * share[..., None]
    )
    return rows[:, low] * (1 - share) + rows[:, low + 1] * share


def write_video(path, clip: np.ndarray, fps: int) -> None:
    """Writes uint8 RGB frames `(T, H, W, 3)` as an mp4 file.

    H.264 where the library has an encoder for it, MPEG-4 otherwise. Height and
    width must be even.
    """
    # Macroblock trees of B-frames follow memory that nothing has written to:
    # with them the bytes differ from one process to the next.
    codec = "libx264"
    options = {"crf": "18", "preset": "veryfast", "mbtree": "0"}
    if codec not in av.codecs_available:
        codec, options = "mpeg4", {"qscale": "3"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            codec, rate=fractions.Fraction(fps), options=options
        )
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # the same bytes every time
        for picture in clip:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
