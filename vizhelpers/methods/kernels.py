"""Notebook 03: a convolution's weights as pictures."""

import copy

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.arguments import flag, optional, seed_of
from vizhelpers.layers import get_layer, layer_names
from vizhelpers.models import warning_word
from vizhelpers.stack import ImageStack


def kernels(
    model: nn.Module,
    layer: str,
    *,
    colour: bool = False,
    random_seed: int | None = None,
) -> ImageStack:
    """Return the weights of a convolution as an ``ImageStack``.

    Args:
        model: any module.
        layer: dotted path of an ``nn.Conv2d``.
        colour: show each filter of a layer with three input channels as one RGB picture: grey is
            zero, and one scale holds for all filters.
        random_seed: show the same layer as its constructor initialises it, from this seed, in
            place of its weights: what a picture of no training looks like.

    Returns:
        For k x k kernels, out * in slices (k, k) with axes ``out`` and ``in`` on one diverging
        scale (in a grouped convolution ``in`` counts within the group). A 1x1 convolution has
        one weight for each pair, so it is one frame: its (out, in) matrix. With ``colour``, out
        frames (k, k, 3).

    Raises:
        ValueError: no such layer; a layer that is no convolution; ``colour`` where the layer has
            not three input channels.

    Example:
        >>> kernels(nn.Sequential(nn.Conv2d(3, 8, 5)), "0").frames.shape
        (24, 5, 5)
    """
    colour = flag("colour", colour)
    random_seed = optional(seed_of, "random_seed", random_seed)
    weight = _weight(model, layer, random_seed)
    trained = f"RANDOM weights (seed {random_seed}) · " if random_seed is not None else ""
    trained = trained or warning_word(model)
    out, into, height, width = weight.shape
    if colour:
        return _in_colour(weight, layer, trained)
    if height == width == 1:
        return ImageStack(
            weight.reshape(1, out, into).numpy(),
            axes={"layer": [layer]},
            scale="diverging",
            name=f"{trained}{layer}: {out} x {into} weights of a 1x1 convolution",
            titles=["rows: output channel, columns: input channel"],
            unit="weight",
        )
    return ImageStack(
        weight.reshape(out * into, height, width).numpy(),
        axes={"out": range(out), "in": range(into)},
        scale="diverging",
        name=f"{trained}{layer}: {out} filters x {into} slices of {height}x{width}",
        unit="weight",
    )


def convolution(model: nn.Module, layer: str) -> nn.Conv2d:
    """Return a layer that must be an ``nn.Conv2d``.

    Raises:
        ValueError: it is something else; the text names the nearest convolutions.
    """
    module = get_layer(model, layer)
    if isinstance(module, nn.Conv2d):
        return module
    names = layer_names(model, nn.Conv2d)
    inside = [name for name in names if name.startswith(f"{layer}.")]
    raise ValueError(
        f"Layer {layer!r} is a {type(module).__name__}, which has no convolution kernels. "
        f"Convolutions {'inside it' if inside else 'of this model'}: "
        f"{', '.join(map(repr, (inside or names)[:8]))}."
    )


def _weight(model: nn.Module, layer: str, random_seed: int | None) -> Tensor:
    module = convolution(model, layer)
    if module.weight.is_meta:
        raise ValueError(f"Layer {layer!r} is on the meta device: it has a shape, but no weights.")
    if random_seed is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_seed)
            module = copy.deepcopy(module).cpu()
            module.reset_parameters()
    # A copy: training goes on in place, and a picture stays what it was.
    return module.weight.detach().to("cpu", torch.float32, copy=True)


def _in_colour(weight: Tensor, layer: str, trained: str) -> ImageStack:
    if weight.shape[1] != 3:
        raise ValueError(
            f"colour=True shows three input channels as red, green and blue; {layer!r} has "
            f"{weight.shape[1]}. Leave it out to see the slices."
        )
    extent = weight.abs().max().clamp(min=torch.finfo(weight.dtype).tiny)
    rgb = (weight / extent * 0.5 + 0.5).mul(255).round()
    return ImageStack(
        rgb.permute(0, 2, 3, 1).numpy().astype(np.uint8),
        axes={"out": range(len(weight))},
        scale="rgb",
        name=f"{trained}{layer}: {len(weight)} filters in colour; grey is zero, "
        f"full colour ±{extent.item():.3g}",
    )
