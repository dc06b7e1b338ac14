"""More wrong answers of notebooks 01 to 03 and 07, by exercise and by the mistake to be named.

Most compute the right values in a way that the task forbids, or deceive the check.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchinfo
from torch import Tensor, nn
from torch.nn.functional import conv2d as under_another_name
from wrong_answers import first_layer

import vizhelpers as viz
from vizhelpers.exercises.catalogue import EXERCISES

Answers = tuple[Any, ...]


# ------------------------------------------------------------------ 01
def positions(
    size: int, layer: Any, side: int, stride: int | None = None, dilated: bool = True
) -> int:
    """Right, unless a stride is given or the dilation is left out."""
    dilation = layer.dilation[side] if dilated else 1
    space = size + 2 * layer.padding[side] - dilation * (layer.kernel_size[side] - 1) - 1
    return space // (stride or layer.stride[side]) + 1


def shape_with(**settings: Any) -> Callable[[Any, Any], Any]:
    def conv_shape(shape: Any, layer: Any) -> Any:
        sides = [positions(shape[i + 1], layer, i, **settings) for i in (0, 1)]
        return (layer.out_channels, *sides)

    return conv_shape


def shape_of_one_stride(shape: Any, layer: Any) -> Any:
    return shape_with(stride=layer.stride[0])(shape, layer)


def shape_by_running(shape: Any, layer: Any) -> Any:
    return layer(torch.zeros(shape)[None])[0].shape


def shape_on_meta(shape: Any, layer: Any) -> Any:
    x = torch.zeros(1, *shape, device="meta")
    settings = (layer.stride, layer.padding, layer.dilation)
    return under_another_name(x, layer.weight.to("meta"), None, *settings).shape[1:]


def count_of_square_kernels(layer: Any) -> int:
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return (layer.in_features + bias) * layer.out_features
    weights = layer.kernel_size[0] ** 2 * layer.in_channels // layer.groups
    return (weights + bias) * layer.out_channels


def count_by_torchinfo(layer: Any) -> int:
    return torchinfo.summary(layer, verbose=0).total_params


COUNTED: list[Callable[[Any], int]] = [
    lambda layer: sum(p.numel() for p in layer.parameters()),
    lambda layer: sum(map(torch.numel, [p for p in (layer.weight, layer.bias) if p is not None])),
    lambda layer: sum(t.shape.numel() for t in layer.state_dict().values()),
    lambda layer: len(nn.utils.parameters_to_vector(layer.parameters())),
    lambda layer: sum(p.nbytes for p in layer._parameters.values() if p is not None) // 4,
    lambda layer: sum(np.size(p.detach().numpy()) for n, p in layer.named_parameters()),
    count_by_torchinfo,
]


class Twin(nn.Module):
    def __init__(self, swapped: bool) -> None:
        super().__init__()
        self.a, self.b, self.swapped = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), swapped

    def forward(self, x: Tensor) -> Tensor:
        return self.a(self.b(x)) if self.swapped else self.b(self.a(x))


class ForgedText(Twin):
    def __repr__(self) -> str:
        return "Twin()"


class Hiding(Twin):
    def extra_repr(self) -> str:
        return ""


class Noisy(Twin):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.rand(1)


class Undefined(Twin):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.nan


def twins(kind: type[Twin], swapped: bool = True) -> Answers:
    one, other = kind(False), kind(swapped)
    other.load_state_dict(one.state_dict())
    return one, other


def named_on_the_object() -> Answers:
    one, other = nn.Sequential(nn.Tanh()), nn.Sequential(nn.ReLU())
    other[0]._get_name = lambda: "Tanh"  # type: ignore[assignment,method-assign]
    return one, other


# ------------------------------------------------------------------ 02
def work_with(bias: bool | None = None, **settings: Any) -> Callable[..., int]:
    def mult_adds(layer: Any, height: int, width: int) -> int:
        places = positions(height, layer, 0, **settings) * positions(width, layer, 1, **settings)
        biases = layer.out_channels * (layer.bias is not None if bias is None else bias)
        return (layer.weight.numel() + biases) * places

    return mult_adds


def work_of_one_stride(layer: Any, height: int, width: int) -> int:
    return work_with(stride=layer.stride[0])(layer, height, width)


def work_by_torchinfo(layer: Any, height: int, width: int) -> int:
    size = (1, layer.in_channels, height, width)
    return torchinfo.summary(layer, size, verbose=0).total_mult_adds


def work_by_summary(layer: Any, height: int, width: int) -> int:
    return viz.summary(layer, (1, layer.in_channels, height, width)).torchinfo_mult_adds


def mb_of_the_first(model: nn.Module) -> float:
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters) * parameters[0].element_size() / 1e6


def mb_by_torchinfo(model: nn.Module) -> float:
    unique = nn.ParameterList(model.parameters())  # torchinfo counts a shared weight twice
    return torchinfo.summary(unique, verbose=0).total_param_bytes / 1e6


class Convolves(nn.Module):
    """Works only where it is not watched, or only once."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.layer, self.how, self.calls = nn.Conv2d(3, 8, 3), how, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        idle = self.layer._forward_hooks if self.how == "unwatched" else self.calls > 1
        return x if idle else self.layer(x)


