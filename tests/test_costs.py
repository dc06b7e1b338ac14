"""Five laws of cost, each held for all public functions at once.

1. A call runs one forward pass, and one backward pass for each class or step.
2. A call that draws creates one figure, and no more axes for more frames.
3. A control that moves through computed frames requests nothing from the kernel.
4. Repeated calls leave no tensor, module, hook, figure, widget or thread.
5. A call that is refused because of an argument runs no model.

Seconds differ between machines; these counts do not. How a call keeps a law (with which copies,
hooks or messages) is not counted. Each law is also broken once, by a wasteful call.
"""

import gc
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from networks import TINY
from public_calls import CALLS, PANELS, explore, small
from torch import Tensor, nn

import vizhelpers as viz

NETWORK, LAST = TINY["plain"], "4"  # the last convolution of nine layers, of 6 channels; 5 classes
pytestmark = [
    pytest.mark.filterwarnings("ignore:The model predicts class"),
    pytest.mark.usefixtures("no_figures_left"),  # FlashTorch's, which pyplot holds by design
]


class Counted(nn.Sequential):
    """Layers in a row that count the passes through them, of all copies together."""

    tally: ClassVar[Counter[str]] = Counter()

    def forward(self, x: Tensor) -> Tensor:
        """Return the last layer's output; on the meta device nothing is computed or counted."""
        self.tally["forward"] += not x.is_meta
        for name, layer in self.named_children():
            self.tally["layers"] += not x.is_meta
            x = layer(self._watched(x, name))
        return self._watched(x, "output")

    def _watched(self, x: Tensor, name: str) -> Tensor:
        if x.requires_grad and not x.is_meta:  # a layer each: a pass need not reach all of them
            x.register_hook(lambda gradient: self.tally.update([f"backward {name}"]))
        return x


@pytest.fixture
def model() -> nn.Module:
    return Counted(*NETWORK.built())


