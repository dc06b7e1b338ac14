"""What every public function costs, as counts: passes, hooks, copies, figures, bytes.

Seconds differ from machine to machine, and a test of them fails by accident or never. What makes
the seconds can be counted, and is the same everywhere. Each row of the tables says what one call
costs; the rows whose names differ in a number alone say how that grows. A range stands where the
number is another package's affair.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from networks import TINY, seeded
from PIL import Image
from torch import Tensor, nn

import vizhelpers as viz
from vizhelpers.flash import devices
from vizhelpers.passes import copies, dry
from vizhelpers.passes.capture import run_to
from vizhelpers.view.live import wire
from vizhelpers.view.live.controls import linked_trait
from vizhelpers.view.live.panel import Panel
from vizhelpers.view.live.view import StackView

# Singular and plural, for a failure that reads "cam_sweep: expected 1 forward pass, got 2".
COUNTED = {
    "forward pass": "forward passes",
    "layer run": "layer runs",  # in forward passes; all layers in each, where a row says nothing
    "meta pass": "meta passes",  # forward passes without arithmetic
    "backward pass": "backward passes",
    "hook": "hooks",
    "hook left": "hooks left",
    "model copied": "models copied",
    "photograph read": "photographs read",
    "figure": "figures",
    "axes": "axes",
    "image": "images",  # on axes; a montage is one
    "drawing": "drawings",  # of a whole figure, to pixels
    "frame packed": "frames packed",  # made ready for the wire
    "scene sent": "scenes sent",
    "byte sent": "bytes sent",  # of scenes
}
Counts = Counter[str]
Costs = Mapping[str, int | range]

COPYING = (copies, dry, devices)  # each has its own name for ``copies.twin``
NETWORK = TINY["plain"]
LAYERS, CLASSES, SIDE = 9, 12, 10
LAST = "4"  # the last convolution, (6, 8, 8), the fifth of nine layers; the first is (4, 10, 10)
COLOURS = 256 * 3  # bytes of a colour table
VIEW = SIDE * SIDE * 3  # bytes of the photograph under a map
MODULES = LAYERS + 1


# ---------------------------------------------------------------- the counters


@contextmanager
def counting(model: nn.Module | None = None) -> Iterator[Counts]:
    """Count what happens in the ``with`` block, in all threads; every counter is taken off again.

    Args:
        model: on which hooks that are left are looked for, when the block ends.
    """
    counts: Counts = Counter()

    def count(owner: Any, name: str, what: str | Callable[..., Mapping[str, int]]) -> Any:
        """Count the calls of one function, which does its work as before."""
        real = getattr(owner, name)

        @wraps(real)
        def counted(*args: Any, **kwargs: Any) -> Any:
            counts.update({what: 1} if isinstance(what, str) else what(*args, **kwargs))
            return real(*args, **kwargs)

        return mock.patch.object(owner, name, counted)

    # The networks here are ``nn.Sequential``, so this is the root's forward, of copies as well.
    def forward(self: nn.Sequential, x: Tensor) -> Tensor:
        counts["meta pass" if x.is_meta else "forward pass"] += 1
        for layer in self:
            counts["layer run"] += not x.is_meta
            x = layer(x)
        return x

    hooks = ("forward", "forward_pre", "full_backward", "full_backward_pre", "backward")
    with ExitStack() as stack:
        for patch in (
            mock.patch.object(nn.Sequential, "forward", forward),
            # The engine itself: under a torch function mode ``torch.autograd.grad`` calls itself.
            count(torch.autograd, "_engine_run_backward", "backward pass"),
            *(count(nn.Module, f"register_{kind}_hook", "hook") for kind in hooks),
            # Copies share parameters or are on the meta device: ``copy.deepcopy`` copies none.
            count(copy, "deepcopy", _copied),
            *(count(module, "twin", "model copied") for module in COPYING),
            count(Image, "open", "photograph read"),
            count(Figure, "__init__", "figure"),
            count(Axes, "__init__", "axes"),
            count(AxesImage, "__init__", "image"),
            count(Figure, "draw", "drawing"),
            count(wire, "quantise", "frame packed"),
            count(StackView, "notify_change", _sent),
        ):
            stack.enter_context(patch)
        yield counts
    counts["hook left"] += 0 if model is None else _hooks_on(model)


def _copied(it: object, *args: object, **kwargs: object) -> dict[str, int]:
    """Return what a deep copy is of, if it is of a model or a layer."""
    return {"model copied": int(isinstance(it, nn.Module))}


def _sent(view: StackView, change: Mapping[str, Any]) -> dict[str, int]:
    """Return what a change of a view's trait sends to the browser, if it is the scene."""
    if change["name"] != "scene" or not change["new"]:
        return {}
    blobs = (value for value in change["new"].values() if isinstance(value, bytes))
    return {"scene sent": 1, "byte sent": sum(map(len, blobs))}


def _hooks_on(model: nn.Module) -> int:
    tables = [v for m in model.modules() for k, v in vars(m).items() if k.endswith("_hooks")]
    return sum(len(table) for table in tables if isinstance(table, dict))


def check(name: str, counts: Counts, costs: Costs) -> None:
    """Say of each count that it is not what a row says; where that says nothing it is 0."""
    assert set(costs) <= set(COUNTED), "a count that nobody takes"
    expected = {"layer run": LAYERS * counts["forward pass"], **costs}
    wrong = [
        f"{name}: expected {_said(expected.get(what, 0), what)}, got {counts[what]}"
        for what in COUNTED
        if counts[what] not in _range(expected.get(what, 0))
    ]
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)  # the sentences say it all


