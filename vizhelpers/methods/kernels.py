"""A convolution's weights as pictures (notebook 03)."""

from contextlib import suppress

import torch
from torch import Tensor, nn

from vizhelpers.inputs.arguments import flag, optional, seed_of
from vizhelpers.inputs.global_state import drawn_on_cpu
from vizhelpers.inputs.layers import Layer, path_of, paths_inside
from vizhelpers.inputs.models import title_warning
from vizhelpers.inputs.modules import unwrapped
from vizhelpers.passes.forward import evaluating
from vizhelpers.stack import ImageStack
from vizhelpers.view.colour import NO_NUMBER, NO_NUMBER_NAME


def kernels(
    model: nn.Module,
    layer: Layer,
    *,
    colour: bool = False,
    random_seed: int | None = None,
) -> ImageStack:
    """Return the weights of a convolution as slices (k, k), with axes ``out`` and ``in``.

    Args:
        model: any module.
        layer: an ``nn.Conv2d``, by its dotted path or as the module itself.
        colour: show each filter of a layer with three input channels as one RGB picture, in which
            grey is zero; all filters have the same scale.
        random_seed: show random weights, drawn by the layer's initialiser from this seed, instead
            of the layer's own.

    Returns:
        For k x k kernels, out * in slices (k, k) with axes ``out`` and ``in`` on one diverging
        colour scale (in a grouped convolution ``in`` counts within the group). A 1x1 convolution
        has one weight for each pair, so it is one frame: its (out, in) matrix. With ``colour``,
        out frames (k, k, 3).

    Raises:
        ValueError: no such layer; a layer that is not an ``nn.Conv2d``; ``colour`` for a layer
            without three input channels.

    Example:
        >>> kernels(nn.Sequential(nn.Conv2d(3, 8, 5)), "0").frames.shape
        (24, 5, 5)
    """
    colour = flag("colour", colour)
    random_seed = optional(seed_of, "random_seed", random_seed)
    model = unwrapped(model)
    layer = path_of(model, layer)
    weight = _weight(model, layer, random_seed)
    warning = title_warning(model)
    if random_seed is not None:
        warning = f"RANDOM weights (seed {random_seed}) · "
    out, into, height, width = weight.shape
    if colour:
        return _in_colour(weight, layer, warning)
    if height == width == 1:
        return ImageStack(
            weight.reshape(1, out, into).numpy(),
            axes={"layer": [layer]},
            scale="diverging",
            name=f"{warning}{layer}: {out} x {into} weights of a 1x1 convolution",
            titles=["rows: out, columns: in"],
            unit="weight",
        )
    return ImageStack(
        weight.reshape(out * into, height, width).numpy(),
        axes={"out": range(out), "in": range(into)},
        scale="diverging",
        name=f"{warning}{layer}: {out} filters x {into} slices of {height}x{width}",
        unit="weight",
    )


def convolution(model: nn.Module, layer: str) -> nn.Conv2d:
    """Return the layer of this path, an ``nn.Conv2d``.

    Args:
        model: the module inside its wrappers.
        layer: dotted module path.

    Raises:
        ValueError: the layer is of another class; the text names some convolutions.
    """
    module = model.get_submodule(layer)
    if isinstance(module, nn.Conv2d):
        return module
    if callable(getattr(module, "weight", None)):
        raise ValueError(
            f"Layer {layer!r} is quantised: its weights are packed. Use the model before "
            "quantisation."
        )
    names = paths_inside(model, nn.Conv2d)
    inside = [name for name in names if name.startswith(f"{layer}.")]
    where = "inside it" if inside else "of this model"
    listed = ", ".join(map(repr, (inside or names)[:8]))
    raise ValueError(
        f"Layer {layer!r} is a {type(module).__name__}; only an nn.Conv2d has kernels to show. "
        + (f"Convolutions {where}: {listed}." if listed else "This model has no nn.Conv2d at all.")
    )


def _weight(model: nn.Module, layer: str, random_seed: int | None) -> Tensor:
    module = convolution(model, layer)
    with evaluating(model):  # in train mode, reading a spectrally normalised weight changes it
        weight = module.weight
    if random_seed is not None:
        weight = _as_initialised(module, random_seed)
    elif weight.is_meta:
        raise ValueError(f"Layer {layer!r} is on the meta device: its weights have no values.")
    if weight.is_complex():
        raise ValueError(f"Layer {layer!r} has complex weights; only real ones can be drawn.")
    # A copy, since training changes weights in place.
    return weight.detach().to("cpu", torch.float32, copy=True)


def _as_initialised(module: nn.Conv2d, seed: int) -> Tensor:
    """Return the weights that a layer's initialiser draws from a seed, (out, in, k, k).

    They are drawn for a plain convolution of the same shape, since a pruned or parametrised layer
    computes its weight from other tensors, and initialising the weight would have no effect.
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
        nn.Conv2d.reset_parameters(fresh)
    if type(module).reset_parameters is not nn.Conv2d.reset_parameters:
        # A subclass's initialiser may need attributes that a plain layer lacks.
        with drawn_on_cpu(seed), suppress(AttributeError):
            type(module).reset_parameters(fresh)
    return fresh.weight


def _in_colour(weight: Tensor, layer: str, warning: str) -> ImageStack:
    if weight.shape[1] != 3:
        raise ValueError(
            f"colour=True shows three input channels as red, green and blue; {layer!r} has "
            f"{weight.shape[1]}. Omit colour= to see the slices."
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
        name=f"{warning}{layer}: {len(weight)} filters in colour; grey is zero, "
        f"full colour ±{extent.item():.3g}"
        + (f"; {NO_NUMBER_NAME}: no number" if gaps.any() else ""),
    )
