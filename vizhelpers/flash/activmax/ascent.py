"""Gradient ascent for several filters as one batch, and the pictures from which it starts."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import functional as tf

from vizhelpers.flash.utils import apply_transforms, denormalize
from vizhelpers.inputs.samples import IMAGENET_MEAN, IMAGENET_STD
from vizhelpers.methods.ascent import mean_activations, uphill
from vizhelpers.passes.forward import evaluating


@dataclass(frozen=True)
class Climb:
    """The result of a climb; tensors are detached.

    Attributes:
        pictures: for each filter the picture after each step, (1, C, H, W).
        activations: for each filter its mean activation before each step.
        activation: the last filter's mean activation before the last step, a scalar.
        gradient: the last filter's in the last step, divided by its root mean square, (1, C, H, W).
    """

    pictures: list[list[Tensor]]
    activations: list[list[float]]
    activation: Tensor
    gradient: Tensor


def climb(
    model: nn.Module, start: Tensor, layer: str, filters: list[int], *, lr: float, steps: int
) -> Climb:
    """Climb from one picture for each filter, as one batch; return the pictures of every step.

    After the first step the network runs only up to ``layer``. Each step's graph is freed.

    Args:
        model: any module that takes (N, C, H, W).
        start: the first picture, (1, C, H, W).
        layer: dotted path of a convolution.
        filters: indices of its filters.
        lr: length of a step; each picture's gradient is divided by its own root mean square.
        steps: number of steps.

    Raises:
        ValueError: the layer's output holds NaN, or no gradient reaches the pictures.
    """
    means: list[Tensor] = []
    batches: list[Tensor] = []
    with torch.inference_mode(False), torch.enable_grad(), evaluating(model):
        x = start.detach().expand(len(filters), -1, -1, -1).clone()
        for _ in range(steps):
            # A step of length 1 from zero is the gradient itself.
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
    """Return noise with pixels from 150 to 180 of 255, normalised, (1, channels, size, size)."""
    pixels = np.random.default_rng(seed).uniform(150, 180, (size, size, channels))
    return _normalized(tf.to_tensor(pixels.astype(np.uint8)))


def photograph(image: Image.Image, size: int, channels: int) -> Tensor:
    """Return a photograph, in RGB or grey, normalised, (1, channels, size, size).

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
    """Normalise pixels (C, H, W), 0 to 1, with ImageNet's mean and deviation; return a batch.

    One channel is normalised as the first colour, which ``denormalize`` undoes; other numbers of
    channels with the average of the three colours.
    """
    channels = len(pixels)
    if channels in (1, 3):
        return tf.normalize(pixels, IMAGENET_MEAN[:channels], IMAGENET_STD[:channels])[None]
    return tf.normalize(pixels, [np.mean(IMAGENET_MEAN)], [np.mean(IMAGENET_STD)])[None]