def _range(cost: int | range) -> range:
    return cost if isinstance(cost, range) else range(cost, cost + 1)


def _said(cost: int | range, what: str) -> str:
    low, high = _range(cost)[0], _range(cost)[-1]
    number = str(low) if low == high else f"{low} to {high}"
    return f"{number} {what if number == '1' else COUNTED[what]}"


# ---------------------------------------------------------------- what is handed over


@dataclass(frozen=True)
class Given:
    """What a row's call is handed.

    Attributes:
        model: a classifier of nine layers in a row.
        x: an image for it.
        folder: to write into.
    """

    model: nn.Module
    x: Tensor
    folder: Path


@pytest.fixture
def given(tmp_path: Path) -> Iterator[Given]:
    with seeded(0):
        model = NETWORK.built()
        model[LAYERS - 1] = nn.Linear(6, CLASSES)
    with torch.no_grad():  # class 0 is the most probable, the last one the least
        model[LAYERS - 1].bias.copy_(-1.0 * torch.arange(CLASSES))
    yield Given(model.eval(), NETWORK.x(), tmp_path)
    plt.close("all")  # FlashTorch's figures, which pyplot holds


def small(image: Image.Image) -> Tensor:
    """Stand for the transform of a reader's own network."""
    return torch.from_numpy(np.array(image.resize((SIDE, SIDE)))).permute(2, 0, 1) / 255


def stack_of(count: int, scale: str = "sequential") -> viz.ImageStack:
    """Return frames of 6 x 6 with a photograph under them."""
    base = np.zeros((12, 12, 3), np.uint8)
    if scale == "rgb":
        return viz.ImageStack(
            np.zeros((count, 6, 6, 3), np.uint8), {"n": range(count)}, scale=scale
        )
    frames = np.linspace(0, 1, count * 36, dtype=np.float32).reshape(count, 6, 6)
    return viz.ImageStack(frames, {"n": range(count)}, scale=scale, base=base)


@dataclass(frozen=True)
class Row:
    """A public name, a colon where it has several rows, what is called, and what that costs."""

    name: str
    call: Callable[[Given], object]
    costs: Costs = field(default_factory=dict)


def passes(forward: int | range, backward: int | range = 0, **more: int | range) -> Costs:
    """Return costs of passes, and of whatever else, written with _ for a space."""
    others = {name.replace("_", " "): cost for name, cost in more.items()}
    return {"forward pass": forward, "backward pass": backward, **others}


# ---------------------------------------------------------------- functions

# A montage is one picture, its colour bar another one: the cheapest way to draw 256 colours.
PLOT: Costs = {"figure": 1, "axes": 2, "image": 2}

