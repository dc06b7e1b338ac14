"""The climb itself, for several filters at once, and where it begins."""

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.errors import unknown
from vizhelpers.flash.utils import apply_transforms
from vizhelpers.layers import evaluating
from vizhelpers.methods.ascent import mean_activations, uphill


@dataclass(frozen=True)
class Climb:
    """For each filter: the pictures, (1, 3, H, W) each, and the activation before each step."""

    pictures: list[list[Tensor]]
    activations: list[list[float]]


def climb(
    model: nn.Module,
    start: Tensor,
    layer: str,
    filters: list[int],
    *,
    lr: float,
    steps: int,
    keep_all: bool,
) -> Climb:
    """Climb from one picture for all filters as one batch.

    The network runs only as far as ``layer``, and each step's graph is freed before the next.

    Args:
        model: any module that takes (N, 3, H, W).
        start: (1, 3, H, W).
        layer: dotted path of a convolution.
        filters: which of its filters.
        lr: length of a step; each picture's gradient is divided by its own root mean square.
        steps: how many.
        keep_all: keep the picture after each step, else the last one alone.
    """
    means: list[Tensor] = []
    kept: list[Tensor] = []
    with torch.inference_mode(False), torch.enable_grad(), evaluating(model):
        x = start.detach().expand(len(filters), -1, -1, -1).clone()
        for _ in range(steps):
            leaf = x.detach().requires_grad_()
            # The network gets a copy: it may begin in-place, which a leaf does not bear.
            mean = mean_activations(model, leaf.clone(), layer, filters)
            x = uphill(leaf, mean, lr)
            means.append(mean.detach())
            kept = [*kept, x] if keep_all else [x]
    pictures = [[x[i : i + 1] for x in kept] for i in range(len(filters))]
    return Climb(pictures, torch.stack(means, dim=1).tolist())


def grey_noise(model: nn.Module, size: int, seed: int) -> Tensor:
    """Return pixels 150 to 180 of 255, normalised, (1, 3, size, size), where the model is."""
    pixels = np.random.default_rng(seed).uniform(150, 180, (size, size, 3)).astype(np.uint8)
    weight = next(model.parameters(), torch.empty(0))
    return apply_transforms(pixels, size).to(weight)


def checked_filters(layer: nn.Conv2d, filters: list[Any]) -> list[int]:
    """Return the filters as whole numbers; refuse what the convolution does not have.

    Raises:
        TypeError: not a whole number.
        ValueError: none at all, or no such filter.
    """
    if not filters:
        raise ValueError("filter_idxs is empty: name at least one filter.")
    for index in filters:
        if isinstance(index, bool) or not hasattr(index, "__index__"):
            raise TypeError(f"A filter is a whole number, not a {type(index).__name__}.")
        if not 0 <= index < layer.out_channels:
            raise unknown("filter", index, range(layer.out_channels))
    return [operator.index(index) for index in filters]
