"""Notebook 01: derive shapes and parameter counts; build two networks with one printout."""

import math
import random
import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.exercises.comparison import as_array, same
from vizhelpers.exercises.exercise import Exercise, Mistake
from vizhelpers.exercises.forbidden import Calls
from vizhelpers.exercises.judges import by_cases, by_paper_and_cases, fault
from vizhelpers.exercises.runner import Runner
from vizhelpers.exercises.solutions import n01_print as worked
from vizhelpers.exercises.values import Plain

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
        ((2, 20, 31), nn.Conv2d(2, 6, 3, padding=1, dilation=(2, 4))),
    ]


def _shape_with(
    shape: Shape,
    layer: Any,
    padded_sides: int = 2,
    rounded_up: bool = False,
    dilated: bool = True,
    stride: Shape | None = None,
) -> Shape:
    kernels = zip(layer.kernel_size, layer.dilation, strict=True)
    spans = [(k - 1) * (d if dilated else 1) for k, d in kernels]
    settings = zip(shape[1:], spans, stride or layer.stride, layer.padding, strict=True)
    spaces = [(n + padded_sides * int(p) - span - 1, s) for n, span, s, p in settings]
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
    "one stride": Mistake(
        "one stride is used for both sides. layer.stride is a pair: rows, columns.",
        lambda shape, layer: _shape_with(shape, layer, stride=layer.stride[:1] * 2),
    ),
    "dilation ignored": Mistake(
        "the dilation is ignored. With dilation d, a kernel of k rows spans d x (k - 1) + 1 rows.",
        lambda shape, layer: _shape_with(shape, layer, dilated=False),
    ),
    "layer was run": Mistake(
        "the shapes are right, but the layer was run to find them. Compute them from kernel_size, "
        "stride, padding and dilation.",
        forbids=Calls(operations=".*conv.*"),
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


def _count_with_square_kernel(layer: Any) -> int:
    if isinstance(layer, nn.Linear):
        return _parameter_count(layer)
    rows, columns = layer.kernel_size
    return (
        _count_with(layer, biases=0) // columns * rows + _count_with(layer) - layer.weight.numel()
    )


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
    "square kernel assumed": Mistake(
        "the kernel is not always square: kernel_size is a pair, rows and columns.",
        lambda layer: _count_with_square_kernel(layer),
    ),
    "parameters were counted": Mistake(
        "the numbers are right, but parameters() or numel() counted them. Compute them from the "
        "layer's settings: channels, kernel_size, groups, and whether there is a bias.",
        forbids=Calls(
            operations="numel|nelement|nbytes|flatten|ravel|reshape|view|numpy",
            functions=(
                nn.Module.parameters,
                nn.Module.named_parameters,
                nn.Module.state_dict,
            ),
            modules=("torchinfo", "vizhelpers.methods", "torch.nn.utils"),
        ),
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


SAME_OUTPUT = 1e-4  # of the largest value
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
    "forged printout": Mistake(
        "a class of yours writes its own printout (__repr__, extra_repr or _get_name). Leave it to "
        "PyTorch; let only `forward` differ."
    ),
    "random output": Mistake(
        "one of the networks gives another output each time. Let both be deterministic."
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
    if any(_writes_its_own_printout(m) for net in (first, second) for m in net.modules()):
        raise fault(TWIN_MISTAKES, "forged printout")
    weights, others = first.state_dict(), second.state_dict()
    if weights.keys() != others.keys() or any(
        not torch.equal(weights[k], others[k]) for k in weights
    ):
        raise fault(TWIN_MISTAKES, "weights differ")
    for seed in range(3):
        x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        models = (first, second, first, second)
        one, other, again, other_again = (
            run(_output, model.eval(), x, seed) for seed, model in enumerate(models)
        )
        if _differ(one, again) or _differ(other, other_again):
            raise fault(TWIN_MISTAKES, "random output")
        if not _differ(one, other):
            raise fault(TWIN_MISTAKES, "same output")


def _writes_its_own_printout(module: nn.Module) -> bool:
    for name in ("__repr__", "extra_repr", "_get_name"):
        owner = next(c for c in type(module).__mro__ if name in vars(c))
        library = owner.__module__.startswith(("torch.", "torchvision."))
        genuine = getattr(sys.modules.get(owner.__module__), owner.__name__, None) is owner
        if name in vars(module) or not (library and genuine):
            return True
    return False


def _output(model: nn.Module, x: Tensor, seed: int) -> Tensor:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    with torch.no_grad():
        return model(x)


def _differ(first: Plain, second: Plain) -> bool:
    one, other = as_array(first), as_array(second)
    if one is None or other is None:
        return not same(first, second, SAME_OUTPUT)
    return not same(np.nan_to_num(one), np.nan_to_num(other), SAME_OUTPUT)


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
            "Positions = (size + 2 x padding - span) // stride + 1, once with the row settings and "
            "once with the column settings; span = dilation x (kernel - 1) + 1. The channels are "
            "the number of filters.",
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
