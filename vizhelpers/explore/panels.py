"""One short function for each panel: it says what the controls choose, and what is shown."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from matplotlib.figure import Figure
from torch import nn

from vizhelpers.classes import class_index, class_label
from vizhelpers.errors import unknown
from vizhelpers.explore.choices import (
    Photographs,
    class_names,
    class_search,
    main_layers,
    pooled_layers,
    prediction_bars,
)
from vizhelpers.explore.controls import dropdown, int_slider, offer
from vizhelpers.explore.networks import Models, Networks, Shapes, by_name
from vizhelpers.explore.panel import Controls, Panel, page_of
from vizhelpers.explore.scene import Scene
from vizhelpers.layers import get_layer, layer_names
from vizhelpers.methods.activmax import activation_maximization
from vizhelpers.methods.cam import cams_by_layer, original_cam
from vizhelpers.methods.cam_methods import CAM_METHODS
from vizhelpers.methods.features import feature_maps
from vizhelpers.methods.kernels import convolution, kernels
from vizhelpers.methods.saliency import ONE_PASS, saliencies
from vizhelpers.methods.structure import ModelSummary, module_tree, summary
from vizhelpers.samples import Sample
from vizhelpers.stack import ImageStack
from vizhelpers.view.charts import Bars, Curve
from vizhelpers.view.html import Page
from vizhelpers.view.static import side_by_side


def _key(kind: str, models: Models, keep: bool, *arguments: Any) -> Hashable:
    """Return by what a panel is known: the same call for the same models closes the first one."""
    if keep:
        return None
    told = [a if isinstance(a, (str, int, type(None))) else id(a) for a in arguments]
    return (kind, tuple(map(id, by_name(models).values())), *told)


def explore_structure(models: Models, *, depth: int = 2, keep: bool = False) -> Panel:
    """Show module trees with shapes, parameters and their share; choose model and depth.

    Args:
        models: one model, or ``{name: model}``; models on the meta device will do.
        depth: where the depth slider starts.
        keep: leave the panel of an earlier call with the same arguments open.
    """
    networks = Networks(models, "model")

    def deepest(name: str) -> int:
        return 1 + max((n.count(".") for n in layer_names(networks[name])), default=0)

    def adapt(controls: Controls) -> None:
        controls["depth"].max = deepest(controls["model"].value)

    def compute(model: str, depth: int) -> Scene:
        return Scene(charts=[[module_tree(networks[model], depth).bars()]])

    top = deepest(networks.given[0])
    controls = {
        "model": networks.dropdown,
        "depth": int_slider("depth", min(depth, top), 1, top),
    }
    offline: dict[str, Sequence[Any]] = {"model": networks.given, "depth": [1, 2]}
    return Panel(
        "A model's module tree",
        compute,
        controls,
        adapt=adapt,
        offline=offline,
        key=_key("structure", models, keep, depth),
    )


def explore_summary(
    models: Models, *, batch: int = 4, side: int = 448, depth: int = 1, keep: bool = False
) -> Panel:
    """Show how torchinfo's totals grow against one image of 224 x 224; choose batch and size.

    Args:
        models: one model that takes (N, 3, H, W), or ``{name: model}``; models on the meta device
            will do.
        batch: where the batch size slider starts.
        side: where the image size slider starts, in pixels.
        depth: where the depth slider starts: how deep the list of layers goes.
        keep: leave the panel of an earlier call with the same arguments open.
    """
    networks = Networks(models, "model")

    @lru_cache(maxsize=64)
    def totals(model: str, batch: int, side: int) -> ModelSummary:
        """Ask torchinfo once: the depth only chooses from its rows."""
        return summary(networks[model], (batch, 3, side, side))

    def compute(model: str, batch: int, side: int, depth: int) -> Scene:
        one, now = totals(model, 1, 224), totals(model, batch, side)
        return Scene(charts=[[_growth(model, one, now), now.bars(depth)]])

    controls = {
        "model": networks.dropdown,
        "batch": int_slider("batch size", batch, 1, 64),
        "side": int_slider("image side", side, 1, 512),
        "depth": int_slider("depth", depth, 1, 3),
    }
    offline: dict[str, Sequence[Any]] = {
        "model": networks.given,
        "batch": [1, 2, 4, 5, 6, 8, 16, 32, 64],
        "side": [32, 64, 128, 224, 320, 448, 512],
    }
    return Panel(
        "torchinfo's totals as batch and image grow",
        compute,
        controls,
        offline=offline,
        key=_key("summary", models, keep, batch, side, depth),
    )


def _growth(name: str, one: ModelSummary, now: ModelSummary) -> Bars:
    rows = [
        ("parameters", one.parameters, now.parameters, f"{now.parameters:,}"),
        ("mult-adds", one.mult_adds, now.mult_adds, f"{now.mult_adds / 1e9:.2f} G"),
        *(
            (label, getattr(one, key), getattr(now, key), f"{getattr(now, key) / 1e6:.2f} MB")
            for label, key in (
                ("input", "input_bytes"),
                ("forward/backward", "pass_bytes"),
                ("parameters in MB", "parameter_bytes"),
                ("total", "total_bytes"),
            )
        ),
    ]
    batch, _, side, _ = now.input_size
    return Bars(
        f"{name}: batch {batch}, image {side} x {side}, against one of 224 x 224",
        [(label,) for label, *_ in rows],
        [after / before for _, before, after, _ in rows],
        [f"{text}  (x {after / before:.3g})" for _, before, after, text in rows],
    )


def explore_kernels(
    model: nn.Module, *, layer: str | None = None, out: int = 0, keep: bool = False
) -> Panel:
    """Show a convolution's slices; choose layer, channels, and trained or random weights.

    Args:
        model: any module with convolutions.
        layer: where the layer dropdown starts; the first convolution where None.
        out: where the slider of output channels starts.
        keep: leave the panel of an earlier call with the same arguments open.
    """
    networks = Networks(model)

    def names(network: str) -> list[str]:
        return layer_names(networks[network], nn.Conv2d)

    first = names(networks.given[0])
    if not first:
        raise ValueError(f"{type(model).__name__} has no nn.Conv2d, so there are no kernels.")
    start = layer or first[0]
    convolution(model, start)

    def adapt(controls: Controls) -> None:
        found = names(controls["network"].value)
        offer(controls["layer"], found, found[0])

    def compute(network: str, layer: str, weights: int) -> Scene:
        seed = None if weights < 0 else weights
        return Scene([kernels(networks[network], layer, random_seed=seed)])

    controls = {
        "network": networks.dropdown,
        "layer": dropdown("layer", first, start),
        # Not None: that is "nothing chosen" for ipywidgets, and leaves the dropdown blank.
        "weights": dropdown("weights", [("as loaded", -1), ("random, seed 0", 0)]),
    }
    return Panel(
        "The kernels of a convolution",
        compute,
        controls,
        adapt=adapt,
        start={"i0": out},
        still=_one_slice_and_its_filter,
        offline={"layer": first[:6], "weights": [-1, 0]},
        key=_key("kernels", model, keep, layer, out),
    )


def _one_slice_and_its_filter(scene: Scene, chosen: Sequence[int]) -> Figure:
    """Draw a slice beside all slices of its filter, or the matrix of a 1x1 convolution."""
    (stack,) = scene.stacks
    if "in" not in stack.axes:
        return stack.plot()
    out, into = chosen
    one = stack.select(**{"out": out, "in": into}).plot(width=4)
    return side_by_side(one, stack.select(out=out).plot(limit=64, columns=8, width=6))


def explore_feature_maps(
    model: nn.Module,
    image: Any = "cat",
    *,
    layer: str | None = None,
    channel: int = 0,
    transform: Any = None,
    keep: bool = False,
) -> Panel:
    """Show one feature map beside the photograph; choose photograph, layer, channel, overlay.

    Args:
        model: from ``load_model``, or any module.
        image: a bundled name, or anything that ``load_image`` takes.
        layer: where the layer dropdown starts; the first layer with maps where None.
        channel: where the channel slider starts.
        transform: PIL image -> tensor, for a module of the reader's own, as in ``prepare``.
        keep: leave the panel of an earlier call with the same arguments open.
    """
    networks = Networks(model, transform=transform)
    photographs = Photographs(networks, image)
    first = networks.given[0]

    def layers(network: str) -> list[str]:
        return list(photographs.map_shapes(network))

    start = _known(networks.first, layer, layers(first)) if layer else layers(first)[0]

    def adapt(controls: Controls) -> None:
        found = layers(controls["network"].value)
        offer(controls["layer"], found, found[0])

    def compute(network: str, photograph: str, layer: str) -> Scene:
        sample = photographs.sample(network, photograph)
        return Scene([feature_maps(networks[network], sample, layer)], photograph=True)

    controls = {
        "network": networks.dropdown,
        "photograph": photographs.dropdown,
        "layer": dropdown("layer", layers(first), start),
    }
    return Panel(
        "Feature maps of a photograph",
        compute,
        controls,
        adapt=adapt,
        start={"i0": channel},
        offline={
            "photograph": ["cat", "coffee", "astronaut"],
            "layer": main_layers(networks.first, photographs.map_shapes(first)),
        },
        extra=[photographs.upload],
        key=_key("feature maps", model, keep, image, layer, channel),
    )


def _known(model: nn.Module, layer: str, names: Sequence[str]) -> str:
    """Return a layer that the dropdown offers; else say which ones it does."""
    get_layer(model, layer)
    if layer not in names:
        raise unknown("layer with maps", layer, names)
    return layer


def explore_cam(
    model: nn.Module,
    image: Any = "cat",
    *,
    layer: str | None = None,
    target: int | str | None = None,
    method: str = "gradcam",
    transform: Any = None,
    labels: Sequence[str] | None = None,
    keep: bool = False,
) -> Panel:
    """Show class activation maps with the prediction; choose photograph, method, layer, class.

    All pairs of a layer and a class are computed in one sweep, so that these two controls need no
    kernel. Each layer has one scale for all its classes, and maps of its own size.

    Args:
        model: from ``load_model``, or any classifier.
        image: a bundled name, or anything that ``load_image`` takes.
        layer: where the layer control starts; the last block where None.
        target: a class to offer, and to begin with, besides the five most probable.
        method: where the method dropdown starts.
        transform: PIL image -> tensor, for a module of the reader's own, as in ``prepare``.
        labels: class names, for a module of the reader's own.
        keep: leave the panel of an earlier call with the same arguments open.
    """
    networks = Networks(model, transform=transform, labels=labels)
    photographs = Photographs(networks, image)
    if method not in CAM_METHODS:
        raise unknown("CAM method", method, CAM_METHODS)
    first = networks.given[0]
    wanted = None if target is None else class_index(networks.first, target)
    layers = main_layers(networks.first, photographs.map_shapes(first))
    start = layers.index(_known(networks.first, layer, layers)) if layer else len(layers) - 1

    def compute(network: str, photograph: str, other: str, method: str) -> Scene:
        own, sample = networks[network], photographs.sample(network, photograph)
        asked = [other, wanted if network == first else None]
        classes = photographs.classes(network, photograph, asked)
        if CAM_METHODS[method] == "perturbation":
            classes = classes[:1]  # seconds for each map
        shapes = networks.map_shapes(network, tuple(sample.x.shape))
        stacks = _cam_stacks(own, sample, shapes, classes, method)
        answer = photographs.answer(network, photograph)
        bars = [[prediction_bars(answer, index)] for index in classes]
        where = [stack.axes["layer"][0] for stack in stacks]
        return Scene(
            stacks,
            axes={"layer": where, "class": [class_label(own, index) for index in classes]},
            charts=bars * len(where),
            name=stacks[0].name.partition(" at ")[0],
        )

    controls = {
        "network": networks.dropdown,
        "photograph": photographs.dropdown,
        "method": dropdown("method", list(CAM_METHODS), method),
        "other": class_search(networks.first),
    }
    return Panel(
        "Class activation maps",
        compute,
        controls,
        adapt=lambda controls: _suggest(networks, controls),
        start={"i0": start, "blend": 50},
        offline={"method": [m for m, cost in CAM_METHODS.items() if cost != "perturbation"]},
        jumps={"network": ("i0", -1), "other": ("i1", 0)},
        extra=[photographs.upload],
        key=_key("cam", model, keep, image, layer, target, method),
    )


def _suggest(networks: Networks, controls: Controls) -> None:
    """Let the box for another class suggest those of the network that is chosen."""
    controls["other"].options = class_names(networks[controls["network"].value])


def _cam_stacks(
    model: nn.Module, sample: Sample, shapes: Shapes, classes: Sequence[int], method: str
) -> list[ImageStack]:
    """Return a stack for each layer that is worth a CAM: of a gradient method for many layers."""
    if method == "cam":
        layers = pooled_layers(model, shapes)
        return [original_cam(model, sample, layers=layers, targets=classes)]
    layers = main_layers(model, shapes)
    if CAM_METHODS[method] == "perturbation":
        layers = layers[-1:]
    return cams_by_layer(model, sample, layers=layers, targets=classes, method=method)


def explore_saliency(
    model: nn.Module,
    image: Any = "cat",
    *,
    target: int | str | None = None,
    method: str = "vanilla",
    transform: Any = None,
    labels: Sequence[str] | None = None,
    keep: bool = False,
) -> Panel:
    """Show a saliency map beside the photograph; choose photograph, class and method.

    Args:
        model: from ``load_model``, or any classifier.
        image: a bundled name, or anything that ``load_image`` takes.
        target: a class to offer, and to begin with, besides the five most probable.
        method: where the method control starts.
        transform: PIL image -> tensor, for a module of the reader's own, as in ``prepare``.
        labels: class names, for a module of the reader's own.
        keep: leave the panel of an earlier call with the same arguments open.
    """
    networks = Networks(model, transform=transform, labels=labels)
    photographs = Photographs(networks, image)
    if method not in ONE_PASS:
        raise unknown("saliency method of this panel", method, ONE_PASS)
    first = networks.given[0]
    wanted = None if target is None else class_index(networks.first, target)

    def methods(network: str) -> list[str]:
        return [m for m in ONE_PASS if m != "guided" or _has_relu(networks[network])]

    def compute(network: str, photograph: str, other: str) -> Scene:
        own, sample = networks[network], photographs.sample(network, photograph)
        asked = [other, wanted if network == first else None]
        classes = photographs.classes(network, photograph, asked, count=3)
        return Scene(
            saliencies(own, sample, targets=classes, methods=methods(network)),
            axes={
                "method": methods(network),
                "class": [class_label(own, index) for index in classes],
            },
            photograph=True,
            name="Saliency of the logit",
        )

    controls = {
        "network": networks.dropdown,
        "photograph": photographs.dropdown,
        "other": class_search(networks.first),
    }
    return Panel(
        "Saliency maps",
        compute,
        controls,
        adapt=lambda controls: _suggest(networks, controls),
        start={"i0": methods(first).index(method)},
        jumps={"other": ("i1", 0)},
        extra=[photographs.upload],
        key=_key("saliency", model, keep, image, target, method),
    )


def _has_relu(model: nn.Module) -> bool:
    return any(isinstance(module, (nn.ReLU, nn.ReLU6)) for module in model.modules())


def explore_filters(
    model: nn.Module,
    *,
    layer: str | None = None,
    channel: int = 0,
    steps: int = 30,
    keep: bool = False,
) -> Panel:
    """Show activation maximisation as it climbs; choose layer, filter and iteration.

    Args:
        model: from ``load_model``, or any module that takes (N, 3, H, W).
        layer: where the layer dropdown starts; the first convolution where None.
        channel: where the filter slider starts.
        steps: how many steps of ascent are computed.
        keep: leave the panel of an earlier call with the same arguments open.
    """
    networks = Networks(model)
    first = networks.given[0]

    def beginning(network: str) -> str:
        return layer_names(networks[network], nn.Conv2d)[0]

    def counts(network: str) -> dict[str, int]:
        return {name: shape[1] for name, shape in networks.map_shapes(network).items()}

    start = _known(networks.first, layer, list(counts(first))) if layer else beginning(first)

    def adapt(controls: Controls) -> None:
        found = counts(controls["network"].value)
        offer(controls["layer"], list(found), beginning(controls["network"].value))
        controls["channel"].max = found[controls["layer"].value] - 1

    def compute(network: str, layer: str, channel: int) -> Scene:
        climb = activation_maximization(
            networks[network],
            layer,
            channels=[channel],
            steps=steps,
            keep=range(steps + 1),
            size=96,
        )
        assert climb.values is not None
        curves = [
            [Curve("mean activation", climb.values, step, "step", "activation")]
            for step in range(steps + 1)
        ]
        return Scene([replace(climb, axes={"iteration": range(steps + 1)})], charts=curves)

    controls = {
        "network": networks.dropdown,
        "layer": dropdown("layer", list(counts(first)), start),
        "channel": int_slider("filter", channel, 0, counts(first)[start] - 1),
    }
    return Panel(
        "Activation maximisation, step by step",
        compute,
        controls,
        adapt=adapt,
        start={"i0": steps},
        offline={"channel": range(min(4, counts(first)[start]))},
        key=_key("filters", model, keep, layer, channel, steps),
    )


def explore_stack(stack: ImageStack, *, photograph: bool = False) -> Panel:
    """Show one frame of a stack, or all of them; one control for each axis."""
    scene = Scene([stack], photograph=photograph)
    return Panel(_one_at_a_time(stack), lambda: scene, start={"blend": round(100 * stack.blend)})


def page_of_stack(stack: ImageStack) -> Page:
    """Return the page that ``explore_stack(stack)`` would be saved as."""
    return page_of(_one_at_a_time(stack), Scene([stack]), blend=round(100 * stack.blend))


def _one_at_a_time(stack: ImageStack) -> str:
    return f"{stack.name}: one frame at a time"
