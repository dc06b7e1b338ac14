"""Notebook 02: compute torchinfo's numbers; build work that torchinfo does not count."""

import contextlib
import copy
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vizhelpers.exercises.exercise import Exercise, Mistake
from vizhelpers.exercises.forbidden import Calls
from vizhelpers.exercises.judges import by_cases, by_paper_and_cases, fault
from vizhelpers.exercises.runner import Runner
from vizhelpers.exercises.solutions import n02_torchinfo as worked
from vizhelpers.inputs.models import load_model
from vizhelpers.methods.structure import summary


def _mult_adds(layer: nn.Conv2d, height: int, width: int) -> int:
    return summary(layer, (1, layer.in_channels, height, width)).torchinfo_mult_adds


def _work_with(layer: nn.Conv2d, height: int, width: int, **settings: Any) -> int:
    """Return the mult-adds of a layer with other settings."""
    other = copy.copy(layer)
    vars(other).update(settings)
    return (layer.weight.numel() + _bias(layer)) * _positions(other, height, width)


def _bias(layer: nn.Conv2d) -> int:
    return 0 if layer.bias is None else layer.out_channels


def _positions(layer: nn.Conv2d, height: int, width: int) -> int:
    out = copy.deepcopy(layer).to("meta")(
        torch.zeros(1, layer.in_channels, height, width, device="meta")
    )
    return out.shape[2] * out.shape[3]


COUNTING = Calls(modules=("torchinfo", "vizhelpers.methods", "torch.utils.flop_counter"))
WORK_MISTAKES = {
    "bias forgotten": Mistake(
        "torchinfo counts the bias as well: one more addition for each output value.",
        lambda layer, h, w: layer.weight.numel() * _positions(layer, h, w),
    ),
    "groups forgotten": Mistake(
        "groups are ignored: each filter reads in_channels / groups channels, not all of them.",
        lambda layer, h, w: (
            (layer.weight.numel() * layer.groups + _bias(layer)) * _positions(layer, h, w)
        ),
    ),
    "one place only": Mistake(
        "that is the work at one position, which is the number of parameters. The filters are "
        "applied at every position of the output.",
        lambda layer, h, w: layer.weight.numel() + layer.out_channels,
    ),
    "size of the input": Mistake(
        "multiply by the positions of the output, not of the input: the stride skips some.",
        lambda layer, h, w: (layer.weight.numel() + layer.out_channels) * h * w,
    ),
    "bias always": Mistake(
        "this layer was built with bias=False, so there is none to add. Check whether layer.bias "
        "is None.",
        lambda layer, h, w: (layer.weight.numel() + layer.out_channels) * _positions(layer, h, w),
    ),
    "one stride": Mistake(
        "one stride is used for both sides. layer.stride is a pair: rows, columns.",
        lambda layer, h, w: _work_with(layer, h, w, stride=layer.stride[:1] * 2),
    ),
    "dilation ignored": Mistake(
        "the dilation is ignored. With dilation d, a kernel of k rows spans d x (k - 1) + 1 rows, "
        "so it fits into fewer positions.",
        lambda layer, h, w: _work_with(layer, h, w, dilation=(1, 1)),
    ),
    "padding forgotten": Mistake(
        "the padding is missing: it adds positions.",
        lambda layer, h, w: _work_with(layer, h, w, padding=(0, 0)),
    ),
    "torchinfo counted": Mistake(
        "the numbers are right, but torchinfo counted them. Compute them yourself.",
        forbids=COUNTING,
    ),
    "counted twice": Mistake(
        "a multiplication and an addition together count as one mult-add.",
        lambda layer, h, w: 2 * layer.weight.numel() * _positions(layer, h, w),
    ),
}


def _work_cases() -> list[tuple[nn.Conv2d, int, int]]:
    return [
        (nn.Conv2d(32, 32, 3, stride=2, padding=1, groups=32), 112, 112),
        (nn.Conv2d(3, 64, 3, stride=2), 30, 41),
        (nn.Conv2d(8, 12, (3, 5), padding=(1, 0), groups=4), 20, 33),
        (nn.Conv2d(5, 7, 1), 9, 13),
        (nn.Conv2d(4, 6, 3, stride=(1, 3), bias=False), 11, 17),
        (nn.Conv2d(2, 9, 3, padding=2, dilation=(2, 3)), 16, 24),
    ]


def _stored_mb(model: nn.Module) -> float:
    storages = {p.untyped_storage().data_ptr(): p.untyped_storage() for p in model.parameters()}
    return sum(storage.nbytes() for storage in storages.values()) / 1e6


def _size_cases() -> list[tuple[nn.Module]]:
    normed = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Linear(9, 4))
    shared = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    shared[2].weight = shared[0].weight
    frozen = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 2))
    frozen[0].requires_grad_(False)
    mixed = nn.Sequential(nn.Linear(6, 5).half(), nn.Linear(5, 7), nn.Linear(7, 3).double())
    half = nn.Linear(40, 30).half()
    return [(load_model(),), (half,), (normed,), (shared,), (frozen,), (mixed,)]


