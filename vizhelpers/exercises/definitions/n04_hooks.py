"""Notebook 04: derive a receptive field; write a hook that cleans up; change a kept map."""

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.exercises.comparison import same
from vizhelpers.exercises.exercise import Exercise, Mistake
from vizhelpers.exercises.forbidden import Calls
from vizhelpers.exercises.judges import by_cases, by_paper_and_cases, central_crop, fault
from vizhelpers.exercises.model_state import State
from vizhelpers.exercises.runner import LEFT_BEHIND, Fault, Runner
from vizhelpers.exercises.solutions import n04_hooks as worked
from vizhelpers.exercises.traces import TRACES, Traced, refuse_traces
from vizhelpers.exercises.values import plain
from vizhelpers.inputs.models import load_model
from vizhelpers.passes.capture import capture
from vizhelpers.passes.forward import evaluating

Layers = list[tuple[int, int]]


def _receptive_field(layers: Layers) -> int:
    """Return the distance from the first to the last pixel that reaches a 1-D output cell."""
    convolutions = [nn.Conv1d(1, 1, kernel, stride, bias=False) for kernel, stride in layers]
    for convolution in convolutions:
        nn.init.ones_(convolution.weight)
    x = torch.ones(1, 1, 400, requires_grad=True)
    with torch.enable_grad():
        out = nn.Sequential(*convolutions)(x)[0, 0]
        (gradient,) = torch.autograd.grad(out[len(out) // 2], x)
    pixels = gradient[0, 0].nonzero()
    return int(pixels.max() - pixels.min()) + 1


def _layer_cases() -> list[tuple[Layers]]:
    return [
        ([(3, 2), (3, 2), (1, 1), (3, 1)],),
        ([(3, 1), (3, 1), (3, 1)],),
        ([(5, 1), (2, 2), (7, 3), (3, 1)],),
        ([(11, 4), (3, 2), (5, 1)],),
        ([(5, 2), (1, 2), (3, 2), (3, 1)],),
        ([(7, 2), (3, 2), (1, 1), (3, 1), (1, 2), (3, 1), (3, 2), (3, 1)],),
    ]


def _own_stride_counted(layers: Layers) -> int:
    size, step = 1, 1
    for kernel, stride in layers:
        step *= stride
        size += (kernel - 1) * step
    return size


def _kernels_multiplied_by_steps(layers: Layers) -> int:
    size, step = 0, 1
    for kernel, stride in layers:
        size += kernel * step
        step *= stride
    return size


def _last_stride_only(layers: Layers) -> int:
    strides = [1, *(stride for _, stride in layers)]
    return 1 + sum((kernel - 1) * strides[i] for i, (kernel, _) in enumerate(layers))


def _strides_added(layers: Layers) -> int:
    steps = [1 + sum(stride - 1 for _, stride in layers[:i]) for i in range(len(layers))]
    return 1 + sum((kernel - 1) * step for (kernel, _), step in zip(layers, steps, strict=True))


SEES_MISTAKES = {
    "strides ignored": Mistake(
        "the strides are ignored. After a stride of 2, neighbouring cells lie two pixels apart, so "
        "a later kernel spans twice as many.",
        lambda layers: 1 + sum(kernel - 1 for kernel, _ in layers),
    ),
    "kernels added": Mistake(
        "the kernels are simply added. A second 3x3 adds 2 pixels, not 3: the windows overlap.",
        lambda layers: sum(kernel for kernel, _ in layers),
    ),
    "own stride counted": Mistake(
        "a layer's own stride is counted too early. It increases the distance between the cells "
        "of later layers; its own window is not affected.",
        _own_stride_counted,
    ),
    "overlap forgotten": Mistake(
        "each layer adds (kernel - 1) steps, not kernel: the first cell is already there.",
        _kernels_multiplied_by_steps,
    ),
    "strides not multiplied": Mistake(
        "only the stride of the layer before counts. The distance between two cells is the product "
        "of all strides before the layer.",
        _last_stride_only,
    ),
    "strides added": Mistake(
        "the strides are added. Strides of 2 and 2 make a distance of 4: multiply them.",
        _strides_added,
    ),
    "1x1 layers skipped": Mistake(
        "1x1 layers are skipped. They add no pixels, but their stride spreads the cells of all "
        "later layers.",
        lambda layers: worked.cell_sees([(k, s) for k, s in layers if k > 1]),
    ),
    "area": Mistake(
        "this is the number of pixels in the square. Give the pixels in one row.",
        lambda layers: _receptive_field(layers) ** 2,
    ),
}


def _small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 4, 3),
            norm=nn.BatchNorm2d(4),
            act=nn.ReLU(inplace=True),
            drop=nn.Dropout(0.5),
        )
    ).train()


