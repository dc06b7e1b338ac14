"""The layers of a model at which a class activation map makes sense."""

import re
from collections.abc import Mapping, Sequence

from torch import nn

Shapes = Mapping[str, tuple[int, ...]]
_FEW = 3  # layers
_COPIES = re.compile(
    # BatchNormAct2d of timm is a block's last step; its maps differ from those before it.
    "Pool|ReLU|Dropout|BatchNorm(?!Act)|SiLU|Hardswish|Identity|Sequential"
)


def main_layers(model: nn.Module, shapes: Shapes, count: int = 8) -> list[str]:
    """Return the last layers with maps to offer for a CAM, in the order of definition.

    These are blocks rather than their parts, without pooling, activation and normalisation layers,
    whose maps are nearly those of the layer before.
    """
    shapes = of_several_cells(shapes)
    modules = dict(model.named_modules())
    worth = [name for name in shapes if not _COPIES.search(type(modules[name]).__name__)]
    outer = _outermost(worth)
    if len(outer) < _FEW:  # an encoder that holds all the blocks
        outer = _outermost([n for n in worth if n not in outer or not _inside(n, worth)])
    classes = [n for n in outer if not n.startswith(("classifier", "fc", "head"))]
    return (classes or outer or list(shapes))[-count:]


def _outermost(names: Sequence[str]) -> list[str]:
    return [n for n in names if not any(n.startswith(f"{other}.") for other in names)]


def _inside(name: str, names: Sequence[str]) -> list[str]:
    return [other for other in names if other.startswith(f"{name}.")]


def pooled_layers(model: nn.Module, shapes: Shapes, count: int = 4) -> list[str]:
    """Return the last layers with maps, the last first, as candidates for method "cam"."""
    last = [*main_layers(model, shapes)[-1:], *list(of_several_cells(shapes))[::-1]]
    return list(dict.fromkeys(last))[:count]


def of_several_cells(shapes: Shapes) -> Shapes:
    """Return the layers whose maps have more than one cell."""
    return {name: shape for name, shape in shapes.items() if shape[2] * shape[3] > 1}
