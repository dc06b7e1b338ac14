"""One short function for each panel: it says what the controls choose, and what is shown."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure
from torch import nn

from vizhelpers.activmax import activation_maximization
from vizhelpers.cam import CAM_METHODS, cam
from vizhelpers.explore.choices import Photographs, channel_counts, class_search, prediction_bars
from vizhelpers.explore.panel import Controls, Panel, dropdown, int_slider
from vizhelpers.features import feature_maps
from vizhelpers.kernels import convolution, kernels
from vizhelpers.layers import layer_names
from vizhelpers.models import class_index, class_label
from vizhelpers.saliency import METHODS, saliency
from vizhelpers.stack import ImageStack
from vizhelpers.structure import module_tree, summary
from vizhelpers.view.charts import bars, curve
from vizhelpers.view.static import side_by_side

Models = nn.Module | Mapping[str, nn.Module]


def _by_name(models: Models) -> dict[str, nn.Module]:
    return dict(models) if isinstance(models, Mapping) else {type(models).__name__: models}


def explore_structure(models: Models, *, depth: int = 2) -> Panel:
    """Show module trees with shapes, parameters and their share; choose model and depth.

    Args:
        models: one model, or ``{name: model}``; models on the meta device will do.
        depth: where the depth slider starts.
    """
    named = _by_name(models)
    deepest = {
        name: 1 + max((n.count(".") for n in layer_names(m)), default=0)
        for name, m in named.items()
    }

    def adapt(controls: Controls) -> None:
        controls["depth"].max = deepest[controls["model"].value]

    def draw(model: str, depth: int) -> Figure:
        return module_tree(named[model], depth).plot()

    start = next(iter(named))
    controls = {
        "model": dropdown("model", list(named), start),
        "depth": int_slider("depth", min(depth, deepest[start]), 1, deepest[start]),
    }
    return Panel("A model's module tree", controls, draw, adapt)


def explore_summary(models: Models, *, batch: int = 4, side: int = 448) -> Panel:
    """Show how torchinfo's totals grow against one image of 224 x 224; choose batch and size.

    Args:
        models: one model that takes (N, 3, H, W), or ``{name: model}``; models on the meta device
            will do.
        batch: where the batch size slider starts.
        side: where the image size slider starts, in pixels.
    """
    named = _by_name(models)
    cached = lru_cache(maxsize=256)(lambda name, *size: summary(named[name], size))

    def draw(model: str, batch: int, side: int) -> Figure:
        one, now = cached(model, 1, 3, 224, 224), cached(model, batch, 3, side, side)
        rows = [
            ("parameters", one.parameters, now.parameters, f"{now.parameters:,}"),
            ("mult-adds", one.mult_adds, now.mult_adds, f"{now.mult_adds / 1e9:.2f} G"),
            *(
                (name, getattr(one, key), getattr(now, key), f"{getattr(now, key) / 1e6:.2f} MB")
                for name, key in (
                    ("input", "input_bytes"),
                    ("forward/backward", "pass_bytes"),
                    ("parameters in MB", "parameter_bytes"),
                    ("total", "total_bytes"),
                )
            ),
        ]
        return bars(
            [name for name, *_ in rows],
            [after / before for _, before, after, _ in rows],
            [f"{text}  (x {after / before:.3g})" for _, before, after, text in rows],
            title=f"{model}: batch {batch}, image {side} x {side}, against one of 224 x 224",
            width=7.0,
        )

    controls = {
        "model": dropdown("model", list(named)),
        "batch": int_slider("batch size", batch, 1, 64),
        "side": int_slider("image side", side, 1, 512),
    }
    return Panel("torchinfo's totals as batch and image grow", controls, draw)


def explore_kernels(model: nn.Module, *, layer: str | None = None) -> Panel:
    """Show a convolution's slices; choose layer, channels, and trained or random weights.

    Args:
        model: any module with convolutions.
        layer: where the layer dropdown starts; the first convolution where None.
    """
    names = layer_names(model, nn.Conv2d)
    if not names:
        raise ValueError(f"{type(model).__name__} has no nn.Conv2d, so there are no kernels.")
    start = layer or names[0]
    convolution(model, start)
    cached = lru_cache(maxsize=16)(lambda name, seed: kernels(model, name, random_seed=seed))

    def adapt(controls: Controls) -> None:
        out, into = convolution(model, controls["layer"].value).weight.shape[:2]
        controls["out"].max, controls["into"].max = out - 1, into - 1

    def draw(layer: str, out: int, into: int, weights: int | None) -> Figure:
        stack = cached(layer, weights)
        if "in" not in stack.axes:
            value = float(stack.frames[0, out, into])
            name = f"{stack.name}; weight [{out}, {into}] = {value:.4f}"
            return replace(stack, name=name).plot()
        one = stack.select(**{"out": out, "in": into}).plot(width=4)
        whole = stack.select(out=out).plot(limit=64, columns=8, width=6)
        return side_by_side(one, whole)

    controls = {
        "layer": dropdown("layer", names, start),
        "out": int_slider("output channel", 0, 0, convolution(model, start).weight.shape[0] - 1),
        "into": int_slider("input channel", 0, 0, convolution(model, start).weight.shape[1] - 1),
        "weights": dropdown("weights", [("as loaded", None), ("random, seed 0", 0)]),
    }
    return Panel("The kernels of a convolution", controls, draw, adapt)


def explore_feature_maps(
    model: nn.Module, image: Any = "cat", *, layer: str | None = None, channel: int = 0
) -> Panel:
    """Show one feature map beside the photograph; choose photograph, layer, channel, overlay.

    Args:
        model: from ``load_model``.
        image: a bundled name, or anything that ``load_image`` takes.
        layer: where the layer dropdown starts; the first layer with maps where None.
        channel: where the channel slider starts.
    """
    photographs = Photographs(model, image)
    counts = channel_counts(model, photographs.sample(photographs.start).x.shape)
    start = layer or next(iter(counts))
    cached = lru_cache(maxsize=8)(
        lambda photo, name: feature_maps(model, photographs.sample(photo), name)
    )

    def adapt(controls: Controls) -> None:
        controls["channel"].max = counts.get(controls["layer"].value, 1) - 1

    def draw(photograph: str, layer: str, channel: int, show: str) -> Figure:
        stack = cached(photograph, layer).select(channel=channel)
        blend = 0.6 if show == "overlay" else 1.0
        return stack.plot(photograph=stack.base is not None, blend=blend)

    controls = {
        "photograph": photographs.dropdown(),
        "layer": dropdown("layer", list(counts), start),
        "channel": int_slider("channel", channel, 0, counts[start] - 1),
        "show": dropdown("show", ["map", "overlay"]),
    }
    return Panel("Feature maps of a photograph", controls, draw, adapt)


def explore_cam(
    model: nn.Module,
    image: Any = "cat",
    *,
    layer: str | None = None,
    target: int | str | None = None,
    method: str = "gradcam",
) -> Panel:
    """Show a class activation map with the prediction; choose photograph, layer, class, method.

    Args:
        model: from ``load_model``.
        image: a bundled name, or anything that ``load_image`` takes.
        layer: where the layer dropdown starts; the last layer of ``features`` where None.
        target: a class to offer besides the five most probable.
        method: where the method dropdown starts.
    """
    photographs = Photographs(model, image)
    layers = list(channel_counts(model, photographs.sample(photographs.start).x.shape))
    trunk = [name for name in layers if not name.startswith("classifier")] or layers
    start = layer or [name for name in trunk if "." not in name.removeprefix("features.")][-1]
    extra = [] if target is None else [class_index(model, target)]
    cached = lru_cache(maxsize=64)(
        lambda photo, name, index, how: cam(
            model, photographs.sample(photo), name, target=index, method=how
        )
    )

    def draw(
        photograph: str, layer: str, target: int, other: str, method: str, blend: float
    ) -> Figure:
        index = class_index(model, other) if other else target
        sample = photographs.sample(photograph)
        stack = cached(photograph, layer, index, method)
        answer = prediction_bars(model, sample, class_label(model, index))
        return side_by_side(stack.plot(blend=blend, width=4.4), answer)

    controls = {
        "photograph": photographs.dropdown(),
        "layer": dropdown("layer", layers, start),
        "target": photographs.class_dropdown(extra),
        "other": class_search(model),
        "method": dropdown("method", list(CAM_METHODS), method),
        "blend": widgets.FloatSlider(
            value=0.5,
            min=0,
            max=1,
            step=0.05,
            description="overlay strength",
            style={"description_width": "8em"},
            layout={"width": "34em"},
        ),
    }
    return Panel(
        "Class activation maps", controls, draw, lambda c: photographs.offer_classes(c, extra)
    )


def explore_saliency(
    model: nn.Module,
    image: Any = "cat",
    *,
    target: int | str | None = None,
    method: str = "vanilla",
) -> Panel:
    """Show a saliency map beside the photograph; choose photograph, class and method.

    Args:
        model: from ``load_model``.
        image: a bundled name, or anything that ``load_image`` takes.
        target: a class to offer besides the five most probable.
        method: where the method dropdown starts.
    """
    photographs = Photographs(model, image)
    extra = [] if target is None else [class_index(model, target)]

    def draw(photograph: str, target: int, other: str, method: str) -> Figure:
        index = class_index(model, other) if other else target
        stack = saliency(model, photographs.sample(photograph), target=index, method=method)
        return stack.plot(photograph=stack.base is not None)

    controls = {
        "photograph": photographs.dropdown(),
        "target": photographs.class_dropdown(extra),
        "other": class_search(model),
        "method": dropdown("method", list(METHODS), method),
    }
    return Panel("Saliency maps", controls, draw, lambda c: photographs.offer_classes(c, extra))


def explore_filters(
    model: nn.Module, *, layer: str | None = None, channel: int = 0, steps: int = 30
) -> Panel:
    """Show activation maximisation as it climbs; choose layer, filter and iteration.

    Args:
        model: from ``load_model``.
        layer: where the layer dropdown starts; the first convolution where None.
        channel: where the filter slider starts.
        steps: how many steps of ascent are computed.
    """
    counts = channel_counts(model)
    start = layer or layer_names(model, nn.Conv2d)[0]
    cached = lru_cache(maxsize=32)(
        lambda name, one: activation_maximization(
            model, name, channels=[one], steps=steps, keep=range(steps + 1), size=96
        )
    )

    def adapt(controls: Controls) -> None:
        controls["channel"].max = counts[controls["layer"].value] - 1

    def draw(layer: str, channel: int, step: int) -> Figure:
        stack = cached(layer, channel)
        assert stack.values is not None
        climb = curve(
            stack.values, marked=step, title="mean activation", xlabel="step", ylabel="activation"
        )
        return side_by_side(stack.select(step=step).plot(width=4), climb)

    controls = {
        "layer": dropdown("layer", list(counts), start),
        "channel": int_slider("filter", channel, 0, counts[start] - 1),
        "step": int_slider("iteration", steps, 0, steps),
    }
    return Panel("Activation maximisation, step by step", controls, draw, adapt)


def explore_stack(stack: ImageStack) -> Panel:
    """Show one frame of a stack; one slider for each axis."""

    def draw(**chosen: Any) -> Figure:
        return stack.select(**chosen).plot()

    controls = {
        axis: widgets.SelectionSlider(
            options=[(str(label), label) for label in labels],
            description=axis,
            style={"description_width": "8em"},
            layout={"width": "34em"},
        )
        for axis, labels in stack.axes.items()
    }
    return Panel(f"{stack.name}: one frame at a time", controls, draw)
