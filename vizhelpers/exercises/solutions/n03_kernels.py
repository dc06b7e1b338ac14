"""Worked answers of notebook 03, as a reader would type them there."""

import torch
from torch import nn

import vizhelpers as viz


def flat_answer(weight, bias, value):
    """What a filter (C, h, w) puts out where all its inputs have the same value."""
    return value * weight.sum().item() + bias


def convolve(x, weight, bias, stride):
    """One filter (C, k, l) on a picture (C, H, W), no padding -> one map (rows, columns)."""
    height, width = weight.shape[1:]
    rows = range(0, x.shape[1] - height + 1, stride)
    columns = range(0, x.shape[2] - width + 1, stride)
    answers = [
        (x[:, r : r + height, c : c + width] * weight).sum() + bias for r in rows for c in columns
    ]
    return torch.stack(answers).reshape(len(rows), len(columns))


def dead_filters():
    """The first layer of SqueezeNet, with the same kernels, half of whose maps are zero."""
    first = viz.load_model().get_submodule("features.0")
    layer = nn.Conv2d(3, 64, 3, stride=2)
    layer.load_state_dict(first.state_dict())
    with torch.no_grad():
        layer.bias[:32] = -10_000
    return layer