# ------------------------------------------------------------------ 03
def convolve_by_library(x: Tensor, weight: Tensor, bias: float, stride: int) -> Tensor:
    return under_another_name(x[None], weight[None], stride=stride)[0, 0] + bias


def convolve_by_layer(x: Tensor, weight: Tensor, bias: float, stride: int) -> Tensor:
    layer = nn.Conv2d(len(weight), 1, tuple(weight.shape[1:]), stride, bias=False)
    layer.load_state_dict({"weight": weight[None]})
    return layer(x[None])[0, 0] + bias


def convolve_by_scipy(x: Tensor, weight: Tensor, bias: float, stride: int) -> np.ndarray:
    from scipy.signal import correlate2d

    pairs = zip(x.numpy(), weight.numpy(), strict=True)
    return sum(correlate2d(*pair, "valid") for pair in pairs)[::stride, ::stride] + bias


def convolve_by_unfold(x: Tensor, weight: Tensor, bias: float, stride: int) -> Tensor:
    columns = F.unfold(x[None], weight.shape[1:], stride=stride)[0]
    width = (x.shape[2] - weight.shape[2]) // stride + 1
    return (weight.flatten() @ columns + bias).reshape(-1, width)


def convolve_by_views(x: Tensor, weight: Tensor, bias: float, stride: int) -> Tensor:
    windows = x.unfold(1, weight.shape[1], stride).unfold(2, weight.shape[2], stride)
    return torch.einsum("chwkl,ckl->hw", windows, weight) + bias


def convolve_by_numpy(x: Tensor, weight: Tensor, bias: float, stride: int) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x.numpy(), weight.shape[1:], (1, 2))
    return np.einsum("chwkl,ckl->hw", windows[:, ::stride, ::stride], weight.numpy()) + bias


def convolve_by_fourier(x: Tensor, weight: Tensor, bias: float, stride: int) -> Tensor:
    size = x.shape[1:]
    spectrum = torch.fft.rfft2(x) * torch.fft.rfft2(weight, s=size).conj()
    rows, columns = (n - k + 1 for n, k in zip(size, weight.shape[1:], strict=True))
    whole = torch.fft.irfft2(spectrum, s=size).sum(dim=0)
    return whole[:rows:stride, :columns:stride] + bias


def silenced_by_a_hook() -> nn.Conv2d:
    layer = first_layer(0)
    layer.register_forward_hook(lambda module, args, output: output * 0)
    return layer


def dilated() -> nn.Conv2d:
    layer = first_layer(-1e4)
    layer.dilation = (2, 2)
    return layer


# ------------------------------------------------------------------ 07
def climb_in_place(model: nn.Module, x: Tensor, layer: str, channel: int, rate: float) -> Tensor:
    moved = EXERCISES["07.2"].solution(model, x, layer, channel, rate)
    return x.copy_(moved)


WRONG: dict[str, list[tuple[str, Callable[[], Answers]]]] = {
    "01.1": [
        ("one stride", lambda: ((16, 60, 99), shape_of_one_stride)),
        ("dilation ignored", lambda: ((16, 60, 99), shape_with(dilated=False))),
        ("layer was run", lambda: ((16, 60, 99), shape_by_running)),
        ("layer was run", lambda: ((16, 60, 99), shape_on_meta)),
    ],
    "01.2": [
        ("square kernel assumed", lambda: (count_of_square_kernels,)),
        *(("parameters were counted", lambda f=f: (f,)) for f in COUNTED),
    ],
    "01.3": [
        ("forged printout", lambda: twins(ForgedText)),
        ("forged printout", lambda: twins(Hiding)),
        ("forged printout", named_on_the_object),
        ("random output", lambda: twins(Noisy, swapped=False)),
        ("same output", lambda: twins(Undefined)),
    ],
    "02.1": [
        ("one stride", lambda: (1_003_520, work_of_one_stride)),
        ("dilation ignored", lambda: (1_003_520, work_with(dilated=False))),
        ("bias always", lambda: (1_003_520, work_with(bias=True))),
        ("torchinfo counted", lambda: (1_003_520, work_by_torchinfo)),
        ("torchinfo counted", lambda: (1_003_520, work_by_summary)),
    ],
    "02.2": [
        ("first parameter's size", lambda: (mb_of_the_first,)),
        ("torchinfo counted", lambda: (mb_by_torchinfo,)),
    ],
    "02.3": [
        ("no work", lambda: (Convolves("unwatched"),)),
        ("changes", lambda: (Convolves("once"),)),
    ],
    "03.2": [
        ("a library convolves", lambda: (convolve_by_library,)),
        ("a library convolves", lambda: (convolve_by_layer,)),
        ("a library convolves", lambda: (convolve_by_scipy,)),
        ("a library convolves", lambda: (convolve_by_fourier,)),
        ("a library cuts the windows", lambda: (convolve_by_unfold,)),
        ("a library cuts the windows", lambda: (convolve_by_views,)),
        ("a library cuts the windows", lambda: (convolve_by_numpy,)),
    ],
    "03.3": [("alive", lambda: (silenced_by_a_hook(),)), ("no layer", lambda: (dilated(),))],
    "07.2": [("x changed", lambda: (climb_in_place,))],
}
