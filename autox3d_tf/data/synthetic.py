"""Synthetic clips whose class is only in the motion.

A soft textured blob wanders over a noisy background. Its position is uniform
over the picture at every single frame, whatever the class (it leaves on one
side and enters on the other), so no frame alone tells anything about the class.
"""

import dataclasses
import fractions
import pathlib

import av
import numpy as np

from autox3d_tf.data import manifest as manifest_lib

MANIFEST_NAME = "manifest.csv"


def _straight(dx, dy):
    def path(time, speed, phase):
        del phase
        return speed * time * dx, speed * time * dy

    return path


def _circle(turn):
    def path(time, speed, phase):
        # The same distance per frame as on a straight line of this speed.
        radius = 0.2
        angle = phase + turn * speed * time / radius
        return radius * np.cos(angle), radius * np.sin(angle)

    return path


def _shake(dx, dy):
    def path(time, speed, phase):
        # A triangle wave: constant speed, turning at both ends.
        wave = 0.25 * np.abs(2 * np.mod(speed * time / 0.5 + phase, 1) - 1)
        return 2 * wave * dx, 2 * wave * dy

    return path


# In pixel coordinates y points down, so a growing angle turns clockwise.
MOTIONS = {
    "left": _straight(-1, 0),
    "right": _straight(1, 0),
    "up": _straight(0, -1),
    "down": _straight(0, 1),
    "clockwise": _circle(1),
    "counterclockwise": _circle(-1),
    "horizontal_shake": _shake(1, 0),
    "vertical_shake": _shake(0, 1),
}


def write_synthetic(
    out_dir,
    *,
    num_classes: int = 4,
    clips_per_class: int = 24,
    seed: int = 0,
    frames: int = 24,
    size: int = 64,
    fps: int = 12,
    num_folds: int = 4,
    noise: float = 3.0,
    distractors: int = 0,
    noise_power: float = 0.0,
) -> manifest_lib.Manifest:
    """Writes class folders of mp4 clips and `manifest.csv`; returns the latter.

    Clip i of a class is in fold i modulo `num_folds`. The same arguments give
    the same clips; existing files are overwritten.

    Args:
        out_dir: Folder to write to.
        num_classes: How many of `MOTIONS` to use, in order.
        clips_per_class: Clips of each class.
        seed: Seed of everything random.
        frames, size, fps: Length, width and height, and rate of each clip.
        num_folds: Number of folds.
        noise: Standard deviation of what is added to each pixel, of 255.
        distractors: Blobs that stand still, beside the one that moves.
        noise_power: Each clip's noise is `noise * u ** noise_power`, u uniform
            in [0, 1): the same for all clips at 0, uniform at 1. Above that
            most clips are easy ones, from which networks learn what to look
            for, and the rest hard ones, which tell networks apart.
    """
    if not 2 <= num_classes <= len(MOTIONS):
        raise ValueError(
            f"`num_classes` must be in [2, {len(MOTIONS)}]. "
            f"Received: num_classes={num_classes}."
        )
    if size < 16 or size % 2:
        raise ValueError(
            f"`size` must be even and at least 16. Received: size={size}."
        )
    if frames < 2 or clips_per_class < 1 or fps < 1 or num_folds < 1:
        raise ValueError(
            "`frames` must be at least 2 and `clips_per_class`, `fps` and "
            f"`num_folds` at least 1. Received: frames={frames}, "
            f"clips_per_class={clips_per_class}, fps={fps}, "
            f"num_folds={num_folds}."
        )
    if min(noise, noise_power, distractors) < 0:
        raise ValueError(
            "`noise`, `noise_power` and `distractors` must be at least 0. "
            f"Received: noise={noise}, noise_power={noise_power}, "
            f"distractors={distractors}."
        )
    out_dir = pathlib.Path(out_dir)
    names = tuple(MOTIONS)[:num_classes]
    rows = []
    for class_number, name in enumerate(names):
        (out_dir / name).mkdir(parents=True, exist_ok=True)
        for number in range(clips_per_class):
            path = f"{name}/{name}_{number:04d}.mp4"
            rng = np.random.default_rng([seed, class_number, number])
            level = noise
            if noise_power:  # no draw without: clips stay what they were
                level *= rng.random() ** noise_power
            clip = draw_clip(
                name,
                rng,
                frames=frames,
                size=size,
                noise=level,
                distractors=distractors,
            )
            write_video(out_dir / path, clip, fps)
            rows.append(
                manifest_lib.ClipRow(
                    path=path,
                    label=name,
                    fold=number % num_folds,
                    frames=frames,
                    fps=float(fps),
                    width=size,
                    height=size,
                    duration=frames / fps,
                )
            )
    manifest = manifest_lib.Manifest(
        str(out_dir), tuple(rows), tuple(sorted(names))
    )
    manifest.save(out_dir / MANIFEST_NAME)
    return manifest


def draw_clip(
    motion: str,
    rng: np.random.Generator,
    *,
    frames: int,
    size: int,
    noise: float = 3.0,
    distractors: int = 0,
) -> np.ndarray:
    """Returns one clip, uint8 `(frames, size, size, 3)`."""
    clip = _smooth_noise(rng, size, cells=4) * 100 + 15
    blob, speed = _Blob.draw(rng, size), rng.uniform(0.7, 1.3) / frames
    phase = rng.random()
    if motion in ("clockwise", "counterclockwise"):
        phase *= 2 * np.pi
    still = np.zeros(1)
    for _ in range(distractors):
        clip = _Blob.draw(rng, size).over(clip, still, still)
    clip = blob.over(clip, *MOTIONS[motion](np.arange(frames), speed, phase))
    clip = clip + rng.normal(scale=noise, size=clip.shape)
    return clip.clip(0, 255).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class _Blob:
    """A round piece of a texture, in pictures' units."""

    colour: np.ndarray
    texture: np.ndarray
    radius: float
    start: np.ndarray

    @classmethod
    def draw(cls, rng, size):
        return cls(
            rng.uniform(130, 255, size=3),
            _smooth_noise(rng, size, cells=8) * 0.6 + 0.4,
            rng.uniform(0.1, 0.16),
            rng.random(2),
        )

    def over(self, clip, x, y):
        """Draws it over a clip, `(T, H, W, 3)`, moved by x and y, `(T,)`."""
        size = len(self.texture)
        grid = (np.arange(size) + 0.5) / size
        # Distance to the blob around the edges: left continues at right.
        dx, dy = (
            np.mod(grid[None, :] - (start + moved)[:, None] + 0.5, 1) - 0.5
            for start, moved in zip(self.start, (x, y), strict=True)
        )
        squares = dy[:, :, None] ** 2 + dx[:, None, :] ** 2  # (T, H, W)
        mask = (
            1 / (1 + np.exp((np.sqrt(squares) - self.radius) * 80))[..., None]
        )
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
    codec, options = "libx264", {"crf": "18", "preset": "veryfast"}
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