def _record_cases() -> list[tuple[nn.Module, Tensor, str]]:
    model, small = load_model(), _small()
    cat, koala = (central_crop(model, name) for name in ("cat", "koala"))
    return [
        (model, cat, "features.0"),
        (model, koala, "features.3.squeeze"),
        (small, _random_input(), "norm"),
        (small, _random_input(), "drop"),
    ]


def _random_input() -> Tensor:
    return torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(1))


def _recorded(model: nn.Module, x: Tensor, name: str) -> Tensor:
    return capture(model, x, name)[name]


RECORD_MISTAKES = {
    "rewritten in place": Mistake(
        "no value is negative: an in-place ReLU that runs later has overwritten the tensor that "
        "you keep. Keep output.clone().",
        lambda model, x, name: _recorded(model, x, name).relu(),
    ),
    "input instead of output": Mistake(
        "this is the layer's input. A forward hook receives (module, inputs, output).",
        lambda model, x, name: _input_of(model, x, name),
    ),
    "batch axis dropped": Mistake(
        "the batch axis is missing. Return the tensor (N, C, H, W) as the layer returned it.",
        lambda model, x, name: _recorded(model, x, name)[0],
    ),
    "left hook": Mistake(LEFT_BEHIND["hook"]),
    "left mode": Mistake(LEFT_BEHIND["mode"]),
    "left parameters": Mistake(LEFT_BEHIND["parameters"]),
    "hook stays after an error": Mistake(
        "when the forward pass raises, the hook stays on the model. Remove it in a finally block, "
        "which runs whatever is raised: any error, or an interruption."
    ),
    "mode stays after an error": Mistake(
        "when the forward pass raises, the model stays in eval mode. Restore the mode in a "
        "finally block, which runs whatever is raised: any error, or an interruption."
    ),
    "attribute stays after an error": Mistake(
        "when the forward pass raises, an attribute of a module, such as inplace, stays changed. "
        "Restore it in a finally block."
    ),
    "error swallowed": Mistake(
        "when the forward pass raises, your function hides the exception. Clean up, and let the "
        "exception propagate (finally, not except)."
    ),
    **TRACES,
}


def _input_of(model: nn.Module, x: Tensor, name: str) -> Tensor:
    previous = {"norm": "conv", "drop": "act", "features.3.squeeze": "features.2"}.get(name)
    return x if previous is None else _recorded(model, x, previous)


class _Fails(nn.Module):
    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error, self.inputs = error, list[Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        self.inputs.append(x)
        raise self.error("this forward pass fails on purpose")


def _judge_record(run: Runner, function: Any) -> None:
    by_cases(_recorded, _record_cases, RECORD_MISTAKES)(run, function)
    refuse_traces(run, function, RECORD_MISTAKES, _somebodys_model(), _random_input(), "norm")
    # SystemExit stands for an interruption, which is no Exception either.
    for error in (RuntimeError, ValueError, SystemExit):
        for fails_first in (True, False):
            _judge_failing_pass(run, function, error, fails_first)


def _somebodys_model() -> nn.Module:
    """Return a model with gradients, and with hooks that its user has put there."""
    small = _small()
    for parameter in small.parameters():
        parameter.grad = torch.ones_like(parameter)
    for layer in small.children():
        layer.register_forward_pre_hook(lambda module, args: None)
        layer.register_forward_hook(lambda module, args, output: None)
    return small


def _judge_failing_pass(
    run: Runner, function: Any, error: type[BaseException], fails_first: bool
) -> None:
    small, fails, x = _small(), _Fails(error), _random_input()
    model = nn.Sequential(*([fails, small] if fails_first else [small, fails]))
    before, traced = State.of(model), Traced(function)
    try:
        value = run(traced, model, x, f"{'1' if fails_first else '0'}.norm")
    except Fault as failure:
        if failure.name != "raised":
            raise
    else:
        # A function may end the pass at the layer; then it has not met the failure behind it.
        if fails.inputs or not same(value, plain(_recorded(small, x, "norm"))):
            raise fault(RECORD_MISTAKES, "error swallowed")
    changed = [*before.changes(model), *("attribute" for n in traced.changes if "attribute" in n)]
    for left in changed:
        name = f"{left} stays after an error"
        if name in RECORD_MISTAKES:
            raise fault(RECORD_MISTAKES, name)


LATER_MISTAKES = {
    "no module": Mistake("a module is needed: viz.check('04.3', model)."),
    "no conv": Mistake("the network has no layer named conv: self.conv = nn.Conv2d(3, 4, 3)."),
    "conv does not run": Mistake("`forward` does not call self.conv exactly once."),
    "no values": Mistake(
        "the network's parameters are on the meta device, where they have no values. Build it on "
        "the CPU."
    ),
    "a ReLU": Mistake(
        "this network contains a ReLU. Find another operation.",
        forbids=Calls(operations="(leaky_|r|p)?relu6?_?|rrelu_with_noise_?"),
    ),
    "not rewritten": Mistake(
        "the tensor that the hook kept is unchanged. maps = maps + 1 makes a new tensor; which "
        "statement changes the old one?"
    ),
}


_RELUS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU)


