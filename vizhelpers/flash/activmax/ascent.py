"""The climb itself, for several filters at once, and where it begins."""

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import functional as tf

from vizhelpers.flash.utils import apply_transforms, denormalize
from vizhelpers.inputs.errors import unknown
from vizhelpers.inputs.samples import IMAGENET_MEAN, IMAGENET_STD
from vizhelpers.methods.ascent import mean_activations, uphill
from vizhelpers.passes.forward import evaluating


@dataclass(frozen=True)
class Climb:
    """What a climb leaves, without any graph.

    Attributes:
        pictures: for each filter the picture after each step, (1, C, H, W).
        activations: for each filter its mean activation before each step.
        activation: the last filter's before the last step, a scalar.
        gradient: the last filter's in the last step, divided by its root mean square, (1, C, H, W).
    """

    pictures: list[list[Tensor]]
    activations: list[list[float]]
    activation: Tensor
    gradient: Tensor


def climb(
    model: nn.Module, start: Tensor, layer: str, filters: list[int], *, lr: float, steps: int
) -> Climb:
    """Climb from one picture for all filters as one batch, and return every step's pictures.

    The network runs only as far as ``layer``, and each step's graph is freed before the next.

    Args:
        model: any module that takes (N, C, H, W).
        start: (1, C, H, W).
        layer: dotted path of a convolution.
        filters: which of its filters.
        lr: length of a step; each picture's gradient is divided by its own root mean square.
        steps: how many.

    Raises:
        ValueError: the layer's output holds NaN, or no gradient reaches the pictures.
    """
    means: list[Tensor] = []
    batches: list[Tensor] = []
    with torch.inference_mode(False), torch.enable_grad(), evaluating(model):
        x = start.detach().expand(len(filters), -1, -1, -1).clone()
        for _ in range(steps):
            # What is added to the picture: a step of length 1 from zero is the gradient itself.
            zero = torch.zeros_like(x).requires_grad_()
            mean = mean_activations(model, x + zero, layer, filters)
            gradient = uphill(model, zero, mean, 1.0)
            x = x + lr * gradient
            means.append(mean.detach())
            batches.append(x)
    curves = torch.stack(means, dim=1)
    if curves.isnan().any() or x.isnan().any():
        raise ValueError(
            f"Layer {layer!r} outputs NaN, or its gradient is NaN: the weights diverged in "
            "training, or numbers overflowed, so no picture raises its activation."
        )
    pictures = [[x[i : i + 1] for x in batches] for i in range(len(filters))]
    return Climb(pictures, curves.tolist(), means[-1][-1].clone(), gradient[-1:].clone())


def grey_noise(size: int, seed: int, channels: int) -> Tensor:
    """Return pixels 150 to 180 of 255, normalised, (1, channels, size, size)."""
    pixels = np.random.default_rng(seed).uniform(150, 180, (size, size, channels))
    return _normalized(tf.to_tensor(pixels.astype(np.uint8)))


def photograph(image: Image.Image, size: int, channels: int) -> Tensor:
    """Return a photograph, normalised, (1, channels, size, size): in RGB, or grey.

    Raises:
        ValueError: ``channels`` is neither 3 nor 1.
    """
    x = apply_transforms(image, size).detach()
    if channels == 3:
        return x
    if channels != 1:
        raise ValueError(
            f"The model takes {channels} channels, a photograph has 3, or 1 if it is grey. "
            "optimize(layer, filter_idx, input_) climbs from a tensor of your own."
        )
    return _normalized(tf.rgb_to_grayscale(denormalize(x))[0])


def _normalized(pixels: Tensor) -> Tensor:
    """Return pixels (C, H, W), 0 to 1, as a batch with ImageNet's mean and standard deviation.

    Of one channel the first colour's are taken, as ``denormalize`` does; of other numbers, the
    mean of the three colours'.
    """
    channels = len(pixels)
    if channels in (1, 3):
        return tf.normalize(pixels, IMAGENET_MEAN[:channels], IMAGENET_STD[:channels])[None]
    return tf.normalize(pixels, [np.mean(IMAGENET_MEAN)], [np.mean(IMAGENET_STD)])[None]


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