ROWS = [
    Row("layer_names", lambda g: viz.layer_names(g.model)),
    Row("get_layer", lambda g: viz.get_layer(g.model, LAST)),
    Row("class_index", lambda g: viz.class_index(g.model, "b", labels=["a", "b"])),
    Row("sample_images", lambda g: viz.sample_images()),
    Row("load_image", lambda g: viz.load_image("cat"), {"photograph read": 1}),
    Row("composite", lambda g: viz.composite("cat", "coffee"), {"photograph read": 2}),
    Row("load_model", lambda g: viz.load_model()),
    Row("load_model: random", lambda g: viz.load_model(weights=None)),
    Row(
        "prepare",
        lambda g: viz.prepare(g.model, "cat", transform=small),
        {"photograph read": 1},
    ),
    Row("predict", lambda g: viz.predict(g.model, g.x), passes(1)),
    Row("predict: all classes", lambda g: viz.predict(g.model, g.x, k=1000), passes(1)),
    # The whole network runs, though nothing behind the last of the layers is looked at: only then
    # is it known that a layer ran once, and has one output. The same holds for whatever captures.
    *(
        Row(
            f"capture: {len(names)} layers",
            lambda g, names=names: viz.capture(g.model, g.x, names),
            passes(1, hook=len(names)),
        )
        for names in (["0"], ["0", "1", "2", "4"])
    ),
    *(
        Row(
            f"feature_maps: a batch of {count}",
            lambda g, count=count: viz.feature_maps(g.model, g.x.expand(count, -1, -1, -1), LAST),
            passes(1, hook=1),
        )
        for count in (1, 8)
    ),
    *(
        Row(
            f"feature_maps: {count} photographs",
            lambda g, count=count: viz.feature_maps(
                g.model, {str(i): g.x for i in range(count)}, LAST
            ),
            passes(count, hook=count),
        )
        for count in (1, 3)
    ),
    Row(
        "flash.utils.load_image",
        lambda g: viz.flash.utils.load_image("cat"),
        {"photograph read": 1},
    ),
    Row(
        "flash.utils.apply_transforms",
        lambda g: viz.flash.utils.apply_transforms("cat"),
        {"photograph read": 1},
    ),
    Row("flash.utils.denormalize", lambda g: viz.flash.utils.denormalize(g.x)),
    Row("flash.utils.format_for_plotting", lambda g: viz.flash.utils.format_for_plotting(g.x)),
    Row("flash.utils.standardize_and_clip", lambda g: viz.flash.utils.standardize_and_clip(g.x)),
    Row("kernels", lambda g: viz.kernels(g.model, LAST)),
    Row("kernels: random", lambda g: viz.kernels(g.model, LAST, random_seed=0)),
    # Nothing is computed: a copy that holds no numbers says the shapes.
    *(
        Row(
            f"module_tree: images of {side}",
            lambda g, side=side: viz.module_tree(g.model, input_size=(1, 3, side, side)),
            {"meta pass": 1, "model copied": 1, "hook": MODULES},
        )
        for side in (SIDE, 500)
    ),
    # torchinfo's own pass, with two hooks on each module; two more count the multiply-adds.
    *(
        Row(
            f"summary: images of {side}",
            lambda g, side=side: viz.summary(g.model, (1, 3, side, side)),
            {"meta pass": 1, "model copied": 1, "hook": 4 * MODULES},
        )
        for side in (SIDE, 500)
    ),
    # ------------------------------------------------------------ class activation maps
    *(
        Row(
            f"cam_sweep: {len(layers)} layers, {classes} classes",
            lambda g, layers=layers, classes=classes: viz.cam_sweep(
                g.model, g.x, layers=layers, targets=range(classes)
            ),
            passes(1, classes, hook=len(layers)),
        )
        for layers in (["0"], ["0", "1", "4", "5"])
        for classes in (1, 6)
    ),
    Row(
        "cam_sweep: a batch of 8",
        lambda g: viz.cam_sweep(g.model, g.x.expand(8, -1, -1, -1), layers=[LAST], targets=[0, 1]),
        passes(1, 2, hook=1),
    ),
    Row(
        "cam_sweep: by no gradient, 3 layers, 6 classes",
        lambda g: viz.cam_sweep(
            g.model, g.x, layers=["0", "1", "4"], targets=range(6), method="eigencam"
        ),
        passes(1, hook=3),
    ),
    *(
        Row(
            f"cam: {method}",
            lambda g, method=method: viz.cam(g.model, g.x, LAST, target=1, method=method),
            passes(1, 1, hook=1),
        )
        for method, cost in viz.CAM_METHODS.items()
        if cost == "gradient"
    ),
    Row(
        "cam: eigencam",
        lambda g: viz.cam(g.model, g.x, LAST, target=1, method="eigencam"),
        passes(1, hook=1),
    ),
    # The prediction is read from the pass that is differentiated.
    Row(
        "cam: of the predicted class",
        lambda g: viz.cam(g.model, g.x, LAST),
        passes(1, 1, hook=1),
    ),
    # A class that is asked for twice is computed twice: nobody does so but a test.
    Row(
        "cam_sweep: the predicted class twice",
        lambda g: viz.cam_sweep(g.model, g.x, layers=[LAST], targets=[None, 1, None]),
        passes(1, 3, hook=1),
    ),
    # One pass for the maps and for the logits that prove the head.
    Row(
        "cam: cam",
        lambda g: viz.cam(g.model, g.x, "5", target=1, method="cam"),
        passes(1, hook=1),
    ),
    # One pass for the maps and the logits. Six channels are one batch of Score-CAM's 16 and of
    # One pass for the maps and the logits. Six channels are one batch of Score-CAM's 16 and of
    # Ablation-CAM's 32. How many hooks Score-CAM registers is pytorch-grad-cam's affair.
    Row(
        "cam: scorecam",
        lambda g: viz.cam(g.model, g.x, LAST, target=1, method="scorecam"),
        passes(2, hook=range(1, 5)),
    ),
    # Pair by pair, on the model itself.
    *(
        Row(
            f"cam_sweep: scorecam, {len(layers)} layers, {classes} classes",
            lambda g, layers=layers, classes=classes: viz.cam_sweep(
                g.model, g.x, layers=layers, targets=range(classes), method="scorecam"
            ),
            passes(
                1 + len(layers) * classes,
                hook=range(1, 1 + 4 * len(layers) * classes),
            ),
        )
        for layers, classes in ((["4"], 3), (["0", "4"], 3))
    ),
    Row(
        "cam: ablationcam",
        lambda g: viz.cam(g.model, g.x, LAST, target=1, method="ablationcam"),
        passes(2, hook=2),
    ),
    # ------------------------------------------------------------ saliency
    *(
        Row(
            f"saliency: {method}",
            lambda g, method=method: viz.saliency(g.model, g.x, target=1, method=method),
            passes(1, 1),
        )
        for method in ("vanilla", "guided", "input_x_gradient")
    ),
    Row(
        "saliency: a batch of 8",
        lambda g: viz.saliency(g.model, g.x.expand(8, -1, -1, -1), target=1),
        passes(1, 1),
    ),
    Row(
        "saliency: of the predicted class",
        lambda g: viz.saliency(g.model, g.x),
        passes(1, 1),
    ),
    # None of the noisy copies says what the image itself is predicted to be, nor whether the model
    # ends in a softmax: one pass more.
    Row(
        "saliency: smoothgrad of the predicted class",
        lambda g: viz.saliency(g.model, g.x, method="smoothgrad", passes=3),
        passes(4, 3),
    ),
    *(
        Row(
            f"saliency: {method}, {count} passes",
            lambda g, method=method, count=count: viz.saliency(
                g.model, g.x, target=1, method=method, passes=count
            ),
            passes(count + 1, count),
        )
        for method in ("smoothgrad", "integrated_gradients")
        for count in (1, 7)
    ),
    # ------------------------------------------------------------ activation maximisation
    # All channels are one batch. The last pass says what the last picture reaches.
    *(
        Row(
            f"activation_maximization: {channels} channels, {steps} steps",
            lambda g, channels=channels, steps=steps: viz.activation_maximization(
                g.model, LAST, channels=range(channels), steps=steps, size=16
            ),
            passes(steps + 1, steps, hook=steps + 1, layer_run=5 * (steps + 1)),
        )
        for channels in (1, 6)
        for steps in (1, 5)
    ),
    Row(
        "activation_maximization: all steps kept",
        lambda g: viz.activation_maximization(
            g.model, LAST, channels=[0], steps=5, size=16, keep=range(6)
        ),
        passes(6, 5, hook=6, layer_run=30),
    ),
    # A picture that is kept is looked at once more, untransformed.
    *(
        Row(
            f"activation_maximization: fourier, {len(keep)} of 5 steps kept",
            lambda g, keep=keep: viz.activation_maximization(
                g.model, LAST, channels=[0, 1], steps=5, size=16, keep=keep, mode="fourier"
            ),
            passes(5 + len(keep), 5, hook=5 + len(keep), layer_run=5 * (5 + len(keep))),
        )
        for keep in ([5], [0, 3, 5])
    ),
    # ------------------------------------------------------------ stacks
    Row("ImageStack", lambda g: stack_of(4)),
    Row("ImageStack.shape", lambda g: stack_of(4).shape),
    Row("ImageStack.only", lambda g: stack_of(4).only(2)),
    Row("ImageStack.select", lambda g: stack_of(4).select(n=[1, 3])),
    Row("ImageStack.limits", lambda g: stack_of(4).limits()),
    Row("ImageStack.colours", lambda g: stack_of(4).colours(1, 0.5)),
    Row("ImageStack.long_titles", lambda g: stack_of(4).long_titles()),
    Row("ImageStack.figure_titles", lambda g: stack_of(4).figure_titles()),
    *(
        Row(f"ImageStack.plot: {count} frames", lambda g, count=count: stack_of(count).plot(), PLOT)
        for count in (1, 4, 64, 500)
    ),
    Row(
        "ImageStack.plot: all of 500 frames",
        lambda g: stack_of(500).plot(limit=500),
        PLOT,
    ),
    Row(
        "ImageStack.plot: colours",
        lambda g: stack_of(4, "rgb").plot(),
        {**PLOT, "axes": 1, "image": 1},
    ),
    Row("ImageStack.plot: overlay", lambda g: stack_of(4).plot(blend=0.5), PLOT),
    Row("ImageStack.plot: photograph", lambda g: stack_of(4).plot(photograph=True), PLOT),
    *(
        Row(
            f"ImageStack.explore: {count} frames",
            lambda g, count=count: stack_of(count).explore(),
            {
                "scene sent": 1,
                "frame packed": count,
                "byte sent": count * 36 + 12 * 12 * 3 + COLOURS,
            },
        )
        for count in (1, 40)
    ),
    # No view is made for a page.
    *(
        Row(
            f"ImageStack.save_html: {count} frames",
            lambda g, count=count: stack_of(count).save_html(g.folder / "page.html"),
            {**PLOT, "drawing": 1, "frame packed": count},
        )
        for count in (1, 40)
    ),
    # ------------------------------------------------------------ FlashTorch
    Row("flash.Backprop", lambda g: viz.flash.Backprop(g.model)),
    *(
        Row(
            f"flash.Backprop.calculate_gradients: class {target}",
            lambda g, target=target: viz.flash.Backprop(g.model).calculate_gradients(g.x, target),
            passes(1, 1),
        )
        for target in (1, None)
    ),
    Row(
        "flash.Backprop.calculate_gradients: guided",
        lambda g: viz.flash.Backprop(g.model).calculate_gradients(g.x, 1, guided=True),
        passes(1, 1),
    ),
    *(
        Row(
            f"flash.Backprop.visualize: class {target}",
            lambda g, target=target: viz.flash.Backprop(g.model).visualize(g.x, target),
            passes(
                1, 1, figure=1, axes=5, image=6
            ),  # five, two of them on each other; a colour bar
        )
        for target in (1, None)
    ),
    Row("flash.GradientAscent", lambda g: viz.flash.GradientAscent(g.model, 16)),
    *(
        Row(
            f"flash.GradientAscent.optimize: {steps} steps",
            lambda g, steps=steps: viz.flash.GradientAscent(g.model, 16).optimize(
                g.model[4], 1, num_iter=steps
            ),
            passes(steps, steps, hook=steps, layer_run=5 * steps),
        )
        for steps in (1, 5)
    ),
    *(
        Row(
            f"flash.GradientAscent.visualize: {filters} filters",
            lambda g, filters=filters: viz.flash.GradientAscent(g.model, 16).visualize(
                g.model[4], list(range(filters)), num_iter=3
            ),
            passes(
                3,
                3,
                hook=3,
                layer_run=15,
                figure=1,
                axes=1 if filters == 1 else 8,  # rows of four, where there are more than four
                image=filters,
            ),
        )
        for filters in (1, 6)
    ),
    Row(
        "flash.GradientAscent.deepdream",
        lambda g: viz.flash.GradientAscent(g.model, 16).deepdream("cat", g.model[4], 1, num_iter=3),
        passes(3, 3, hook=3, layer_run=15, photograph_read=1, figure=1, axes=1, image=1),
    ),
]


