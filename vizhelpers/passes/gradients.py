"""Gradients of a class score with respect to the input or to a layer's activations.

As in ``capture``, the model is left unchanged, including the ``.grad`` of its parameters.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vizhelpers.passes.capture import recorded
from vizhelpers.passes.failures import cause_of
from vizhelpers.passes.forward import evaluating, forward
from vizhelpers.passes.outputs import Ending, class_scores, each_class, probabilities
from vizhelpers.view.live.progress import steps

Score = Callable[[Tensor], Tensor]


def logit_of(target: int | Sequence[int | None] | None) -> Score:
    """Return a function from logits (N, classes) to one class's logit, summed over the images.

    Args:
        target: one class for all images, or one for each; None is each image's predicted class.
            In eval mode an image's logit does not depend on the other images, so the gradient of
            the sum holds each image's own gradient.
    """
    return lambda scores: _column(scores, each_class(scores, target)).sum()


def probability_of(target: int | Sequence[int | None] | None, ending: str = "") -> Score:
    """Return a function from logits (N, classes) to one class's probability, summed over images.

    The probability also rises if the logits of other classes fall, so its gradient depends on them.

    Args:
        target: as in ``logit_of``.
        ending: the model's last function, as ``outputs.logits_and_ending`` returns it.
    """
    return lambda scores: _column(
        probabilities(scores, ending)[0], each_class(scores, target)
    ).sum()


def _column(scores: Tensor, each: Sequence[int]) -> Tensor:
    return class_scores(scores, each)[range(len(scores)), each]


@contextmanager
def _differentiable(model: nn.Module, x: Tensor) -> Iterator[Tensor]:
    """Yield a copy of ``x`` that requires grad, with autograd on and the model in eval mode."""
    with torch.inference_mode(False), torch.enable_grad(), evaluating(model):
        yield x.detach().clone().requires_grad_()


def gradients_of(
    score: Tensor,
    tensors: Sequence[Tensor],
    model: nn.Module,
    names: Sequence[str],
    *,
    retain_graph: bool = False,
) -> tuple[Tensor, ...]:
    """Return d score / d tensor for each tensor, in its shape, detached; ``.grad`` is not changed.

    Args:
        score: a scalar with an autograd graph.
        tensors: inputs or activations in that graph.
        model: the model that was run, for error texts.
        names: of the tensors, for error texts, such as "layer 'conv1'".
        retain_graph: keep the graph for another call.

    Raises:
        ValueError: no gradient reaches a tensor; the text says why, and what to change.
    """
    inputs = list(tensors)
    try:
        gradients = torch.autograd.grad(score, inputs, retain_graph=retain_graph, allow_unused=True)
    except RuntimeError as error:
        without = [n for n, t in zip(names, inputs, strict=True) if not t.requires_grad]
        if explained := cause_of(model, error, (without or list(names))[0]):
            raise ValueError(explained) from error
        raise
    for name, gradient in zip(names, gradients, strict=True):
        if gradient is None:
            error = RuntimeError("tensors appear to not have been used in the graph")
            raise ValueError(cause_of(model, error, name))
    return tuple(gradient.detach() for gradient in gradients)


def activations_and_gradients(
    model: nn.Module,
    x: Tensor,
    names: Sequence[str],
    scores: Sequence[Score],
    *,
    check: Callable[[str, Tensor], object] | None = None,
    reduce: Callable[[str, Tensor, Tensor], Any] = lambda name, activation, gradient: gradient,
    ending: Ending | None = None,
) -> tuple[dict[str, Tensor], dict[str, tuple[Any, ...]], Tensor]:
    """Return each layer's activations, their gradient for each score, and the logits.

    One forward pass, and one backward pass for each score, serve all layers.

    Args:
        model: any classifier that takes one tensor.
        x: network input (N, C, H, W) on the model's device.
        names: dotted paths of layers.
        scores: functions from logits (N, classes) to a scalar, such as ``logit_of(281)``.
        check: called with each layer's path and activation before the backward passes; it raises an
            error if the caller cannot use the activation.
        reduce: called after each backward pass with each layer's path, activation and gradient;
            returns what is kept instead of the gradient.
        ending: watches the forward pass.

    Returns:
        ``{name: activation}``; ``{name: gradients}``, one d score / d activation for each score,
        of the activation's shape; and the logits of the same pass, (N, classes). Parameters'
        ``.grad`` are not changed.

    Raises:
        ValueError: as ``capture``.
    """
    with _differentiable(model, x) as leaf:
        with ending or nullcontext():
            outputs, output = recorded(model, leaf, names)
        output = class_scores(output, images=len(leaf))
        for name, out in outputs.items():
            if check is not None:
                check(name, out)
        tensors, what = list(outputs.values()), [f"layer {name!r}" for name in names]
        activations = {name: out.detach() for name, out in outputs.items()}
        kept: dict[str, list[Any]] = {name: [] for name in names}
        for score in steps(scores, "class"):
            gradients = gradients_of(score(output), tensors, model, what, retain_graph=True)
            for name, gradient in zip(names, gradients, strict=True):
                kept[name].append(reduce(name, activations[name], gradient))
    return activations, {name: tuple(row) for name, row in kept.items()}, output.detach()


def input_gradient(model: nn.Module, x: Tensor, score: Score, *, guided: bool = False) -> Tensor:
    """Return d score / d input, signed, (N, C, H, W)."""
    return input_gradients(model, x, [score], guided=guided)[0][0]


def input_gradients(
    model: nn.Module,
    x: Tensor,
    scores: Sequence[Score],
    *,
    guided: bool = False,
    ending: Ending | None = None,
) -> tuple[list[Tensor], Tensor]:
    """Return d score / d input, (N, C, H, W), for each score, and the logits.

    This takes one forward pass, and one backward pass for each score.

    Args:
        model: any classifier that takes one tensor.
        x: network input (N, C, H, W) on the model's device.
        scores: functions from logits (N, classes) to a scalar, such as ``logit_of(281)``.
        guided: at each ReLU also set negative gradients to zero in the backward pass
            (Springenberg et al. 2014, "Striving for Simplicity").
        ending: watches the forward pass.

    Returns:
        The signed gradient of each score, (N, C, H, W); and the logits of the same pass.

    Raises:
        ValueError: as ``capture``; or ``guided`` if no ReLU lies between the pixels and the score.
    """
    if guided:
        refuse_scripted(model)
    with _differentiable(model, x) as leaf, ExitStack() as stack:
        relus = stack.enter_context(_GuidedReLU()) if guided else None
        with ending or nullcontext():
            output = class_scores(forward(model, leaf.clone()), images=len(leaf))
        several = len(scores) > 1  # for one score the graph is freed during the backward pass
        gradients = [
            gradients_of(score(output), [leaf], model, ["the pixels"], retain_graph=several)[0]
            for score in steps(scores, "class")
        ]
        if relus is not None and not relus.passed:
            raise ValueError(
                f"Guided backpropagation changes the gradient at each ReLU, and "
                f"{type(model).__name__} uses none between the pixels and the score. (ReLUs "
                "in a model from torch.export are not detected.) method='vanilla' works for every "
                "model."
            )
    return gradients, output.detach()


def refuse_scripted(model: nn.Module) -> None:
    """Raise a ``ValueError`` if a model has a TorchScript part: its ReLUs cannot be overridden."""
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(
                f"{f'Layer {name!r}' if name else 'The model'} is TorchScript, whose ReLUs guided "
                "backpropagation cannot change. Use the Python module that was scripted or traced, "
                "or the plain gradient: method='vanilla', or guided=False in viz.flash."
            )


def uses_relu(model: nn.Module, x: Tensor) -> bool:
    """Return whether a gradient from the output to the pixels passes a ReLU; x may be on meta."""
    with _differentiable(model, x) as leaf, _GuidedReLU() as relus:
        output = forward(model, leaf.clone())
        if isinstance(output, Tensor) and output.requires_grad:
            torch.autograd.grad(output.sum(), leaf, allow_unused=True)
    return bool(relus.passed)


class _PositiveGradient(torch.autograd.Function):
    """Identity in the forward pass; negative gradients become zero in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, passed: list[bool]) -> Tensor:
        ctx.passed = passed
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ctx.passed.append(True)
        return gradients[0].clamp(min=0), None


class _GuidedReLU(TorchFunctionMode):
    """Apply ``_PositiveGradient`` to each ReLU's output in a ``with`` block.

    A torch function mode intercepts ``nn.ReLU``, ``F.relu`` and ``torch.relu`` alike, in-place or
    not, and only in this thread. Module hooks would miss the functional calls, and backward hooks
    fail with in-place operations.
    """

    _relus = frozenset({F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_})

    def __init__(self) -> None:
        super().__init__()
        # One entry for each ReLU that a gradient passed through. A ReLU that was only called does
        # not count: Swin V2's only ReLU computes a table that does not depend on the pixels.
        self.passed: list[bool] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func not in self._relus and not _is_relu6(func, args, kwargs or {}):
            return output
        return _PositiveGradient.apply(output, self.passed)


def _is_relu6(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Return whether a call is ReLU6, or a hardtanh from 0, which ``nn.ReLU6`` calls."""
    if func in (F.hardtanh, F.hardtanh_):
        low = args[1] if len(args) > 1 else kwargs.get("min_val", -1.0)
        return bool(low == 0)
    return func is F.relu6
