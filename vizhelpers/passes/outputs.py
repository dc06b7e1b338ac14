"""Read a model's output: class scores, probabilities, and the class that a map explains."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vizhelpers.inputs.classes import ClassIndex
from vizhelpers.inputs.subject import Subject
from vizhelpers.passes.forward import evaluating, forward
from vizhelpers.passes.hooks import refuse_meta


def logits_and_ending(model: nn.Module, x: Tensor) -> tuple[Tensor, str]:
    """Return the output, (N, classes), and its last function: "sigmoid", "softmax" or ""."""
    with torch.no_grad(), evaluating(model), Ending() as ending:
        output = forward(model, x.clone())
    return class_scores(output, images=len(x)).detach(), ending.of(output)


class Ending(TorchFunctionMode):
    """Detect whether a model's output is the direct result of a sigmoid or a softmax.

    The values alone do not show it: 0.3 may be a logit or a probability.
    """

    _functions = {  # noqa: RUF012
        torch.sigmoid: "sigmoid", torch.sigmoid_: "sigmoid", Tensor.sigmoid: "sigmoid",
        Tensor.sigmoid_: "sigmoid", F.sigmoid: "sigmoid", torch.special.expit: "sigmoid",
        F.hardsigmoid: "sigmoid", torch.softmax: "softmax", Tensor.softmax: "softmax",
        F.softmax: "softmax",
    }  # fmt: skip
    # These return the values of their first argument.
    _keeping = {  # noqa: RUF012
        torch.clamp, Tensor.clamp, torch.clone, Tensor.clone, Tensor.float, Tensor.double,
        Tensor.half, Tensor.to, Tensor.contiguous, Tensor.reshape, torch.reshape,
    }  # fmt: skip

    def __init__(self) -> None:
        """Begin without a recorded result."""
        super().__init__()
        self._last: tuple[Tensor, str] | None = None
        self._name: str | None = None  # result of ``of``; later calls are not the model's

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function; record its result if it is a sigmoid or a softmax."""
        output = func(*args, **(kwargs or {}))
        if func in self._functions and self._name is None:
            self._last = output, self._functions[func]
        elif (
            func in self._keeping and self._last and args and _share_memory(args[0], self._last[0])
        ):
            self._last = output, self._last[1]
        return output

    def of(self, output: Any) -> str:
        """Return "sigmoid" or "softmax" if ``output`` is its result or a view of it, else ""."""
        if self._name is None:
            self._name = (
                self._last[1] if self._last and _share_memory(output, self._last[0]) else ""
            )
        return self._name


def _share_memory(a: Any, b: Any) -> bool:
    """Return whether two objects are tensors that share memory."""
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return False
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def probabilities(scores: Tensor, ending: str = "") -> tuple[Tensor, str]:
    """Return a model's output as probabilities, (N, classes), and ``Prediction.assumed``.

    Args:
        scores: the model's output, (N, classes).
        ending: the model's last function, as ``logits_and_ending`` returns it.
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


def already_probability(output: Any, ending: str) -> str:
    """Return why a model's output is taken for probabilities, in words; "" for logits.

    Args:
        output: the model's output.
        ending: the model's last function, as ``logits_and_ending`` returns it.
    """
    if not isinstance(output, Tensor) or output.ndim != 2:
        return ""
    single_logit = output.shape[1] == 1 and not ending
    return "" if single_logit else probabilities(output, ending)[1]


def class_scores(output: Any, classes: Sequence[int] = (), *, images: int | None = None) -> Tensor:
    """Return a model's output as rows of class scores, (N, classes); validate it.

    Args:
        output: the model's output; one number for each image, (N,), becomes (N, 1), and of one
            image a row without its batch axis becomes (1, classes).
        classes: class indices that must exist.
        images: N, if it is known.

    Raises:
        ValueError: an output of another shape, a class that does not exist, or NaN.
    """
    if isinstance(output, Tensor) and images is not None:
        if images == 1 and output.ndim < 2:  # forward ends in squeeze()
            output = output.reshape(1, -1)
        elif output.ndim == 1 and len(output) == images:
            output = output[:, None]
    if not isinstance(output, Tensor) or output.ndim != 2:
        what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"Expected class scores of shape (N, classes) from the model, got {what}. Wrap it in a "
            "module whose forward returns the logits alone; viz.capture and viz.feature_maps work "
            "without that."
        )
    if images is not None and len(output) != images:
        raise ValueError(
            f"The model returned {len(output)} rows of scores for {images} image"
            f"{'s' * (images > 1)}. If forward flattens with x.view(-1, n), an input of another "
            "size becomes several rows: use an input of the size that the model was built for, or "
            "write x.flatten(1), which reports the wrong size."
        )
    if max(classes, default=0) >= output.shape[1]:
        last = output.shape[1] - 1
        note = " Its only output stands for the second of two classes." if last == 0 else ""
        raise ValueError(
            f"There is no class {max(classes)}. This model's classes go from 0 to {last}.{note}"
        )
    refuse_meta(output)
    for word, wrong in (("NaN", output.isnan()), ("infinite values", output.isposinf())):
        if wrong.any():
            raise ValueError(
                f"The model's output holds {word}, in {int(wrong[0].sum())} of {output.shape[1]} "
                "classes: its weights diverged in training, or values overflowed. "
                "viz.feature_maps(model, sample, layer) shows in which layer that begins."
            )
    return output


def each_class(scores: Tensor, target: int | Sequence[int | None] | None) -> list[int]:
    """Return a class index for each image: ``target``, or the predicted class if that is None."""
    predicted = scores.argmax(dim=1).tolist()
    each = [target] * len(scores) if target is None or isinstance(target, int) else target
    return [top if index is None else index for top, index in zip(predicted, each, strict=True)]


@dataclass(frozen=True)
class Target:
    """The class that a map explains, for each image.

    Attributes:
        indices: a class index for each image.
        name: the label on an axis; "predicted" or "one for each image" if the images' classes
            differ.
        names: a class name for each image.
    """

    indices: Sequence[int]
    name: str
    names: Sequence[str]

    def title(self, image: int) -> str:
        """Return the title of one image's map."""
        return self.name if len(self.names) == 1 else f"image {image} · {self.names[image]}"


def targets_of(subject: Subject, class_indices: Sequence[ClassIndex], output: Any) -> list[Target]:
    """Return a ``Target`` for each requested class, with its index and name for each image.

    Args:
        subject: the model and its images.
        class_indices: from ``ClassNames.indices``.
        output: the model's output; its values are read only if a predicted class is requested.
    """
    images = len(subject.x)
    outputs = 0
    if isinstance(output, Tensor) and output.ndim > 0:
        outputs = output.shape[1] if output.ndim == 2 else 1

    def indices(target: ClassIndex) -> list[int]:
        if isinstance(target, int):
            return [target] * images
        if target is not None and None not in target:
            return [index for index in target if index is not None]
        return each_class(class_scores(output, images=images), target)

    def target_of(target: ClassIndex) -> Target:
        each = indices(target)
        names = [subject.classes.of(index, outputs) for index in each]
        differing = "predicted" if target is None else "one for each image"
        return Target(each, names[0] if len(set(names)) == 1 else differing, names)

    return [target_of(target) for target in class_indices]
