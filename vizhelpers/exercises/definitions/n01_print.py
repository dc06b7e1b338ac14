"""Notebook 01: derive shapes and parameter counts; build two networks with one printout."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from vizhelpers.exercises.exercise import Exercise, Mistake
from vizhelpers.exercises.judges import by_cases, by_paper_and_cases, fault
from vizhelpers.exercises.runner import Runner
from vizhelpers.exercises.solutions import n01_print as worked

Shape = tuple[int, ...]


def _output_shape(shape: Shape, layer: nn.Conv2d) -> Shape:
    with torch.no_grad():
        return tuple(layer(torch.zeros(1, *shape)).shape[1:])


def _shape_cases() -> list[tuple[Shape, nn.Conv2d]]:
    return [
        ((3, 120, 200), nn.Conv2d(3, 16, (3, 5), stride=2, padding=1)),
        ((4, 31, 18), nn.Conv2d(4, 7, 3, stride=(2, 1), padding=(0, 1))),
        ((2, 17, 40), nn.Conv2d(2, 5, (1, 7), stride=3, padding=(0, 3))),
        ((3, 25, 26), nn.Conv2d(3, 9, 11, stride=4, padding=2)),
    ]


def _shape_with(shape: Shape, layer: Any, padded_sides: int = 2, rounded_up: bool = False) -> Shape:
    settings = zip(shape[1:], layer.kernel_size, layer.stride, layer.padding, strict=True)
    spaces = [(n + padded_sides * int(p) - k, s) for n, k, s, p in settings]
    steps = [math.ceil(space / s) if rounded_up else space // s for space, s in spaces]
    return (layer.out_channels, *(step + 1 for step in steps))


def _shape_transposed(shape: Shape, layer: nn.Conv2d) -> Shape:
    channels, height, width = _output_shape(shape, layer)
    return channels, width, height


def _shape_with_input_channels(shape: Shape, layer: nn.Conv2d) -> Shape:
    return (shape[0], *_output_shape(shape, layer)[1:])


SHAPE_MISTAKES = {
    "height and width transposed": Mistake(
        "height and width are swapped. A shape is (channels, height, width): rows come first.",
        _shape_transposed,
    ),
    "padding forgotten": Mistake(
        "the padding is missing. It is added on both sides: the size grows by twice the padding.",
        lambda shape, layer: _shape_with(shape, layer, padded_sides=0),
    ),
    "padding on one side": Mistake(
        "the padding is counted once. It is added on both sides, so it counts twice.",
        lambda shape, layer: _shape_with(shape, layer, padded_sides=1),
    ),
    "rounded up": Mistake(
        "a window that does not fit is dropped, so the division is rounded down.",
        lambda shape, layer: _shape_with(shape, layer, rounded_up=True),
    ),
    "channels in": Mistake(
        "these are the input channels. Each filter makes one map: count the filters.",
        _shape_with_input_channels,
    ),
}


def _parameter_count(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())


def _count_with(layer: Any, groups: bool = True, biases: int | None = None) -> int:
    if isinstance(layer, nn.Linear):
        weights, outputs = layer.weight.numel(), layer.out_features
    else:
        weights, outputs = layer.weight.numel(), layer.out_channels
        weights *= 1 if groups else layer.groups
    if layer.bias is None and biases is None:
        return weights
    return weights + (outputs if biases is None else biases)


def _count_with_bias(layer: Any) -> int:
    return int(layer.weight.numel() + len(layer.weight))


COUNT_MISTAKES = {
    "bias forgotten": Mistake(
        "the bias is missing: one more number for each output.",
        lambda layer: _count_with(layer, biases=0),
    ),
    "one bias": Mistake(
        "one bias was added. There is one bias for each output, not one for the layer.",
        lambda layer: _count_with(layer, biases=1),
    ),
    "bias always": Mistake(
        "this layer was built with bias=False, so it has none. Check whether layer.bias is None.",
        _count_with_bias,
    ),
    "groups forgotten": Mistake(
        "groups are ignored. With groups=g each filter reads only in_channels / g channels.",
        lambda layer: _count_with(layer, groups=False),
    ),
}


def _count_cases() -> list[tuple[nn.Module]]:
    return [
        (nn.Conv2d(3, 64, 3, stride=2),),
        (nn.Conv2d(8, 12, (3, 5), padding=1),),
        (nn.Linear(512, 10),),
        (nn.Conv2d(6, 20, 3, bias=False),),
        (nn.Linear(7, 5, bias=False),),
        (nn.Conv2d(32, 64, 3, groups=4),),
    ]


TWIN_MISTAKES = {
    "no modules": Mistake("two modules are needed: viz.check('01.3', one, other)."),
    "printouts differ": Mistake(
        "the printouts differ. Define the same parts under the same names; "
        "let only `forward` differ."
    ),
    "weights differ": Mistake(
        "the weights differ, which alone changes the output. Use "
        "other.load_state_dict(one.state_dict())."
    ),
    "same output": Mistake(
        "both compute the same for the inputs that were tried. Let `forward` use the parts in "
        "another order, or omit one."
    ),
}


def _judge_twins(run: Runner, first: Any, second: Any) -> None:
    if not isinstance(first, nn.Module) or not isinstance(second, nn.Module):
        raise fault(TWIN_MISTAKES, "no modules")
    if run(repr, first) != run(repr, second):
        raise fault(TWIN_MISTAKES, "printouts differ")
    weights, others = first.state_dict(), second.state_dict()
    if weights.keys() != others.keys() or any(
        not torch.equal(weights[k], others[k]) for k in weights
    ):
        raise fault(TWIN_MISTAKES, "weights differ")
    for seed in range(3):
        x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        outputs = [run(_output, model.eval(), x) for model in (first, second)]
        if not _differ(*outputs):
            raise fault(TWIN_MISTAKES, "same output")


def _output(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)


def _differ(first: Any, second: Any) -> bool:
    if first.shape != second.shape:
        return True
    return bool(abs(first - second).max() > 1e-4 * max(abs(first).max(), abs(second).max()))


EXERCISES = [
    Exercise(
        key="01.1",
        kind="derive",
        task="a convolution's output shape",
        hints=(
            "Treat rows and columns separately. In how many positions does a window of 3 rows fit "
            "into 5 rows? Three: 5 - 3 + 1.",
            "Padding first enlarges the picture on both sides. A stride of 2 uses every second "
            "position, beginning with the first.",
            "Positions = (size + 2 x padding - kernel) // stride + 1, once with the row settings "
            "and once with the column settings. The channels are the number of filters.",
        ),
        solution=worked.conv_shape,
        why="Rows: (120 + 2 - 3) // 2 + 1 = 60. Columns: (200 + 2 - 5) // 2 + 1 = 99. The number "
        "of channels does not depend on the picture: it is the number of filters. The division is "
        "rounded down, so the last row or column of a picture may never be used.",
        judge=by_paper_and_cases(_output_shape, _shape_cases, SHAPE_MISTAKES),
        mistakes=SHAPE_MISTAKES,
        parts=("shape on paper", "function"),
        paper=lambda: worked.conv_shape(*_shape_cases()[0]),
    ),
    Exercise(
        key="01.2",
        kind="implement",
        task="count a layer's parameters",
        hints=(
            "A filter has (channels that it reads) x height x width weights. How many filters are "
            "there?",
            "A linear layer has one weight for each pair of input and output. For the bias, check "
            "whether layer.bias is None.",
            "With groups, a filter reads in_channels // groups channels. Weights = out_channels x "
            "those x height x width; add out_channels for the bias.",
        ),
        solution=worked.count_parameters,
        why="A convolution's parameters do not depend on the picture's size. Groups reduce them: "
        "with as many groups as channels, each filter reads a single channel.",
        judge=by_cases(_parameter_count, _count_cases, COUNT_MISTAKES),
        mistakes=COUNT_MISTAKES,
    ),
    Exercise(
        key="01.3",
        kind="break",
        task="two networks, one printout",
        hints=(
            "`print` shows what `__init__` defined. Which part of a module does it not show?",
            "It does not show `forward`. Two classes of the same name can define the same parts "
            "and use them differently.",
            "Write one class whose `forward` reads a flag, self.swapped: first(second(x)) or "
            "second(first(x)). Give both objects the same weights with load_state_dict.",
        ),
        solution=worked.twins,
        why="The printout, the parameter count and the weights are the same, but the function is "
        "not. A printout lists parts. Only running the network shows what it computes.",
        judge=_judge_twins,
        mistakes=TWIN_MISTAKES,
        parts=("one", "other"),
    ),
]
