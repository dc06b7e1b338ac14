"""What others' code does, called as its users call it: pytorch-grad-cam, torchcam, FlashTorch."""

import warnings
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from flashtorch.activmax import GradientAscent
from flashtorch.saliency import Backprop
from flashtorch.utils import denormalize, format_for_plotting, standardize_and_clip
from matplotlib.figure import Figure
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchcam.methods import GradCAM as TorchCAM


def gradcam_pairs(
    model: nn.Module, x: Tensor, layers: Sequence[str], classes: Sequence[int]
) -> list[np.ndarray]:
    """Return pytorch-grad-cam's maps, one call for each pair, stretched to the photograph."""
    maps = []
    for layer in layers:
        with GradCAM(model, [model.get_submodule(layer)]) as cam:
            maps += [cam(x, [ClassifierOutputTarget(k)])[0] for k in classes]
    return maps


def torchcam_sweep(
    model: nn.Module, x: Tensor, layers: Sequence[str], classes: Sequence[int]
) -> list[Tensor]:
    """Return torchcam's maps: one forward pass, one backward pass for each class."""
    with TorchCAM(model, list(layers), input_shape=tuple(x.shape[1:])) as cam:
        scores = model(x)
        found = [cam(k, scores, retain_graph=True) for k in classes]
    return [maps[at] for at in range(len(layers)) for maps in found]


def flashtorch_figure(side: Backprop, x: Tensor) -> Figure:
    """Draw what FlashTorch's ``visualize`` draws, which fails today: its steps, one by one."""
    leaf = x.clone().requires_grad_()
    gradients = side.calculate_gradients(leaf, None)
    strongest = side.calculate_gradients(leaf, None, take_max=True)  # the second pass
    photograph = format_for_plotting(denormalize(x))
    tiles = [
        photograph,
        *(format_for_plotting(standardize_and_clip(g)) for g in (gradients, strongest)),
    ]
    figure = plt.figure(figsize=(16, 4))
    for i, tile in enumerate([*tiles, photograph]):
        axes = figure.add_subplot(1, 4, i + 1)
        axes.set_axis_off()
        axes.imshow(tile, cmap="viridis")
    axes.imshow(tiles[2], cmap="viridis", alpha=0.5)
    return figure


def flashtorch_ascent(
    features: nn.Module, layer: str, filters: Sequence[int], start: Tensor, steps: int
) -> list[Tensor]:
    """Climb with FlashTorch, one filter after the other; return where each ends."""
    side, at = GradientAscent(features, img_size=start.shape[-1]), features.get_submodule(layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            side.optimize(at, index, start.clone().requires_grad_(), num_iter=steps)[-1]
            for index in filters
        ]


def bare_gradients(model: nn.Module, x: Tensor, classes: Sequence[int]) -> list[Tensor]:
    """Run one forward pass and one backward pass for each class, and nothing else."""
    leaf = x.clone().requires_grad_()
    scores = model(leaf)
    return [torch.autograd.grad(scores[0, k], leaf, retain_graph=True)[0] for k in classes]


def needed_gradients(
    model: nn.Module, x: Tensor, layer: str, classes: Sequence[int]
) -> list[Tensor]:
    """Run one forward pass, and one backward pass for each class from the scores to a layer.

    The model's parameters must not require gradients, so that nothing before the layer has a graph.
    """
    leaves: list[Tensor] = []

    def begin_graph(module: nn.Module, args: object, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[0]

    handle = model.get_submodule(layer).register_forward_hook(begin_graph)
    scores = model(x)
    handle.remove()
    return [torch.autograd.grad(scores[0, k], leaves, retain_graph=True)[0] for k in classes]
