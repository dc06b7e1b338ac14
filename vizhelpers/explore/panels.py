"""One short function for each panel: it says what the controls choose, and what is shown."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
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
    of_several_cells,
    pooled_layers,
    prediction_bars,
)
from vizhelpers.explore.controls import dropdown, int_slider, offer
from vizhelpers.explore.networks import Models, Networks, Shapes
from vizhelpers.explore.panel import Controls, Panel, one_for_each_call, page_of
from vizhelpers.explore.scene import Scene
from vizhelpers.layers import Layer, layer_name, layer_names
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

_SIDE = 96  # pixels, of a picture that is climbed to


@one_for_each_call
def explore_structure(
    models: Models,
    *,
    depth: int = 2,
    input_size: Sequence[int] | None = None,
    keep: bool = False,
) -> Panel:
    """Show module trees with shapes, parameters and their share; choose model and depth.

    Args:
        models: one model, or ``{name: model}``; models on the meta device will do.
        depth: where the depth slider starts.
        input_size: (N, C, H, W) of the input; None finds one for each model, as ``module_tree``.
        keep: leave the panel of an earlier call with the same arguments open.
    """
    networks = Networks(models, "model", size=input_size)

    def deepest(name: str) -> int:
        return 1 + max((n.count(".") for n in layer_names(networks[name])), default=0)

    def adapt(controls: Controls) -> None:
        controls["depth"].max = deepest(controls["model"].value)

    def compute(model: str, depth: int) -> Scene:
        tree = module_tree(networks[model], depth, input_size=networks.size(model))
        return Scene(charts=[[tree.bars()]])

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
    )


@one_for_each_call
def explore_summary(
    models: Models,
    *,
    batch: int = 4,
    side: int | None = None,
    depth: int = 1,
    input_size: Sequence[int] | None = None,
    keep: bool = False,
) -> Panel:
    """Show how a model's totals grow with batch and image size, against one image.

    Args:
        models: one model, or ``{name: model}``; models on the meta device will do.
        batch: where the batch size slider starts.
        side: where the image size slider starts, in pixels; None doubles the side of the input
            where the model takes that. A model that takes one size only has no such choice.
        depth: where the depth slider starts: how deep the list of layers goes.
        input_size: (N, C, H, W) of the one image; None finds one for each model, as ``summary``.
        keep: leave the panel of an earlier call with the same arguments open.
    """
    networks = Networks(models, "model", size=input_size)

    @lru_cache(maxsize=64)
    def totals(model: str, batch: int, side: int) -> ModelSummary:
        """Ask torchinfo once: the depth only chooses from its rows."""
        return summary(networks[model], _resized(networks.size(model), batch, side))

    @cache
    def sides(model: str) -> tuple[int, int, int]:
        """Return the model's own image side, and the bounds of the slider."""
        own = networks.size(model)[-1]
        try:
            totals(model, 1, 2 * own)
        except ValueError:
            return own, own, own
        return own, 1, max(512, 2 * own)

    def adapt(controls: Controls) -> None:
        _, low, high = sides(controls["model"].value)
        slider = controls["side"]
        slider.min, slider.max = min(low, slider.max), max(high, slider.min)
        slider.min, slider.max = low, high
        slider.disabled = low == high

    def compute(model: str, batch: int, side: int, depth: int) -> Scene:
        one, now = totals(model, 1, networks.size(model)[-1]), totals(model, batch, side)
        return Scene(charts=[[_growth(model, one, now), now.bars(depth)]])

    own, low, high = sides(networks.given[0])
    start = side or min(2 * own, high)
    controls = {
        "model": networks.dropdown,
        "batch": int_slider("batch size", batch, 1, 64),
        "side": int_slider("image side", min(max(start, low), high), low, high),
        "depth": int_slider("depth", depth, 1, 3),
    }
    offline: dict[str, Sequence[Any]] = {
        "model": networks.given,
        "batch": [1, 2, 4, 5, 6, 8, 16, 32, 64],
        "side": [n for n in (32, 64, 128, 224, 320, 448, 512) if low < n < high] or [own],
    }
    return Panel(
        "A model's totals as batch and image grow",
        compute,
        controls,
        adapt=adapt,
        offline=offline,
    )