@pytest.mark.filterwarnings("ignore:The model predicts class")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_call_costs(row: Row, given: Given) -> None:
    with counting(given.model) as counts:
        result = row.call(given)
    if isinstance(result, Panel):
        result.close()
    check(row.name, counts, row.costs)


# ---------------------------------------------------------------- what is refused

# What a panel does before it looks at a name: the model is copied, its layers with maps are listed.
BEFORE_A_NAME: Costs = {"model copied": 2, "meta pass": 1, "hook": MODULES}
# Without a photograph, a pass more says that the network takes the usual input.
FOUND_SIZE: Costs = {"meta pass": 2}
# At the door: whatever the model is, nothing of it runs.
REFUSED = [
    Row("capture: no such layer", lambda g: viz.capture(g.model, g.x, "9")),
    Row(
        "capture: one of two layers",
        lambda g: viz.capture(g.model, g.x, ["0", "9"]),
    ),
    Row("capture: NaN", lambda g: viz.capture(g.model, g.x * np.nan, "0")),
    Row("feature_maps: no such layer", lambda g: viz.feature_maps(g.model, g.x, "9")),
    Row(
        "feature_maps: two images under one title",  # of which the first has one
        lambda g: viz.feature_maps(g.model, {"one": g.x, "two": g.x.expand(2, -1, -1, -1)}, LAST),
    ),
    Row("feature_maps: no photograph", lambda g: viz.feature_maps(g.model, {}, "0")),
    Row("kernels: no such layer", lambda g: viz.kernels(g.model, "9")),
    Row("kernels: no convolution", lambda g: viz.kernels(g.model, "1", random_seed=0)),
    Row("predict: no classes", lambda g: viz.predict(g.model, g.x, k=0)),
    Row(
        "predict: two photographs",
        lambda g: viz.predict(g.model, g.x.expand(2, -1, -1, -1)),
    ),
    Row("cam: no such layer", lambda g: viz.cam(g.model, g.x, "9", target=0)),
    Row("cam: no such layer, of the predicted class", lambda g: viz.cam(g.model, g.x, "9")),
    Row("cam: no such method", lambda g: viz.cam(g.model, g.x, LAST, method="gradcan")),
    Row("cam: no such name", lambda g: viz.cam(g.model, g.x, LAST, target="b", labels=["a"])),
    Row("cam: a negative class", lambda g: viz.cam(g.model, g.x, LAST, target=-1)),
    Row("cam_sweep: no class", lambda g: viz.cam_sweep(g.model, g.x, layers=["0"], targets=[])),
    Row("saliency: no such method", lambda g: viz.saliency(g.model, g.x, method="grad")),
    Row("saliency: no such score", lambda g: viz.saliency(g.model, g.x, of="loss")),
    Row("saliency: a negative class", lambda g: viz.saliency(g.model, g.x, target=-1)),
    Row(
        "activation_maximization: no such layer",
        lambda g: viz.activation_maximization(g.model, "9", channels=[0]),
    ),
    Row(
        "activation_maximization: no such mode",
        lambda g: viz.activation_maximization(g.model, LAST, channels=[0], mode="pixel"),
    ),
    Row(
        "activation_maximization: a step that is not taken",
        lambda g: viz.activation_maximization(g.model, LAST, channels=[0], steps=2, keep=[3]),
    ),
    Row("module_tree: no depth", lambda g: viz.module_tree(g.model, 0)),
    Row("summary: no such column", lambda g: viz.summary(g.model, col_names=["sizes"])),
    Row("load_model: no such model", lambda g: viz.load_model("squeezenet")),
    Row("load_image: no such photograph", lambda g: viz.load_image("catt")),
    Row("composite: an odd size", lambda g: viz.composite("cat", "coffee", size=99)),
    Row("ImageStack.plot: no frame", lambda g: stack_of(4).plot(limit=0)),
    Row("ImageStack.plot: no photograph", lambda g: stack_of(4, "rgb").plot(photograph=True)),
    Row(
        "flash.Backprop.visualize: two photographs",
        lambda g: viz.flash.Backprop(g.model).visualize(g.x.expand(2, -1, -1, -1), 0),
    ),
    Row(
        "flash.GradientAscent.visualize: no such filter",
        lambda g: viz.flash.GradientAscent(g.model, 16).visualize(g.model[4], 6),
    ),
    Row(
        "explore_kernels: no such layer",
        lambda g: viz.explore_kernels(g.model, layer="9"),
        {"model copied": 1},
    ),
    Row(
        "explore_cam: no such method",
        lambda g: viz.explore_cam(g.model, method="gradcan", transform=small),
        {"model copied": 1},
    ),
    Row(
        "explore_cam: no such name",
        lambda g: viz.explore_cam(g.model, target="b", labels=["a"], transform=small),
        {"model copied": 1},
    ),
    Row(
        "explore_saliency: no such method",
        lambda g: viz.explore_saliency(g.model, method="smoothgrad", transform=small),
        {"model copied": 1},
    ),
    Row(
        "explore_feature_maps: no such layer",
        lambda g: viz.explore_feature_maps(g.model, layer="9", transform=small),
        {**BEFORE_A_NAME, "photograph read": 1},
    ),
    Row(
        "explore_activation_maximization: no such layer",
        lambda g: viz.explore_activation_maximization(g.model, layer="9"),
        {**BEFORE_A_NAME, **FOUND_SIZE, "model copied": 3},
    ),
    # ------------------------------------------------------------ later than at the door
    # A network says only by running how many channels and classes it has, and where maps end.
    Row(
        "predict: a grey photograph",
        lambda g: viz.predict(g.model, g.x[:, :1]),
        passes(1, layer_run=1),
    ),
    Row(
        "feature_maps: no such channel",
        lambda g: viz.feature_maps(g.model, g.x, LAST, channels=[6]),
        passes(1, hook=1),
    ),
    Row(
        "activation_maximization: no such channel",
        lambda g: viz.activation_maximization(g.model, LAST, channels=[6]),
        passes(1, hook=1, layer_run=5),
    ),
    Row(
        "cam: a class beyond the last",
        lambda g: viz.cam(g.model, g.x, LAST, target=CLASSES),
        passes(1, hook=1),
    ),
    Row(
        "saliency: a class beyond the last",
        lambda g: viz.saliency(g.model, g.x, target=CLASSES),
        passes(1),
    ),
    Row(
        "flash.Backprop.visualize: a class beyond the last",
        lambda g: viz.flash.Backprop(g.model).visualize(g.x, CLASSES),
        passes(1),
    ),
    *(
        Row(
            f"cam: {method}, a class beyond the last",
            lambda g, method=method: viz.cam(g.model, g.x, "5", target=CLASSES, method=method),
            passes(1, hook=1),
        )
        for method in ("cam", "scorecam", "ablationcam")
    ),
    Row(
        "cam: a layer without maps",
        lambda g: viz.cam(g.model, g.x, "7", target=0),
        passes(1, hook=1),
    ),
    Row(
        "cam: a head that is not pooled here",
        lambda g: viz.cam(g.model, g.x, "0", target=0, method="cam"),
        passes(1, hook=1),
    ),
]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_a_refusal_costs(row: Row, given: Given) -> None:
    with counting(given.model) as counts, pytest.raises((ValueError, TypeError)):
        row.call(given)
    check(row.name, counts, row.costs)


