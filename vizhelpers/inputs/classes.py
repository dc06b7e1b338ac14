"""Classes by index or name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from vizhelpers.inputs.arguments import integer, strings
from vizhelpers.inputs.errors import repr_of, unknown
from vizhelpers.inputs.models import card
from vizhelpers.inputs.modules import unwrapped

ClassName = int | str | None
"""A class by index or name; None is the predicted class."""

ClassIndex = int | list[int | None] | None
"""A class index for all images, a list with an index for each image, or None, the predicted."""


@dataclass(frozen=True)
class ClassNames:
    """The class names of a model.

    Attributes:
        names: of the outputs, in order; empty if unknown.
        complete: every output has a name, so that a greater index is an error.
    """

    names: Sequence[str] = ()
    complete: bool = False

    def index(self, target: Any) -> int:
        """Return the index of a class that is given by index or by name.

        Raises:
            TypeError: neither an index nor a name.
            ValueError: no such class, or a name that several classes share.
        """
        if isinstance(target, str):
            return self._index_of_name(target)
        try:
            index = integer("target", target)
        except TypeError:
            raise TypeError(f"A class is an index or a name, not {repr_of(target)}.") from None
        if index < 0 or (self.complete and index >= len(self.names)):
            last = len(self.names) - 1
            known = f"This model's classes go from 0 to {last}." if self.names else ""
            raise ValueError(f"There is no class {index}. {known or 'Class indices begin at 0.'}")
        return index

    def _index_of_name(self, target: str) -> int:
        if not self.names:
            raise ValueError(
                f"This model has no class names, so {target!r} cannot be found. Give the class "
                "index, or pass labels=, a list with the name of each class."
            )
        lower = target.lower().strip()
        same = [i for i, name in enumerate(self.names) if name == target]
        same = same or [i for i, name in enumerate(self.names) if name.lower() == lower]
        if len(same) > 1:
            raise ValueError(f"{len(same)} classes are called {target!r}: {same}. Give an index.")
        if not same:
            raise unknown("class", target, self.names, "A class index is possible too.")
        return same[0]

    def indices(self, targets: Sequence[Any], images: int) -> list[ClassIndex]:
        """Return the class index of each target; None, the predicted class, stays None.

        Args:
            targets: each an index, a name, None, or a list with one of these for each image.
            images: the number of images.

        Raises:
            ValueError: as ``index``; or a list whose length is not ``images``.
        """

        def index(target: Any) -> Any:
            return None if target is None else self.index(target)

        def of_target(target: Any) -> ClassIndex:
            if not isinstance(target, (list, tuple, range)) and getattr(target, "ndim", 0) != 1:
                return index(target)
            each = [index(entry) for entry in target]
            if len(each) != images:
                raise ValueError(
                    f"target={repr_of(target)}: {len(each)} classes for {images} "
                    f"image{'s' * (images > 1)}. A list has one class for each image."
                )
            return each

        return [of_target(target) for target in targets]

    def of(self, index: int, outputs: int) -> str:
        """Return the name of an output, or its index as text if it has none.

        By convention the only output of a model with two class names is the second class.
        """
        names = self.names[1:] if outputs == 1 and len(self.names) == 2 else self.names
        return names[index] if index < len(names) else str(index)


UNNAMED = ClassNames()


def class_names(model: nn.Module, labels: Any = None) -> ClassNames:
    """Return a model's class names: ``labels`` if given, else those that it was loaded with.

    Args:
        model: the module inside its wrappers.
        labels: a sequence of names, or ``{index: name}``; may name only some of the outputs.

    Raises:
        TypeError: ``labels`` of another type, or names that are not strings.
        ValueError: a mapping without one of the indices from 0 on.
    """
    if labels is not None:
        return ClassNames(listed_labels(labels))
    known = card(model)
    return ClassNames(known.labels, bool(known.labels)) if known else UNNAMED


def listed_labels(labels: Sequence[str] | Mapping[int, str]) -> list[str]:
    """Return class names as a list, from a sequence or from ``{index: name}``.

    Raises:
        TypeError: another type, or names that are not strings.
        ValueError: a mapping without one of the indices from 0 on.
    """
    if isinstance(labels, Mapping):
        if set(labels) != set(range(len(labels))):
            raise ValueError(f"labels={repr_of(labels)}: its keys must be the indices 0, 1, 2, …")
        labels = [labels[index] for index in range(len(labels))]
    return strings("labels", labels)


def class_index(model: nn.Module, target: int | str, *, labels: Sequence[str] | None = None) -> int:
    """Return the index of a class that is given by index or by name.

    Args:
        model: a classifier.
        target: an index, or a class name (case is ignored).
        labels: class names, for a module of the user's own.

    Raises:
        ValueError: no such class, or a name that two classes share (ImageNet has two cranes).

    Example:
        >>> import vizhelpers as viz
        >>> class_index(viz.load_model(), "tabby")
        281
    """
    return class_names(unwrapped(model), labels).index(target)


def labels_of(model: nn.Module, labels: Sequence[str] | None = None) -> Sequence[str]:
    """Return a model's class names: ``labels``, or those that it was loaded with, or ()."""
    return class_names(unwrapped(model), labels).names
