"""Worked outputs of notebook 03, as a reader would type them there."""

import torch
from torch import nn

import vizhelpers as viz


def flat_answer(weight, bias, value):
    """Output of a filter (C, h, w) whose inputs all have the same value."""
    return value * weight.sum().item() + bias


def convolve(x, weight, bias, stride):
    """One filter (C, k, l) on a picture (C, H, W), no padding -> one map (rows, columns)."""
    height, width = weight.shape[1:]
    rows = range(0, x.shape[1] - height + 1, stride)
    columns = range(0, x.shape[2] - width + 1, stride)
    outputs = [
        (x[:, r : r + height, c : c + width] * weight).sum() + bias for r in rows for c in columns
    ]
    return torch.stack(outputs).reshape(len(rows), len(columns))


def dead_filters():
    """SqueezeNet's first layer with its kernels, changed so that half of the maps are zero."""
    first = viz.load_model().get_submodule("features.0")
    layer = nn.Conv2d(3, 64, 3, stride=2)
    layer.load_state_dict(first.state_dict())
    with torch.no_grad():
        layer.bias[:32] = -10_000
    return layer
