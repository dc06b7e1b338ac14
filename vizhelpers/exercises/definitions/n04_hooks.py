"""Notebook 04: derive a receptive field; write a hook that cleans up; change a kept map."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from vizhelpers.exercises.exercise import Exercise, Mistake
from vizhelpers.exercises.judges import by_cases, by_paper_and_cases, central_crop, fault
from vizhelpers.exercises.model_state import State
from vizhelpers.exercises.runner import LEFT_BEHIND, Fault, Runner
from vizhelpers.exercises.solutions import n04_hooks as worked
from vizhelpers.exercises.values import plain
from vizhelpers.inputs.models import load_model
from vizhelpers.passes.capture import capture

Layers = list[tuple[int, int]]


def _receptive_field(layers: Layers) -> int:
    """Count the pixels with a gradient, for the middle output of 1-D convolutions."""
    convolutions = [nn.Conv1d(1, 1, kernel, stride, bias=False) for kernel, stride in layers]
    for convolution in convolutions:
        nn.init.ones_(convolution.weight)
    x = torch.ones(1, 1, 400, requires_grad=True)
    with torch.enable_grad():
        out = nn.Sequential(*convolutions)(x)[0, 0]
        (gradient,) = torch.autograd.grad(out[len(out) // 2], x)
    return int((gradient != 0).sum())


def _layer_cases() -> list[tuple[Layers]]:
    return [
        ([(3, 2), (3, 2), (1, 1), (3, 1)],),
        ([(3, 1), (3, 1), (3, 1)],),
        ([(5, 1), (2, 2), (7, 3), (3, 1)],),
        ([(11, 4), (3, 2), (5, 1)],),
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
}


def _small(last: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 4, 3),
            norm=nn.BatchNorm2d(4),
            act=nn.ReLU(inplace=True),
            drop=last or nn.Dropout(0.5),
        )
    )


def _record_cases() -> list[tuple[nn.Module, Tensor, str]]:
    model = load_model()
    cat, koala = (central_crop(model, name) for name in ("cat", "koala"))
    torch.manual_seed(1)
    x = torch.randn(2, 3, 9, 11)
    small = _small().train()
    return [
        (model, cat, "features.0"),
        (model, koala, "features.3.squeeze"),
        (small, x, "norm"),
        (small, x, "drop"),
    ]


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
        "when the forward pass raises, the hook stays on the model. Remove it in a finally block."
    ),
    "mode stays after an error": Mistake(
        "when the forward pass raises, the model stays in eval mode. Restore the mode in a "
        "finally block."
    ),
    "error swallowed": Mistake(
        "when the forward pass raises, your function hides the exception. Clean up, and let the "
        "exception propagate (finally, not except)."
    ),
}


def _input_of(model: nn.Module, x: Tensor, name: str) -> Tensor:
    previous = {"norm": "conv", "drop": "act", "features.3.squeeze": "features.2"}.get(name)
    return x if previous is None else _recorded(model, x, previous)


class _Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("this forward pass fails on purpose")


def _judge_record(run: Runner, function: Any) -> None:
    by_cases(_recorded, _record_cases, RECORD_MISTAKES)(run, function)
    failing = _small(_Fails()).train()
    before = State.of(failing)
    try:
        run.raw(function, failing, torch.zeros(1, 3, 9, 9), "conv")
    except Fault as failure:
        if failure.name != "raised":
            raise
    else:
        raise fault(RECORD_MISTAKES, "error swallowed")
    for left in before.changes(failing):
        name = f"{left} stays after an error"
        if name in RECORD_MISTAKES:
            raise fault(RECORD_MISTAKES, name)


LATER_MISTAKES = {
    "no module": Mistake("a module is needed: viz.check('04.3', model)."),
    "no conv": Mistake("the network has no layer named conv: self.conv = nn.Conv2d(3, 4, 3)."),
    "conv does not run": Mistake("`forward` does not call self.conv exactly once."),
    "a ReLU": Mistake("this network contains a ReLU. Find another operation."),
    "not rewritten": Mistake(
        "the tensor that the hook kept is unchanged. maps = maps + 1 makes a new tensor; which "
        "statement changes the old one?"
    ),
}


def _judge_later(run: Runner, model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise fault(LATER_MISTAKES, "no module")
    if not isinstance(getattr(model, "conv", None), nn.Module):
        raise fault(LATER_MISTAKES, "no conv")
    if any(isinstance(module, (nn.ReLU, nn.ReLU6, nn.LeakyReLU)) for module in model.modules()):
        raise fault(LATER_MISTAKES, "a ReLU")
    for seed in range(3):
        x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
        kept = run.raw(_kept_and_copied, model.eval(), x)
        if len(kept) != 1:
            raise fault(LATER_MISTAKES, "conv does not run")
        reference, copy = kept[0]
        if not (abs(plain(reference) - plain(copy)).max() > 1e-6):  # type: ignore[operator,arg-type]
            raise fault(LATER_MISTAKES, "not rewritten")


def _kept_and_copied(model: nn.Module, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    kept: list[tuple[Tensor, Tensor]] = []

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        kept.append((output, output.clone()))

    handle = model.get_submodule("conv").register_forward_hook(keep)
    try:
        with torch.no_grad():
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
        "succeeds or raises. (viz.capture also restores the mode of each submodule, since some may "
        "be frozen on purpose.)",
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
