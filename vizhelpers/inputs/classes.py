"""Classes by index or name."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from vizhelpers.inputs.arguments import texts, whole
from vizhelpers.inputs.errors import said, unknown
from vizhelpers.inputs.models import card

ClassName = int | str | None
"""A class by index or name; None is the predicted class."""


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
    names = labels_of(model, labels)
    if isinstance(target, str):
        return _index_of_name(target, names)
    try:
        index = whole("target", target)
    except TypeError:
        raise TypeError(f"A class is an index or a name, not {said(target)}.") from None
    # The user's labels may name only some classes; a pass shows how many there are.
    if index < 0 or (labels is None and names and index >= len(names)):
        known = f"This model's classes go from 0 to {len(names) - 1}." if names else ""
        raise ValueError(f"There is no class {index}. {known or 'Class indices begin at 0.'}")
    return index


def _index_of_name(target: str, names: Sequence[str]) -> int:
    if not names:
        raise ValueError(
            f"This model has no class names, so {target!r} cannot be found. Give the class index, "
            "or pass labels=, a list with the name of each class."
        )
    exact = [i for i, name in enumerate(names) if name == target]
    found = exact or [i for i, name in enumerate(names) if name.lower() == target.lower().strip()]
    if len(found) > 1:
        raise ValueError(f"{len(found)} classes are called {target!r}: {found}. Give an index.")
    if not found:
        raise unknown("class", target, names, "A class index is possible too.")
    return found[0]


Wanted = int | list[int | None] | None
"""A requested class: one index for all images, a list of one for each, or None, the predicted."""


def wanted_classes(
    model: nn.Module,
    targets: Sequence[ClassName | Sequence[ClassName]],
    images: int,
    *,
    labels: Sequence[str] | None = None,
) -> list[Wanted]:
    """Return the class index of each target; None, the predicted class, stays None.

    Args:
        model: a classifier.
        targets: each an index, a name, None, or a list with one of these for each image.
        images: the number of images.
        labels: class names, for a module of the user's own.

    Raises:
        ValueError: as ``class_index``; or a list whose length is not ``images``.
    """

    def index(target: Any) -> Any:
        return None if target is None else class_index(model, target, labels=labels)

    def wanted(target: Any) -> Wanted:
        if not isinstance(target, (list, tuple, range)) and getattr(target, "ndim", 0) != 1:
            return index(target)
        each = [index(entry) for entry in target]
        if len(each) != images:
            raise ValueError(
                f"target={said(target)}: {len(each)} classes for {images} "
                f"image{'s' * (images > 1)}. A list has one class for each image."
            )
        return each

    return [wanted(target) for target in targets]


def listed_labels(labels: Sequence[str] | Mapping[int, str]) -> list[str]:
    """Return class names as a list, from a sequence or from ``{index: name}``.

    Raises:
        TypeError: another type, or names that are not strings.
        ValueError: a mapping without one of the indices from 0 on.
    """
    if isinstance(labels, Mapping):
        if set(labels) != set(range(len(labels))):
            raise ValueError(f"labels={said(labels)}: its keys must be the indices 0, 1, 2, …")
        labels = [labels[index] for index in range(len(labels))]
    return texts("labels", labels)


def labels_of(model: nn.Module, labels: Sequence[str] | None = None) -> Sequence[str]:
    """Return a model's class names: ``labels``, or those that it was loaded with, or ()."""
    if labels is not None:
        return listed_labels(labels)
    known = card(model)
    return known.labels if known else ()
