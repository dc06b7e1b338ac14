"""Checks of the layer and channel at which a panel starts."""

from collections.abc import Sequence

from torch import nn

from vizhelpers.inputs.arguments import integer
from vizhelpers.inputs.errors import unknown
from vizhelpers.inputs.layers import Layer, path_of
from vizhelpers.inputs.modules import unwrapped


def layer_in(names: Sequence[str], model: nn.Module, layer: Layer) -> str:
    """Return the dotted path of a layer.

    Args:
        names: the layers that the panel offers.
        model: the user's model.
        layer: a dotted path, or the module itself.

    Raises:
        ValueError: the model has no such layer, or the panel does not offer it.
    """
    path = path_of(unwrapped(model), layer)
    if path not in names:
        raise unknown("layer in the menu of this panel:", path, names)
    return path


def check_channel(what: str, index: int, count: int) -> None:
    """Raise a ``ValueError`` if a layer of ``count`` channels has no channel ``index``."""
    if not 0 <= integer(what, index) < count:
        raise unknown(what, index, range(count))


def with_maps(names: Sequence[str], model: nn.Module) -> list[str]:
    """Return the names of a model's layers with maps; raise a ``ValueError`` if it has none."""
    if names:
        return list(names)
    raise ValueError(
        f"No layer of this {type(model).__name__} has maps: none that runs once has an output with "
        "channels, rows and columns. viz.capture returns a layer's output, whatever its shape."
    )
