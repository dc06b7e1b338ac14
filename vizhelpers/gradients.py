"""Gradients of a class's score: in the input's pixels, or in a layer's activations.

Like everything in ``layers``, this leaves the model as it was, parameters' ``.grad`` included.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vizhelpers.classes import class_scores, each_class, probabilities
from vizhelpers.inputs import HasTensor, bare, input_tensor
from vizhelpers.layers import Layer, as_list, pick, recording
from vizhelpers.passes import cause_of, evaluating, forward
from vizhelpers.progress import steps

Score = Callable[[Tensor], Tensor]


def logit_of(target: int | Sequence[int | None] | None) -> Score:
    """Return the score that most methods differentiate: the logit of one class, before softmax.

    Args:
        target: one class for all images, or one for each; None is what each is predicted to be.
            The sum over the images is the score; in eval mode no image's logit depends on another
            image, so its gradient is each one's.
    """
    return lambda scores: _column(scores, each_class(scores, target)).sum()


def probability_of(target: int | Sequence[int | None] | None, ending: str = "") -> Score:
    """Return the probability of a class as a score.

    Its gradient depends on the other classes too: what lowers their logits raises it.

    Args:
        target: as in ``logit_of``.
        ending: how the model's output becomes probabilities, as ``classes.probabilities`` takes it.
    """
    return lambda scores: _column(
        probabilities(scores, ending)[0], each_class(scores, target)
    ).sum()


def _column(scores: Tensor, each: Sequence[int]) -> Tensor:
    return class_scores(scores, each)[range(len(scores)), each]


@contextmanager
def _differentiable(model: nn.Module, x: Tensor) -> Iterator[Tensor]:
    """Yield a copy of ``x`` that gradients flow to, whatever autograd mode the caller is in."""
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
    """Return d score / d tensor for each tensor, detached; parameters' ``.grad`` stay as they are.

    Args:
        score: a scalar with a graph.
        tensors: inputs or activations of the graph.
        model: whose pass it was, for the error texts.
        names: what each tensor is, in words, such as "layer 'conv1'".
        retain_graph: keep the graph for another call.

    Raises:
        ValueError: no gradient reaches a tensor; the text says why, and the way on.
    """
    inputs = list(tensors)
    try:
        found = torch.autograd.grad(score, inputs, retain_graph=retain_graph, allow_unused=True)
    except RuntimeError as error:
        without = [n for n, t in zip(names, inputs, strict=True) if not t.requires_grad]
        if explained := cause_of(model, error, (without or list(names))[0]):
            raise ValueError(explained) from error
        raise
    for name, gradient in zip(names, found, strict=True):
        if gradient is None:
            error = RuntimeError("tensors appear to not have been used in the graph")
            raise ValueError(cause_of(model, error, name))
    return tuple(gradient.detach() for gradient in found)


def activations_and_gradients(
    model: nn.Module,
    sample: HasTensor | Tensor,
    layers: Layer | Sequence[Layer],
    scores: Sequence[Score],
    *,
    check: Callable[[str, Tensor], object] | None = None,
) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, ...]], Tensor]:
    """Run forward once and backward once for each score; return both sides of every layer.

    All layers are caught in the same passes, so ten layers cost no more than one.

    Args:
        model: any classifier that takes one tensor.
        sample: a ``Sample``, or a tensor (N, C, H, W) on the model's device.
        layers: dotted module paths.
        scores: functions from logits (N, classes) to a scalar, such as ``logit_of(281)``.
        check: gets each name and activation before anything is differentiated; it raises an error
            where the caller could not use them.

    Returns:
        ``{name: activation}`` with the layer's own shape; ``{name: gradients}``, of the same shape,
        d score / d activation for each score; and the logits of the same pass. Parameters'
        ``.grad`` stay as they are.

    Raises:
        ValueError: as ``capture``.
    """
    names = as_list(model, layers)
    x = input_tensor(model, sample)
    with _differentiable(model, x) as leaf, recording(model, names) as record:
        output = class_scores(forward(model, leaf.clone()), images=len(leaf))
        outputs = pick(record, names)
        for name, out in outputs.items():
            if check is not None:
                check(name, out)
        tensors, what = list(outputs.values()), [f"layer {name!r}" for name in names]
        rows = [
            gradients_of(score(output), tensors, model, what, retain_graph=True)
            for score in steps(scores, "class")
        ]
    activations = {name: out.detach() for name, out in outputs.items()}
    gradients = dict(zip(names, zip(*rows, strict=True), strict=True))
    return activations, gradients, output.detach()


def input_gradient(
    model: nn.Module, sample: HasTensor | Tensor, score: Score, *, guided: bool = False
) -> Tensor:
    """Return d score / d input, signed, (N, C, H, W): one of ``input_gradients``."""
    return input_gradients(model, sample, [score], guided=guided)[0][0]


def input_gradients(
    model: nn.Module,
    sample: HasTensor | Tensor,
    scores: Sequence[Score],
    *,
    guided: bool = False,
) -> tuple[list[Tensor], Tensor]:
    """Run forward once and backward once for each score, down to the input.

    These are the raw material of every saliency map.

    Args:
        model: any classifier that takes one tensor.
        sample: a ``Sample``, or a tensor (N, C, H, W) on the model's device.
        scores: functions from logits (N, classes) to a scalar, such as ``logit_of(281)``.
        guided: at each ReLU also drop what is negative on its way back (Springenberg et al. 2014,
            "Striving for Simplicity").

    Returns:
        For each score its signed gradient, (N, C, H, W); and the logits of the same pass.

    Raises:
        ValueError: as ``capture``; or ``guided`` where no ReLU lies between pixels and score.
    """
    x = input_tensor(model, sample)
    if guided:
        _refuse_scripted(model)
    with _differentiable(model, x) as leaf, ExitStack() as stack:
        relus = stack.enter_context(_GuidedReLU()) if guided else None
        output = class_scores(forward(model, leaf.clone()), images=len(leaf))
        several = len(scores) > 1  # one score lets go of the graph on its way back
        gradients = [
            gradients_of(score(output), [leaf], model, ["the pixels"], retain_graph=several)[0]
            for score in steps(scores, "class")
        ]
        if relus is not None and not relus.passed:
            raise ValueError(
                f"Guided backpropagation changes the gradient at each ReLU, and "
                f"{type(bare(model)).__name__} uses none between the pixels and the score (those "
                "of a model from torch.export are not seen). method='vanilla' works for every "
                "model."
            )
    return gradients, output.detach()


def _refuse_scripted(model: nn.Module) -> None:
    """Refuse a model with a TorchScript part: nothing outside of it sees its ReLUs."""
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(
                f"{f'Layer {name!r}' if name else 'The model'} is TorchScript, whose ReLUs guided "
                "backpropagation cannot change. Use the Python module that was scripted or traced, "
                "or the plain gradient: method='vanilla'."
            )


class _PositiveGradient(torch.autograd.Function):
    """Identity on the way forward; on the way back only what is positive passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, passed: list[bool]) -> Tensor:
        ctx.passed = passed
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ctx.passed.append(True)
        return gradients[0].clamp(min=0), None


class _GuidedReLU(TorchFunctionMode):
    """Send every ReLU's output through ``_PositiveGradient`` while the ``with`` block lasts.

    A torch function mode sees ``nn.ReLU``, ``F.relu`` and ``torch.relu`` alike, in-place or not,
    and belongs to this thread alone. Module hooks would miss the functional ones, and backward
    hooks do not work beside in-place operations.
    """

    _relus = frozenset({F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_})

    def __init__(self) -> None:
        super().__init__()
        # One entry for each ReLU that a gradient came through. Those that were merely called do
        # not count: Swin V2 has its only ReLU in a table that does not depend on the pixels.
        self.passed: list[bool] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func not in self._relus and not _is_relu6(func, args, kwargs or {}):
            return output
        return _PositiveGradient.apply(output, self.passed)


def _is_relu6(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call is ReLU6: zero below zero, and flat above six; ``nn.ReLU6`` is a hardtanh."""
    if func in (F.hardtanh, F.hardtanh_):
        low = args[1] if len(args) > 1 else kwargs.get("min_val", -1.0)
        return bool(low == 0)
    return func is F.relu6
