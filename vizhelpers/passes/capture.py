"""Run a model and return what some of its layers put out."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vizhelpers.inputs.layers import Layer, paths_of
from vizhelpers.inputs.subject import HasTensor, validated
from vizhelpers.passes.attributes import attributes_restored
from vizhelpers.passes.forward import evaluating, forward
from vizhelpers.passes.hooks import recording, watching_calls
from vizhelpers.passes.recording import Reached
from vizhelpers.passes.traits import Traits, learning, traits_of


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
    subject = validated(model, sample, axes=None)
    return layer_outputs(subject.model, subject.x, paths_of(subject.model, layers))


def captured(model: nn.Module, x: Tensor, names: Sequence[str]) -> tuple[dict[str, Tensor], Any]:
    """Return ``{name: output}`` of layers, detached, and the model's output of the same pass."""
    with torch.no_grad(), evaluating(model):
        outputs, output = recorded(model, x, names)
    return {name: out.detach() for name, out in outputs.items()}, output


def layer_outputs(model: nn.Module, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Return ``{name: output}`` of layers, detached; the pass may stop behind the last of them."""
    with torch.no_grad(), evaluating(model):
        outputs, _ = recorded(model, x, names, stop=True)
    return {name: out.detach() for name, out in outputs.items()}


def recorded(
    model: nn.Module,
    x: Tensor,
    names: Sequence[str],
    *,
    stop: bool = False,
    front: bool = False,
) -> tuple[dict[str, Tensor], Any]:
    """Run the model on a copy of ``x``; return ``{name: output}`` of layers, graph attached.

    The first pass for a model and a shape runs whole; later ones may stop behind the last of these
    layers, if the first one has shown that the model allows it (``traits``).

    Args:
        model: the module inside its wrappers; the caller sets train or eval mode, and autograd.
        x: network input.
        names: dotted module paths.
        stop: let the pass end behind the last of these layers; the model's output is then None.
        front: accept that the model cannot run on this input behind these layers.

    Returns:
        The outputs in the order of ``names``, and the model's own output.
    """
    traits = traits_of(model, x, "front" if front else "") if stop else Traits(predictable=False)
    if traits.predictable and traits.runs and all(traits.runs[name] == 1 for name in names):
        if outputs := _stopped(model, x, names):
            return outputs, None
        traits.predictable = False
    output: Any = None
    with recording(model, names) as record, learning(traits, model, x):
        try:
            output = forward(model, x.clone())
        except ValueError as error:
            if not front or error.__cause__ is None or len(record.outputs) < len(names):
                raise
    return record.pick(names), output


def _stopped(model: nn.Module, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Return ``{name: output}`` of a pass that stops; empty if the model did not let it stop."""
    with attributes_restored(model), recording(model, names, stop=True) as record:
        try:
            forward(model, x.clone())
        except Reached:
            return record.pick(names)
        except Exception:
            if not record.stopped:  # else forward has turned ``Reached`` into another error
                raise
    return {}


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


def run_to(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    """Return one layer's output, graph attached; the pass may stop behind the layer.

    Args:
        model: any module; the caller sets train or eval mode, and whether autograd is on.
        x: network input (N, C, H, W); what lies behind the layer need not accept its size.
        layer: dotted module path.

    Raises:
        ValueError: as ``capture``.
    """
    return recorded(model, x, [layer], stop=True, front=True)[0][layer]