SIZE_MISTAKES = {
    "four bytes assumed": Mistake(
        "each number was counted as four bytes. In half precision it takes two: use "
        "element_size().",
        lambda model: sum(4 * p.numel() for p in model.parameters()) / 1e6,
    ),
    "buffers counted": Mistake(
        "buffers are counted too. BatchNorm's running statistics are not parameters.",
        lambda model: _stored_mb(model) + sum(b.nbytes for b in model.buffers()) / 1e6,
    ),
    "bias forgotten": Mistake(
        "the biases are missing.",
        lambda model: (
            sum(p.numel() * p.element_size() for p in model.parameters() if p.ndim > 1) / 1e6
        ),
    ),
    "first parameter's size": Mistake(
        "the bytes of one parameter's values are used for all. Layers can have different "
        "precisions: multiply within the sum.",
        lambda model: (
            sum(p.numel() for p in model.parameters())
            * next(model.parameters()).element_size()
            / 1e6
        ),
    ),
    "torchinfo counted": Mistake(
        "the numbers are right, but torchinfo counted them. Compute them yourself.",
        forbids=COUNTING,
    ),
    "1,024 x 1,024": Mistake(
        "torchinfo's megabyte is 1,000,000 bytes, not 1,024 x 1,024 (that is a mebibyte).",
        lambda model: _stored_mb(model) * 1e6 / 2**20,
    ),
    "shared counted twice": Mistake(
        "a weight that two layers share is stored once. model.parameters() gives it once; going "
        "through the layers one by one gives it twice.",
        lambda model: (
            sum(p.nbytes for m in model.modules() for p in m.parameters(recurse=False)) / 1e6
        ),
    ),
    "frozen left out": Mistake(
        "frozen parameters are not counted. They need no gradient, but they are stored.",
        lambda model: sum(p.nbytes for p in model.parameters() if p.requires_grad) / 1e6,
    ),
}


UNCOUNTED = 0.5  # torchinfo must miss at least half
HIDDEN_MISTAKES = {
    "no module": Mistake("a module is needed: viz.check('02.3', model)."),
    "no work": Mistake(
        "almost nothing is multiplied here. Build a model that convolves: at least 1,000 "
        "multiplications for a picture of 32 x 32."
    ),
    "changes": Mistake(
        "the model does not do the same work each time. Let `forward` do the same in each call."
    ),
    "counted": Mistake(
        "torchinfo counts this work: it looks at each module that has its own parameters. Do the "
        "work outside a layer's call, for example with F.conv2d."
    ),
}


def _judge_hidden(run: Runner, model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise fault(HIDDEN_MISTAKES, "no module")
    sizes = [(1, 3, 32, 32), (1, 3, 40, 36)]
    for size in sizes:
        real = run(_multiplications, model.eval(), size)
        if not isinstance(real, float) or real < 1000:
            raise fault(HIDDEN_MISTAKES, "no work")
        counted = run(_counted_by_torchinfo, model, size)
        if not isinstance(counted, (int, float)) or counted > UNCOUNTED * real:
            raise fault(HIDDEN_MISTAKES, "counted")
        if run(_multiplications, model, size) != real:
            raise fault(HIDDEN_MISTAKES, "changes")


def _multiplications(model: nn.Module, size: tuple[int, ...]) -> float:
    """Count multiplications, with a hook on each module, as torchinfo registers them."""
    with contextlib.ExitStack() as hooks, torch.no_grad():
        for module in model.modules():
            hooks.enter_context(module.register_forward_hook(lambda *args: None))
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(size))
    return counter.get_total_flops() / 2


def _counted_by_torchinfo(model: nn.Module, size: tuple[int, ...]) -> int:
    return summary(model, size).torchinfo_mult_adds


EXERCISES = [
    Exercise(
        key="02.1",
        kind="derive",
        task="a convolution's mult-adds, with groups",
        hints=(
            "How many multiplications give one value of one map? As many as a filter has weights.",
            "With groups=32 and 32 channels a filter reads one channel: 9 weights, and torchinfo "
            "counts the bias as well.",
            "(weights of one filter + 1 for the bias, if there is one) x filters x rows x columns, "
            "with the rows and columns of the output, as in exercise 01.1.",
        ),
        solution=worked.mult_adds,
        why="10 x 32 x 56 x 56. Without groups it would be 289 x 32 x 56 x 56, 29 times as much. "
        "That is why small networks split a convolution into a depthwise and a 1x1 convolution.",
        judge=by_paper_and_cases(_mult_adds, _work_cases, WORK_MISTAKES),
        mistakes=WORK_MISTAKES,
        parts=("number on paper", "function"),
        paper=lambda: f"{worked.mult_adds(*_work_cases()[0]):_}",
    ),
    Exercise(
        key="02.2",
        kind="implement",
        task="megabytes of a model's parameters",
        hints=(
            "model.parameters() gives each parameter once.",
            "parameter.numel() is the number of its values, parameter.element_size() the bytes of "
            "one value.",
            "Sum the products and divide by 1,000,000.",
        ),
        solution=worked.params_mb,
        why="The precision matters as much as the count: half precision halves it. Buffers, such "
        "as BatchNorm's running statistics, are stored too, but torchinfo's *Params size* omits "
        "them.",
        judge=by_cases(_stored_mb, _size_cases, SIZE_MISTAKES),
        mistakes=SIZE_MISTAKES,
    ),
    Exercise(
        key="02.3",
        kind="break",
        task="work that torchinfo does not count",
        hints=(
            "torchinfo puts a hook on each module. Which computations does it miss?",
            "It misses functions, such as F.conv2d.",
            "Keep the kernel as an nn.Parameter of your own module, and use F.conv2d in `forward`.",
        ),
        solution=worked.hidden_worker,
        why="torchinfo multiplies a known layer's parameters by the number of output positions. A "
        "convolution by a function, or a matrix product as in attention, is not counted. The check "
        "used PyTorch's FlopCounterMode, which counts operations instead of modules.",
        judge=_judge_hidden,
        mistakes=HIDDEN_MISTAKES,
        parts=("model",),
    ),
]
