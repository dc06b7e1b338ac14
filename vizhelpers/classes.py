"""Classes: what a model answers, and which class is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vizhelpers.arguments import texts, whole
from vizhelpers.errors import said, unknown
from vizhelpers.inputs import HasTensor, input_tensor
from vizhelpers.layers import captured
from vizhelpers.models import card

ClassName = int | str | None
"""A class by index or name; None is the predicted class."""


@dataclass(frozen=True)
class Prediction:
    """One line of a model's answer.

    Attributes:
        index: of the class.
        label: its name, or the index as text.
        probability: between 0 and 1.
        assumed: how the model's output was taken where that is not the softmax of logits, in words.
    """

    index: int
    label: str
    probability: float
    assumed: str = ""

    def __repr__(self) -> str:
        """Show the name first: that is what a reader looks for."""
        note = f" ({self.assumed})" if self.assumed else ""
        return f"{self.label} ({self.index}) {self.probability:.3f}{note}"


def predict(
    model: nn.Module, sample: HasTensor | Tensor, k: int = 5, *, labels: Sequence[str] | None = None
) -> list[Prediction]:
    """Return the ``k`` most probable classes of one photograph, most probable first.

    A row of outputs that sums to 1, and one that comes from a sigmoid, are probabilities already.
    Of a single logit the sigmoid is taken, of several the softmax. ``Prediction.assumed`` says so
    where it is not the softmax.

    Args:
        model: a classifier.
        sample: a ``Sample``, or a tensor (1, C, H, W).
        k: how many; all of them if the model has fewer.
        labels: class names, for a module of the user's own; without any, classes are numbers.

    Raises:
        ValueError: more than one photograph, ``k`` below 1, an output that holds NaN, or what
            ``capture`` refuses.

    Example:
        >>> import vizhelpers as viz
        >>> model = viz.load_model()
        >>> predict(model, viz.prepare(model, "panda"), k=1)
        [giant panda (388) 1.000]
    """
    k = whole("k", k, 1)
    x = input_tensor(model, sample, axes=None)
    if len(x) != 1:
        raise ValueError(f"predict takes one photograph, got {len(x)}; loop over x[i:i + 1].")
    scores, ending = logits_and_ending(model, x)
    shares, assumed = probabilities(scores, ending)
    top = shares[0].topk(min(k, shares.shape[1]))
    return [
        Prediction(index, class_label(model, index, labels=labels), probability, assumed)
        for index, probability in zip(top.indices.tolist(), top.values.tolist(), strict=True)
    ]


def logits(model: nn.Module, x: Tensor) -> Tensor:
    """Return the model's output before softmax, (N, classes), in eval mode, without gradients."""
    return logits_and_ending(model, x)[0]


def logits_and_ending(model: nn.Module, x: Tensor) -> tuple[Tensor, str]:
    """Return the model's output, (N, classes), and the function that it ends with, as a word.

    The word is "sigmoid" or "softmax", or "" where it is neither.
    """
    with _Ending() as ending:
        output = captured(model, x, [])[1]
    return class_scores(output, images=len(x)).detach(), ending.of(output)


class _Ending(TorchFunctionMode):
    """Watch whether a model's output comes straight from a sigmoid or a softmax.

    Its values cannot tell: a logit of 0.3 and a probability of 0.3 look alike.
    """

    _functions = {  # noqa: RUF012
        torch.sigmoid: "sigmoid", torch.sigmoid_: "sigmoid", Tensor.sigmoid: "sigmoid",
        Tensor.sigmoid_: "sigmoid", F.sigmoid: "sigmoid", torch.special.expit: "sigmoid",
        torch.softmax: "softmax", Tensor.softmax: "softmax", F.softmax: "softmax",
    }  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._last: tuple[Tensor, str] | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in self._functions:
            self._last = output, self._functions[func]
        return output

    def of(self, output: Any) -> str:
        """Return the word for an output that is, or is a view of, the last such result."""
        if self._last is None or not isinstance(output, Tensor):
            return ""
        result, word = self._last
        same = output.untyped_storage().data_ptr() == result.untyped_storage().data_ptr()
        return word if same else ""


