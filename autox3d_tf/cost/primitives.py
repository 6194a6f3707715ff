"""Multiply-adds and parameters of the operations the networks are made of.

Convolutions and matrix products count, one multiply-add each; additions,
normalisation, activations and pooling do not. Sizes are
`(time, height, width)`, padding is SAME (a strided size is rounded up).
"""

import math

Size = tuple[int, int, int]


def out_size(in_size: Size, strides: Size) -> Size:
    """Size after a strided convolution that pads k // 2 on both sides.

    >>> out_size((13, 45, 46), (1, 2, 2))
    (13, 23, 23)
    """
    return tuple(
        -(-size // stride)
        for size, stride in zip(in_size, strides, strict=True)
    )


def conv3d_macs(
    size: Size,
    kernel: Size,
    in_channels: int,
    filters: int,
    groups: int = 1,
) -> int:
    """Multiply-adds of a 3-D convolution; `size` is that of its output.

    >>> conv3d_macs((4, 8, 8), (3, 3, 3), in_channels=6, filters=6, groups=6)
    41472
    """
    taps = math.prod(kernel) * in_channels // groups
    return math.prod(size) * filters * taps


def conv3d_params(
    kernel: Size,
    in_channels: int,
    filters: int,
    groups: int = 1,
    bias: bool = False,
) -> int:
    """Weights of a 3-D convolution.

    >>> conv3d_params((1, 1, 1), 24, 54), conv3d_params((3, 3, 3), 54, 54, 54)
    (1296, 1458)
    """
    taps = math.prod(kernel) * in_channels // groups
    return filters * taps + (filters if bias else 0)


def norm_params(channels: int) -> int:
    """Trainable parameters of a batch normalisation: scale and offset.

    >>> norm_params(24)
    48
    """
    return 2 * channels