# ---------------------------------------------------------------- panels


@dataclass(frozen=True)
class PanelRow:
    """A panel: what it costs until it is there, as a notebook displays it, and asked for more.

    Attributes:
        name: the public one, and a colon where it has several rows.
        build: makes it.
        built: what that costs.
        shown: what a display costs, with the picture for viewers that run no widgets.
        asked: for each control that asks the model, what it is changed to and what that costs; one
            after the other.
    """

    name: str
    build: Callable[[Given], Panel]
    built: Costs
    shown: Costs
    asked: Mapping[str, tuple[object, Costs]]


def sent(frames: int, size: int, base: int = 0) -> dict[str, int]:
    """Return what it costs to send maps: each number is one byte, each frame is sent once."""
    return {"scene sent": 1, "frame packed": frames, "byte sent": frames * size + base + COLOURS}


def beside(axes: int, images: int) -> Costs:
    """Return costs of a picture with a chart beside it.

    Each is drawn, and then both once more, as a picture on a figure of their own: figures that
    were drawn for one place each cannot be moved to another.
    """
    return {"figure": 3, "drawing": 3, "axes": axes, "image": images}


# To find out the shapes in a network: a copy, and a pass without numbers, with hooks everywhere.
ON_META: Costs = {"model copied": 1, "meta pass": 1, "hook": MODULES}
# The same in a panel, which works on a copy of its own, once in its life.
PANEL_ON_META: Costs = {**ON_META, "model copied": 2}


