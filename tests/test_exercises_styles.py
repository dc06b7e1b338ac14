"""Right answers of notebooks 01 to 03 and 07 in the styles in which learners write them."""

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exercise_answers import check
from torch import Tensor, nn
from wrong_answers import first_layer, slow_convolve
from wrong_answers_01_03 import Twin, twins

import vizhelpers as viz
from vizhelpers.exercises.catalogue import EXERCISES
from vizhelpers.exercises.forbidden import Calls, watched

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.mark.parametrize(
    ("key", "number"),
    [
        *(
            ("01.1", shape)
            for shape in (
                [16, 60, 99],
                np.array([16, 60, 99]),
                torch.tensor([16, 60, 99]),
                torch.Size([16, 60, 99]),
                (torch.tensor(16), np.int64(60), 99.0),
            )
        ),
        *(
            ("02.1", kind(1_003_520))
            for kind in (np.int32, torch.tensor, float, np.float64, Fraction, np.longdouble)
        ),
        *(
            ("03.1", number)
            for number in (
                np.float32(5.5),
                torch.tensor(5.5, dtype=torch.bfloat16),
                nn.Parameter(torch.tensor(5.5)),
                Fraction(11, 2),
                Decimal("5.5"),
            )
        ),
    ],
)
def test_a_number_may_be_of_any_type(key: str, number: Any) -> None:
    verdict = viz.check(key, number, EXERCISES[key].solution)
    assert verdict, verdict


