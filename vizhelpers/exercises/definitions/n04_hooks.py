"""Notebook 04: how much a cell sees, a hook that leaves nothing, a map that changes later."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from vizhelpers.exercises.exercise import Exercise, Mistake, by_cases, by_paper_and_cases, middle_of
from vizhelpers.exercises.model_state import State
from vizhelpers.exercises.runner import LEFT_BEHIND, Fault, Runner
from vizhelpers.exercises.solutions import n04_hooks as worked
from vizhelpers.exercises.values import plain
from vizhelpers.inputs.models import load_model
from vizhelpers.passes.capture import capture

Layers = list[tuple[int, int]]


def _seen_by_gradient(layers: Layers) -> int:
    """Ask the middle cell of a real row of convolutions which pixels move it."""
    rows = [nn.Conv1d(1, 1, kernel, stride, bias=False) for kernel, stride in layers]
    for row in rows:
        nn.init.ones_(row.weight)
    x = torch.ones(1, 1, 400, requires_grad=True)
    with torch.enable_grad():
        out = nn.Sequential(*rows)(x)[0, 0]
        (gradient,) = torch.autograd.grad(out[len(out) // 2], x)
    return int((gradient != 0).sum())


def _layer_cases() -> list[tuple[Layers]]:
    return [
        ([(3, 2), (3, 2), (1, 1), (3, 1)],),
        ([(3, 1), (3, 1), (3, 1)],),
        ([(5, 1), (2, 2), (7, 3), (3, 1)],),
        ([(11, 4), (3, 2), (5, 1)],),
    ]


def _seen_strides_too_early(layers: Layers) -> int:
    seen, step = 1, 1
    for kernel, stride in layers:
        step *= stride
        seen += (kernel - 1) * step
    return seen


def _kernels_multiplied_by_steps(layers: Layers) -> int:
    seen, step = 0, 1
    for kernel, stride in layers:
        seen += kernel * step
        step *= stride
    return seen


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
        "a layer's own stride is counted too early. It spreads the cells of the layers after it; "
        "its own window is not spread.",
        _seen_strides_too_early,
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
    cat, koala = (middle_of(model, name) for name in ("cat", "koala"))
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
        "nothing is below zero: an in-place ReLU that runs later has rewritten what you keep. "
        "Keep output.clone().",
        lambda model, x, name: _recorded(model, x, name).relu(),
    ),
    "input instead of output": Mistake(
        "this is what goes into the layer. A forward hook gets (module, inputs, output).",
        lambda model, x, name: _input_of(model, x, name),
    ),
    "batch axis dropped": Mistake(
        "the batch axis is missing. Return the tensor (N, C, H, W) as the layer put it out.",
        lambda model, x, name: _recorded(model, x, name)[0],
    ),
    "left hook": Mistake(LEFT_BEHIND["hook"]),
    "left mode": Mistake(LEFT_BEHIND["mode"]),
    "left parameters": Mistake(LEFT_BEHIND["parameters"]),
    "hook stays after an error": Mistake(
        "when the forward pass raises, the hook stays on the model. Remove it in a finally block."
    ),
    "mode stays after an error": Mistake(
        "when the forward pass raises, the model stays in eval mode. Set the mode back "
        "in a finally block."
    ),
    "error swallowed": Mistake(
        "when the forward pass raises, your function hides it. Clean up, and let the exception "
        "come through (finally, not except)."
    ),
}


def _input_of(model: nn.Module, x: Tensor, name: str) -> Tensor:
    order = [one for one, _ in model.named_modules()]
    if name not in ("norm", "drop", "features.3.squeeze"):
        return x
    before = {"norm": "conv", "drop": "act", "features.3.squeeze": "features.2"}[name]
    return _recorded(model, x, order[order.index(before)])


class _Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("this pass was made to fail")


def _judge_record(run: Runner, function: Any) -> None:
    by_cases(_recorded, _record_cases, RECORD_MISTAKES)(run, function)
    failing = _small(_Fails()).train()
    before = State.of(failing)
    try:
        run.raw(function, failing, torch.zeros(1, 3, 9, 9), "conv")
    except Fault as fault:
        if fault.name != "raised":
            raise
    else:
        raise Fault("error swallowed", RECORD_MISTAKES["error swallowed"].words)
    for left in before.changes(failing):
        name = f"{left} stays after an error"
        if name in RECORD_MISTAKES:
            raise Fault(name, RECORD_MISTAKES[name].words)


LATER_MISTAKES = {
    "no module": Mistake("a module is asked for: viz.check('04.3', model)."),
    "no conv": Mistake("the network needs a layer named conv: self.conv = nn.Conv2d(3, 4, 3)."),
    "conv does not run": Mistake("`forward` does not call self.conv exactly once."),
    "a ReLU": Mistake("find another way than ReLU: this network has one."),
    "not rewritten": Mistake(
        "what the hook kept is still what conv put out. maps = maps + 1 makes a new tensor; which "
        "way of writing it changes the old one?"
    ),
}


def _judge_later(run: Runner, model: Any) -> None:
    def fault(name: str) -> Fault:
        return Fault(name, LATER_MISTAKES[name].words)

    if not isinstance(model, nn.Module):
        raise fault("no module")
    if not isinstance(getattr(model, "conv", None), nn.Module):
        raise fault("no conv")
    if any(isinstance(one, (nn.ReLU, nn.ReLU6, nn.LeakyReLU)) for one in model.modules()):
        raise fault("a ReLU")
    for seed in range(3):
        x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
        kept = run.raw(_kept_and_copied, model.eval(), x)
        if len(kept) != 1:
            raise fault("conv does not run")
        reference, copy = kept[0]
        if not (abs(plain(reference) - plain(copy)).max() > 1e-6):  # type: ignore[operator,arg-type]
            raise fault("not rewritten")


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
            "Begin with one cell, and go from the first layer to the last. A first 3x3 kernel "
            "sees 3 pixels in a row.",
            "A kernel adds kernel - 1 cells. How far apart are these cells, in pixels? As far as "
            "the product of all strides before it.",
            "3, then + 2 x 2 = 7, then + 0 x 4, then + 2 x 4.",
        ),
        solution=worked.cell_sees,
        why="3 + 2 x 2 + 0 x 4 + 2 x 4 = 15. Strides early in a network widen everything after "
        "them. The check did not use the formula: it built the layers and counted the pixels that "
        "have a gradient.",
        judge=by_paper_and_cases(_seen_by_gradient, _layer_cases, SEES_MISTAKES),
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
            "Three things can go wrong: an in-place ReLU rewrites what you keep; the pass raises "
            "and the hook stays; the model is not in the mode that it was in.",
            "Keep output.clone(). Note model.training. Put the pass in try, and handle.remove() "
            "and model.train(mode) in finally.",
        ),
        solution=worked.record,
        why="A function that looks must not touch. `finally` runs whether the pass succeeds or "
        "raises. (viz.capture also gives each submodule its own mode back, since a part may have "
        "been frozen on purpose.)",
        judge=_judge_record,
        mistakes=RECORD_MISTAKES,
    ),
    Exercise(
        key="04.3",
        kind="break",
        task="a map that changes after it was kept",
        hints=(
            "The notebook's trap was an in-place ReLU. What else works in place?",
            "+=, *=, .add_(), .mul_(), .clamp_(), and writing to a slice: x[0] = 0.",
            "In `forward`: maps = self.conv(x); maps += 1; return maps.",
        ),
        solution=worked.changes_later,
        why="A hook keeps a reference, not a copy. Whatever works in place changes what you hold, "
        "and the picture is of something that the layer never put out.",
        judge=_judge_later,
        mistakes=LATER_MISTAKES,
        parts=("model",),
    ),
]