@pytest.fixture
def x() -> Tensor:
    return NETWORK.x()


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Count forward passes, layers, backward passes, figures and axes in a block."""
    counts: Counter[str] = Counter()
    Counted.tally.clear()

    def count(kind: type, name: str) -> None:
        create = kind.__init__

        def counted(self: Any, *args: Any, **kwargs: Any) -> None:
            counts[name] += 1
            create(self, *args, **kwargs)

        patch.setattr(kind, "__init__", counted)

    with pytest.MonkeyPatch.context() as patch:
        count(Figure, "figures")
        count(Axes, "axes")
        yield counts
    tally = Counted.tally
    counts.update(forward=tally["forward"], layers=tally["layers"])
    counts["backward"] = max((n for what, n in tally.items() if "backward" in what), default=0)


# ---------------------------------------------------------------- 1: passes, and 2: figures

# Forward passes, backward passes, figures of each of ``CALLS``.
CAM_COSTS = {"forward": (1, 0, 0), "gradient": (1, 1, 0), "perturbation": (2, 0, 0)}
COSTS: dict[str, tuple[int, int, int]] = {
    **dict.fromkeys(("layer_names", "get_layer", "kernels", "kernels: random"), (0, 0, 0)),
    **dict.fromkeys(("cam_layers", "module_tree", "summary"), (0, 0, 0)),
    **dict.fromkeys(("predict", "capture", "capture: several", "feature_maps"), (1, 0, 0)),
    **{f"cam: {method}": CAM_COSTS[cost] for method, cost in viz.CAM_METHODS.items()},
    "cam_sweep": (1, 3, 0),  # two layers, three classes
    **{f"saliency: {method}": (1, 1, 0) for method in ("vanilla", "guided", "input_x_gradient")},
    # One pass more says which class is predicted for the image itself.
    "saliency: smoothgrad": (26, 25, 0),
    "saliency: integrated_gradients": (51, 50, 0),
    "activation_maximization": (3, 2, 0),  # two steps, and one for what the last picture reaches
    "ImageStack: plot": (1, 0, 1),
    "flash.Backprop": (1, 1, 0),
    "flash.Backprop: guided": (1, 1, 0),
    "flash.Backprop: visualize": (1, 1, 1),
    "flash.GradientAscent": (2, 2, 0),
}
# Calls whose numbers differ from a row above: what a cost grows with, and what it does not.
MORE: dict[str, tuple[Callable[[Any, Tensor], object], tuple[int, int, int]]] = {
    "8 images at once": (lambda m, x: viz.feature_maps(m, images(x, 8), LAST), (1, 0, 0)),
    "3 photographs": (lambda m, x: viz.feature_maps(m, dict.fromkeys("abc", x), LAST), (3, 0, 0)),
    "the predicted class": (lambda m, x: viz.cam(m, x, LAST), (1, 1, 0)),
    "3 layers, 5 classes": (
        lambda m, x: viz.cam_sweep(m, x, layers=["0", "1", LAST], targets=range(5)),
        (1, 5, 0),
    ),
    "8 gradients": (lambda m, x: viz.saliency(m, images(x, 8), target=1), (1, 1, 0)),
    "6 channels, 5 steps": (lambda m, x: climb(m, channels=range(6), steps=5), (6, 5, 0)),
    "every step kept": (lambda m, x: climb(m, channels=[0], steps=5, keep=range(6)), (6, 5, 0)),
    "FlashTorch's two filters": (
        lambda m, x: viz.flash.GradientAscent(m, 16).visualize(m[4], [0, 1], num_iter=3),
        (3, 3, 1),
    ),
}
# Forward and backward passes of a panel's first picture; other panels run no model.
PANEL_COSTS = {
    "explore_feature_maps": (1, 0),
    "explore_cam": (2, 5),  # the prediction, and Grad-CAM of five classes
    "explore_saliency": (3, 6),  # the prediction, and two gradients of three classes
    "explore_activation_maximization": (4, 3),  # three steps
}
RUN_NO_MODEL = {
    *("check", "hint", "solution", "progress"),  # run a reader's code
    *("sample_images", "load_image", "composite", "load_model", "prepare", "class_index"),
    *("CAM_METHODS", "ImageError", "WeightsUnavailable"),
    *("Sample", "Prediction", "ModuleTree", "ModelSummary", "Panel"),  # what functions return
}


def images(x: Tensor, count: int) -> Tensor:
    return x.expand(count, -1, -1, -1)


def climb(model: nn.Module, **arguments: Any) -> object:
    return viz.activation_maximization(model, LAST, size=16, **arguments)


def calls(model: nn.Module, x: Tensor) -> dict[str, Callable[[], object]]:
    """Return all calls as functions without arguments; the original CAM needs the layer behind."""
    layers = {"cam: cam": "5"}
    return {
        **{k: partial(call, model, x, layers.get(k, LAST), NETWORK) for k, call in CALLS.items()},
        **{name: partial(call, model, x) for name, (call, _) in MORE.items()},
        **{name: partial(explore, name, model) for name in PANELS},
    }


def assert_costs(call: Callable[[], object], costs: tuple[int, ...]) -> None:
    with counting() as counts:
        call()
    assert (counts["forward"], counts["backward"], counts["figures"]) == costs, "wasted passes"


@pytest.mark.parametrize("name", [*CALLS, *MORE])
def test_a_call_runs_the_passes_that_it_needs(name: str, model: nn.Module, x: Tensor) -> None:
    assert_costs(calls(model, x)[name], MORE[name][1] if name in MORE else COSTS[name])


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_runs_the_passes_of_its_first_picture(name: str, model: nn.Module) -> None:
    with counting() as counts:
        panel = explore(name, model)
    passes, allowed = (counts["forward"], counts["backward"]), PANEL_COSTS.get(name, (0, 0))
    within = passes[0] <= allowed[0] and passes[1] <= allowed[1]
    assert within, f"{name} runs {passes} passes; PANEL_COSTS allows {allowed}"
    with counting() as counts:
        panel._repr_mimebundle_()
    assert counts["forward"] == 0 and counts["figures"] <= 3  # a picture, a chart, both together
    panel.close()


WASTE: dict[str, Callable[[Any, Tensor], object]] = {
    "forward": lambda m, x: m(x),
    "backward": lambda m, x: m[:5](x).sum().backward(),
    "figures": lambda m, x: Figure(),
}


@pytest.mark.parametrize("what", WASTE)
def test_a_wasteful_call_breaks_that_law(what: str, model: nn.Module, x: Tensor) -> None:
    with pytest.raises(AssertionError, match="wasted passes"):
        assert_costs(lambda: (viz.saliency(model, x), WASTE[what](model, x)), (1, 1, 0))


def test_activation_maximisation_runs_no_layer_behind_its_own(model: nn.Module) -> None:
    climb(model, channels=[0], steps=1)  # a model's first pass may run whole
    with counting() as counts:
        climb(model, channels=[0], steps=1)
    assert (counts["forward"], counts["layers"]) == (2, 2 * 5)


def test_axes_do_not_grow_with_the_frames() -> None:
    for frames in (2, 64, 500):
        with counting() as counts:
            viz.ImageStack(np.ones((frames, 3, 3)), {"n": range(frames)}).plot(limit=frames)
        assert (counts["figures"], counts["axes"]) == (1, 2)  # a montage and its colour bar
    with counting() as counts:
        Figure().subplots(8, 8)
    assert (counts["figures"], counts["axes"]) == (1, 64)


def test_every_public_name_has_a_row() -> None:
    public = {*viz.__all__, *(f"flash.{name}" for name in viz.flash.__all__)} - {"flash"}
    rows = {name.partition(":")[0] for name in CALLS} | set(PANELS)
    assert public == rows | RUN_NO_MODEL
    assert set(COSTS) == set(CALLS) and set(PANEL_COSTS) <= set(PANELS)


# ---------------------------------------------------------------- 3: controls


def requested(panel: Any) -> list[str]:
    """Move every control that is no request there and back; return what that caused."""
    caused: list[str] = []
    panel.view.observe(lambda change: caused.append(change["name"]), ["scene", "busy", "message"])
    axes = [widget for name, widget in panel.controls.items() if name not in panel.requests]
    with counting() as counts:
        for position in (1, 0):  # as the browser sends it
            for widget in axes:
                widget.set_state({"index" if widget.has_trait("index") else "value": position})
            traits = ("i0", "i1", "blend", "own_scale", "grid")
            panel.view.set_state(dict.fromkeys(traits, position))
        assert panel.wait(60)
    return [*caused, *+counts]


@pytest.mark.parametrize("name", PANELS)
def test_a_control_that_moves_through_frames_requests_nothing(name: str, model: nn.Module) -> None:
    panel = explore(name, model)
    assert len(panel.controls) > len(panel.requests) or not panel.scene.stacks
    assert requested(panel) == []
    panel.close()


def test_a_control_that_runs_the_model_breaks_that_law(model: nn.Module, x: Tensor) -> None:
    panel = explore("explore_feature_maps", model)
    panel.view.observe(lambda change: model(x), "i0")
    assert requested(panel) == ["forward", "layers"]
    panel.view.observe(lambda change: setattr(panel.view, "scene", {"i0": change["new"]}), "i0")
    assert "scene" in requested(panel)
    panel.close()


# ---------------------------------------------------------------- 4: what repeated calls leave


@pytest.fixture(scope="module")
def alive() -> Iterator[Callable[[nn.Module], Counter[str]]]:
    """Return a function that counts what this module's tests created and nothing has freed."""
    gc.collect()
    gc.freeze()  # what exists already is not returned by ``gc.get_objects``

    def count(model: nn.Module) -> Counter[str]:
        plt.close("all")
        gc.collect()
        found = Counter(threads=threading.active_count())
        for value in gc.get_objects():
            for kind in (Tensor, nn.Module, Figure, ipywidgets.Widget):
                found[kind.__name__] += issubclass(type(value), kind)
        tables = [v for m in model.modules() for k, v in vars(m).items() if "hooks" in k and v]
        return found + Counter(hooks=sum(map(len, tables)))

    yield count
    gc.unfreeze()


