"""The classes of a panel for a photograph: the most probable ones, and typed ones."""

import re
from collections import Counter
from collections.abc import Sequence

from torch import nn

from vizhelpers.explore.photographs import Photographs
from vizhelpers.inputs.classes import class_index, labels_of
from vizhelpers.inputs.errors import with_words
from vizhelpers.methods.prediction import Prediction, predict
from vizhelpers.view.charts import Bars
from vizhelpers.view.live.declaration import Search

_ALL = 10**6  # classes: more than any model has
_NAMED = 12  # classes in an error text
# Classes of both halves of the picture; the most probable ones may miss one half.
_HALVES = {"cat_coffee": ("Egyptian cat", "tabby", "cup", "coffee mug", "espresso")}


class Classes:
    """The classes of one panel.

    Attributes:
        predictions: a function from the names of a network and a photograph to the list of
            ``Prediction``, of every class, most probable first; cached.
    """

    def __init__(self, photographs: Photographs, target: int | str | None) -> None:
        """Offer the most probable classes.

        Args:
            photographs: the panel's photographs.
            target: a class to offer as the first one for the user's models, by index or name.

        Raises:
            ValueError: there is no such class.
        """
        self._photographs, self._networks = photographs, photographs.networks
        own, name = self._networks.first, self._networks.own_names[0]
        labels = self._networks.labels(name)
        self._target = None if target is None else class_index(own, target, labels=labels)
        self.predictions = self._networks.cached(self._predict)

    def _predict(self, network: str, photograph: str) -> list[Prediction]:
        sample = self._photographs.sample(network, photograph)
        labels = self._networks.labels(network)
        return predict(self._networks[network], sample, k=_ALL, labels=labels)

    def search(self) -> Search:
        """Return a text box that adds any class, by name or index, and shows it at once."""

        def suggestions(network: str) -> tuple[str, ...]:
            return unique_names(self._networks[network], self._networks.labels(network))

        def accepts(network: str, photograph: str, other: str) -> bool:
            try:
                self.indices(network, photograph, other)
            except ValueError:
                return False
            return True

        return Search(
            "other",
            suggestions,
            accepts,
            placeholder="type any class name or index",
            label="another class",
            jump={"class": 0},
        )

    def indices(
        self, network: str, photograph: str, other: str = "", *, count: int = 5
    ) -> list[int]:
        """Return the class indices to offer, requested classes before the most probable ones.

        Args:
            network: the network's name.
            photograph: the photograph's name.
            other: a class as it was typed; "" is ignored.
            count: number of most probable classes.

        Raises:
            ValueError: there is no such class; or several, which the text names.
        """
        model, labels = self._networks[network], self._networks.labels(network)
        predictions = self.predictions(network, photograph)
        requested = [typed_class(model, other, labels)] if other.strip() else []
        if self._target is not None and network in self._networks.own_names:
            requested.append(self._target)
        last = len(predictions) - 1
        for index in requested:
            if index > last:
                raise ValueError(
                    f"There is no class {index}. This model's classes go from 0 to {last}."
                )
        top = [prediction.index for prediction in predictions[:count]]
        names = labels_of(model, labels)
        more = [names.index(label) for label in _HALVES.get(photograph, ()) if label in names]
        return list(dict.fromkeys([*requested, *top, *more]))

    def names(self, network: str, photograph: str, indices: Sequence[int]) -> list[str]:
        """Return the names of classes, with the index if several classes share the name."""
        known = {p.index: p.label for p in self.predictions(network, photograph)}
        count = Counter(known.values())
        return [known[i] if count[known[i]] == 1 else f"{known[i]} ({i})" for i in indices]


def unique_names(model: nn.Module, labels: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the name of each class, with its index if several classes share the name.

    Case is ignored: ImageNet has "Cardigan", a dog, and "cardigan", a garment. The tuple is empty
    if the names are unknown.
    """
    names = labels_of(model, labels)
    count = Counter(label.lower() for label in names)
    return tuple(f"{n} ({i})" if count[n.lower()] > 1 else n for i, n in enumerate(names))


def typed_class(model: nn.Module, typed: str, own_labels: Sequence[str] | None = None) -> int:
    """Return the index of a class from typed text.

    Args:
        model: a classifier.
        typed: a name, an index in digits, or words that exactly one name contains.
        own_labels: class names, for a model of the user's own.

    Raises:
        ValueError: no class matches, or several do; the text names these with their indices.
    """
    text, names = typed.strip(), unique_names(model, own_labels)
    labels = labels_of(model, own_labels)
    if text in names:
        return names.index(text)
    called = [i for i, label in enumerate(labels) if label.lower() == text.lower()]
    # "282", and "tiger cat (282)" as the error text below writes it.
    number = re.fullmatch(r"(?:.*\()?(\d+)\)?", text)
    if number and not called:
        return class_index(model, int(number[1]), labels=own_labels)
    matches = called or [i for i, label in enumerate(labels) if with_words(text, [label])]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        return class_index(model, text, labels=own_labels)  # raises an error that names the nearest
    raise ValueError(_several(text, [f"{labels[i]} ({i})" for i in matches], bool(called)))


def _several(text: str, matches: Sequence[str], called: bool) -> str:
    more = f", … ({len(matches)} in all)" if len(matches) > _NAMED else ""
    what = f"classes are called {text!r}" if called else f"class names contain {text!r}"
    remedy = "Type the index." if called else "Type one of these names, or its index."
    return f"{len(matches)} {what}: {', '.join(matches[:_NAMED])}{more}. {remedy}"


def prediction_bars(predictions: Sequence[Prediction], index: int) -> Bars:
    """Return bars of the five most probable classes, with one class highlighted.

    Args:
        predictions: of every class, most probable first.
        index: the class to highlight; the title names its rank if it is not among the five.
    """
    top = predictions[:5]
    rank, shown = next((i, p) for i, p in enumerate(predictions) if p.index == index)
    title, highlighted = "Prediction", rank
    if shown.assumed:
        title += f" ({shown.assumed})"
    if rank >= len(top):
        highlighted = -1
        title += f" ({shown.label}: rank {rank + 1}, {shown.probability:.1e})"
    return Bars(
        title,
        [(p.label,) for p in top],
        [p.probability for p in top],
        [f"{p.probability:.3f}" for p in top],
        highlighted,
    )
