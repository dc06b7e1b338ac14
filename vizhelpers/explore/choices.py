"""What the panels let a reader choose from: photographs, classes, layers with maps."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import ipywidgets as widgets
from torch import nn

from vizhelpers.classes import Prediction, class_index, predict
from vizhelpers.explore.controls import dropdown, options_of, wide
from vizhelpers.explore.networks import Networks, Shapes
from vizhelpers.images import load_image, sample_images
from vizhelpers.models import card
from vizhelpers.samples import Sample, prepare
from vizhelpers.view.charts import Bars

YOURS = "your photograph"
_ALL = 10**6  # classes: more than any model has
_FEW = 3  # layers
# Both halves' classes, since neither is always among the five most probable.
_HALVES = {"cat_coffee": ("Egyptian cat", "tabby", "cup", "coffee mug", "espresso")}
_COPIES = re.compile(
    # BatchNormAct2d of timm is a block's last step, and its maps are no copy of a neighbour's.
    "Pool|ReLU|Dropout|BatchNorm(?!Act)|SiLU|Hardswish|Identity|Sequential"
)


class Photographs:
    """The photographs of one panel, prepared for a network when they are first asked for.

    Attributes:
        dropdown: the control that chooses one.
        upload: the button that takes one of the reader's own.
    """

    def __init__(self, networks: Networks, image: Any) -> None:
        """Offer the bundled photographs, and ``image`` where it is none of them."""
        self.networks = networks
        names = [*sample_images(), "cat_coffee"]
        self._own: dict[str, Any] = {}
        bundled = isinstance(image, str) and image in names
        if not bundled:
            self._own[YOURS] = load_image(image)
        start = image if bundled else YOURS
        self.dropdown = dropdown("photograph", [*self._own, *names], start)
        self.upload = widgets.FileUpload(accept="image/*", multiple=False, description="Your own")
        self.upload.observe(self._uploaded, names="value")
        self.sample = lru_cache(maxsize=8)(self._prepare)
        self.answer = lru_cache(maxsize=8)(self._predict)

    def _uploaded(self, change: Any) -> None:
        """Offer an uploaded file under a name of its own, and choose it.

        The file is read when the panel computes its picture, so that what is wrong with it is said
        there.
        """
        if not change["new"]:
            return
        name = YOURS if YOURS not in self._own else f"{YOURS} {len(self._own) + 1}"
        self._own[name] = change["new"]
        others = [value for _, value in options_of(self.dropdown)]
        self.dropdown.options = [name, *others]
        self.dropdown.value = name

    def _prepare(self, network: str, name: str) -> Sample:
        return prepare(self.networks[network], self._own.get(name, name))

    def _predict(self, network: str, name: str) -> list[Prediction]:
        """Return all classes, the most probable first: classes, bars and ranks need one pass."""
        return predict(self.networks[network], self.sample(network, name), k=_ALL)

    def size(self, network: str) -> tuple[int, ...]:
        """Return the shape of a network's input."""
        return tuple(self.sample(network, self.dropdown.value).x.shape)

    def map_shapes(self, network: str) -> Shapes:
        """Return ``{layer: (N, C, h, w)}`` of a network's layers with maps, for its input."""
        return self.networks.map_shapes(network, self.size(network))

    def classes(
        self, network: str, name: str, asked: Sequence[int | str | None] = (), *, count: int = 5
    ) -> list[int]:
        """Return the classes to offer for a photograph: those asked for, and the most probable.

        Args:
            network: by name.
            name: of the photograph.
            asked: by index or name; where it is None or "", nothing is asked.
            count: how many of the most probable.
        """
        model = self.networks[network]
        top = [p.index for p in self.answer(network, name)[:count]]
        known = card(model)
        halves = _HALVES.get(name, ()) if known and len(known.labels) == 1000 else ()
        first = [class_index(model, one) for one in asked if one not in (None, "")]
        more = [class_index(model, label) for label in halves]
        return list(dict.fromkeys([*first, *top, *more]))


def class_names(model: nn.Module) -> tuple[str, ...]:
    """Return the names of a model's classes, none where they are not known."""
    known = card(model)
    return known.labels if known else ()


def class_search(model: nn.Module) -> widgets.Combobox:
    """Return a box that finds any class by name and adds it to those on offer."""
    return widgets.Combobox(
        options=class_names(model),
        placeholder="type any class name",
        description="another class",
        continuous_update=False,
        **wide(),
    )


def prediction_bars(answer: Sequence[Prediction], asked: int) -> Bars:
    """Return the five most probable of all classes, the one that was asked for set off."""
    top = answer[:5]
    place, found = next((i, p) for i, p in enumerate(answer) if p.index == asked)
    title, marked = "What the model says", place
    if place >= len(top):
        marked = -1
        title += f" ({found.label}: rank {place + 1}, {found.probability:.1e})"
    return Bars(
        title,
        [(p.label,) for p in top],
        [p.probability for p in top],
        [f"{p.probability:.3f}" for p in top],
        marked,
    )


def main_layers(model: nn.Module, shapes: Shapes, count: int = 8) -> list[str]:
    """Return the last few layers with maps that are worth a CAM, in the order of definition.

    Blocks rather than their parts, and no pooling, activation or normalisation, whose maps are
    near copies of their neighbours'.
    """
    shapes = _of_several_cells(shapes)
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
    """Return the last layers with maps, the nearest to the head first: one may suit "cam"."""
    last = [*main_layers(model, shapes)[-1:], *list(_of_several_cells(shapes))[::-1]]
    return list(dict.fromkeys(last))[:count]


def _of_several_cells(shapes: Shapes) -> Shapes:
    return {name: shape for name, shape in shapes.items() if shape[2] * shape[3] > 1}
