"""What the panels let a reader choose from: photographs, classes, layers with maps."""

from functools import lru_cache
from typing import Any

import ipywidgets as widgets
import torch
from matplotlib.figure import Figure
from torch import nn

from vizhelpers.explore.panel import Controls, dropdown
from vizhelpers.images import load_image, sample_images
from vizhelpers.layers import output_shapes
from vizhelpers.models import Sample, card, class_index, class_label, predict, prepare
from vizhelpers.structure import on_meta
from vizhelpers.view.charts import bars

YOURS = "your photograph"
# Both halves' classes, since neither is always among the five most probable.
_HALVES = {"cat_coffee": ("Egyptian cat", "tabby", "cup", "coffee mug", "espresso")}


class Photographs:
    """The photographs of one panel, prepared for its model when they are first asked for."""

    def __init__(self, model: nn.Module, image: Any) -> None:
        """Offer the bundled photographs, and ``image`` where it is none of them."""
        self.model = model
        self.names = [*sample_images(), "cat_coffee"]
        self.start = image if isinstance(image, str) and image in self.names else YOURS
        self._own = None
        if self.start == YOURS:
            self._own = load_image(image)
            self.names = [YOURS, *self.names]
        self.sample = lru_cache(maxsize=8)(self._prepare)

    def _prepare(self, name: str) -> Sample:
        return prepare(self.model, self._own if name == YOURS else name)

    def dropdown(self) -> widgets.Dropdown:
        """Return the control that chooses the photograph."""
        return dropdown("photograph", self.names, self.start)

    def classes(self, name: str, extra: list[int]) -> list[tuple[str, int]]:
        """Return (text, index) of the five most probable classes and those to offer besides."""
        top = [p.index for p in predict(self.model, self.sample(name))]
        known = card(self.model)
        halves = _HALVES.get(name, ()) if known and len(known.labels) == 1000 else ()
        more = [class_index(self.model, label) for label in halves]
        indices = dict.fromkeys([*extra, *top, *more])
        return [(class_label(self.model, index), index) for index in indices]

    def class_dropdown(self, extra: list[int]) -> widgets.Dropdown:
        """Return the control that chooses the class."""
        return dropdown("class", self.classes(self.start, extra))

    def offer_classes(self, controls: Controls, extra: list[int]) -> None:
        """Let the class dropdown follow the photograph."""
        options = self.classes(controls["photograph"].value, extra)
        if list(controls["target"].options) != options:
            controls["target"].options = options


def class_search(model: nn.Module) -> widgets.Combobox:
    """Return a box that finds any class by name; left empty, the dropdown decides."""
    known = card(model)
    return widgets.Combobox(
        options=known.labels if known else (),
        placeholder="or type any class name",
        description="other class",
        continuous_update=False,
        style={"description_width": "8em"},
        layout={"width": "34em"},
    )


def prediction_bars(model: nn.Module, sample: Sample, asked: str) -> Figure:
    """Draw the five most probable classes, the one that was asked for set off."""
    answer = predict(model, sample)
    return bars(
        [p.label for p in answer],
        [p.probability for p in answer],
        [f"{p.probability:.3f}" for p in answer],
        title="What the model says",
        marked=asked,
    )


def channel_counts(model: nn.Module, size: tuple[int, ...] = (1, 3, 224, 224)) -> dict[str, int]:
    """Return ``{layer: channels}`` of every layer that puts out (N, C, H, W)."""
    x = torch.empty(size, device="meta")
    shapes = output_shapes(on_meta(model), x)
    return {
        name: shapes[name][1] for name, _ in model.named_modules() if len(shapes.get(name, ())) == 4
    }
