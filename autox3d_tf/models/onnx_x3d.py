"""The X3D of an ArchSpec as an ONNX file: for runtimes to be compared with.

Importing this needs onnx, which the package does not depend on.
"""

import numpy as np
import onnx

from autox3d_tf.space import weight_names


def build_onnx(arch, weights) -> bytes:
    """Returns the network as an ONNX file, (1, 3, T, H, W) -> logits.

    Args:
        arch: The `ArchSpec`.
        weights: As returned by `models.weight_values`.

    The input is normalised already. Batch norms are nodes of their own, for
    the runtimes to fold.

    Raises:
        ValueError: The network has another activation than X3D's, or is causal.
    """
    if arch.activation != "swish" or arch.causal:
        raise ValueError(
            "`arch` must have the activation 'swish' and not be causal, to be "
            f"an ONNX file. Received: activation={arch.activation!r}, "
            f"causal={arch.causal}."
        )
    return _Onnx(arch, weights).build()


class _Onnx:
    """Writes nodes and constants one after the other."""

    def __init__(self, arch, weights):
        self.arch, self.weights = arch, weights
        self.nodes, self.constants = [], []

    def build(self):
        arch = self.arch
        clip = self._conv("clip", "stem/spatial", (1, 3, 3), arch.stem.strides)
        kernel = (arch.stem.temporal_kernel, 1, 1)
        clip = self._conv(clip, "stem/temporal", kernel, depthwise=True)
        clip = self._op("Relu", self._norm(clip, "stem/norm"))
        for block in arch.blocks():
            clip = self._block(clip, block)
        clip = self._norm(self._conv(clip, "head/conv"), "head/conv_norm")
        clip = self._op("Relu", clip)
        flat = self._op("Flatten", self._op("GlobalAveragePool", clip))
        hidden = self._constant("head/hidden_kernel")
        hidden = self._op("Relu", self._op("MatMul", flat, hidden))
        logits = self._op(
            "MatMul", hidden, self._constant("head/logits_kernel")
        )
        logits = self._op("Add", logits, self._constant("head/logits_bias"))
        size = [1, 3, *arch.clip_size]
        classes = len(self.weights["head/logits_bias"])
        tensor = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(
            self.nodes,
            "x3d",
            [tensor("clip", onnx.TensorProto.FLOAT, size)],
            [tensor(logits, onnx.TensorProto.FLOAT, [1, classes])],
            self.constants,
        )
        model = onnx.helper.make_model(
            graph,
            opset_imports=[onnx.helper.make_opsetid("", 17)],
            ir_version=9,
        )
        return model.SerializeToString()

    def _block(self, clip, block):
        name, spec, shortcut = block.name, block.spec, clip
        clip = self._conv(clip, f"{name}/expand")
        clip = self._op("Relu", self._norm(clip, f"{name}/expand_norm"))
        for index, kernel in enumerate(spec.kernels, 1):
            strides = spec.strides if index == 1 else (1, 1, 1)
            prefix = f"{name}/depthwise{index}"
            clip = self._conv(clip, prefix, kernel, strides, depthwise=True)
        clip = self._norm(clip, f"{name}/depthwise_norm")
        if spec.se_filters:
            gate = self._op("GlobalAveragePool", clip)
            gate = self._conv(gate, f"{name}/se_reduce", bias=True)
            gate = self._conv(
                self._op("Relu", gate), f"{name}/se_expand", bias=True
            )
            clip = self._op("Mul", clip, self._op("Sigmoid", gate))
        clip = self._op("Mul", clip, self._op("Sigmoid", clip))
        clip = self._conv(clip, f"{name}/project")
        clip = self._norm(clip, f"{name}/project_norm")
        if block.projects:
            prefix = f"{name}/shortcut"
            shortcut = self._conv(shortcut, prefix, strides=spec.strides)
            shortcut = self._norm(shortcut, f"{prefix}_norm")
        return self._op("Relu", self._op("Add", clip, shortcut))

    def _conv(
        self, clip, prefix, kernel=(1, 1, 1), strides=(1, 1, 1),
        depthwise=False, bias=False,
    ):  # fmt: skip
        """Our kernels are (time, height, width, in, out)."""
        values = self.weights[f"{prefix}_kernel"]
        filters = values.shape[-1]
        if depthwise:
            values = values.reshape(*kernel, 1, filters)
        else:
            values = values.reshape(*kernel, -1, filters)
        values = values.transpose(4, 3, 0, 1, 2)
        inputs = [clip, self._constant(f"{prefix}_kernel", values)]
        if bias:
            inputs.append(self._constant(f"{prefix}_bias"))
        padding = [size // 2 for size in kernel]
        return self._op(
            "Conv",
            *inputs,
            kernel_shape=kernel,
            strides=strides,
            pads=padding + padding,
            group=filters if depthwise else 1,
        )

    def _norm(self, clip, prefix):
        constants = [
            self._constant(f"{prefix}_{suffix}")
            for suffix in weight_names.NORM_SUFFIXES
        ]
        return self._op(
            "BatchNormalization",
            clip,
            *constants,
            epsilon=weight_names.NORM_EPSILON,
        )

    def _constant(self, name, values=None):
        values = self.weights[name] if values is None else values
        values = np.ascontiguousarray(values, np.float32)
        self.constants.append(onnx.numpy_helper.from_array(values, name))
        return name

    def _op(self, kind, *inputs, **attributes):
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(
            onnx.helper.make_node(kind, inputs, [output], **attributes)
        )
        return output
