"""Layers by their dotted paths."""

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import nn

from vizhelpers.inputs.arguments import strings
from vizhelpers.inputs.errors import repr_of, unknown
from vizhelpers.inputs.modules import unwrapped

Layer = str | nn.Module
"""A layer by its dotted path, or the module itself."""

_REMEDY = "viz.layer_names(model) lists them all."


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
        raise TypeError(f"kind={repr_of(kind)}: expected a class, such as nn.Conv2d, or several.")
    return paths_inside(unwrapped(model), kind)


def get_layer(model: nn.Module, name: Layer) -> nn.Module:
    """Return the submodule with this dotted path; a submodule itself is returned as it is.

    Raises:
        ValueError: there is no such layer; the text names the nearest ones.
    """
    inside = unwrapped(model)
    return inside.get_submodule(path_of(inside, name))


def paths_inside(
    module: nn.Module, kind: type[nn.Module] | tuple[type, ...] = nn.Module
) -> list[str]:
    """Return the dotted paths of the submodules of a class, in the order of definition."""
    return [name for name, inner in module.named_modules() if name and isinstance(inner, kind)]


def path_of(model: nn.Module, layer: Layer) -> str:
    """Return the dotted path of a layer that is given by its path or as the module itself.

    Args:
        model: the module inside its wrappers.
        layer: as the caller gave it.

    Raises:
        TypeError: a list or tuple of layers.
        ValueError: there is no such layer; the text names the nearest ones.
    """
    if isinstance(layer, nn.Module):
        return _path_of_module(model, layer)
    if isinstance(layer, (list, tuple)):
        raise TypeError(
            f"layer={repr_of(layer)}: expected one layer, its name or the module. For several "
            "layers use viz.cam_sweep(..., layers=[...]) or viz.capture."
        )
    if isinstance(layer, str) and layer:
        with suppress(AttributeError):
            model.get_submodule(layer)
            return layer
    raise unknown("layer", layer, paths_inside(model), _REMEDY)


def _path_of_module(model: nn.Module, layer: nn.Module) -> str:
    for name, module in model.named_modules():
        if name and module is layer:
            return name
    scripted = isinstance(layer, torch.jit.ScriptModule)
    whole = not scripted and unwrapped(layer) is model
    what = "the whole model" if whole else f"a {type(layer).__name__}"
    raise ValueError(
        f"layer is {what}, not a layer inside {type(model).__name__}. Pass one of the model's "
        f"own submodules, or its name; {_REMEDY}"
    )


def paths_of(model: nn.Module, layers: Layer | Sequence[Layer]) -> list[str]:
    """Return the dotted paths of one layer or several, as a list without duplicates.

    Args:
        model: the module inside its wrappers.
        layers: as the caller gave them.
    """
    if isinstance(layers, (str, nn.Module)):
        layers = [layers]
    elif not isinstance(layers, (list, tuple)):
        layers = strings("layers", layers)
    return list(dict.fromkeys(path_of(model, layer) for layer in layers))
