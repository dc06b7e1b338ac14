"""Worked answers of notebook 02, as a reader would type them there."""

import torch
import torch.nn.functional as F
from torch import nn


def mult_adds(layer, height, width):
    """Mult-adds of a Conv2d for one picture of this size, counted as torchinfo counts."""
    (kernel_h, kernel_w), (stride_h, stride_w) = layer.kernel_size, layer.stride
    rows = (height + 2 * layer.padding[0] - kernel_h) // stride_h + 1
    columns = (width + 2 * layer.padding[1] - kernel_w) // stride_w + 1
    per_output_value = layer.in_channels // layer.groups * kernel_h * kernel_w + 1
    return per_output_value * layer.out_channels * rows * columns


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
