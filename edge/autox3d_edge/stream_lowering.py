"""A causal ArchSpec and weights -> a tf_keras graph of one frame at a time.

What a clip holds in its batch of frames, a stream carries from frame to frame
as tensors of its own: before each kernel over time the last frames that it
sees, and of each mean over time the mean so far. At the start both are zeros,
which is what a clip is padded with: the zeros of a kernel's own input.

A mean over time is left open here: the mean over space of this frame is an
output, the mean so far an input. `stream_means` closes them in the file, in
the arithmetic of its precision.
"""

import tf_keras

from autox3d_edge import lowered_layers, lowering
from autox3d_edge import weights as weights_lib
from autox3d_tf.space import arch as arch_lib

FRAME, SCORES = "frame", "probabilities"
PAST, NEXT = "_past", "_next"  # frames before this one; with it, for the next
MEAN, SO_FAR = "_mean", "_mean_so_far"


def lower_stream(
    arch: arch_lib.ArchSpec, weights: weights_lib.Weights
) -> tf_keras.Model:
    """Returns the network for one frame, in 4-D tensors.

    Args:
        arch: A causal network.
        weights: As returned by `models.weight_values`.

    Inputs, float32, by name: "frame" `(1, H, W, 3)`, raw RGB in [0, 255]; for
    each kernel of `k` > 1 frames "<name>_past" `(k - 1, h, w, C)`; for each
    mean "<name>_mean_so_far" `(1, 1, 1, C)`.
    Outputs, by layer: "probabilities" `(1, classes)`, and what the next frame
    needs: "<name>_next" for each "<name>_past", and "<name>_mean", that of
    this frame alone.

    Raises:
        ValueError: The network is not causal, or a weight is missing, of
            another shape or not finite.
    """
    check_causal(arch)
    checked = weights_lib.check_weights(arch, weights)
    return _StreamLowering(arch, checked).build()


def check_causal(arch: arch_lib.ArchSpec) -> None:
    """Raises ValueError if a network sees frames that are to come."""
    if not arch.causal:
        raise ValueError(
            "`arch` must be causal to run frame by frame. Received: "
            f"{arch.name!r} with causal=False. Train a causal network, such as "
            "x3d_ego_stream, or give its clips to the recognizer's `push`."
        )


class _StreamLowering(lowering.Lowering):
    """Frames of the batch that are not here come from inputs."""

    def __init__(self, arch, weights):
        super().__init__(arch, weights)
        self._states, self._results = {}, []

    def build(self) -> tf_keras.Model:
        _, height, width = self._arch.clip_size
        frame = tf_keras.Input(batch_shape=(1, height, width, 3), name=FRAME)
        scores = self._scores(frame)  # adds to what is collected
        return self._finish(
            {FRAME: frame, **self._states},
            [scores, *self._results],
            "lowered_stream",
        )

    def _state(self, name, shape):
        state = tf_keras.Input(batch_shape=shape, name=name)
        self._states[name] = state
        return state

    def _mean(self, frames, name, cumulative=False):
        assert name.endswith(MEAN), name
        mean = super()._mean(frames, name)
        self._results.append(mean)
        return self._state(name.removesuffix(MEAN) + SO_FAR, mean.shape)

    def _temporal(self, frames, kernel, name, bias, strides):
        """A (k, 1, 1) kernel as a (k, 1) one on (1, k, H*W, C)."""
        size, shape = kernel.shape[0], frames.shape
        if size == 1:
            return super()._temporal(frames, kernel, name, bias, strides)
        assert strides == (1, 1), "a temporal kernel has no spatial stride"
        _, height, width, channels = shape
        past = self._state(f"{name}{PAST}", (size - 1, *shape[1:]))
        seen = lowered_layers.JoinFrames(name=f"{name}_append")([past, frames])
        self._results.append(
            lowered_layers.SliceFrames(1, size - 1, name=f"{name}{NEXT}")(seen)
        )
        flat = (1, size, height * width, channels)
        seen = lowered_layers.FixedReshape(flat, name=f"{name}_rows")(seen)
        out = self._depthwise_conv(
            seen,
            kernel.reshape(size, 1, channels),
            name,
            bias=bias,
            padding="valid",
        )
        return lowered_layers.FixedReshape(shape, name=f"{name}_frames")(out)

    def _taps(self, frames, kernel, name, bias, strides):
        """A (k, h, w) kernel as k (h, w) ones, each on its own frame."""
        size, padding = kernel.shape[0], "same"
        if size == 1:
            return super()._taps(frames, kernel, name, bias, strides)
        if strides != (1, 1):  # Padded once, and kept so.
            frames = lowering.pad_spatially(
                frames, kernel.shape[1:3], f"{name}_pad"
            )
            padding = "valid"
        past = self._state(f"{name}{PAST}", (size - 1, *frames.shape[1:]))
        self._results.append(self._shifted(past, frames, name))
        total = None
        for tap in reversed(range(size)):
            tap_name, newest = f"{name}_tap{tap}", tap == size - 1
            source = frames
            if not newest:
                source = lowered_layers.SliceFrames(
                    tap, 1, name=f"{tap_name}_slice"
                )(past)
            out = self._depthwise_conv(
                source,
                kernel[tap],
                tap_name,
                bias=bias if newest else None,
                strides=strides,
                padding=padding,
            )
            if newest:
                total = out
            else:
                total = tf_keras.layers.Add(name=f"{tap_name}_add")(
                    [total, out]
                )
        return total

    def _shifted(self, past, frames, name):
        """The frames that the next one has before it."""
        kept = lowered_layers.SliceFrames(
            1, past.shape[0] - 1, name=f"{name}_kept"
        )(past)
        return lowered_layers.JoinFrames(name=f"{name}{NEXT}")([kept, frames])
