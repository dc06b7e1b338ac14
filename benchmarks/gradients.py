"""What needs gradients: class activation maps, saliency, activation maximisation."""

import copy
from collections.abc import Callable
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop, Saliency
from captum.attr import visualization as captum_pictures
from flashtorch.saliency import Backprop
from matplotlib.figure import Figure
from torch import nn

import vizhelpers as viz
from benchmarks import peers
from benchmarks.measure import FLOOR, OURS, Budget, Call, Result, in_turn
from benchmarks.pictures import encoded
from benchmarks.shown import shown
from vizhelpers.passes.capture import run_to
from vizhelpers.view.canvas import Canvas

CLASSES = [281, 282, 285, 207, 388]
# Behind the ReLUs: before an in-place one, pytorch-grad-cam reads what it has left.
SWEEPS = {
    "SqueezeNet": ("squeezenet1_1_bundled", [f"features.{i}" for i in (3, 4, 6, 7, 9, 10, 11, 12)]),
    "VGG-11": ("vgg11", [f"features.{i}" for i in (4, 9, 14, 19)]),
    "ResNet-18": ("resnet18", [f"layer{i}" for i in (1, 2, 3, 4)]),
}
ASCENTS = {"early": ("0", 4.0), "middle": ("6.expand3x3", None), "late": ("12.expand3x3", 1.3)}
STEPS, SIDE, FILTERS = 30, 128, [1, 2, 3, 4]


def frozen(model: nn.Module) -> nn.Module:
    """Return a copy whose parameters want no gradients, and without in-place ReLUs."""
    net = copy.deepcopy(model).requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return net


def sweep(title: str, budget: Budget) -> Result:
    """Grad-CAM of layers x classes on one network."""
    name, layers = SWEEPS[title]
    model = viz.load_model() if "bundled" in name else viz.load_model(name, weights=None)
    sample, net = viz.prepare(model, "cat"), copy.deepcopy(model)
    needed = copy.deepcopy(model).requires_grad_(False)
    check_maps(model, net, sample, layers[-1])
    sides: dict[str, Call] = {
        OURS: lambda: viz.cam_sweep(model, sample, layers=layers, targets=CLASSES),
        "grad-cam": lambda: peers.gradcam_pairs(net, sample.x, layers, CLASSES),
        "torchcam": lambda: peers.torchcam_sweep(net, sample.x, layers, CLASSES),
        FLOOR: lambda: peers.needed_gradients(needed, sample.x, layers[0], CLASSES),
    }
    return Result(
        f"Grad-CAM, {title}, {len(layers)} layers x {len(CLASSES)} classes",
        in_turn(sides, budget),
        goals={"grad-cam": 10, "torchcam": 1},
        floor=f"one forward pass, {len(CLASSES)} backward passes as far as the first layer",
        note="pytorch-grad-cam runs for each pair and stretches its maps to the photograph; "
        "torchcam shares passes as ours does, and they tie; ours also stretches all maps to one "
        "size",
    )


def check_maps(model: nn.Module, net: nn.Module, sample: viz.Sample, layer: str) -> None:
    """Check that all sides compute one map, up to the peers' stretching and rescaling."""
    ours = torch.from_numpy(viz.cam(model, sample, layer, target=CLASSES[0]).frames)
    assert ours.any(), "a map of zeros proves nothing"
    (stretched,) = peers.gradcam_pairs(net, sample.x, [layer], CLASSES[:1])
    large = F.interpolate(ours[None], stretched.shape, mode="bilinear")[0, 0]
    assert alike(large.numpy(), stretched) > 0.99, "pytorch-grad-cam has another map"
    (small,) = peers.torchcam_sweep(net, sample.x, [layer], CLASSES[:1])
    assert alike(ours.numpy(), small.numpy()) > 0.999, "torchcam has another map"


