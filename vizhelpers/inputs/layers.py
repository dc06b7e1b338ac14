"""Layers by their dotted paths."""

from collections.abc import Sequence
from contextlib import suppress

from torch import nn

from vizhelpers.inputs.arguments import texts
from vizhelpers.inputs.errors import said, unknown
from vizhelpers.inputs.modules import unwrapped

Layer = str | nn.Module
"""A layer by its dotted path, or the module itself."""


def layer_names(
    model: nn.Module, kind: type[nn.Module] | tuple[type, ...] = nn.Module
) -> list[str]:
    """Return the dotted module paths of a model, in the order in which they were defined.

    Args:
        model: any module.
        kind: keep only layers of this class (or of one of these classes), such as ``nn.Conv2d``.

    Returns:
        Names as ``model.get_submodule`` takes them, without the model itself (the empty name).
        For a compiled or ``DataParallel`` model, the names of the module inside.

    Example:
        >>> layer_names(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), kind=nn.Conv2d)
        ['0']
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not all(isinstance(entry, type) for entry in kinds):
        raise TypeError(f"kind={said(kind)}: expected a class, such as nn.Conv2d, or several.")
    named = unwrapped(model).named_modules()
    return [name for name, module in named if name and isinstance(module, kind)]


def get_layer(model: nn.Module, name: Layer) -> nn.Module:
    """Return the submodule with this dotted path; a submodule itself is returned as it is.

    Raises:
        ValueError: there is no such layer; the text names the nearest ones.
    """
    return unwrapped(model).get_submodule(layer_name(model, name))


def layer_name(model: nn.Module, layer: Layer) -> str:
    """Return the dotted path of a layer that is given by its path or as the module itself.

    Raises:
        TypeError: a list or tuple of layers.
        ValueError: there is no such layer; the text names the nearest ones.
    """
    inside = unwrapped(model)
    way_on = "viz.layer_names(model) lists them all."
    if isinstance(layer, nn.Module):
        for name, module in inside.named_modules():
            if name and module is layer:
                return name
        what = "the whole model" if unwrapped(layer) is inside else f"a {type(layer).__name__}"
        raise ValueError(
            f"layer is {what}, not a layer inside {type(inside).__name__}. Pass one of the model's "
            f"own submodules, or its name; {way_on}"
        )
    if isinstance(layer, (list, tuple)):
        raise TypeError(
            f"layer={said(layer)}: expected one layer, its name or the module. For several layers "
            "use viz.cam_sweep(..., layers=[...]) or viz.capture."
        )
    if isinstance(layer, str) and layer:
        with suppress(AttributeError):
            inside.get_submodule(layer)
            return layer
    raise unknown("layer", layer, layer_names(model), way_on)


def as_list(model: nn.Module, layers: Layer | Sequence[Layer]) -> list[str]:
    """Return the dotted paths of one layer or several, as a list without duplicates."""
    if isinstance(layers, (str, nn.Module)):
        layers = [layers]
    elif not isinstance(layers, (list, tuple)):
        layers = texts("layers", layers)
    return list(dict.fromkeys(layer_name(model, layer) for layer in layers))
