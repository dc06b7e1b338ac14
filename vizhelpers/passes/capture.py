"""Run a model and return what some of its layers put out."""

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vizhelpers.inputs.layers import Layer, paths_of
from vizhelpers.inputs.request import HasTensor, request
from vizhelpers.passes.forward import evaluating, forward
from vizhelpers.passes.hooks import (
    _not_one_tensor,
    _refuse_scripted,
    pick,
    recording,
    watching_calls,
)


def capture(
    model: nn.Module, sample: HasTensor | Tensor, layers: Layer | Sequence[Layer]
) -> dict[str, Tensor]:
    """Run the model once and return the output of each named layer, in the layer's own shape.

    Each tensor is the layer's *own* output: a later ``ReLU(inplace=True)`` does not overwrite it.
    The pass runs in eval mode and without gradients.

    Args:
        model: any module that takes one tensor.
        sample: a ``Sample``, or a tensor (N, …) on the model's device.
        layers: one layer or several, each by its dotted path or as the module itself.

    Returns:
        ``{name: output}`` in the order of ``layers``, detached, on the model's device.

    Raises:
        ValueError: an unknown layer; a layer that does not return one tensor, runs more than
            once, or does not run; an input that the model cannot run on. All hooks are removed.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True))
        >>> capture(net, torch.zeros(1, 3, 8, 8), "0")["0"].shape
        torch.Size([1, 8, 6, 6])
    """
    checked = request(model, sample, axes=None)
    return captured(checked.model, checked.x, paths_of(checked.model, layers))[0]


def captured(model: nn.Module, x: Tensor, names: Sequence[str]) -> tuple[dict[str, Tensor], Any]:
    """Return ``capture``'s ``{name: output}``, and the model's own output of the same pass."""
    with torch.no_grad(), evaluating(model), recording(model, names) as record:
        output = forward(model, x.clone())
    return {name: out.detach() for name, out in pick(record, names).items()}, output


def output_shapes(model: nn.Module, x: Tensor, *, once: bool = False) -> dict[str, tuple[int, ...]]:
    """Run the model once and return the output shape of every module that returns one tensor.

    Args:
        model: any module; on the meta device this costs no arithmetic.
        x: network input (N, C, H, W) on the model's device.
        once: leave out modules that run more than once, which ``capture`` refuses.

    Returns:
        ``{dotted name: shape}``; for a module that runs more than once, the shape of its last run.
    """
    shapes: dict[nn.Module, tuple[int, ...]] = {}
    runs: Counter[nn.Module] = Counter()

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        runs[module] += 1
        if isinstance(output, Tensor):
            shapes[module] = tuple(output.shape)

    with torch.no_grad(), evaluating(model), watching_calls(model, leave):
        forward(model, x)
    named = [(name, module) for name, module in model.named_modules() if module in shapes]
    return {name: shapes[module] for name, module in named if not once or runs[module] == 1}


class _Reached(BaseException):
    """Raised by a hook to end a forward pass; not an ``Exception``, so no model swallows it."""


def run_to(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    """Run the model only as far as ``layer`` and return that layer's output, graph attached.

    Args:
        model: any module; the caller sets train or eval mode, and whether autograd is on.
        x: network input (N, C, H, W).
        layer: dotted module path.

    Returns:
        The layer's own output.
    """
    reached: list[Any] = []
    thread = threading.get_ident()

    def stop(module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() == thread:
            reached.append(output)
            raise _Reached

    module = model.get_submodule(layer)
    _refuse_scripted(layer, module)
    handle = module.register_forward_hook(stop)
    try:
        forward(model, x)
    except _Reached:
        pass
    finally:
        handle.remove()
    if not reached:
        pick({}, [layer])
    if not isinstance(reached[0], Tensor):
        raise _not_one_tensor(model, layer, reached[0])
    return reached[0]
