"""The X3D of an ArchSpec in plain PyTorch: a peer to be compared with.

Its tensors are named as SlowFast's, so that what `save_torch_checkpoint` wrote
can be loaded into it. PyTorch is imported when it is built.
"""

import pathlib
import tempfile

from autox3d_tf.models import torch_import

FORMATS = ("contiguous_format", "channels_last_3d")  # of memory, by torch


def build_torch(arch, num_classes):
    """Returns the X3D of an ArchSpec as a torch module.

    Raises:
        ValueError: It is none that SlowFast's tensors can express.
    """
    torch_import.check_expressible(arch)
    import torch
    from torch import nn
    from torch.nn import functional as F

    def conv(inputs, outputs, kernel=(1, 1, 1), strides=(1, 1, 1), groups=1):
        padding = tuple(k // 2 for k in kernel)
        return nn.Conv3d(
            inputs, outputs, kernel, strides, padding, groups=groups, bias=False
        )

    class Gate(nn.Module):
        def __init__(self, inner, reduced):
            super().__init__()
            self.fc1 = nn.Conv3d(inner, reduced, 1)
            self.fc2 = nn.Conv3d(reduced, inner, 1)

        def forward(self, x):
            gate = F.relu(self.fc1(x.mean((2, 3, 4), keepdim=True)))
            return x * torch.sigmoid(self.fc2(gate))

    class Stem(nn.Module):
        def __init__(self, spec):
            super().__init__()
            width, frames = spec.filters, spec.temporal_kernel
            self.conv_xy = conv(3, width, (1, 3, 3), spec.strides)
            self.conv = conv(width, width, (frames, 1, 1), groups=width)
            self.bn = nn.BatchNorm3d(width)

        def forward(self, x):
            x = self.bn(self.conv(self.conv_xy(x)))
            return F.relu(x, inplace=True)

    class Branch(nn.Module):
        def __init__(self, inputs, spec):
            super().__init__()
            inner = spec.inner_filters
            self.a, self.a_bn = conv(inputs, inner), nn.BatchNorm3d(inner)
            self.b = conv(inner, inner, spec.kernels[0], spec.strides, inner)
            self.b_bn = nn.BatchNorm3d(inner)
            self.se = None
            if spec.se_filters:
                self.se = Gate(inner, spec.se_filters)
            self.c = conv(inner, spec.filters)
            self.c_bn = nn.BatchNorm3d(spec.filters)

        def forward(self, x):
            x = F.relu(self.a_bn(self.a(x)), inplace=True)
            x = self.b_bn(self.b(x))
            x = x if self.se is None else self.se(x)
            return self.c_bn(self.c(F.silu(x, inplace=True)))

    class Block(nn.Module):
        def __init__(self, placed):
            super().__init__()
            spec = placed.spec
            self.branch1 = None
            if placed.projects:
                self.branch1 = conv(
                    placed.in_filters, spec.filters, strides=spec.strides
                )
                self.branch1_bn = nn.BatchNorm3d(spec.filters)
            self.branch2 = Branch(placed.in_filters, spec)

        def forward(self, x):
            if self.branch1 is None:
                return F.relu(x + self.branch2(x), inplace=True)
            shortcut = self.branch1_bn(self.branch1(x))
            return F.relu(shortcut + self.branch2(x), inplace=True)

    class Head(nn.Module):
        def __init__(self, inputs, spec):
            super().__init__()
            self.conv_5 = conv(inputs, spec.filters)
            self.conv_5_bn = nn.BatchNorm3d(spec.filters)
            self.lin_5 = conv(spec.filters, spec.features)
            self.projection = nn.Linear(spec.features, num_classes)

        def forward(self, x):
            x = F.relu(self.conv_5_bn(self.conv_5(x)), inplace=True)
            x = F.relu(self.lin_5(x.mean((2, 3, 4), keepdim=True)))
            return self.projection(x.flatten(1))

    stem = nn.Sequential()
    stem.add_module("pathway0_stem", Stem(arch.stem))
    model = nn.Sequential()
    model.add_module("s1", stem)
    stages = [nn.Sequential() for _ in arch.stages]
    for placed in arch.blocks():
        name = f"pathway0_res{placed.index - 1}"
        stages[placed.stage - 1].add_module(name, Block(placed))
    for number, stage in enumerate(stages, 2):
        model.add_module(f"s{number}", stage)
    model.add_module("head", Head(arch.out_filters, arch.head))
    return model


def peers_of(model):
    """Returns torch modules with the weights of what `build_model` made.

    Returns:
        A module in training mode for each of `FORMATS`, laid out so.
    """
    import torch

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "x3d.pyth")
        torch_import.save_torch_checkpoint(model, path)
        state = torch.load(path, weights_only=True)["model_state"]
    modules = {}
    for name in FORMATS:
        module = build_torch(model.arch, model.output_shape[-1])
        module.load_state_dict(state)
        modules[name] = module.to(memory_format=getattr(torch, name))
    return modules
