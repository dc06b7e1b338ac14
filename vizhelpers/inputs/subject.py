"""Validate a model and its input once, in a public function, as a ``Subject``."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.inputs.classes import UNNAMED, ClassNames, class_names
from vizhelpers.inputs.models import title_warning
from vizhelpers.inputs.modules import unwrapped


class HasTensor(Protocol):
    """Any object with a network input ``x``, such as a ``Sample``."""

    @property
    def x(self) -> Tensor:
        """Network input, (N, C, H, W)."""
        ...


@dataclass(frozen=True)
class Subject:
    """A model and the input that it runs on, both validated.

    A public function makes a subject from its arguments; the code behind it validates nothing
    again.

    Attributes:
        model: the module inside ``torch.compile`` or ``DataParallel``.
        x: network input (N, C, H, W), detached.
        view: the photograph's crop that ``x`` shows, (H, W, 3) uint8; None for a tensor.
        classes: the names of the model's classes.
    """

    model: nn.Module
    x: Tensor
    view: np.ndarray | None = None
    classes: ClassNames = UNNAMED

    @property
    def warning(self) -> str:
        """Text before each title: "RANDOM weights · " for an untrained model, else ""."""
        return title_warning(self.model)

    def with_sample(self, sample: HasTensor | Tensor) -> "Subject":
        """Return a subject of the same model and another input, which is validated."""
        return replace(self, x=input_tensor(self.model, sample).detach(), view=_view(sample))


def validated(
    model: nn.Module,
    sample: HasTensor | Tensor,
    *,
    labels: Sequence[str] | None = None,
    axes: int | None = 4,
) -> Subject:
    """Validate a model, its input and its class names.

    Whether the model can run on the input is found only by running it (``passes.forward``).

    Args:
        model: the network, perhaps compiled or in ``DataParallel``.
        sample: a ``Sample``, or a floating-point tensor.
        labels: class names; None takes those that the model was loaded with.
        axes: required number of axes, 4 for images (N, C, H, W); None accepts any.

    Raises:
        TypeError: ``sample`` is not a tensor, or ``model`` is not a module.
        ValueError: wrong number of axes, an empty tensor, not floating point, NaN or infinite
            values; or labels that are not one name for each class.
    """
    inside = unwrapped(model)
    x = input_tensor(inside, sample, axes=axes).detach()
    return Subject(inside, x, _view(sample), class_names(inside, labels))


def _view(sample: object) -> np.ndarray | None:
    return None if isinstance(sample, Tensor) else getattr(sample, "view", None)


def input_tensor(model: nn.Module, sample: Any, *, axes: int | None = 4) -> Tensor:
    """Return the tensor of a ``Sample``, or the tensor itself, validated as in ``request``."""
    x = getattr(sample, "x", sample)
    if not isinstance(x, Tensor):
        raise TypeError(
            f"Expected a Sample or a tensor, got {type(sample).__name__}. "
            "viz.prepare(model, image) makes a Sample from a photograph."
        )
    unbatched = (
        x.ndim == 3 and _kinds(model) & {"Conv2d", "LazyConv2d"} and not _takes_signals(model)
    )
    if x.ndim == 0 or unbatched or (axes is not None and x.ndim != axes):
        shape, remedy = tuple(x.shape), _way_to_images(model, x)
        raise ValueError(f"Expected a tensor (N, C, H, W), got shape {shape}. {remedy}")
    if 0 in x.shape:
        raise ValueError(f"The input is empty: shape {tuple(x.shape)}.")
    if not x.is_floating_point():
        raise ValueError(
            f"Expected a floating point tensor, got {x.dtype}. Convert and normalise it as in "
            "training, or use viz.prepare(model, image)."
        )
    if not x.is_meta and not torch.isfinite(x).all():
        raise ValueError("The input holds NaN or infinite values. Check how it was preprocessed.")
    return x


def _way_to_images(model: nn.Module, x: Tensor) -> str:
    """Return how to make a batch of images from a tensor with the wrong number of axes."""
    if x.ndim == 3 and not _takes_signals(model):
        return "One image (C, H, W) becomes a batch with x.unsqueeze(0)."
    if x.ndim == 2 and "Conv2d" in _kinds(model):
        return "One grey image (H, W) becomes a batch with x[None, None]."
    return (
        "Only maps of images can be drawn; viz.capture returns a layer's output for any input, "
        "such as a signal or a volume."
    )


def _kinds(model: nn.Module) -> set[str]:
    return {kind.__name__ for module in model.modules() for kind in type(module).__mro__}


def _takes_signals(model: nn.Module) -> bool:
    """Return whether the model has 1-d convolutions, so that (N, C, L) is a batch."""
    return bool(_kinds(model) & {"Conv1d", "LazyConv1d", "ConvTranspose1d"})