SCENE: Costs = {"scene sent": 1}  # charts are numbers, no bytes
ONE_PICTURE: Costs = {**PLOT, "drawing": 1}
FIVE_CLASSES = sum(5 * cells for cells in (100, 64)) + VIEW + COLOURS  # bytes
# Frames that are clipped have a second byte for each number.
NINE_CLIPPED = 9 * SIDE * SIDE * 2 + VIEW + COLOURS
FOUR_STEPS: Costs = {"scene sent": 1, "byte sent": 4 * 96 * 96 * 3}
CAMS: Costs = {"scene sent": 1, "frame packed": 10, "byte sent": FIVE_CLASSES}
# One pass tells the photograph's classes, for the control and for all bars; the sweep of these
# classes is the call that a reader would make, with a pass of its own.
CAM_PASSES = 2
# After one pass that tells the classes, one serves "vanilla" and "input_x_gradient", whose gradient
# is the same, and another one "guided", each with a way back for each of three classes.
SALIENCY: Costs = passes(
    3,
    6,
    photograph_read=1,
    scene_sent=1,
    frame_packed=9,
    byte_sent=NINE_CLIPPED,
)

PANELS = [
    PanelRow(
        "explore_module_tree",
        lambda g: viz.explore_module_tree({"one": g.model, "other": g.model[:-1]}),
        {**SCENE, **ON_META, **FOUND_SIZE, "model copied": 4},
        {"figure": 1, "axes": 1, "drawing": 1},
        {
            "model": (
                "other",
                {**SCENE, **FOUND_SIZE, "model copied": 2, "hook": MODULES - 1},
            )
        },
    ),
    PanelRow(
        # Of one image, to compare with, of one of twice the side, which not every network takes,
        # and of what is asked for; before these, a pass finds the usual size.
        "explore_summary",
        lambda g: viz.explore_summary(g.model),
        {**SCENE, "model copied": 5, "meta pass": 4, "hook": 8 * MODULES},
        beside(3, 1),
        {
            "batch": (9, {**SCENE, "model copied": 1, "meta pass": 1, "hook": 4 * MODULES}),
            # It chooses rows of what is there. This network has one level, so the scene is the
            # same, and is not sent.
            "depth": (2, {}),
        },
    ),
    PanelRow(
        "explore_kernels",
        lambda g: viz.explore_kernels(g.model),
        {"model copied": 1, **sent(12, 9)},
        beside(5, 5),
        {
            "layer": (LAST, sent(24, 9)),
            "weights": (0, sent(24, 9)),
        },
    ),
    PanelRow(
        "explore_feature_maps",
        lambda g: viz.explore_feature_maps(g.model, transform=small),
        {
            **passes(1, photograph_read=1),
            **sent(4, 100, VIEW),
            **PANEL_ON_META,
            "hook": MODULES + 1,
        },
        ONE_PICTURE,
        {"layer": (LAST, {**passes(1, hook=1), **sent(6, 64, VIEW)})},
    ),
    PanelRow(
        "explore_cam",
        lambda g: viz.explore_cam(g.model, transform=small),
        {
            **passes(CAM_PASSES, 5, photograph_read=1),
            **CAMS,
            **PANEL_ON_META,
            "hook": MODULES + 2,
        },
        beside(4, 3),
        {
            "photograph": ("panda", {**passes(CAM_PASSES, 5, photograph_read=1, hook=2), **CAMS}),
            "method": ("eigencam", {**passes(1, hook=2), **CAMS}),
        },
    ),
    PanelRow(
        "explore_cam: the original CAM",  # one pass tries four layers
        lambda g: viz.explore_cam(g.model, method="cam", transform=small),
        {
            **passes(CAM_PASSES, photograph_read=1),
            **sent(5, 64, VIEW),
            **PANEL_ON_META,
            "hook": MODULES + 4,
        },
        beside(4, 3),
        {"method": ("gradcam", {**passes(1, 5, hook=2), **CAMS})},
    ),
    PanelRow(
        "explore_cam: a class far down",  # whose rank is asked for
        lambda g: viz.explore_cam(g.model, target=CLASSES - 1, transform=small),
        {
            **passes(CAM_PASSES, 6, photograph_read=1),
            **sent(12, 0),
            "byte sent": 6 * (100 + 64) + VIEW + COLOURS,
            **PANEL_ON_META,
            "hook": MODULES + 2,
        },
        beside(4, 3),
        {},
    ),
    PanelRow(
        "explore_saliency",
        lambda g: viz.explore_saliency(g.model, transform=small),
        # On the meta device, one way back says whether a gradient passes a ReLU.
        {**SALIENCY, "backward pass": 7, "meta pass": 1, "model copied": 2},
        ONE_PICTURE,
        {"photograph": ("panda", SALIENCY)},
    ),
    PanelRow(
        "explore_activation_maximization",
        lambda g: viz.explore_activation_maximization(g.model, steps=3),
        {
            **passes(4, 3, layer_run=4),
            **FOUR_STEPS,
            # The size, the layers with maps at that size, and at that of the pictures.
            "meta pass": 3,
            "model copied": 4,
            "hook": 2 * MODULES + 4,
        },
        beside(3, 2),
        {
            "channel": (2, {**passes(4, 3, hook=4, layer_run=4), **FOUR_STEPS}),
            "layer": (LAST, {**passes(4, 3, hook=4, layer_run=20), **FOUR_STEPS}),
        },
    ),
]


