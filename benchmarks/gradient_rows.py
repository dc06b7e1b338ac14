"""What needs gradients, against pytorch-grad-cam and FlashTorch on the same model and picture."""

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from flashtorch.activmax import GradientAscent
from flashtorch.saliency import Backprop
from flashtorch.utils import denormalize, format_for_plotting, standardize_and_clip
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

import vizhelpers as viz
from benchmarks.timing import Row, alternately
from vizhelpers.view.canvas import to_png

CLASSES = [281, 282, 285, 207, 388]
# Behind the ReLUs: before an in-place one, grad-cam reads what it has left.
SWEEPS = {
    "squeezenet1_1_bundled": [f"features.{i}" for i in (3, 4, 6, 7, 9, 10, 11, 12)],
    "vgg11": [f"features.{i}" for i in (1, 4, 9, 14, 19)],
    "resnet18": [f"layer{i}" for i in (1, 2, 3, 4)],
}
STEPS = 30


def sweep_rows(rounds: int) -> Iterator[Row]:
    """Grad-CAM of layers x classes: one sweep, against a call of grad-cam for each pair."""
    for name, layers in SWEEPS.items():
        model = viz.load_model() if "bundled" in name else viz.load_model(name, weights=None)
        sample, theirs_model = viz.prepare(model, "cat"), copy.deepcopy(model)

        def pair_by_pair(net: nn.Module = theirs_model, x: Tensor = sample.x) -> list[Any]:
            maps = []
            for layer in layers:  # noqa: B023 (used before the loop goes on)
                with GradCAM(net, [net.get_submodule(layer)]) as cam:
                    maps += [cam(x, [ClassifierOutputTarget(k)])[0] for k in CLASSES]
            return maps

        def sweep(net: nn.Module = model, sample: viz.Sample = sample) -> viz.ImageStack:
            return viz.cam_sweep(net, sample, layers=layers, targets=CLASSES)  # noqa: B023

        _same_maps(model, sample, layers[-1])
        ours, theirs = alternately(sweep, pair_by_pair, rounds)
        yield (
            f"Grad-CAM, {name}, {len(layers)} layers x {len(CLASSES)} classes",
            ours,
            theirs,
            "goal: 10 x; theirs also stretches its maps to the photograph",
        )


def _same_maps(model: nn.Module, sample: viz.Sample, layer: str) -> None:
    """Check that both sides compute one map, up to grad-cam's own stretching and rescaling."""
    net = copy.deepcopy(model)
    with GradCAM(net, [net.get_submodule(layer)]) as cam:
        theirs = cam(sample.x, [ClassifierOutputTarget(CLASSES[0])])[0]
    ours = torch.from_numpy(viz.cam(model, sample, layer, target=CLASSES[0]).frames)[None]
    large = nn.functional.interpolate(ours, theirs.shape, mode="bilinear")[0, 0].numpy()
    assert not large.any() or np.corrcoef(large.ravel(), theirs.ravel())[0, 1] > 0.99, "other maps"


def figure_rows(rounds: int) -> Iterator[Row]:
    """Saliency figure. FlashTorch's ``visualize`` fails today: its steps, one by one.

    As PNG ours takes longer to encode: its gradients fill the scale, theirs are nearly all grey.
    """
    model = viz.load_model()
    x = viz.prepare(model, "cat").x
    theirs_side, ours_side = Backprop(copy.deepcopy(model)), viz.flash.Backprop(model)
    found = theirs_side.calculate_gradients(x.clone().requires_grad_())
    assert torch.allclose(found, ours_side.calculate_gradients(x), atol=1e-6), "other gradients"
    for name, finish, goal in (
        ("saliency figure", plt.close, "goal: 1.8 x FlashTorch"),
        ("saliency figure to PNG", to_png, "more to encode: see figure_rows"),
    ):
        ours, theirs = alternately(
            lambda: finish(ours_side.visualize(x, None)),  # noqa: B023
            lambda: finish(_flashtorchs_figure(theirs_side, x)),  # noqa: B023
            rounds,
        )
        yield name, ours, theirs, goal


def _flashtorchs_figure(side: Backprop, x: Tensor) -> plt.Figure:
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


def ascent_rows(rounds: int) -> Iterator[Row]:
    """Four filters of an early and of a late layer, 30 steps: one batch against four runs."""
    model = viz.load_model()
    theirs_net = copy.deepcopy(model.features)
    start = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    for where, layer, goal in (("early", "0", "4"), ("late", "12.expand3x3", "1.3")):
        filters = [1, 2, 3, 4]
        theirs_side = GradientAscent(theirs_net, img_size=128)
        at, own = theirs_net.get_submodule(layer), model.features.get_submodule(layer)

        def one_by_one(side: GradientAscent = theirs_side, at: nn.Module = at) -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for index in filters:  # noqa: B023
                    side.optimize(at, index, start.clone().requires_grad_(), num_iter=STEPS)

        def batch(layer: str = f"features.{layer}") -> None:
            viz.activation_maximization(model, layer, channels=filters, steps=STEPS)  # noqa: B023

        check = viz.flash.GradientAscent(model.features).optimize(own, 1, start, num_iter=2)[-1]
        same = theirs_side.optimize(at, 1, start.clone().requires_grad_(), num_iter=2)[-1]
        assert torch.allclose(check, same, atol=1e-3), "another climb"
        ours, theirs = alternately(batch, one_by_one, rounds)
        yield f"four filters, {where}, {STEPS} steps", ours, theirs, f"goal: {goal} x FlashTorch"
