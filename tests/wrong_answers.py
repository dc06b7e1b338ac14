"""Wrong answers as students write them, by exercise and by the mistake that should be named.

They are written apart from the package's own foreseen mistakes, and in another way, so that the
tests do not ask a function whether it equals itself.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vizhelpers as viz

Answers = tuple[Any, ...]


# ------------------------------------------------------------------ 01
def shape_turned(shape: Any, layer: Any) -> Any:
    w = (shape[2] + 2 * layer.padding[1] - layer.kernel_size[1]) // layer.stride[1] + 1
    h = (shape[1] + 2 * layer.padding[0] - layer.kernel_size[0]) // layer.stride[0] + 1
    return [layer.out_channels, w, h]


def shape_without_padding(shape: Any, layer: Any) -> Any:
    new = [layer.out_channels]
    for i in (0, 1):
        new.append(int((shape[i + 1] - layer.kernel_size[i]) / layer.stride[i] + 1))
    return tuple(new)


def count_without_bias(layer: Any) -> int:
    total = 1
    for size in layer.weight.shape:
        total *= size
    return total


class Same(nn.Module):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x)


def same_twins() -> Answers:
    first, second = Same(), Same()
    second.load_state_dict(first.state_dict())
    return first, second


# ------------------------------------------------------------------ 02
def work_without_bias(layer: Any, height: int, width: int) -> int:
    out = layer(torch.zeros(1, layer.in_channels, height, width))
    kernel = layer.kernel_size[0] * layer.kernel_size[1]
    return out[0].numel() * kernel * layer.in_channels // layer.groups


def mb_of_float32(model: nn.Module) -> float:
    return 4e-6 * sum(np.prod(p.shape) for p in model.parameters())


# ------------------------------------------------------------------ 03
def slow_convolve(x: Tensor, weight: Tensor, bias: float, stride: int) -> np.ndarray:
    """A right answer in NumPy, on which the wrong ones are built."""
    x, weight = x.numpy(), weight.numpy()
    _, k, w = weight.shape
    rows = (x.shape[1] - k) // stride + 1
    columns = (x.shape[2] - w) // stride + 1
    out = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride, j * stride
            out[i, j] = np.sum(x[:, top : top + k, left : left + w] * weight) + bias
    return out


def convolve_turned(x: Tensor, weight: Tensor, bias: float, stride: int) -> np.ndarray:
    return slow_convolve(x, weight, bias, stride).swapaxes(0, 1)


def convolve_without_bias(x: Tensor, weight: Tensor, bias: float, stride: int) -> np.ndarray:
    return slow_convolve(x, weight, 0, stride)


def convolve_by_mean(x: Tensor, weight: Tensor, bias: float, stride: int) -> np.ndarray:
    return slow_convolve(x, weight / weight.numel(), bias, stride)


def convolve_flipped(x: Tensor, weight: Tensor, bias: float, stride: int) -> np.ndarray:
    return slow_convolve(x, torch.rot90(weight, 2, (1, 2)).contiguous(), bias, stride)


def convolve_with_border(x: Tensor, weight: Tensor, bias: float, stride: int) -> np.ndarray:
    return slow_convolve(F.pad(x, (1, 1, 1, 1)), weight, bias, stride)


def first_layer(bias: float) -> nn.Conv2d:
    layer = nn.Conv2d(3, 64, 3, 2)
    layer.load_state_dict(viz.load_model().features[0].state_dict())
    with torch.no_grad():
        layer.bias[:40] += bias
    return layer


def dead_on_the_cat_only() -> nn.Conv2d:
    layer = first_layer(0)
    with torch.no_grad():
        maps = layer(viz.prepare(viz.load_model(), "cat").x)[0]
        layer.bias -= maps.amax(dim=(1, 2)) + 1e-3
    return layer


# ------------------------------------------------------------------ 04
def keep_hook(model: nn.Module, x: Tensor, name: str) -> Tensor:
    kept = {}

    def hook(module: Any, args: Any, output: Tensor) -> None:
        kept["maps"] = output.detach().clone()

    model.get_submodule(name).register_forward_hook(hook)
    mode = model.training
    model.eval()
    model(x)
    model.train(mode)
    return kept["maps"]


def stay_in_eval(model: nn.Module, x: Tensor, name: str) -> Tensor:
    return viz.capture(model.eval(), x, name)[name]


def stay_in_train(model: nn.Module, x: Tensor, name: str) -> Tensor:
    maps = viz.capture(model, x, name)[name]
    model.train()
    return maps


def no_copy(model: nn.Module, x: Tensor, name: str) -> Tensor:
    kept, mode = [], model.training
    handle = model.get_submodule(name).register_forward_hook(lambda m, i, o: kept.append(o))
    try:
        with torch.no_grad():
            model.eval()(x)
    finally:
        handle.remove()
        model.train(mode)
    return kept[0]


def keep_input(model: nn.Module, x: Tensor, name: str) -> Tensor:
    kept, mode = [], model.training
    module = model.get_submodule(name)
    handle = module.register_forward_hook(lambda m, i, o: kept.append(i[0].clone()))
    try:
        with torch.no_grad():
            model.eval()(x)
    finally:
        handle.remove()
        model.train(mode)
    return kept[0]


def run_in_train_mode(model: nn.Module, x: Tensor, name: str) -> Tensor:
    kept, mode = [], model.training
    module = model.get_submodule(name)
    handle = module.register_forward_hook(lambda m, i, o: kept.append(o.clone()))
    with torch.no_grad():
        model.train()(x)
    handle.remove()
    model.train(mode)
    return kept[0]


def no_finally(model: nn.Module, x: Tensor, name: str) -> Tensor:
    kept, mode = [], model.training
    module = model.get_submodule(name)
    model.eval()
    handle = module.register_forward_hook(lambda m, i, o: kept.append(o.clone()))
    with torch.no_grad():
        model(x)
    handle.remove()
    model.train(mode)
    return kept[0]


def mode_without_finally(model: nn.Module, x: Tensor, name: str) -> Tensor:
    kept, mode = [], model.training
    module = model.get_submodule(name)
    handle = module.register_forward_hook(lambda m, i, o: kept.append(o.clone()))
    try:
        with torch.no_grad():
            model.eval()(x)
        model.train(mode)
    finally:
        handle.remove()
    return kept[0]


def swallow(model: nn.Module, x: Tensor, name: str) -> Tensor:
    try:
        return viz.capture(model, x, name)[name]
    except Exception:
        return torch.zeros(1)


class Named(nn.Module):
    def __init__(self, last: nn.Module | None = None) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3), last or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.conv(x)) + 1


class NeverCalled(Named):
    def forward(self, x: Tensor) -> Tensor:
        return x


# ------------------------------------------------------------------ 05
def parts_of_gradcam(model: nn.Module, x: Tensor, layer: str, target: int, of: str) -> Answers:
    kept: list[Tensor] = []
    module = model.get_submodule(layer)
    handle = module.register_forward_hook(lambda m, i, output: kept.append(output))
    logits = model(x)
    handle.remove()
    score = logits[0, target] if of == "logit" else torch.softmax(logits, 1)[0, target]
    return kept[0][0], torch.autograd.grad(score, kept[0])[0][0]


def gradcam_without_relu(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    a, g = parts_of_gradcam(model, x, layer, target, "logit")
    return torch.einsum("c,chw->hw", g.mean((1, 2)), a)


def gradcam_of_softmax(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    a, g = parts_of_gradcam(model, x, layer, target, "probability")
    return torch.einsum("c,chw->hw", g.mean((1, 2)), a).clamp(min=0)


def gradcam_by_sum(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    a, g = parts_of_gradcam(model, x, layer, target, "logit")
    return torch.einsum("c,chw->hw", g.sum((1, 2)), a).clamp(min=0)


def gradcam_with_hook(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    kept: list[Tensor] = []
    model.get_submodule(layer).register_forward_hook(lambda m, i, output: kept.append(output))
    (g,) = torch.autograd.grad(model(x)[0, target], kept[0])
    return (g.mean((2, 3), keepdim=True) * kept[0]).sum(1).clamp(min=0)[0]


def photograph(name: str = "cat") -> Tensor:
    return viz.prepare(viz.load_model(), name).x


# ------------------------------------------------------------------ 06
def saliency_signed(model: nn.Module, x: Tensor, target: int) -> Tensor:
    x = x.clone().requires_grad_(True)
    model(x)[0, target].backward()
    return x.grad[0].max(0).values


def saliency_of_softmax(model: nn.Module, x: Tensor, target: int) -> Tensor:
    x = x.clone().requires_grad_(True)
    torch.softmax(model(x), 1)[0, target].backward()
    return x.grad[0].abs().max(0).values


def saliency_frozen(model: nn.Module, x: Tensor, target: int) -> Tensor:
    for parameter in model.parameters():
        parameter.requires_grad = False
    x = x.clone().requires_grad_(True)
    model(x)[0, target].backward()
    return x.grad[0].abs().max(0).values


def saliency_hooked(model: nn.Module, x: Tensor, target: int) -> Tensor:
    model.register_full_backward_hook(lambda module, grad_in, grad_out: None)
    x = x.clone().requires_grad_(True)
    model(x)[0, target].backward()
    return x.grad[0].abs().max(0).values


class Sum(nn.Module):
    def __init__(self, at: float) -> None:
        super().__init__()
        self.at = at

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, 0, 2, 2] * self.at, x.mean((1, 2, 3))], 1)


class OneNumber(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean()


# ------------------------------------------------------------------ 07
def pixels_to_255(pixels: np.ndarray, mean: Any, std: Any) -> Tensor:
    x = torch.tensor(pixels).permute(2, 0, 1).float()
    return ((x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])[None]


def pixels_turned(pixels: np.ndarray, mean: Any, std: Any) -> Tensor:
    x = torch.tensor(pixels).permute(2, 1, 0) / 255
    return ((x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])[None]


def climb_and_stay(model: nn.Module, x: Tensor, layer: str, channel: int, rate: float) -> Tensor:
    kept: list[Tensor] = []
    model.get_submodule(layer).register_forward_hook(lambda m, i, o: kept.append(o.clone()))
    leaf = x.clone().requires_grad_()
    model(leaf)
    (g,) = torch.autograd.grad(kept[0][0, channel].mean(), leaf)
    return x + rate * g / g.norm()


def trained() -> dict[str, Tensor]:
    return viz.load_model().state_dict()


def misshapen() -> dict[str, Tensor]:
    checkpoint = {f"old.{name}": value for name, value in trained().items()}
    return checkpoint | {"features.0.bias": torch.zeros(3)}


# What is handed to check, built by a function when needed. A mistake may be made in several ways.
WRONG: dict[str, list[tuple[str, Callable[[], Answers]]]] = {
    "01.1": [
        ("height and width transposed", lambda: ((16, 99, 60), shape_turned)),
        ("height and width transposed", lambda: ((16, 60, 99), shape_turned)),
        ("padding forgotten", lambda: ((16, 60, 99), shape_without_padding)),
        ("padding forgotten", lambda: ((16, 59, 98), shape_turned)),
        ("another input", lambda: ((16, 60, 99), lambda shape, layer: (16, 60, 99))),
    ],
    "01.2": [
        ("bias forgotten", lambda: (count_without_bias,)),
        ("another input", lambda: (lambda layer: 1792,)),
        ("raised", lambda: (lambda layer: layer.in_channels * layer.kernel,)),
    ],
    "01.3": [
        ("no modules", lambda: ("one", "other")),
        ("printouts differ", lambda: (Same(3), Same(5))),
        ("weights differ", lambda: (Same(), Same())),
        ("same output", same_twins),
    ],
    "02.1": [("bias forgotten", lambda: (1_003_520, work_without_bias))],
    "02.2": [("four bytes assumed", lambda: (mb_of_float32,))],
    "02.3": [
        ("no module", lambda: (F.conv2d,)),
        ("no work", lambda: (nn.Identity(),)),
        ("counted", lambda: (nn.Conv2d(3, 8, 3),)),
        ("counted", lambda: (viz.load_model(),)),
    ],
    "03.1": [
        ("bias forgotten", lambda: (5, lambda w, b, v: v * float(w.sum()))),
        ("bias forgotten", lambda: (5.5, lambda w, b, v: v * float(w.sum()))),
        ("mean instead of sum", lambda: (5.5, lambda w, b, v: v * float(w.mean()) + b)),
    ],
    "03.2": [
        ("height and width transposed", lambda: (convolve_turned,)),
        ("bias forgotten", lambda: (convolve_without_bias,)),
        ("mean instead of sum", lambda: (convolve_by_mean,)),
        ("kernel flipped", lambda: (convolve_flipped,)),
        ("padding added", lambda: (convolve_with_border,)),
        ("another input", lambda: (lambda x, w, b, s: slow_convolve(x, w, b, min(s, 2)),)),
        ("not plain", lambda: (lambda x, w, b, s: nn.Conv2d(3, 1, 3),)),
    ],
    "03.3": [
        ("no layer", lambda: (nn.Linear(3, 64),)),
        ("no layer", lambda: (nn.Conv2d(3, 64, 3),)),
        ("kernels differ", lambda: (nn.Conv2d(3, 64, 3, 2),)),
        ("alive", lambda: (first_layer(-1.0),)),
        ("alive elsewhere", lambda: (dead_on_the_cat_only(),)),
    ],
    "04.1": [
        ("strides ignored", lambda: (7, lambda layers: 1 + sum(k - 1 for k, s in layers))),
        ("kernels added", lambda: (10, lambda layers: 0)),
    ],
    "04.2": [
        ("left hook", lambda: (keep_hook,)),
        ("left mode", lambda: (stay_in_eval,)),
        ("left mode", lambda: (stay_in_train,)),
        ("left parameters", lambda: (run_in_train_mode,)),
        ("rewritten in place", lambda: (no_copy,)),
        ("input instead of output", lambda: (keep_input,)),
        ("hook stays after an error", lambda: (no_finally,)),
        ("mode stays after an error", lambda: (mode_without_finally,)),
        ("error swallowed", lambda: (swallow,)),
    ],
    "04.3": [
        ("no module", lambda: ("conv",)),
        ("no conv", lambda: (nn.Sequential(nn.Conv2d(3, 4, 3)),)),
        ("conv does not run", lambda: (NeverCalled(),)),
        ("a ReLU", lambda: (Named(nn.ReLU(inplace=True)),)),
        ("not rewritten", lambda: (Named(),)),
    ],
    "05.1": [
        ("ReLU before the mean", lambda: (5, lambda m, w, b: _cam(m, w, b, torch.relu))),
        ("sum instead of mean", lambda: (18.5, lambda m, w, b: 0)),
    ],
    "05.2": [
        ("ReLU omitted", lambda: (gradcam_without_relu,)),
        ("softmax gradient", lambda: (gradcam_of_softmax,)),
        ("sum instead of mean", lambda: (gradcam_by_sum,)),
        ("left hook", lambda: (gradcam_with_hook,)),
    ],
    "05.3": [
        ("no input", lambda: (torch.randn(3, 224, 224),)),
        ("no input", lambda: (torch.full((1, 3, 224, 224), torch.nan),)),
        ("too loud", lambda: (30 * torch.randn(1, 3, 224, 224),)),
        ("something to see", lambda: (photograph(),)),
        ("something to see", lambda: (torch.zeros(1, 3, 224, 224),)),
        ("not sure", lambda: (_noise(),)),
    ],
    "06.1": [
        (
            "gradient of the logit",
            lambda: (0, lambda z, t: F.one_hot(torch.tensor(t), len(z)) * 1.0),
        ),
        ("sign", lambda: (0.163, lambda z, t: z)),
        ("another input", lambda: (-0.163, lambda z, t: torch.tensor([0.2227, -0.1628, -0.0599]))),
    ],
    "06.2": [
        ("signed instead of absolute", lambda: (saliency_signed,)),
        ("softmax gradient", lambda: (saliency_of_softmax,)),
        ("left requires_grad", lambda: (saliency_frozen,)),
        ("left hook", lambda: (saliency_hooked,)),
    ],
    "06.3": [
        ("parts", lambda: (Sum(1), torch.ones(1, 1, 4, 4), (4, 0))),
        ("parts", lambda: (Sum(1), torch.ones(1, 1, 4, 4), 3)),
        ("no logits", lambda: (OneNumber(), torch.ones(1, 1, 4, 4), (0, 0))),
        ("does not matter", lambda: (Sum(0.1), torch.ones(1, 1, 4, 4), (2, 2))),
        ("has a gradient", lambda: (Sum(1), torch.ones(1, 1, 4, 4), (2, 2))),
    ],
    "07.1": [
        ("not divided by 255", lambda: (871, pixels_to_255)),
        ("not divided by 255", lambda: (1.31, pixels_to_255)),
        ("height and width transposed", lambda: (1.31, pixels_turned)),
    ],
    "07.2": [("left hook", lambda: (climb_and_stay,))],
    "07.3": [
        ("no dictionary", lambda: ([1, 2],)),
        ("no dictionary", lambda: ({"a": 1},)),
        ("weights missing", lambda: ({},)),
        ("raises", lambda: (misshapen(),)),
        ("loaded", lambda: (trained(),)),
    ],
}


def _cam(maps: Tensor, weight: Tensor, bias: float, cut: Callable[[Tensor], Tensor]) -> Answers:
    class_map = cut(torch.tensordot(weight, maps, dims=1))
    return class_map, float(class_map.mean()) + bias


def _noise() -> Tensor:
    return torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(5))
