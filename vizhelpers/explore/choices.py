"""The choices that panels offer: photographs, classes, layers with maps."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
import traitlets
from torch import nn

from vizhelpers.explore.networks import Networks, Shapes
from vizhelpers.inputs.classes import class_index, labels_of
from vizhelpers.inputs.errors import with_words
from vizhelpers.inputs.photographs.images import load_image, sample_images
from vizhelpers.inputs.samples import Sample, prepare
from vizhelpers.methods.prediction import Prediction, predict
from vizhelpers.view.charts import Bars
from vizhelpers.view.live.controls import dropdown, options_of, wide

YOURS = "your photograph"
_ALL = 10**6  # classes: more than any model has
_NAMED = 12  # classes in an error text
# Classes of both halves of the picture; the five most probable may miss one half.
_HALVES = {"cat_coffee": ("Egyptian cat", "tabby", "cup", "coffee mug", "espresso")}


class Upload(widgets.FileUpload):
    """A button that uploads a file.

    Attributes:
        complaint: why the last file cannot be used; "" if it can.
    """

    complaint = traitlets.Unicode("")


class Photographs:
    """The photographs of one panel, preprocessed for a network at their first use.

    Attributes:
        dropdown: the control that chooses a photograph.
        upload: the button that uploads the user's own.
    """

    def __init__(self, networks: Networks, image: Any) -> None:
        """Offer the bundled photographs, and ``image`` if it is not one of them."""
        self.networks = networks
        names = [*sample_images(), "cat_coffee"]
        self._own: dict[str, Any] = {}
        bundled = isinstance(image, str) and image in names
        if not bundled:
            self._own[YOURS] = load_image(image)
        start = image if bundled else YOURS
        self.dropdown = dropdown("photograph", [*self._own, *names], start)
        self.upload = Upload(accept="image/*", multiple=False, description="Your own")
        self.upload.observe(self._uploaded, names="value")
        self.sample = networks.cached(self._prepare)
        self.answer = networks.cached(self._predict)

    def _uploaded(self, change: Any) -> None:
        """Add an uploaded photograph to the dropdown under a new name, and select it.

        A file that cannot be read is not added; the panel shows the upload's ``complaint``.
        """
        if not change["new"]:
            return
        # Reset the value, so that uploading the same file again counts as a change.
        self.upload.set_trait("value", type(change["new"])())
        self.upload.complaint = ""
        try:
            photograph = load_image(change["new"])
        except Exception as error:  # errors in a widget's callback are not displayed
            self.upload.complaint = str(error)
            return
        name = YOURS if YOURS not in self._own else f"{YOURS} {len(self._own) + 1}"
        self._own[name] = photograph
        others = [value for _, value in options_of(self.dropdown)]
        self.dropdown.options = [name, *others]
        self.dropdown.value = name

    def _prepare(self, network: str, name: str) -> Sample:
        own = self._own.get(name, name)
        return prepare(self.networks[network], own, transform=self.networks.transform(network))

    def _predict(self, network: str, name: str) -> list[Prediction]:
        """Return the ``Prediction`` of every class, most probable first, from one pass."""
        labels = self.networks.labels(network)
        return predict(self.networks[network], self.sample(network, name), k=_ALL, labels=labels)

    def labels(self, network: str, name: str, indices: Sequence[int]) -> list[str]:
        """Return the names of classes, with the index where several classes share the name."""
        known = {p.index: p.label for p in self.answer(network, name)}
        count = Counter(known.values())
        return [known[i] if count[known[i]] == 1 else f"{known[i]} ({i})" for i in indices]

    def size(self, network: str) -> tuple[int, ...]:
        """Return the shape of a network's input, (N, C, H, W)."""
        return tuple(self.sample(network, self.dropdown.value).x.shape)

    def map_shapes(self, network: str) -> Shapes:
        """Return ``{layer: (N, C, h, w)}`` of a network's layers with maps."""
        return self.networks.map_shapes(network, self.size(network))

    def classes(
        self, network: str, name: str, asked: Sequence[int | str | None] = (), *, count: int = 5
    ) -> list[int]:
        """Return the class indices to offer for a photograph: requested and most probable classes.

        Args:
            network: the network's name.
            name: the photograph's name.
            asked: requested classes, by index or as typed; None and "" are ignored.
            count: number of most probable classes.
        """
        model, labels = self.networks[network], self.networks.labels(network)
        top = [p.index for p in self.answer(network, name)[:count]]
        given = [entry for entry in asked if entry is not None and str(entry).strip()]
        first = [asked_class(model, entry, labels) for entry in given]
        last = len(self.answer(network, name)) - 1
        for index in first:
            if index > last:
                raise ValueError(
                    f"There is no class {index}. This model's classes go from 0 to {last}."
                )
        names = labels_of(model, labels)
        more = [names.index(label) for label in _HALVES.get(name, ()) if label in names]
        return list(dict.fromkeys([*first, *top, *more]))


