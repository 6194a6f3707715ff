"""Input pipelines: batches of clips as a function of the seed alone.

The n-th training clip depends on (seed, n) and nothing else: n tells the epoch
and, through a pseudo-random permutation, which clip; the same numbers seed the
augmentation. A run that resumes at a step continues without replaying.
"""

import contextlib
import functools

import numpy as np
import tensorflow as tf

from autox3d_tf.data import (
    decoding,
    mirroring,
    opening,
    reads,
    sampling,
    sources,
    transforms,
)
from autox3d_tf.data import options as options_lib

DataOptions = options_lib.DataOptions
ClipSource = sources.ClipSource
open_source = opening.open_source
pin_manifest = opening.pin_manifest

_READS = reads.Reads()
_FRAMES_AT_ONCE = 8  # of a device's clip, which may be large as floats
_WAY_ON = (
    "No clip takes the place of one that is lost. Put the file back as it was "
    "when it was listed: the same command then goes on from what it has saved. "
    "A list without the clip is for a new run."
)


def make_train_dataset(
    source,
    options: DataOptions,
    *,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    total_steps: int | None = None,
    worker: int = 0,
    num_workers: int = 1,
    sizes: tuple[int, ...] = (),
) -> tf.data.Dataset:
    """Returns batches of augmented clips, shuffled anew each epoch.

    Args:
        source: From `open_source` or `parts.halve`.
        options: How clips are sampled and cropped.
        batch_size: Clips of a step, over all workers.
        seed: Seed of everything random.
        first_step: Steps taken before; the first batch is that of the step
            after, so a resumed run sees what an uninterrupted one would.
        total_steps: Steps of the whole run; None for no end.
        worker, num_workers: This worker's number, and how many share a step;
            each gets `batch_size / num_workers` clips of it.
        sizes: Heights and widths that the clips of successive batches are
            scaled to, in turn; none for `crop_size` always.

    Returns:
        Dataset of `(clips, labels)`: float32 `(B, T, H, W, 3)`, normalised, and
        int32 `(B,)`.
    """
    if batch_size < 1 or batch_size % num_workers:
        raise ValueError(
            "`batch_size` must be a positive multiple of `num_workers`. "
            f"Received: batch_size={batch_size}, num_workers={num_workers}."
        )
    share = batch_size // num_workers
    mirror_images = tf.constant(mirroring.resolve_flip(options, source.classes))
    labels = tf.constant(source.labels)

    @tf.autograph.experimental.do_not_convert
    def load(number):
        # The position of this worker's clip in the sequence of all samples.
        sample = number // share * batch_size + worker * share + number % share
        position = _shuffled_position(sample, len(source), seed)
        frames, places = _read_frames(
            source,
            position,
            lambda place, n: _train_indices(source, options, place, (seed, n)),
            sample,
        )
        frames = tf.gather(frames, places)
        frames = tf.ensure_shape(frames, (options.clip_frames, None, None, 3))
        seeds = tf.random.fold_in(
            tf.constant([seed & 0x7FFFFFFF, 0x5EED]), tf.cast(sample, tf.int32)
        )
        label = labels[position]
        mirror_image = mirror_images[label]
        mirrored = transforms.draw_mirror(seeds) & (mirror_image >= 0)
        clip = transforms.train_clip(frames, seeds, options, mirrored)
        if sizes:
            size = tf.constant(sizes)[sample // batch_size % len(sizes)]
            clip = tf.image.resize(clip, (size, size), antialias=True)
        return clip, tf.where(mirrored, mirror_image, label)

    last = (
        np.iinfo(np.int64).max if total_steps is None else total_steps * share
    )
    dataset = tf.data.Dataset.range(first_step * share, last)
    dataset = dataset.map(load, tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.batch(share, drop_remainder=True).prefetch(2)
    return _settled(dataset, num_workers)


def make_eval_dataset(
    source,
    options: DataOptions,
    *,
    batch_size: int,
    temporal_views: int = 1,
    spatial_crops: int = 1,
) -> tf.data.Dataset:
    """Returns every view of every clip once, in order; no view is dropped.

    Args:
        source: From `open_source`.
        options: How clips are sampled and cropped.
        batch_size: Views in a batch; the last batch may be smaller.
        temporal_views: Clips taken along the time of each video.
        spatial_crops: Squares of each: 1 for the centre, 3 along the longer
            side.

    Returns:
        Dataset of `(clips, label, clip index, view index)`: float32
        `(B, T, H, W, 3)` and three int32 `(B,)`. The clip index is the row of
        `source.manifest`; the view index is
        `temporal view * spatial_crops + spatial crop`.
    """
    if min(batch_size, temporal_views, spatial_crops) < 1:
        raise ValueError(
            "`batch_size`, `temporal_views` and `spatial_crops` must be at "
            f"least 1. Received: batch_size={batch_size}, temporal_views="
            f"{temporal_views}, spatial_crops={spatial_crops}."
        )
    labels = tf.constant(source.labels)

    def read(position):
        frames, places = _read_frames(
            source,
            position,
            lambda place, views: np.stack(
                [
                    _eval_indices(source, options, place, view, views)
                    for view in range(views)
                ]
            ),
            temporal_views,
        )
        return position, frames, places

    def part(position, frames, places):  # a view at a time is copied and cut
        return tf.data.Dataset.range(temporal_views).map(
            lambda view: (position, view, tf.gather(frames, places[view]))
        )

    @tf.autograph.experimental.do_not_convert
    def cut(position, view, frames):
        frames = tf.ensure_shape(frames, (options.clip_frames, None, None, 3))
        clips = _eval_clips(frames, options, spatial_crops)
        views = tf.cast(view, tf.int32) * spatial_crops + tf.range(
            spatial_crops
        )
        places = tf.fill((spatial_crops,), tf.cast(position, tf.int32))
        return clips, tf.gather(labels, places), places, views

    dataset = tf.data.Dataset.range(len(source))
    # All views of a clip at once: its video is decoded from the start anyway.
    dataset = dataset.map(read, tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.flat_map(part)
    dataset = dataset.map(cut, tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.unbatch().batch(batch_size)
    dataset = dataset.map(
        lambda clips, *rest: (transforms.normalize(clips), *rest),
        tf.data.AUTOTUNE,
    )
    return _settled(dataset.prefetch(2))


def calibration_clips(
    source, options: DataOptions, count: int, seed: int = 0
) -> list[np.ndarray]:
    """Returns `count` clips, uint8 `(T, H, W, 3)`, classes in turn.

    They are cut as in evaluation: the middle view, the centre crop.
    """
    if not 1 <= count <= len(source):
        raise ValueError(
            f"`count` must be in [1, {len(source)}], the clips there are. "
            f"Received: count={count}."
        )
    return [
        device_clip(source, options, position)
        for position in balanced_positions(source.labels, count, seed)
    ]


def device_clip(source, options: DataOptions, position: int) -> np.ndarray:
    """Returns one clip as a device sees it: uint8 `(T, H, W, 3)`.

    It is cut as in evaluation: the middle view, the centre crop.
    """
    indices = _eval_indices(source, options, position, 0, 1)
    frames = source.fetch(position, indices)
    if source.encoded:
        frames = _decode_pictures(tf.constant(frames))
    cut = _traced_centre_crop(
        *options.eval_size, options.squash, options.standardize
    )
    at_once = _FRAMES_AT_ONCE
    if options.standardize is True:  # which looks at the whole clip
        at_once = len(frames)
    parts = range(0, len(frames), at_once)
    return np.concatenate(
        [cut(frames[start : start + at_once])[0].numpy() for start in parts]
    )


@contextlib.contextmanager
def video_errors():
    """Turns a failure to read a clip inside a dataset into a VideoError.

    A dataset reports every failure as an error of its own kind, with a trace
    around it; iterate inside this to get the line that names the file.

    Clips are never replaced, neither in training nor in evaluation: the file
    must come back.
    """
    try:
        yield
    except tf.errors.OpError as error:
        marker = f"{decoding.VideoError.__name__}: "
        lines = [line for line in str(error).splitlines() if marker in line]
        if not lines:
            if "jpeg" not in str(error).lower():
                raise
            raise decoding.VideoError(
                "A picture in the records is damaged. Make them again."
            ) from None
        message = lines[0].split(marker, 1)[1]
        raise decoding.VideoError(f"{message.strip()} {_WAY_ON}") from None


def _settled(dataset, num_workers: int = 1):
    """Returns a dataset that is neither tuned nor divided once more.

    The thread by which TensorFlow tunes a dataset sleeps up to a minute, and
    who lets go of an iterator would wait for it. Without one, AUTOTUNE is a
    call for each core.
    """
    settings = tf.data.Options()
    settings.autotune.enabled = False
    if num_workers > 1:  # tf.distribute divides what is divided already
        settings.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.OFF
        )
    return dataset.with_options(settings)


def _eval_clips(frames, options, spatial_crops):
    return transforms.eval_clips(
        frames,
        *options.eval_size,
        spatial_crops,
        options.squash,
        options.standardize,
    )


@functools.cache
def _traced_centre_crop(short_side, crop_size, squash, standardize):
    """`eval_clips` in a fraction of the time that it takes op by op."""
    return tf.function(
        lambda frames: transforms.eval_clips(
            frames, short_side, crop_size, 1, squash, standardize
        ),
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)],
        autograph=False,
    )


def _shuffled_position(sample, size: int, seed: int):
    """Returns which clip is the `sample`-th one, int64."""
    epoch = tf.cast(sample // size, tf.int32)
    key = tf.stack([seed & 0x7FFFFFFF, epoch])
    return tf.random.experimental.index_shuffle(
        sample % size, key, tf.constant(size - 1, tf.int64)
    )


def _read_frames(source, position, choose_indices, argument):
    """Returns frames of a clip, each once, and where the wanted ones are.

    Args:
        source: From `open_source`.
        position: Of the clip.
        choose_indices: Called with the position and `argument`, ints; returns
            frame numbers of any shape. The choice of frames is numpy's.
        argument: An integer.

    Returns:
        Frames in order, uint8 `(n, H, W, 3)`, and the places among them of the
        frame numbers, int32.
    """

    def read(place, value):
        with _READS:
            indices = choose_indices(int(place), int(value))
            numbers, places = np.unique(indices, return_inverse=True)
            places = places.reshape(indices.shape).astype(np.int32)
            return source.fetch(int(place), numbers), places

    dtype = tf.string if source.encoded else tf.uint8
    frames, places = tf.numpy_function(
        read, (position, argument), (dtype, tf.int32), stateful=False
    )
    if source.encoded:
        frames.set_shape((None,))
        return _decode_pictures(frames), places
    frames.set_shape((None, None, None, 3))
    return frames, places


def _decode_pictures(pictures):
    return tf.map_fn(
        lambda picture: tf.io.decode_jpeg(picture, channels=3),
        pictures,
        fn_output_signature=tf.TensorSpec((None, None, 3), tf.uint8),
    )


def _train_indices(source, options, position, entropy):
    return sampling.sample_indices(
        options.sampling,
        source.manifest.rows[position].frames,
        options.clip_frames,
        stride=options.stride_of(source.manifest.rows[position].fps),
        jitter=options.temporal_jitter,
        rng=np.random.default_rng(
            [value & 0xFFFFFFFFFFFF for value in entropy]
        ),
    )


def _eval_indices(source, options, position, view, num_views):
    return sampling.sample_indices(
        options.sampling,
        source.manifest.rows[position].frames,
        options.clip_frames,
        stride=options.stride_of(source.manifest.rows[position].fps),
        view=view,
        num_views=num_views,
    )


def balanced_positions(labels, count: int, seed: int) -> list[int]:
    """Returns `count` positions: one of each class, then the second ..."""
    rng = np.random.default_rng([seed, 0xCA11B])
    queues = [
        rng.permutation(np.flatnonzero(labels == number))
        for number in np.unique(labels)
    ]
    order = [
        int(queue[turn])
        for turn in range(max(map(len, queues)))
        for queue in queues
        if turn < len(queue)
    ]
    return order[:count]
