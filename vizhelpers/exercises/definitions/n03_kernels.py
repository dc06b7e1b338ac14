"""Notebook 03: compute a filter's output; show what a picture of kernels hides."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vizhelpers.exercises.exercise import Exercise, Mistake
from vizhelpers.exercises.forbidden import Calls
from vizhelpers.exercises.judges import by_cases, by_paper_and_cases, fault
from vizhelpers.exercises.runner import Runner
from vizhelpers.exercises.solutions import n03_kernels as worked
from vizhelpers.inputs.models import load_model
from vizhelpers.inputs.photographs.images import sample_images
from vizhelpers.inputs.samples import prepare


def _flat_output(weight: Tensor, bias: float, value: float) -> float:
    flat = torch.full((1, *weight.shape), value, dtype=torch.float64)
    return F.conv2d(flat, weight.double()[None]).item() + bias


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _flat_cases() -> list[tuple[Tensor, float, float]]:
    first = load_model().get_submodule("features.0")
    weight, bias = first.weight.detach(), first.bias.detach()  # type: ignore[union-attr,operator]
    visible = torch.tensor([[[0.0, 1, 0], [1, -3, 1], [0, 1, 0]]])
    trained = [(weight[i].clone(), bias[i].item(), value) for i, value in ((5, 2.0), (47, -1.5))]
    return [(visible, 0.5, 5.0), *trained, (_random(4, 3, 5, seed=0), -2.0, 0.7)]


FLAT_MISTAKES = {
    "bias forgotten": Mistake(
        "the bias is missing. It is added once, at the end.",
        lambda weight, bias, value: _flat_output(weight, 0.0, value),
    ),
    "mean instead of sum": Mistake(
        "the products are averaged. A convolution sums them.",
        lambda weight, bias, value: value * weight.mean().item() + bias,
    ),
    "bias multiplied": Mistake(
        "the bias was multiplied by the value as well. It does not depend on the input.",
        lambda weight, bias, value: value * (weight.sum().item() + bias),
    ),
    "absolute weights": Mistake(
        "the weights keep their signs: positive and negative weights cancel.",
        lambda weight, bias, value: value * weight.abs().sum().item() + bias,
    ),
}


def _convolved(x: Tensor, weight: Tensor, bias: float, stride: int, padding: int = 0) -> Tensor:
    return F.conv2d(x[None], weight[None], stride=stride, padding=padding)[0, 0] + bias


def _convolve_cases() -> list[tuple[Tensor, Tensor, float, int]]:
    cat = prepare(load_model(), "cat").x[0, :, 100:115, 60:80]
    return [
        (cat, _random(3, 3, 3, seed=1), 0.5, 1),
        (_random(2, 9, 16, seed=2), _random(2, 3, 3, seed=3), -1.0, 2),
        (_random(1, 12, 8, seed=4), _random(1, 2, 5, seed=5), 0.25, 1),
        (_random(4, 10, 11, seed=6), _random(4, 3, 3, seed=7), 2.0, 3),
    ]


CONVOLVE_MISTAKES = {
    "height and width transposed": Mistake(
        "height and width are swapped: the map is transposed. Rows come first.",
        lambda x, weight, bias, stride: _convolved(x, weight, bias, stride).T,
    ),
    "bias forgotten": Mistake(
        "the bias is missing: one number, added to every place.",
        lambda x, weight, bias, stride: _convolved(x, weight, 0.0, stride),
    ),
    "mean instead of sum": Mistake(
        "the products are averaged. A convolution sums them.",
        lambda x, weight, bias, stride: _convolved(x, weight, 0.0, stride) / weight.numel() + bias,
    ),
    "kernel flipped": Mistake(
        "the kernel is rotated by 180 degrees. PyTorch does not flip: weight [0, 0] multiplies the "
        "upper left pixel.",
        lambda x, weight, bias, stride: _convolved(x, weight.flip(1, 2), bias, stride),
    ),
    "padding added": Mistake(
        "the map is too large: a border was added. Without padding the window stays inside.",
        lambda x, weight, bias, stride: _convolved(x, weight, bias, stride, padding=1),
    ),
    "stride ignored": Mistake(
        "the stride is ignored: the window moves by `stride` pixels each time.",
        lambda x, weight, bias, stride: _convolved(x, weight, bias, 1),
    ),
    "channels not added": Mistake(
        "the channels are not summed. One filter makes one map, from all its channels.",
        lambda x, weight, bias, stride: (
            F.conv2d(x[None], weight[:, None], stride=stride, groups=len(x))[0] + bias
        ),
    ),
    "a library convolves": Mistake(
        "the values are right, but a library's convolution computes them. Write the two loops "
        "yourself, and multiply each window by the weights.",
        forbids=Calls(
            operations=".*conv.*|.*correlate.*|.*fft.*",
            functions=(np.convolve, np.correlate),
            modules=("scipy.signal", "scipy.ndimage", "scipy.fft", "numpy.fft", "skimage"),
        ),
    ),
    "a library cuts the windows": Mistake(
        "the values are right, but a library cuts out the windows (unfold, as_strided). Cut each "
        "window yourself, with a slice, in two loops.",
        forbids=Calls(
            operations="im2col|unfold|as_strided",
            functions=(
                np.lib.stride_tricks.as_strided,
                np.lib.stride_tricks.sliding_window_view,
            ),
        ),
    ),
}


DEAD_MISTAKES = {
    "no layer": Mistake("a Conv2d(3, 64, 3, stride=2) is needed: viz.check('03.3', layer)."),
    "kernels differ": Mistake(
        "the kernels are not SqueezeNet's, so their picture differs. Copy them, and change "
        "something that the picture does not show."
    ),
    "alive": Mistake(
        "fewer than half of the 64 maps are zero everywhere after ReLU. Which number of a filter "
        "can make all its outputs negative?"
    ),
    "alive elsewhere": Mistake(
        "half of the maps are dead on the cat, but not on all other photographs. Use a larger "
        "change."
    ),
}


def _judge_dead(run: Runner, layer: Any) -> None:
    model = load_model()
    first = model.get_submodule("features.0")
    if not isinstance(layer, nn.Conv2d) or _settings(layer) != _settings(first):
        raise fault(DEAD_MISTAKES, "no layer")
    right: Tensor = first.weight  # type: ignore[assignment]
    kernels = layer.weight.detach().to(right.dtype)
    if kernels.shape != right.shape or not torch.equal(kernels, right.detach()):
        raise fault(DEAD_MISTAKES, "kernels differ")
    for i, name in enumerate(["cat", *(n for n in sample_images() if n != "cat")]):
        x = prepare(model, name).x
        if run(_count_dead, layer, x) < 32:  # type: ignore[operator]
            raise fault(DEAD_MISTAKES, "alive elsewhere" if i else "alive")


def _settings(layer: Any) -> tuple[Any, ...]:
    return layer.stride, layer.padding, layer.dilation, layer.groups


def _count_dead(layer: nn.Conv2d, x: Tensor) -> int:
    """Count the maps that its weights and bias make zero; its `forward` may do something else."""
    with torch.no_grad():
        maps = F.conv2d(x.to(layer.weight.dtype), layer.weight, layer.bias, layer.stride)
        return int((maps[0].relu().amax(dim=(1, 2)) == 0).sum())


EXERCISES = [
    Exercise(
        key="03.1",
        kind="derive",
        task="a filter's output on a flat grey patch",
        hints=(
            "Write down the sum of products. All inputs are the same number: factor it out.",
            "The result is value x (sum of the weights). Then one more number is added.",
            "Weights: four ones and one -3, so their sum is 1. Times 5, plus 0.5.",
        ),
        solution=worked.flat_answer,
        why="On a flat patch the output depends only on the sum of the weights. Where the sum is "
        "near zero, as in most trained first-layer filters, brightness hardly matters.",
        judge=by_paper_and_cases(_flat_output, _flat_cases, FLAT_MISTAKES),
        mistakes=FLAT_MISTAKES,
        parts=("number on paper", "function"),
        paper=lambda: worked.flat_answer(*_flat_cases()[0]),
    ),
    Exercise(
        key="03.2",
        kind="implement",
        task="convolve by hand",
        hints=(
            "Two loops: the upper left corner of the window runs over rows and columns.",
            "At each place cut x[:, r:r+k, c:c+l], multiply by the weight, sum all products, add "
            "the bias.",
            "Corners: range(0, height - k + 1, stride) for rows, the same with width and l for "
            "columns. Collect the sums and reshape them to (rows, columns).",
        ),
        solution=worked.convolve,
        why="That is all a convolution does. PyTorch computes the same sums in another order, and "
        "much faster.",
        judge=by_cases(_convolved, _convolve_cases, CONVOLVE_MISTAKES),
        mistakes=CONVOLVE_MISTAKES,
    ),
    Exercise(
        key="03.3",
        kind="break",
        task="dead filters whose picture looks normal",
        hints=(
            "The picture of a kernel shows its weights. What else does a filter have?",
            "It has a bias. ReLU follows the layer and sets negative values to zero.",
            "Copy SqueezeNet's first layer with load_state_dict, and give 32 of its biases a large "
            "negative value.",
        ),
        solution=worked.dead_filters,
        why="The picture of the kernels is unchanged, and half of the maps are zero for every "
        "photograph. A kernel's picture does not show the bias. Only the maps show whether a "
        "channel is alive.",
        judge=_judge_dead,
        mistakes=DEAD_MISTAKES,
        parts=("layer",),
    ),
]