def left(call: Callable[[], object], count: Callable[[], Counter[str]]) -> Counter[str]:
    """Return what three calls leave, after two that fill caches and import libraries."""
    for _ in range(2):
        call()
    before = count()
    for _ in range(3):
        call()
    return count() - before


@pytest.mark.parametrize("name", [*CALLS, *MORE, *PANELS])  # a panel replaces its predecessor
def test_repeated_calls_leave_nothing(
    name: str, model: nn.Module, x: Tensor, alive: Callable[[nn.Module], Counter[str]]
) -> None:
    assert left(calls(model, x)[name], partial(alive, model)) == Counter()


def test_calls_that_leave_something_break_that_law(
    model: nn.Module, x: Tensor, alive: Callable[[nn.Module], Counter[str]]
) -> None:
    kept: list[object] = []

    def careless() -> None:
        model[0].register_forward_hook(print)
        kept.extend([x.clone(), nn.ReLU(), Figure(), ipywidgets.Layout()])

    assert left(careless, partial(alive, model)) == dict.fromkeys(
        ("Tensor", "Module", "Figure", "Widget", "hooks"), 3
    )


# ---------------------------------------------------------------- 5: refusals

REFUSED: dict[str, Callable[[Any, Tensor], object]] = {
    "capture: no such layer": lambda m, x: viz.capture(m, x, ["0", "9"]),
    "capture: NaN": lambda m, x: viz.capture(m, x * np.nan, "0"),
    "feature_maps: no photograph": lambda m, x: viz.feature_maps(m, {}, "0"),
    "predict: no classes": lambda m, x: viz.predict(m, x, k=0),
    "predict: two photographs": lambda m, x: viz.predict(m, images(x, 2)),
    "cam: no such layer": lambda m, x: viz.cam(m, x, "9"),
    "cam: no such method": lambda m, x: viz.cam(m, x, LAST, method="gradcan"),
    "cam: no such name": lambda m, x: viz.cam(m, x, LAST, target="b", labels=["a"]),
    "cam_sweep: no class": lambda m, x: viz.cam_sweep(m, x, layers=["0"], targets=[]),
    "saliency: no such method": lambda m, x: viz.saliency(m, x, method="grad"),
    "saliency: a negative class": lambda m, x: viz.saliency(m, x, target=-1),
    "activation_maximization: no such mode": lambda m, x: climb(m, channels=[0], mode="pixel"),
    "activation_maximization: no such step": lambda m, x: climb(m, channels=[0], keep=[99]),
    "flash.Backprop: two photographs": lambda m, x: viz.flash.Backprop(m).visualize(images(x, 2)),
    "explore_cam: no such method": lambda m, x: viz.explore_cam(m, method="a", transform=small),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_runs_no_model(name: str, model: nn.Module, x: Tensor) -> None:
    with counting() as counts, pytest.raises((ValueError, TypeError)):
        REFUSED[name](model, x)
    assert not +counts


def test_a_refusal_after_a_pass_breaks_that_law(model: nn.Module, x: Tensor) -> None:
    with counting() as counts, pytest.raises(ValueError, match="99"):  # known only from a pass
        viz.cam(model, x, LAST, target=99)
    assert counts["forward"] == 1
