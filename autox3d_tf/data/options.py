"""What a run reads and how it cuts clips; imports no TensorFlow."""

import dataclasses

from autox3d_tf.base import checks
from autox3d_tf.data import manifest as manifest_lib
from autox3d_tf.data import sampling as sampling_lib

_check = checks.check_field
LEAST = "least"
FLIPS = ("auto", "swap", True, False)
PARTS = (*manifest_lib.SPLITS, "all")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Data of a run.

    Attributes:
        source: A manifest (CSV), a folder with one folder per class, or a
            folder of records.
        clip_frames: Frames of a clip.
        crop_size: Height and width of a clip.
        short_side_range: Training scales the shorter side of the video to a
            random length in this range, both ends included.
        shift: The training crop may leave the picture by this share of its
            side; what lies outside repeats the edge.
        squash: Scale both sides of the picture to that length, instead of
            keeping its shape and cutting off what is beyond a square.
        standardize: Shift and scale the colours of each clip to the mean and
            deviation that networks expect, so that the light of a scene does
            not matter; "frame" does so with each frame by itself, as a
            stream must. See `sampling.standardize`.
        eval_short_side: Shorter side in evaluation; None for that of the crop,
            so that it takes in all of it; "least" for the least that training
            scales to, so that the crop shows as much as there.
        eval_crop_size: Height and width in evaluation; None for `crop_size`.
        sampling: `segment`, one frame of each of `clip_frames` equal parts of
            the video, or `dense`, frames `stride` apart.
        stride: Frames from one to the next under dense sampling.
        stride_fps: Frame rate that `stride` counts in, so that clips of videos
            of other rates last as long; None for each video's own. Of no use
            where a list does not say a video's rate.
        temporal_jitter: Under segment sampling, training leaves out up to this
            share of the video, at a random place.
        flip: Whether training mirrors half the clips; `auto` does unless a
            label names a direction. `swap` gives mirrored clips the label of
            the other direction, and mirrors none whose label has no such
            counterpart among the classes.
        brightness, contrast, saturation, hue: Strengths of colour changes in
            training, 0 for none; see `transforms.color_jitter`.
        rand_augment: Operations of RandAugment that training applies to each
            clip, 0 for none.
        rand_magnitude: How strong they are, in [0, 10].
        auto_augment: Whether training applies AutoAugment's policy for
            ImageNet.
        erase: Share of training clips in which a random rectangle is erased.
        train_splits, val_splits, test_splits: Splits of the manifest to use
            for each part.
        train_folds, val_folds, test_folds: The same for folds.
        val_fraction: Where neither splits nor folds say it, this share of each
            class is held out for validation.
        clips_per_class: Training uses so many clips of each class, or all if
            it has fewer; None for all. More clips take in those of fewer.
        clips_seed: Seed of their choice.
        exclude_labels: Classes to leave out.
        min_frames: Scanning calls shorter videos too short.
        cache_dir: Where what a scan of a folder finds is kept, for several runs
            to share; None for the folder of each run.
        memory_mib: So many MiB of the frames of each part are kept at most,
            which spares small data sets from being decoded in each epoch.
    """

    source: str
    clip_frames: int = 16
    crop_size: int = 64
    short_side_range: tuple[int, int] = (64, 80)
    shift: float = 0.0
    squash: bool = False
    standardize: bool | str = False
    eval_short_side: int | str | None = None
    eval_crop_size: int | None = None
    sampling: str = "segment"
    stride: int = 2
    stride_fps: float | None = None
    temporal_jitter: float = 0.0
    flip: str | bool = "auto"
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    rand_augment: int = 0
    rand_magnitude: float = 9.0
    auto_augment: bool = False
    erase: float = 0.0
    train_splits: tuple[str, ...] = ()
    val_splits: tuple[str, ...] = ()
    test_splits: tuple[str, ...] = ()
    train_folds: tuple[int, ...] = ()
    val_folds: tuple[int, ...] = ()
    test_folds: tuple[int, ...] = ()
    val_fraction: float = 0.2
    clips_per_class: int | None = None
    clips_seed: int = 0
    exclude_labels: tuple[str, ...] = ()
    min_frames: int = 2
    cache_dir: str | None = None
    memory_mib: int = 0

    def __post_init__(self):
        checks.check_numbers(self)
        for name in ("clip_frames", "crop_size", "stride", "min_frames"):
            _check(self, name, lambda v: v >= 1, "at least 1")
        _check(
            self,
            "clips_per_class",
            lambda v: v is None or v >= 1,
            "at least 1, or None",
        )
        _check(
            self,
            "stride_fps",
            lambda v: v is None or v > 0,
            "positive, or None",
        )
        _check(
            self,
            "eval_crop_size",
            lambda v: v is None or v >= 1,
            "at least 1, or None",
        )
        _check(
            self,
            "eval_short_side",
            lambda v: v in (None, LEAST) or v >= 1,
            f"at least 1, {LEAST!r} or None",
        )
        _check(self, "memory_mib", lambda v: v >= 0, "at least 0")
        _check(self, "rand_augment", lambda v: v >= 0, "at least 0")
        _check(self, "rand_magnitude", lambda v: 0 <= v <= 10, "in [0, 10]")
        _check(self, "erase", lambda v: 0 <= v <= 1, "in [0, 1]")
        if self.rand_augment and self.auto_augment:
            raise ValueError(
                "`rand_augment` must be 0 beside auto_augment=True. Received: "
                f"rand_augment={self.rand_augment}."
            )
        for name in ("shift", "temporal_jitter"):
            _check(self, name, lambda v: 0 <= v < 1, "in [0, 1)")
        for name in ("brightness", "contrast", "saturation"):
            _check(self, name, lambda v: 0 <= v <= 1, "in [0, 1]")
        _check(self, "hue", lambda v: 0 <= v <= 0.5, "in [0, 0.5]")
        _check(self, "val_fraction", lambda v: 0 < v < 1, "in (0, 1)")
        for name, known in (
            ("flip", FLIPS),
            ("standardize", sampling_lib.STANDARDIZE),
            ("sampling", sampling_lib.SAMPLINGS),
        ):
            checks.check_choice(name, getattr(self, name), known)
        low, high = self.short_side_range
        if not self.crop_size <= low <= high:
            raise ValueError(
                "`short_side_range` must be (low, high) with crop_size <= low "
                f"<= high. Received: short_side_range={self.short_side_range}, "
                f"crop_size={self.crop_size}."
            )
        if self.eval_size[0] < self.eval_size[1]:
            raise ValueError(
                "`eval_short_side` must be at least the crop. Received: "
                f"eval_short_side={self.eval_size[0]}, "
                f"eval_crop_size={self.eval_size[1]}."
            )
        for part in manifest_lib.SPLITS:
            splits = getattr(self, f"{part}_splits")
            usual = tuple(map(manifest_lib.usual_split, splits))
            object.__setattr__(self, f"{part}_splits", usual)
        self._check_parts_disjoint("splits")
        self._check_parts_disjoint("folds")

    def stride_of(self, fps: float) -> float:
        """Frames from one to the next of a video, whose rate may be 0.0.

        >>> DataOptions(source="x", stride=6, stride_fps=30.0).stride_of(25.0)
        5.0
        """
        if self.stride_fps is None or not fps:
            return self.stride
        return self.stride * fps / self.stride_fps

    @property
    def eval_size(self) -> tuple[int, int]:
        """`(short_side, crop_size)` in evaluation, defaults resolved."""
        crop = self.eval_crop_size or self.crop_size
        if self.eval_short_side == LEAST:
            return self.short_side_range[0], crop
        return self.eval_short_side or crop, crop

    @property
    def clip_size(self) -> tuple[int, int, int]:
        """`(frames, height, width)` in training."""
        return self.clip_frames, self.crop_size, self.crop_size

    @property
    def eval_clip_size(self) -> tuple[int, int, int]:
        """The same in evaluation, which is what is exported."""
        crop = self.eval_size[1]
        return self.clip_frames, crop, crop

    @property
    def named_parts(self) -> tuple[str, ...]:
        """Parts of which splits or folds say what belongs to them."""
        return tuple(
            part
            for part in manifest_lib.SPLITS
            if getattr(self, f"{part}_splits") or getattr(self, f"{part}_folds")
        )

    def _check_parts_disjoint(self, kind: str) -> None:
        train = set(getattr(self, f"train_{kind}"))
        for part in ("val", "test"):
            shared = train & set(getattr(self, f"{part}_{kind}"))
            if shared:
                raise ValueError(
                    f"`train_{kind}` and `{part}_{kind}` must not overlap. "
                    f"Received: {sorted(shared)} in both."
                )
