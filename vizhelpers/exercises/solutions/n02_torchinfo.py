"""Worked answers of notebook 02, as a reader would type them there."""

import torch
import torch.nn.functional as F
from torch import nn


def mult_adds(layer, height, width):
    """Mult-adds of a Conv2d for one picture of this size, counted as torchinfo counts."""
    positions = 1
    for side, size in enumerate((height, width)):
        span = layer.dilation[side] * (layer.kernel_size[side] - 1) + 1
        positions *= (size + 2 * layer.padding[side] - span) // layer.stride[side] + 1
    rows, columns = layer.kernel_size
    weights = layer.in_channels // layer.groups * rows * columns
    bias = 0 if layer.bias is None else 1
    return (weights + bias) * layer.out_channels * positions


def params_mb(model):
    """Megabytes (10^6 bytes) of a model's parameters, in the precision that they are stored in."""
    return sum(p.numel() * p.element_size() for p in model.parameters()) / 1e6


def hidden_worker():
    """A network that convolves, though torchinfo counts no work."""

    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(8, 3, 3, 3))

        def forward(self, x):
            return F.conv2d(x, self.kernel)

    return Hidden()