@pytest.mark.parametrize("row", PANELS, ids=lambda row: row.name)
def test_a_panel_costs(row: PanelRow, given: Given) -> None:
    with counting(given.model) as counts:
        panel = row.build(given)
    check(row.name, counts, row.built)
    with counting(given.model) as counts:
        panel._repr_mimebundle_()
    check(f"{row.name}, at display", counts, row.shown)
    for request, (value, costs) in row.asked.items():
        with counting(given.model) as counts:
            ask(panel, request, value)
        check(f"{row.name}, asked for another {request}", counts, costs)
    panel.close()


@pytest.mark.parametrize("row", PANELS, ids=lambda row: row.name)
def test_what_a_panel_has_shown_before_costs_no_pass(row: PanelRow, given: Given) -> None:
    panel = row.build(given)
    for request, (value, _) in row.asked.items():
        before = panel.requests[request].value
        ask(panel, request, value)
        with counting(given.model) as counts:
            ask(panel, request, before)
        assert counts["forward pass"] == counts["backward pass"] == 0, request
        assert counts["scene sent"] <= 1, request
    panel.close()


@pytest.mark.parametrize("row", PANELS, ids=lambda row: row.name)
def test_moving_through_what_the_browser_has_costs_nothing(row: PanelRow, given: Given) -> None:
    panel = row.build(given)
    axes = {name: widget for name, widget in panel.controls.items() if name not in panel.requests}
    assert axes or not panel.scene.stacks, "a panel of charts alone has none"
    with counting(given.model) as counts:
        for widget in axes.values():
            for position in (1, 0):
                widget.set_state({linked_trait(widget): position})  # as the browser tells it
        for trait in ("i0", "i1", "blend", "own_scale", "grid"):
            panel.view.set_state({trait: 1})
        assert panel.wait(60)
    check(row.name, counts, {})
    panel.close()


def ask(panel: Panel, request: str, value: object) -> None:
    """Change a request as a reader would, and wait for the answer."""
    panel.requests[request].value = value
    assert panel.wait(60) and panel.message == ""


# ---------------------------------------------------------------- every public name has a row

NO_CALL = {
    "CAM_METHODS": "a mapping",
    "ImageError": "an error",
    "WeightsUnavailable": "an error",
    "Prediction": "a line of what predict returns",
    "Sample": "what prepare returns",
    "flash": "a module, whose names have rows",
    "check": "runs a reader's code; what that costs is theirs",
    "hint": "a text",
    "progress": "a text",
    "solution": "a text",
    "flash.utils.ImageNetIndex": "a list of names, read once",
}
CLASSES_WITH_METHODS = {
    "ImageStack": viz.ImageStack,
    "flash.Backprop": viz.flash.Backprop,
    "flash.GradientAscent": viz.flash.GradientAscent,
}