def class_names(model: nn.Module, labels: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the name of each class, with its index if several classes share the name.

    Case is ignored: ImageNet has "Cardigan", a dog, and "cardigan", a garment. The tuple is empty
    if the names are unknown.
    """
    names = labels_of(model, labels)
    count = Counter(label.lower() for label in names)
    return tuple(f"{n} ({i})" if count[n.lower()] > 1 else n for i, n in enumerate(names))


def class_search(model: nn.Module, labels: Sequence[str] | None = None) -> widgets.Combobox:
    """Return a text box that finds any class by name or index and adds it to the class menu.

    The browser's own suggestions match inside words ("education" for "cat"); ``view.js`` replaces
    them by names that contain the typed text as words.
    """
    search = widgets.Combobox(
        options=class_names(model, labels),
        placeholder="type any class name or index",
        description="another class",
        continuous_update=False,
        **wide(),
    )
    search.add_class("vizhelpers-search")
    return search


def asked_class(model: nn.Module, asked: int | str, own_labels: Sequence[str] | None = None) -> int:
    """Return the index of a class that is given by index or as typed text.

    Args:
        model: a classifier.
        asked: an index, or text: a name, an index in digits, or words that one name contains.
        own_labels: class names, for a model of the user's own.

    Raises:
        ValueError: no class matches, or several do; the text names these with their indices.
    """
    if not isinstance(asked, str):
        return class_index(model, asked, labels=own_labels)
    text, names = asked.strip(), class_names(model, own_labels)
    labels = labels_of(model, own_labels)
    if text in names:
        return names.index(text)
    called = [i for i, label in enumerate(labels) if label.lower() == text.lower()]
    # "282", and "tiger cat (282)" as the error text below writes it.
    number = re.fullmatch(r"(?:.*\()?(\d+)\)?", text)
    if number and not called:
        return class_index(model, int(number[1]), labels=own_labels)
    found = called or [i for i, label in enumerate(labels) if with_words(text, [label])]
    if len(found) == 1:
        return found[0]
    if not found:
        return class_index(model, text, labels=own_labels)  # raises an error that names the nearest
    raise ValueError(_several(text, [f"{labels[i]} ({i})" for i in found], bool(called)))


def _several(text: str, found: Sequence[str], called: bool) -> str:
    more = f", … ({len(found)} in all)" if len(found) > _NAMED else ""
    what = f"classes are called {text!r}" if called else f"class names contain {text!r}"
    way_on = "Type the index." if called else "Type one of these names, or its index."
    return f"{len(found)} {what}: {', '.join(found[:_NAMED])}{more}. {way_on}"


def prediction_bars(answer: Sequence[Prediction], asked: int) -> Bars:
    """Return bars of the five most probable classes, the requested class highlighted."""
    top = answer[:5]
    place, found = next((i, p) for i, p in enumerate(answer) if p.index == asked)
    title, marked = "What the model says", place
    if found.assumed:
        title += f" ({found.assumed})"
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