def probabilities(scores: Tensor, ending: str = "") -> tuple[Tensor, str]:
    """Return a model's output as probabilities, (N, classes), and what was assumed, in words.

    Args:
        scores: its output, (N, classes).
        ending: the function it ends with, as ``logits_and_ending`` returns it.
    """
    scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
    if ending == "sigmoid":
        return scores, "the model ends in a sigmoid"
    if ending == "softmax":
        return scores, "the model ends in a softmax"
    if scores.shape[1] == 1:
        return scores.sigmoid(), "sigmoid of the only output"
    off = (scores.detach().sum(dim=1) - 1).abs().max()
    if scores.min() >= 0 and off < 1e-2:
        return scores, "the outputs sum to 1: taken as probabilities"
    return scores.softmax(dim=1), ""


def class_scores(output: Any, classes: Sequence[int] = (), *, images: int | None = None) -> Tensor:
    """Return a model's output as rows of scores, (N, classes); refuse any other output.

    Args:
        output: what the model put out; of one number for each image, (N,), a column is made.
        classes: which it must have, by index.
        images: N, where it is known.

    Raises:
        ValueError: another shape, a class that it does not have, or NaN.
    """
    if isinstance(output, Tensor) and output.ndim == 1 and len(output) == images:
        output = output[:, None]
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
    for word, wrong in (("NaN", output.isnan()), ("infinite values", output.isposinf())):
        if wrong.any():
            raise ValueError(
                f"The model's output holds {word}, in {int(wrong[0].sum())} of {output.shape[1]} "
                "classes: its weights diverged in training, or numbers overflowed. "
                "viz.feature_maps(model, sample, layer) shows in which layer that begins."
            )
    return output


def each_class(scores: Tensor, target: int | Sequence[int | None] | None) -> list[int]:
    """Return a class for each image: the one asked for, or where it is None the predicted one."""
    predicted = scores.argmax(dim=1).tolist()
    each = [target] * len(scores) if target is None or isinstance(target, int) else target
    return [top if one is None else one for top, one in zip(predicted, each, strict=True)]


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


Wanted = int | list[int | None] | None
"""A class that is asked for: one index for all images, one for each, or None for the predicted."""


def wanted_classes(
    model: nn.Module,
    targets: Sequence[ClassName | Sequence[ClassName]],
    images: int,
    *,
    labels: Sequence[str] | None = None,
) -> list[Wanted]:
    """Return the indices of classes that are asked for; None, the predicted one, stays None.

    Args:
        model: a classifier.
        targets: each an index, a name, None, or a list of those with one for each image.
        images: how many.
        labels: class names, for a module of the user's own.

    Raises:
        ValueError: as ``class_index``; or a list of another length.
    """

    def index(target: Any) -> Any:
        return None if target is None else class_index(model, target, labels=labels)

    def wanted(target: Any) -> Wanted:
        if not isinstance(target, (list, tuple, range)) and getattr(target, "ndim", 0) != 1:
            return index(target)
        each = [index(one) for one in target]
        if len(each) != images:
            raise ValueError(
                f"target={said(target)}: {len(each)} classes for {images} "
                f"image{'s' * (images > 1)}. A list has one class for each image."
            )
        return each

    return [wanted(target) for target in targets]


def targets_of(
    model: nn.Module,
    wanted: Sequence[Wanted],
    output: Any,
    images: int,
    *,
    labels: Sequence[str] | None = None,
) -> list[Target]:
    """Return for each class that is asked for what it is for each image, and what it is called.

    Args:
        model: a classifier.
        wanted: as ``wanted_classes`` returns them.
        output: what the model put out; only looked at where a predicted class is asked for.
        images: how many.
        labels: class names, for a module of the user's own.
    """

    def indices(one: Wanted) -> list[int]:
        if isinstance(one, int):
            return [one] * images
        if one is not None and None not in one:
            return [index for index in one if index is not None]
        return each_class(class_scores(output, images=images), one)

    return [_target(model, one, indices(one), labels) for one in wanted]


def _target(
    model: nn.Module, wanted: Wanted, indices: Sequence[int], labels: Sequence[str] | None
) -> Target:
    names = [class_label(model, index, labels=labels) for index in indices]
    several = "predicted" if wanted is None else "one for each image"
    return Target(indices, names[0] if len(set(names)) == 1 else several, names)


def _labels(model: nn.Module, labels: Sequence[str] | None) -> Sequence[str]:
    if labels is not None:
        return texts("labels", labels)
    known = card(model)
    return known.labels if known else ()
