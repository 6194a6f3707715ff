"""Small tf_keras layers of the lowered graph: frames are the batch.

Everything here works on tensors of at most 4 dimensions with a fixed number
of frames, and turns into one or two builtin TFLite operations.
"""

import numpy as np
import tensorflow as tf
import tf_keras


@tf_keras.utils.register_keras_serializable("autox3d_edge")
class FixedReshape(tf_keras.layers.Layer):
    """Reshapes to a fixed shape, the batch axis included.

    Args:
        shape: The whole new shape.
        **kwargs: Base layer arguments, such as `name`.
    """

    def __init__(self, shape, **kwargs):
        super().__init__(**kwargs)
        self.shape = tuple(shape)

    def call(self, frames):
        return tf.reshape(frames, self.shape)

    def get_config(self):
        return {**super().get_config(), "shape": self.shape}


@tf_keras.utils.register_keras_serializable("autox3d_edge")
class PadFrames(tf_keras.layers.Layer):
    """Pads frames, rows and columns with zeros.

    Args:
        paddings: `((before, after), ...)` for frames, rows and columns.
        **kwargs: Base layer arguments, such as `name`.
    """

    def __init__(self, paddings, **kwargs):
        super().__init__(**kwargs)
        self.paddings = tuple(tuple(pair) for pair in paddings)

    def call(self, frames):  # (T, H, W, C)
        return tf.pad(frames, (*self.paddings, (0, 0)))

    def get_config(self):
        return {**super().get_config(), "paddings": self.paddings}


@tf_keras.utils.register_keras_serializable("autox3d_edge")
class SliceFrames(tf_keras.layers.Layer):
    """Takes `count` frames from `start` on.

    Args:
        start, count: Which frames of the batch axis.
        **kwargs: Base layer arguments, such as `name`.
    """

    def __init__(self, start, count, **kwargs):
        super().__init__(**kwargs)
        self.start, self.count = start, count

    def call(self, frames):  # (T, H, W, C)
        return frames[self.start : self.start + self.count]

    def get_config(self):
        return {
            **super().get_config(),
            "start": self.start,
            "count": self.count,
        }


@tf_keras.utils.register_keras_serializable("autox3d_edge")
class JoinFrames(tf_keras.layers.Layer):
    """Puts frames behind earlier ones, on the batch axis."""

    def call(self, inputs):  # [(P, H, W, C), (N, H, W, C), ...]
        return tf.concat(inputs, 0)


@tf_keras.utils.register_keras_serializable("autox3d_edge")
class MaskRows(tf_keras.layers.Layer):
    """Sets rows to zero that have nothing `offset` rows on in their frame.

    Args:
        height: Rows of a frame; the image has frames one below the other.
        offset: How many rows further down.
        **kwargs: Base layer arguments, such as `name`.
    """

    def __init__(self, height, offset, **kwargs):
        super().__init__(**kwargs)
        self.height, self.offset = height, offset

    def call(self, image):  # (1, T*H, W, C)
        rows = np.arange(image.shape[1]) % self.height + self.offset
        inside = (rows >= 0) & (rows < self.height)
        return image * inside.astype(np.float32).reshape(1, -1, 1, 1)

    def get_config(self):
        return {
            **super().get_config(),
            "height": self.height,
            "offset": self.offset,
        }


@tf_keras.utils.register_keras_serializable("autox3d_edge")
class ImageMean(tf_keras.layers.Layer):
    """Mean over rows and columns, for float: (1, R, W, C) -> (1, 1, 1, C).

    For int8 see `ClipMean`.
    """

    def call(self, image):
        return tf.reduce_mean(image, (1, 2), keepdims=True)


def _mean_of_pixels(frames, count):
    """(T, H, W, C) -> (count, 1, 1, C), each of T / count frames.

    Over one axis: for a MEAN over height and width, TFLite has an int8 kernel
    that rounds the zero point by itself. Where XNNPACK does not step in, as in
    tflite-runtime 2.14, all channels are up to a step too high or too low.
    """
    pixels = tf.reshape(frames, (count, 1, -1, frames.shape[-1]))
    return tf.reduce_mean(pixels, 2, keepdims=True)


@tf_keras.utils.register_keras_serializable("autox3d_edge")
class ClipMean(tf_keras.layers.Layer):
    """Mean over all frames, rows and columns: (T, H, W, C) -> (1, 1, 1, C).

    One reduction over the flattened clip, so that int8 rounds once.
    """

    def call(self, frames):
        return _mean_of_pixels(frames, 1)


@tf_keras.utils.register_keras_serializable("autox3d_edge")
class CumulativeMean(tf_keras.layers.Layer):
    """Mean over space and all frames so far: (T, H, W, C) -> (T, 1, 1, C).

    The mean over time is a product with a lower triangular matrix, applied
    as a 1x1 convolution whose channels are the frames.
    """

    def call(self, frames):
        time, _, _, channels = frames.shape
        means = _mean_of_pixels(frames, time)  # (T, 1, 1, C)
        rows = tf.transpose(means, (3, 1, 2, 0))  # (C, 1, 1, T)
        weights = np.tril(np.ones((time, time), np.float32))
        weights /= np.arange(1, time + 1, dtype=np.float32)[:, None]
        kernel = tf.constant(weights.T[None, None])  # (1, 1, past, present)
        mixed = tf.nn.conv2d(rows, kernel, 1, "VALID")
        return tf.reshape(
            tf.transpose(mixed, (3, 1, 2, 0)), (time, 1, 1, channels)
        )


@tf_keras.utils.register_keras_serializable("autox3d_edge")
class ScaleChannels(tf_keras.layers.Layer):
    """Multiplies frames by a gate that is broadcast over space, or all.

    tf_keras' own Multiply refuses inputs of unlike batch sizes.
    """

    def call(self, inputs):  # [(T, H, W, C), (1 or T, 1, 1, C)]
        frames, gate = inputs
        return frames * gate


@tf_keras.utils.register_keras_serializable("autox3d_edge")
class Shift(tf_keras.layers.Layer):
    """Adds a constant.

    Args:
        value: What to add.
        **kwargs: Base layer arguments, such as `name`.
    """

    def __init__(self, value, **kwargs):
        super().__init__(**kwargs)
        self.value = float(value)

    def call(self, frames):
        return frames + self.value

    def get_config(self):
        return {**super().get_config(), "value": self.value}