def public_names() -> set[str]:
    """Return what a reader can call: names of the package, and methods of its classes."""
    methods = {
        f"{name}.{method}"
        for name, kind in CLASSES_WITH_METHODS.items()
        for method, value in vars(kind).items()
        if not method.startswith("_") and (callable(value) or isinstance(value, property))
    }
    flash = {f"flash.{name}" for name in viz.flash.__all__}
    utils = {f"flash.utils.{name}" for name in viz.flash.utils.__all__}
    return {*viz.__all__, *methods, *flash, *utils}


def test_every_public_name_has_a_row() -> None:
    rows = {row.name.partition(":")[0] for row in (*ROWS, *PANELS)}
    assert public_names() - rows - set(NO_CALL) == set(), "names without a row"
    assert {*rows, *NO_CALL} - public_names() == set(), "rows of what is gone"
    assert rows & set(NO_CALL) == set()


def test_a_new_name_without_a_row_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viz, "__all__", [*viz.__all__, "tomorrow"])
    with pytest.raises(AssertionError, match="names without a row"):
        test_every_public_name_has_a_row()


def test_every_public_class_with_methods_is_known() -> None:
    named = {name: getattr(viz, name) for name in viz.__all__}
    named |= {f"flash.{name}": getattr(viz.flash, name) for name in viz.flash.__all__}
    classes = {name for name, value in named.items() if isinstance(value, type)}
    assert classes - set(NO_CALL) == set(CLASSES_WITH_METHODS)


@pytest.mark.parametrize("table", [ROWS, REFUSED, PANELS], ids=["rows", "refusals", "panels"])
def test_rows_have_names_of_their_own(table: list[Any]) -> None:
    assert [name for name, n in Counter(row.name for row in table).items() if n > 1] == []


# ---------------------------------------------------------------- the counters see waste


def _twice(call: Callable[[Given], object]) -> Callable[[Given], object]:
    return lambda g: (call(g), call(g))


def _score(g: Given) -> Tensor:
    return g.model(g.x.clone().requires_grad_()).sum()


def _scene(g: Given) -> None:
    view = StackView()
    view.scene = {"data": b"123", "name": "three bytes"}
    view.close()


def _drawn(g: Given) -> None:
    FigureCanvasAgg(Figure()).draw()


# For each count something that could be done once, or not at all.
WASTE: dict[str, tuple[Callable[[Given], object], int]] = {
    "forward pass": (_twice(lambda g: g.model(g.x)), 2),
    "layer run": (_twice(lambda g: g.model(g.x)), 2 * LAYERS),
    "meta pass": (_twice(lambda g: copy.deepcopy(g.model).to("meta")(g.x.to("meta"))), 2),
    "backward pass": (
        lambda g: (_score(g).backward(), torch.autograd.grad(_score(g), g.model[0].weight)),
        2,
    ),
    "hook": (
        lambda g: (
            g.model[0].register_forward_hook(print).remove(),
            g.model[0].register_full_backward_hook(print).remove(),
        ),
        2,
    ),
    "hook left": (_twice(lambda g: g.model[3].register_forward_pre_hook(print)), 2),
    "model copied": (_twice(lambda g: copy.deepcopy(g.model)), 2),
    "photograph read": (_twice(lambda g: viz.load_image("cat")), 2),
    "figure": (_twice(lambda g: plt.figure()), 2),
    "axes": (lambda g: Figure().subplots(2, 3), 6),
    "image": (_twice(lambda g: Figure().add_subplot().imshow([[0.0]])), 2),
    "drawing": (_twice(_drawn), 2),
    "frame packed": (_twice(lambda g: stack_of(4).explore().close()), 8),
    "scene sent": (_twice(_scene), 2),
    "byte sent": (_twice(_scene), 6),
}


@pytest.mark.parametrize("what", COUNTED)
def test_a_counter_sees_waste(what: str, given: Given) -> None:
    call, times = WASTE[what]
    with counting(given.model) as counts:
        call(given)
    assert counts[what] == times


def test_a_counter_sees_that_a_pass_ends_early(given: Given) -> None:
    with counting() as counts:
        run_to(given.model, given.x, LAST)
    assert (counts["forward pass"], counts["layer run"]) == (1, 5)


def test_a_failure_says_what_was_wasted() -> None:
    counts = Counter({"forward pass": 2, "layer run": 2 * LAYERS, "backward pass": 3})
    check("cam_sweep", counts, passes(2, 3))
    with pytest.raises(pytest.fail.Exception) as failed:
        check("cam_sweep", counts, passes(1, range(1, 3)))
    assert str(failed.value).splitlines() == [
        "cam_sweep: expected 1 forward pass, got 2",
        "cam_sweep: expected 1 to 2 backward passes, got 3",
    ]


def test_counters_are_taken_off_again_also_when_a_call_fails(given: Given) -> None:
    owners = (nn.Sequential, nn.Module, torch.autograd, copy, Image, Figure, Axes, AxesImage)
    before = [dict(vars(owner)) for owner in (*owners, wire, StackView)]
    with pytest.raises(KeyError), counting(given.model) as counts:
        raise KeyError
    given.model(given.x)
    assert [dict(vars(owner)) for owner in (*owners, wire, StackView)] == before
    assert counts["forward pass"] == 0
