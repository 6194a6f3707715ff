"""The network of an ArchSpec in plain numpy float64, for comparison.

Written from the definition of each operation on (T, H, W, C), with 3-D
convolutions as explicit sums over all kernel positions. Imports nothing of
the package under test.
"""

import numpy as np

EPSILON = 1e-5


def random_weights(shapes, seed=0):
    """Weights of a plausible trained network: activations stay near 1."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in shapes.items():
        if name.endswith("_variance"):
            value = rng.uniform(0.5, 1.5, shape)
        elif name.endswith("_gamma"):
            value = rng.uniform(0.7, 1.3, shape)
        elif len(shape) == 1:
            value = rng.normal(0.0, 0.1, shape)
        else:
            depthwise = "depthwise" in name or "temporal" in name
            fan_in = np.prod(shape[:-1])
            value = rng.normal(0.0, 1.0, shape) * np.sqrt(
                (1.0 if depthwise else 2.0) / fan_in
            )
        weights[name] = value.astype(np.float32)
    return weights


def random_clips(count, clip_size, seed=0):
    """Smooth moving uint8 clips that use the whole range."""
    rng = np.random.default_rng(seed)
    time, height, width = clip_size
    t, y, x = np.meshgrid(
        np.arange(time), np.arange(height), np.arange(width), indexing="ij"
    )
    clips = []
    for _ in range(count):
        speed, wave = rng.normal(0, 0.7, (2, 3)), rng.normal(0, 0.3, (2, 3))
        phase = rng.uniform(0, 6, 3)
        planes = np.sin(
            (y[..., None] * wave[0] + x[..., None] * wave[1])
            + t[..., None] * speed[0]
            + phase
        )
        noise = rng.normal(0, 0.1, planes.shape)
        clips.append(np.clip(127.5 + 127.5 * (planes + noise), 0, 255))
    return np.rint(clips).astype(np.uint8)


def probabilities(arch, weights, clip):
    """Returns the `(classes,)` probabilities of a uint8 `(T, H, W, 3)` clip."""
    scores = logits(arch, weights, clip)
    scores = np.exp(scores - scores.max())
    return scores / scores.sum()


def logits(arch, weights, clip):
    """Returns the `(classes,)` logits of a uint8 `(T, H, W, 3)` clip."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    x = (clip / 255.0 - 0.45) / 0.225
    kernel = w["stem/spatial_kernel"][None]  # (1, 3, 3, 3, F)
    x = _conv3d(x, kernel, arch.stem.strides, causal=False)
    x = _depthwise(x, w["stem/temporal_kernel"], (1, 1, 1), arch.causal)
    x = _relu(_norm(x, w, "stem/norm"))
    for block in arch.blocks():
        x = _block(x, w, block, arch)
    x = _relu(_norm(x @ w["head/conv_kernel"], w, "head/conv_norm"))
    hidden = _relu(x.mean((0, 1, 2)) @ w["head/hidden_kernel"])
    return hidden @ w["head/logits_kernel"] + w["head/logits_bias"]


def _block(x, w, block, arch):
    name, spec = block.name, block.spec
    w = {
        key.removeprefix(f"{name}/"): value
        for key, value in w.items()
        if key.startswith(f"{name}/")
    }
    y = _relu(_norm(x @ w["expand_kernel"], w, "expand_norm"))
    strides = spec.strides
    for index in range(1, len(spec.kernels) + 1):
        kernel = w[f"depthwise{index}_kernel"]
        y = _depthwise(y, kernel, strides, arch.causal)
        strides = (1, 1, 1)
    y = _norm(y, w, "depthwise_norm")
    if spec.attention == "se":
        y = y * _gate(y, w, arch.causal)
    y = _ACTIVATIONS[arch.activation](y)
    y = _norm(y @ w["project_kernel"], w, "project_norm")
    if block.projects:
        _, rows, columns = spec.strides
        x = x[:, ::rows, ::columns] @ w["shortcut_kernel"]
        x = _norm(x, w, "shortcut_norm")
    return _relu(y + x)


def _gate(y, w, causal):
    if causal:
        frames = np.arange(1, len(y) + 1)[:, None]
        mean = np.cumsum(y.mean((1, 2)), 0) / frames
        mean = mean[:, None, None]
    else:
        mean = y.mean((0, 1, 2))
    mean = _relu(mean @ w["se_reduce_kernel"] + w["se_reduce_bias"])
    return _sigmoid(mean @ w["se_expand_kernel"] + w["se_expand_bias"])


def _padded(x, size, causal):
    past = size[0] - 1 if causal else size[0] // 2
    future = 0 if causal else size[0] // 2
    rows, columns = size[1] // 2, size[2] // 2
    return np.pad(x, ((past, future), (rows, rows), (columns, columns), (0, 0)))


def _windows(x, size, strides, causal):
    """Yields `(position, window)` for every position of the kernel."""
    padded = _padded(x, size, causal)
    for position in np.ndindex(*size):
        last = [
            padded.shape[axis] - size[axis] + position[axis] + 1
            for axis in range(3)
        ]
        yield (
            position,
            padded[
                tuple(slice(position[a], last[a], strides[a]) for a in range(3))
            ],
        )


def _conv3d(x, kernel, strides, causal):
    windows = _windows(x, kernel.shape[:3], strides, causal)
    return sum(window @ kernel[position] for position, window in windows)


def _depthwise(x, kernel, strides, causal):
    windows = _windows(x, kernel.shape[:3], strides, causal)
    return sum(window * kernel[position] for position, window in windows)


def _norm(x, w, prefix):
    x = (x - w[f"{prefix}_mean"]) / np.sqrt(w[f"{prefix}_variance"] + EPSILON)
    return x * w[f"{prefix}_gamma"] + w[f"{prefix}_beta"]


def _relu(x):
    return np.maximum(x, 0.0)


def _sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


_ACTIVATIONS = {
    "swish": lambda x: x * _sigmoid(x),
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "relu": _relu,
}