def alike(a: np.ndarray, b: np.ndarray) -> float:
    """Return the correlation of two arrays."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def saliency_figure(budget: Budget) -> Result:
    """FlashTorch's figure of four pictures, made with its code, with ours, and with captum's."""
    return _figure(
        "saliency figure",
        plt.close,
        budget,
        goal=1.8,
        why="matplotlib takes 10 ms for each pair of axes: five of ours, four of FlashTorch's",
    )


def saliency_shown(budget: Budget) -> Result:
    """The same figure, as far as the PNG that a notebook shows."""
    return _figure(
        "saliency figure, shown in a notebook",
        shown,
        budget,
        why="our gradients fill their scale, and PNG packs them badly; FlashTorch's are nearly all "
        "grey. Resampling four pictures takes matplotlib as long as encoding",
    )


def _figure(
    title: str, finish: Callable[[Figure], object], budget: Budget, *, why: str, goal: float = 0
) -> Result:
    model = viz.load_model()
    x, bare = viz.prepare(model, "cat").x, frozen(model)
    theirs, ours = Backprop(copy.deepcopy(model)), viz.flash.Backprop(model)
    captum, photograph = Saliency(frozen(model)), viz.prepare(model, "cat").view / 255
    predicted = int(model(x).argmax())
    gradients = ours.calculate_gradients(x)
    by_captum = captum.attribute(x.clone().requires_grad_(), target=predicted, abs=False)
    for found in (theirs.calculate_gradients(x.clone().requires_grad_()), by_captum[0]):
        assert torch.allclose(found, gradients, atol=1e-6), "other gradients"

    def captums() -> Figure:
        found = captum.attribute(x.clone().requires_grad_(), target=predicted)
        return captum_pictures.visualize_image_attr_multiple(
            found[0].permute(1, 2, 0).numpy(),
            photograph,
            ["original_image", "heat_map", "alpha_scaling", "blended_heat_map"],
            ["all", "absolute_value", "absolute_value", "absolute_value"],
            fig_size=(16, 4),
            use_pyplot=False,
        )[0]

    figure = ours.visualize(x, None)
    pixels = Canvas(figure).pixels()
    plt.close(figure)

    def floor() -> None:
        peers.bare_gradients(bare, x, [predicted])
        if finish is shown:
            encoded(pixels)

    sides = in_turn(
        {
            OURS: lambda: finish(ours.visualize(x, None)),
            "FlashTorch": lambda: finish(peers.flashtorch_figure(theirs, x)),
            "captum": lambda: finish(captums()),
            FLOOR: floor,
        },
        budget,
    )
    encodes = ", one PNG encode of the same pixels" if finish is shown else ""
    return Result(
        title,
        sides,
        goals={"FlashTorch": goal} if goal else {},
        floor=f"one forward and one backward pass{encodes}",
        note=f"ours has four titles and a colour bar as well; FlashTorch's has neither; {why}",
    )


def guided(budget: Budget) -> Result:
    """Guided backpropagation, the numbers alone."""
    model = viz.load_model()
    sample, bare = viz.prepare(model, "cat"), frozen(model)
    captum, x = GuidedBackprop(frozen(model)), sample.x
    expected = captum.attribute(x.clone().requires_grad_(), target=CLASSES[0])
    found = viz.saliency(model, sample, target=CLASSES[0], method="guided").frames
    largest = expected.abs().amax(dim=1).numpy()
    assert largest.any() and np.allclose(found, largest, atol=1e-5 * largest.max()), "other maps"
    sides = in_turn(
        {
            OURS: lambda: viz.saliency(model, sample, target=CLASSES[0], method="guided"),
            "captum": lambda: captum.attribute(x.clone().requires_grad_(), target=CLASSES[0]),
            FLOOR: lambda: peers.bare_gradients(bare, x, CLASSES[:1]),
        },
        budget,
    )
    return Result(
        "guided backpropagation",
        sides,
        floor="one forward and one backward pass",
        note="FlashTorch's gives NaN on this network",
    )


def ascent(where: str, budget: Budget) -> Result:
    """Four filters of one layer: one batch, against FlashTorch's four runs."""
    layer, goal = ASCENTS[where]
    model = viz.load_model()
    net = copy.deepcopy(model.features)
    start = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    own = viz.flash.GradientAscent(model.features)
    one = own.optimize(model.features.get_submodule(layer), FILTERS[0], start, num_iter=2)[-1]
    (same,) = peers.flashtorch_ascent(net, layer, FILTERS[:1], start, 2)
    assert torch.allclose(one, same, atol=1e-3), "another climb"
    name, steps = f"features.{layer}", 6 if budget.quick else STEPS
    batch = viz.prepare(model, "cat").x[:, :, :SIDE, :SIDE].expand(len(FILTERS), -1, -1, -1)

    def floor() -> None:
        for _ in range(steps):
            leaf = batch.clone().requires_grad_()
            mean = run_to(model, leaf, name)[range(len(FILTERS)), FILTERS].mean()
            torch.autograd.grad(mean, leaf)

    sides = in_turn(
        {
            OURS: lambda: viz.activation_maximization(model, name, channels=FILTERS, steps=steps),
            "FlashTorch": lambda: peers.flashtorch_ascent(net, layer, FILTERS, start, steps),
            FLOOR: floor,
        },
        budget,
    )
    return Result(
        f"activation maximisation, four filters, {where}",
        sides,
        goals={"FlashTorch": goal} if goal else {},
        floor=f"{steps} forward and backward passes of the four, as far as the layer",
        note="captum has no activation maximisation",
    )


ROWS = {
    **{f"sweep-{title}": partial(sweep, title) for title in SWEEPS},
    "saliency": saliency_figure,
    "saliency-shown": saliency_shown,
    "guided": guided,
    **{f"ascent-{where}": partial(ascent, where) for where in ASCENTS},
}