def _resized(size: Sequence[int], batch: int, side: int) -> tuple[int, ...]:
    """Return a size (N, C, H, W) with another batch and side; rows of numbers have no side."""
    return (batch, size[1], *[side] * (len(size) - 2)) if len(size) > 2 else (batch, *size[1:])


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
    batch, _, *image = now.input_size
    what, against = (" x ".join(map(str, sides)) for sides in (image, one.input_size[2:]))
    factors = [after / before if before else 1.0 for _, before, after, _ in rows]
    return Bars(
        f"{name}: batch {batch}" + (f", image {what}, against one of {against}" if image else ""),
        [(label,) for label, *_ in rows],
        factors,
        [f"{text}  (x {factor:.3g})" for (*_, text), factor in zip(rows, factors, strict=True)],
    )


@one_for_each_call
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
    start = layer_name(model, layer) if layer else first[0]
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
    )


def _one_slice_and_its_filter(scene: Scene, chosen: Sequence[int]) -> Figure:
    """Draw a slice beside all slices of its filter, or the matrix of a 1x1 convolution."""
    (stack,) = scene.stacks
    if "in" not in stack.axes:
        return stack.plot()
    out, into = chosen
    one = stack.select(**{"out": out, "in": into}).plot(width=4)
    return side_by_side(one, stack.select(out=out).plot(limit=64, columns=8, width=6))


