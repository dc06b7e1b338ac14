"""Notebook 03: a convolution's weights as pictures."""

import torch
from torch import Tensor, nn

from vizhelpers.arguments import flag, optional, seed_of
from vizhelpers.layers import Layer, get_layer, layer_name, layer_names
from vizhelpers.models import warning_word
from vizhelpers.passes import evaluating
from vizhelpers.seeding import drawn_on_cpu
from vizhelpers.stack import ImageStack
from vizhelpers.view.colour import NO_NUMBER, NO_NUMBER_NAME


def kernels(
    model: nn.Module,
    layer: Layer,
    *,
    colour: bool = False,
    random_seed: int | None = None,
) -> ImageStack:
    """Return the weights of a convolution as an ``ImageStack``.

    Args:
        model: any module.
        layer: an ``nn.Conv2d``, by its dotted path or as the module itself.
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
    layer = layer_name(model, layer)
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
    where = "inside it" if inside else "of this model"
    listed = ", ".join(map(repr, (inside or names)[:8]))
    raise ValueError(
        f"Layer {layer!r} is a {type(module).__name__}, which has no kernels of an nn.Conv2d. "
        + (f"Convolutions {where}: {listed}." if listed else "This model has no nn.Conv2d at all.")
    )


def _weight(model: nn.Module, layer: str, random_seed: int | None) -> Tensor:
    module = convolution(model, layer)
    with evaluating(model):  # in train mode, reading a spectrally normalised weight changes it
        weight = module.weight
    if not isinstance(weight, Tensor):
        raise ValueError(
            f"Layer {layer!r} is quantised: its weights are packed. Use the model as it was before "
            "it was quantised."
        )
    if random_seed is not None:
        weight = _as_initialised(module, random_seed)
    elif weight.is_meta:
        raise ValueError(f"Layer {layer!r} is on the meta device: it has a shape, but no weights.")
    if weight.is_complex():
        raise ValueError(f"Layer {layer!r} has complex weights, which have no order to colour by.")
    # A copy: training goes on in place, and a picture stays what it was.
    return weight.detach().to("cpu", torch.float32, copy=True)


def _as_initialised(module: nn.Conv2d, seed: int) -> Tensor:
    """Return the weights that a layer's constructor draws from a seed.

    Drawn for a plain convolution of its shape: a normalised, pruned or parametrised one computes
    its weight, and to initialise that would change nothing.
    """
    with drawn_on_cpu(seed):
        fresh = nn.Conv2d(
            module.in_channels,
            module.out_channels,
            module.kernel_size,  # type: ignore[arg-type]
            groups=module.groups,
            bias=module.bias is not None,
            device="meta",
        ).to_empty(device="cpu")
        type(module).reset_parameters(fresh)  # a subclass may have its own
    return fresh.weight


def _in_colour(weight: Tensor, layer: str, trained: str) -> ImageStack:
    if weight.shape[1] != 3:
        raise ValueError(
            f"colour=True shows three input channels as red, green and blue; {layer!r} has "
            f"{weight.shape[1]}. Leave it out to see the slices."
        )
    known = weight.isfinite()
    finite = weight.where(known, torch.zeros_like(weight))
    extent = finite.abs().max().clamp(min=torch.finfo(weight.dtype).tiny)
    rgb = (finite / extent * 0.5 + 0.5).mul(255).round().permute(0, 2, 3, 1).to(torch.uint8).numpy()
    gaps = ~known.all(dim=1).numpy()
    rgb[gaps] = NO_NUMBER
    return ImageStack(
        rgb,
        axes={"out": range(len(weight))},
        scale="rgb",
        name=f"{trained}{layer}: {len(weight)} filters in colour; grey is zero, "
        f"full colour ±{extent.item():.3g}"
        + (f"; {NO_NUMBER_NAME}: no number" if gaps.any() else ""),
    )