def _judge_later(run: Runner, model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise fault(LATER_MISTAKES, "no module")
    if not isinstance(getattr(model, "conv", None), nn.Module):
        raise fault(LATER_MISTAKES, "no conv")
    if any(isinstance(module, _RELUS) for module in model.modules()):
        raise fault(LATER_MISTAKES, "a ReLU")
    parameter = next(model.parameters(), torch.zeros(()))
    if parameter.is_meta:
        raise fault(LATER_MISTAKES, "no values")
    run.forbidden = {n: mistake.forbids for n, mistake in LATER_MISTAKES.items() if mistake.forbids}
    for seed in range(3):
        x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
        kept = run.raw(_kept_and_copied, model, x.to(parameter))
        if len(kept) != 1:
            raise fault(LATER_MISTAKES, "conv does not run")
        reference, copy = map(plain, kept[0])
        for name in run.called:
            raise fault(LATER_MISTAKES, name)
        # A logarithm in place makes NaN, which is a change, too.
        if np.array_equal(reference, copy, equal_nan=True):  # type: ignore[arg-type]
            raise fault(LATER_MISTAKES, "not rewritten")


def _kept_and_copied(model: nn.Module, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    kept: list[tuple[Tensor, Tensor]] = []

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        kept.append((output, output.clone()))

    handle = model.get_submodule("conv").register_forward_hook(keep)
    try:
        with torch.no_grad(), evaluating(model):
            model(x)
    finally:
        handle.remove()
    return kept


EXERCISES = [
    Exercise(
        key="04.1",
        kind="derive",
        task="how many pixels a cell sees",
        hints=(
            "Begin with one pixel, and go from the first layer to the last. A first 3x3 kernel "
            "covers 3 pixels in a row.",
            "A kernel adds kernel - 1 cells. How many pixels lie between the centres of two such "
            "cells? The product of all strides before this layer.",
            "3, then + 2 x 2 = 7, then + 0 x 4, then + 2 x 4.",
        ),
        solution=worked.cell_sees,
        why="3 + 2 x 2 + 0 x 4 + 2 x 4 = 15. Early strides enlarge the receptive field of all "
        "later layers. The check did not use the formula: it built the layers and counted the "
        "pixels that have a gradient.",
        judge=by_paper_and_cases(_receptive_field, _layer_cases, SEES_MISTAKES),
        mistakes=SEES_MISTAKES,
        parts=("number on paper", "function"),
        paper=lambda: worked.cell_sees(*_layer_cases()[0]),
    ),
    Exercise(
        key="04.2",
        kind="implement",
        task="a hook that cleans up after itself",
        hints=(
            "Register a forward hook on model.get_submodule(name), run the model, remove the hook, "
            "return what was kept.",
            "Three things can go wrong: an in-place ReLU overwrites the kept tensor; the forward "
            "pass raises and the hook stays; the model stays in another mode.",
            "Keep output.clone(). Store model.training. Put the forward pass in try, and "
            "handle.remove() and model.train(mode) in finally.",
        ),
        solution=worked.record,
        why="A function that only reads must not change the model. `finally` runs whether the pass "
        "succeeds or raises. Each module gets its own mode back, since some may be frozen on "
        "purpose.",
        judge=_judge_record,
        mistakes=RECORD_MISTAKES,
    ),
    Exercise(
        key="04.3",
        kind="break",
        task="a map that changes after the hook kept it",
        hints=(
            "The notebook's example was an in-place ReLU. Which other operations work in place?",
            "+=, *=, .add_(), .mul_(), .clamp_(), and assigning to a slice: x[0] = 0.",
            "In `forward`: maps = self.conv(x); maps += 1; return maps.",
        ),
        solution=worked.changes_later,
        why="A hook keeps a reference, not a copy. An in-place operation changes the kept tensor, "
        "and the picture shows values that the layer never returned.",
        judge=_judge_later,
        mistakes=LATER_MISTAKES,
        parts=("model",),
    ),
]