def shape_in_numpy(shape: Any, *, layer: Any) -> Any:
    size, pad, kernel, step, gap = (
        np.array(v)
        for v in (shape[1:], layer.padding, layer.kernel_size, layer.stride, layer.dilation)
    )
    return [layer.out_channels, *((size + 2 * pad - gap * (kernel - 1) - 1) // step + 1)]


def shape_in_tensors(shape: Any, layer: Any) -> Tensor:
    sides = [torch.tensor(layer.out_channels)]
    for i, size in enumerate(shape[1:]):
        space = size + 2 * layer.padding[i] - layer.dilation[i] * (layer.kernel_size[i] - 1) - 1
        sides.append(torch.tensor(math.floor(space / layer.stride[i] + 1)))
    return torch.stack(sides)


def count_in_numpy(layer: Any) -> Any:
    if isinstance(layer, nn.Linear):
        return np.int64(layer.in_features + (layer.bias is not None)) * layer.out_features
    filters = np.prod(layer.kernel_size) * layer.in_channels // layer.groups
    return sum([filters, layer.bias is not None]) * layer.out_channels


def work_by_running(layer: Any, *, height: int, width: int) -> Tensor:
    maps = layer(torch.zeros(1, layer.in_channels, height, width))
    return maps[0, 0].numel() * torch.tensor([p.numel() for p in layer.parameters()]).sum()


def loops(x: Tensor, weight: Tensor, bias: float, stride: int) -> list[list[Tensor]]:
    """Nested lists of tensors with one value each."""
    _, k, w = weight.shape
    return [
        [
            (x[:, r : r + k, c : c + w] * weight).sum() + bias
            for c in range(0, x.shape[2] - w + 1, stride)
        ]
        for r in range(0, x.shape[1] - k + 1, stride)
    ]


def one_pixel_at_a_time(x: Tensor, weight: Tensor, *, bias: float, stride: int) -> Any:
    channels, k, w = weight.shape
    places = [range(n - m + 1)[::stride] for n, m in zip(x.shape[1:], (k, w), strict=True)]
    out = [[bias for _ in places[1]] for _ in places[0]]
    for i, r in enumerate(places[0]):
        for j, c in enumerate(places[1]):
            for channel in range(channels):
                for a in range(k):
                    for b in range(w):
                        value = x[channel, r + a, c + b] * weight[channel, a, b]
                        out[i][j] += value.item()
    return out


def normalise_in_numpy(pixels: np.ndarray, *, mean: Any, std: Any) -> np.ndarray:
    return ((pixels / 255 - mean) / std).transpose(2, 0, 1)[None]


def normalise_in_lists(pixels: np.ndarray, mean: Any, std: Any) -> Any:
    colours = range(3)
    return [
        [[[(float(p[c]) / 255 - mean[c]) / std[c] for p in row] for row in pixels] for c in colours]
    ]


def climb_by_backward(
    model: nn.Module, x: Tensor, layer: str, *, channel: int, rate: float
) -> np.ndarray:
    kept: list[Tensor] = []
    hook = model.get_submodule(layer).register_forward_hook(lambda m, i, o: kept.append(o.clone()))
    x = x.clone().requires_grad_()
    model(x)
    hook.remove()
    kept[0][:, channel].sum().backward()
    return (x + rate * x.grad / torch.linalg.norm(x.grad)).detach().numpy()


FUNCTIONS: list[tuple[str, Callable[..., Any]]] = [
    ("01.1", shape_in_numpy),
    ("01.1", shape_in_tensors),
    ("01.2", count_in_numpy),
    ("01.2", lambda layer: torch.tensor(EXERCISES["01.2"].solution(layer))),
    ("02.1", work_by_running),
    ("02.1", lambda *case: float(EXERCISES["02.1"].solution(*case))),
    ("02.2", lambda model: np.sum([p.nbytes for p in model.parameters()]) / 10**6),
    ("02.2", lambda model: torch.tensor([float(p.nbytes) for p in model.parameters()]).sum() / 1e6),
    ("03.1", lambda weight, *, bias, value: (weight * value).sum() + bias),
    ("03.1", lambda weight, bias, value: np.float64(np.sum(weight.numpy() * value) + bias)),
    ("03.2", loops),
    ("03.2", lambda *case: [torch.stack(row).half() for row in loops(*case)]),
    ("03.2", slow_convolve),
    ("03.2", one_pixel_at_a_time),
    ("07.1", normalise_in_numpy),
    ("07.1", normalise_in_lists),
    ("07.2", climb_by_backward),
]


@pytest.mark.parametrize(("key", "function"), FUNCTIONS)
def test_a_right_function_is_accepted(key: str, function: Callable[..., Any]) -> None:
    verdict = check(key, function)
    assert verdict, verdict


def test_ragged_lists_are_no_map() -> None:
    verdict = viz.check("03.2", lambda *case: [row[i:] for i, row in enumerate(loops(*case))])
    assert verdict.mistake == "value"
    assert "13 parts" in verdict.text


class ListTwin(Twin):
    def forward(self, x: Tensor) -> Any:
        return [super().forward(x)] if self.swapped else super().forward(x)


def test_right_constructions_of_other_kinds_are_accepted() -> None:
    assert viz.check("01.3", *twins(Twin))
    assert viz.check("01.3", *twins(ListTwin))
    assert viz.check("03.3", first_layer(-torch.inf))
    assert viz.check("03.3", first_layer(-1e5).double())
    state = viz.load_model().state_dict()
    assert viz.check("07.3", {f"module.{name}": value.half() for name, value in state.items()})
    assert viz.check("07.3", {name.upper(): nn.Parameter(value) for name, value in state.items()})


# ------------------------------------------------------------------ forbidden calls
KINDS = {
    "convolution": Calls(".*conv.*"),
    "windows": Calls("im2col|unfold"),
    "backward": Calls("run_backward|_make_dual"),
    "count": Calls("numel"),
    "parameters": Calls(functions=(nn.Module.named_parameters,)),
    "library": Calls(modules=("vizhelpers.methods",)),
}
LAYER = nn.Conv2d(3, 2, 3)


def picture() -> Tensor:
    return torch.ones(1, 3, 6, 6)


def leaf() -> Tensor:
    return torch.ones(3, requires_grad=True)


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("convolution", lambda: LAYER(picture())),
        ("convolution", lambda: LAYER.forward(picture())),
        ("convolution", lambda: F.conv2d(picture(), LAYER.weight)),
        ("convolution", lambda: torch.ops.aten.conv2d(picture(), LAYER.weight)),
        ("convolution", lambda: torch.inference_mode()(LAYER)(picture())),
        ("convolution", lambda: torch.vmap(LAYER)(picture()[None])),
        ("windows", lambda: F.unfold(picture(), 3)),
        ("windows", lambda: nn.Unfold(3)(picture())),
        ("windows", lambda: picture().unfold(2, 3, 1)),
        ("backward", lambda: leaf().sum().backward()),
        ("backward", lambda: torch.autograd.backward(leaf().sum())),
        ("backward", lambda: torch.func.grad(torch.sum)(torch.ones(3))),
        ("backward", lambda: torch.func.jvp(torch.sum, (torch.ones(3),), (torch.ones(3),))),
        ("backward", lambda: torch.autograd.functional.jacobian(torch.sum, torch.ones(3))),
        ("count", lambda: list(map(torch.Tensor.numel, [leaf()]))),
        ("parameters", lambda: list(LAYER.parameters())),
        ("library", lambda: viz.kernels(nn.Sequential(LAYER), "0")),
    ],
)
def test_a_forbidden_call_is_recognised(kind: str, call: Callable[[], Any]) -> None:
    called: set[str] = set()
    with watched(KINDS, called):
        call()
    assert kind in called


def test_other_calls_are_not_taken_for_forbidden_ones() -> None:
    called: set[str] = set()
    with watched(KINDS, called):
        F.max_pool2d(picture().relu(), 2).sum().item()
        np.ones(3).sum()
        LAYER.eval()
    assert called == set()