@one_for_each_call
def explore_feature_maps(
    model: nn.Module,
    image: Any = "cat",
    *,
    layer: Layer | None = None,
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

    Raises:
        ValueError: no layer of the model has maps, or ``layer`` is none of those that have.
    """
    networks = Networks(model, transform=transform)
    photographs = Photographs(networks, image)
    first = networks.given[0]

    def layers(network: str) -> list[str]:
        shapes = of_several_cells(photographs.map_shapes(network))
        return _some(list(shapes), networks[network], "maps")

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
    )


def _some(names: list[str], model: nn.Module, what: str) -> list[str]:
    """Return the names of layers to offer; where there is none, say so."""
    if names:
        return names
    raise ValueError(
        f"No layer of this {type(model).__name__} has {what}: none that runs once has an output "
        "with channels, rows and columns. viz.capture returns a layer's output, whatever its shape."
    )


def _known(model: nn.Module, layer: Layer, names: Sequence[str]) -> str:
    """Return a layer that the dropdown offers; else say which ones it does."""
    layer = layer_name(model, layer)
    if layer not in names:
        raise unknown("layer with maps", layer, names)
    return layer


@one_for_each_call
def explore_cam(
    model: nn.Module,
    image: Any = "cat",
    *,
    layer: Layer | None = None,
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
    wanted = None if target is None else class_index(networks.first, target, labels=labels)
    shapes = photographs.map_shapes(first)
    layers = _some(main_layers(networks.first, shapes), networks.first, "maps")
    start = layers.index(_known(networks.first, layer, layers)) if layer else len(layers) - 1

    def compute(network: str, photograph: str, other: str, method: str) -> Scene:
        own, sample = networks[network], photographs.sample(network, photograph)
        asked = [other, wanted if network == first else None]
        classes = photographs.classes(network, photograph, asked)
        if CAM_METHODS[method] == "perturbation":
            classes = classes[:1]  # seconds for each map
        shapes = networks.map_shapes(network, tuple(sample.x.shape))
        names = networks.labels(network)
        stacks = _cam_stacks(own, sample, shapes, classes, method, names)
        answer = photographs.answer(network, photograph)
        bars = [[prediction_bars(answer, index)] for index in classes]
        where = [stack.axes["layer"][0] for stack in stacks]
        return Scene(
            stacks,
            axes={"layer": where, "class": [class_label(own, i, labels=names) for i in classes]},
            charts=bars * len(where),
            name=stacks[0].name.partition(" at ")[0],
        )

    controls = {
        "network": networks.dropdown,
        "photograph": photographs.dropdown,
        "method": dropdown("method", list(CAM_METHODS), method),
        "other": class_search(networks.first, labels),
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
    )


def _suggest(networks: Networks, controls: Controls) -> None:
    """Let the box for another class suggest those of the network that is chosen."""
    network = controls["network"].value
    controls["other"].options = class_names(networks[network], networks.labels(network))


def _cam_stacks(
    model: nn.Module,
    sample: Sample,
    shapes: Shapes,
    classes: Sequence[int],
    method: str,
    labels: Sequence[str] | None,
) -> list[ImageStack]:
    """Return a stack for each layer that is worth a CAM: of a gradient method for many layers."""
    if method == "cam":
        layers = pooled_layers(model, shapes)
        return [original_cam(model, sample, layers=layers, targets=classes, labels=labels)]
    layers = main_layers(model, shapes)
    if CAM_METHODS[method] == "perturbation":
        layers = layers[-1:]
    return cams_by_layer(
        model, sample, layers=layers, targets=classes, method=method, labels=labels
    )


@one_for_each_call
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
    wanted = None if target is None else class_index(networks.first, target, labels=labels)

    @cache
    def methods(network: str) -> list[str]:
        own, sample = networks[network], photographs.sample(network, photographs.dropdown.value)
        return [m for m in ONE_PASS if m != "guided" or _has_relu(own, sample)]

    def compute(network: str, photograph: str, other: str) -> Scene:
        own, sample = networks[network], photographs.sample(network, photograph)
        names = networks.labels(network)
        asked = [other, wanted if network == first else None]
        classes = photographs.classes(network, photograph, asked, count=3)
        return Scene(
            saliencies(own, sample, targets=classes, methods=methods(network), labels=names),
            axes={
                "method": methods(network),
                "class": [class_label(own, index, labels=names) for index in classes],
            },
            photograph=True,
            name="Saliency of the logit",
        )

    controls = {
        "network": networks.dropdown,
        "photograph": photographs.dropdown,
        "other": class_search(networks.first, labels),
    }
    return Panel(
        "Saliency maps",
        compute,
        controls,
        adapt=lambda controls: _suggest(networks, controls),
        start={"i0": _place_of(method, methods(first), networks.first)},
        jumps={"other": ("i1", 0)},
        extra=[photographs.upload],
    )


def _has_relu(model: nn.Module, sample: Sample) -> bool:
    """Whether guided backpropagation works: ReLUs may also be functions in ``forward``."""
    if any(isinstance(module, (nn.ReLU, nn.ReLU6)) for module in model.modules()):
        return True
    try:
        saliencies(model, sample, targets=[None], methods=["guided"])
    except ValueError:
        return False
    return True


def _place_of(method: str, methods: Sequence[str], model: nn.Module) -> int:
    if method in methods:
        return methods.index(method)
    raise ValueError(
        f"method={method!r}: {type(model).__name__} uses no ReLU between the pixels and the score, "
        f"and guided backpropagation changes the gradient at ReLUs. Possible: {', '.join(methods)}."
    )


@one_for_each_call
def explore_filters(
    model: nn.Module,
    *,
    layer: Layer | None = None,
    channel: int = 0,
    steps: int = 30,
    size: int | None = None,
    input_size: Sequence[int] | None = None,
    keep: bool = False,
) -> Panel:
    """Show activation maximisation as it climbs; choose layer, filter and iteration.

    Args:
        model: from ``load_model``, or any module that takes images of one or three channels.
        layer: where the layer dropdown starts; the first convolution where None.
        channel: where the filter slider starts.
        steps: how many steps of ascent are computed.
        size: height and width of the pictures, in pixels; None takes 96 where the model can, else
            the side of its input.
        input_size: (N, C, H, W) of the model's input; None finds one, as ``module_tree``.
        keep: leave the panel of an earlier call with the same arguments open.

    Raises:
        ValueError: no layer of the model has maps, or ``layer`` is none of those that have.
    """
    networks = Networks(model, size=input_size)
    first = networks.given[0]

    def beginning(network: str) -> str:
        found, convolutions = counts(network), layer_names(networks[network], nn.Conv2d)
        return next((name for name in convolutions if name in found), next(iter(found)))

    @cache
    def counts(network: str) -> dict[str, int]:
        shapes = networks.map_shapes(network, networks.size(network))
        names = _some(list(shapes), networks[network], "maps")
        return {name: shapes[name][1] for name in names}

    @cache
    def side(network: str) -> int:
        own = networks.size(network)
        try:
            networks.map_shapes(network, (*own[:2], *[size or _SIDE] * (len(own) - 2)))
        except ValueError:
            return size or own[-1]
        return size or _SIDE

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
            size=side(network),
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
