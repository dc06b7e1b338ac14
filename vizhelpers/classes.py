"""Classes: what a model answers, and which class is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from vizhelpers.arguments import texts, whole
from vizhelpers.errors import said, unknown
from vizhelpers.inputs import HasTensor, input_tensor
from vizhelpers.layers import captured
from vizhelpers.models import card


@dataclass(frozen=True)
class Prediction:
    """One line of a model's answer: class index, class name, probability between 0 and 1."""

    index: int
    label: str
    probability: float

    def __repr__(self) -> str:
        """Show the name first: that is what a reader looks for."""
        return f"{self.label} ({self.index}) {self.probability:.3f}"


def predict(
    model: nn.Module, sample: HasTensor | Tensor, k: int = 5, *, labels: Sequence[str] | None = None
) -> list[Prediction]:
    """Return the ``k`` most probable classes of one photograph, most probable first.

    Args:
        model: a classifier.
        sample: a ``Sample``, or a tensor (1, 3, H, W).
        k: how many; all of them if the model has fewer.
        labels: class names, for a module of the user's own; without any, classes are numbers.

    Raises:
        ValueError: more than one photograph, ``k`` below 1, or what ``capture`` refuses.

    Example:
        >>> import vizhelpers as viz
        >>> model = viz.load_model()
        >>> predict(model, viz.prepare(model, "panda"), k=1)
        [giant panda (388) 1.000]
    """
    k = whole("k", k, 1)
    x = input_tensor(model, sample)
    if len(x) != 1:
        raise ValueError(f"predict takes one photograph, got {len(x)}; loop over x[i:i + 1].")
    scores = logits(model, x)
    top = scores[0].float().softmax(0).topk(min(k, scores.shape[1]))
    return [
        Prediction(index, class_label(model, index, labels=labels), probability)
        for index, probability in zip(top.indices.tolist(), top.values.tolist(), strict=True)
    ]


def logits(model: nn.Module, sample: HasTensor | Tensor) -> Tensor:
    """Return the model's output before softmax, (N, classes), in eval mode, without gradients."""
    return class_scores(captured(model, sample, [])[1]).detach()


def class_scores(output: Any, classes: Sequence[int] = ()) -> Tensor:
    """Return a model's output if it is one row of scores for each image; else refuse.

    Args:
        output: what the model put out.
        classes: which it must have, by index.
    """
    if not isinstance(output, Tensor) or output.ndim != 2:
        what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"Expected one row of class scores for each image, (N, classes), got {what}. "
            "A model with another output can be looked at with viz.capture and viz.feature_maps."
        )
    if max(classes, default=0) >= output.shape[1]:
        raise ValueError(
            f"There is no class {max(classes)}. This model's classes go from 0 to "
            f"{output.shape[1] - 1}."
        )
    return output


def class_label(model: nn.Module, index: int, *, labels: Sequence[str] | None = None) -> str:
    """Return the name of a class, or its number as text where the model has no names."""
    names = _labels(model, labels)
    return names[index] if index < len(names) else str(index)


def class_index(model: nn.Module, target: int | str, *, labels: Sequence[str] | None = None) -> int:
    """Return the index of a class that is given by index or by name.

    Args:
        model: a classifier.
        target: an index, or a class name (upper and lower case are alike).
        labels: class names, for a module of the user's own.

    Raises:
        ValueError: no such class, or a name that two classes share (ImageNet has two cranes).

    Example:
        >>> import vizhelpers as viz
        >>> class_index(viz.load_model(), "tabby")
        281
    """
    names = _labels(model, labels)
    if isinstance(target, str):
        return _index_of_name(target, names)
    try:
        index = whole("target", target)
    except TypeError:
        raise TypeError(f"A class is an index or a name, not {said(target)}.") from None
    if index < 0 or (names and index >= len(names)):
        last = f" to {len(names) - 1}" if names else ""
        raise ValueError(f"There is no class {index}. This model's classes go from 0{last}.")
    return index


def _index_of_name(target: str, names: Sequence[str]) -> int:
    if not names:
        raise ValueError(
            f"This model has no class names, so {target!r} says nothing to it. "
            "Give the class index, or pass labels=."
        )
    exact = [i for i, name in enumerate(names) if name == target]
    found = exact or [i for i, name in enumerate(names) if name.lower() == target.lower().strip()]
    if len(found) > 1:
        raise ValueError(f"{len(found)} classes are called {target!r}: {found}. Give the index.")
    if not found:
        raise unknown("class", target, names, "Class names stand in the model's labels.")
    return found[0]


@dataclass(frozen=True)
class Target:
    """The class that is asked for, of one image or of several.

    Attributes:
        indices: a class index for each image.
        name: what it is called in an axis.
        names: what it is called for each image.
    """

    indices: Sequence[int]
    name: str
    names: Sequence[str]

    def title(self, image: int) -> str:
        """Return what stands above one image's picture."""
        return self.name if len(self.names) == 1 else f"image {image} · {self.names[image]}"


def wanted_classes(
    model: nn.Module, targets: Sequence[int | str | None], *, labels: Sequence[str] | None = None
) -> list[int | None]:
    """Return the indices of classes that are asked for; None, the predicted one, stays None.

    Raises:
        ValueError: as ``class_index``.
    """
    return [None if one is None else class_index(model, one, labels=labels) for one in targets]


def targets_of(
    model: nn.Module,
    wanted: Sequence[int | None],
    output: Any,
    images: int,
    *,
    labels: Sequence[str] | None = None,
) -> list[Target]:
    """Return for each class that is asked for what it is for each image, and what it is called.

    Args:
        model: a classifier.
        wanted: class indices; None is what each image is predicted to be.
        output: what the model put out; only looked at for None.
        images: how many.
        labels: class names, for a module of the user's own.
    """
    predicted = class_scores(output).argmax(dim=1).tolist() if None in wanted else []
    each = [predicted if index is None else [index] * images for index in wanted]
    return [_target(model, indices, labels) for indices in each]


def _target(model: nn.Module, indices: Sequence[int], labels: Sequence[str] | None) -> Target:
    names = [class_label(model, index, labels=labels) for index in indices]
    return Target(indices, names[0] if len(set(names)) == 1 else "predicted", names)


def _labels(model: nn.Module, labels: Sequence[str] | None) -> Sequence[str]:
    if labels is not None:
        return texts("labels", labels)
    known = card(model)
    return known.labels if known else ()
