"""One function for each panel: defines its controls and what it shows."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure
from torch import nn

from vizhelpers.explore.choices import Photographs, class_names, class_search, prediction_bars
from vizhelpers.explore.networks import Models, Networks, Shapes
from vizhelpers.inputs.arguments import optional, whole
from vizhelpers.inputs.classes import class_index
from vizhelpers.inputs.errors import unknown
from vizhelpers.inputs.layers import Layer, layer_name, layer_names
from vizhelpers.inputs.samples import Sample
from vizhelpers.methods.activmax import activation_maximization
from vizhelpers.methods.cam import cams_by_layer, original_cam
from vizhelpers.methods.cam_layers import main_layers, of_several_cells, pooled_layers
from vizhelpers.methods.cam_methods import CAM_METHODS
from vizhelpers.methods.features import feature_maps
from vizhelpers.methods.kernels import convolution, kernels
from vizhelpers.methods.saliency import ONE_PASS, saliencies
from vizhelpers.methods.structure import ModelSummary, module_tree, summary
from vizhelpers.methods.work import in_units
from vizhelpers.passes.dry import dry_run
from vizhelpers.passes.gradients import uses_relu
from vizhelpers.passes.sizes import runs
from vizhelpers.stack import ImageStack
from vizhelpers.view.charts import Bars, Curve
from vizhelpers.view.live.controls import dropdown, int_slider, offer
from vizhelpers.view.live.html import Page
from vizhelpers.view.live.panel import Controls, Panel, one_for_each_call, page_of
from vizhelpers.view.live.scene import Scene
from vizhelpers.view.static import side_by_side

_SIDE = 96  # pixels, of the pictures of activation maximisation


@one_for_each_call
def explore_structure(
    models: Models,
    *,
    depth: int = 2,
    input_size: Sequence[int] | None = None,
    keep: bool = False,
) -> Panel:
    """Show a model's module tree with shapes and parameter shares; choose model and depth.

    Args:
        models: one model, or ``{name: model}``; models on the meta device will do.
        depth: where the depth slider starts.
        input_size: (N, C, H, W) of the input; None finds one for each model, as ``module_tree``.
        keep: leave the panel of an earlier call with the same arguments open.
    """
    depth = whole("depth", depth, 1)
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
        version=networks.changes,
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
    """Show how a model's totals grow with batch and image size, relative to one image.

    Args:
        models: one model, or ``{name: model}``; models on the meta device will do.
        batch: where the batch size slider starts.
        side: where the image size slider starts, in pixels; None doubles the side of the input if
            the model takes that. The slider is disabled for a model that takes one size only.
        depth: where the depth slider starts: the number of levels in the list of layers.
        input_size: (N, C, H, W) of the one image; None finds one for each model, as ``summary``.
        keep: leave the panel of an earlier call with the same arguments open.
    """
    batch, depth = whole("batch", batch, 1, 64), whole("depth", depth, 1, 3)
    side = optional(whole, "side", side, 1)
    networks = Networks(models, "model", size=input_size)

    @networks.cached
    def totals(model: str, batch: int, side: int) -> ModelSummary:
        """Return the cached summary; the depth slider only selects from its rows."""
        return summary(networks[model], _resized(networks.size(model), batch, side))

    @networks.cached
    def sides(model: str) -> tuple[int, int, int]:
        """Return the model's own image side, and the minimum and maximum of the slider."""
        size = networks.size(model)
        own = size[-1]
        try:
            dry_run(networks[model], [_resized(size, 1, 2 * own)], runs)
        except Exception:  # models check their size in ways of their own
            return own, own, own
        return (own, 1, max(512, 2 * own)) if len(size) > 2 else (own, own, own)

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
    if side is not None and not low <= side <= high:
        possible = f"{own}" if low == high else f"{low} to {high}"
        raise ValueError(f"side={side}: the first model takes images of {possible} pixels here.")
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
        version=networks.changes,
        adapt=adapt,
        offline=offline,
    )


def _resized(size: Sequence[int], batch: int, side: int) -> tuple[int, ...]:
    """Return a size (N, C, …, H, W) with another batch and width, in the same proportions."""
    _, channels, *places = size
    scaled = [max(1, round(n * side / size[-1])) for n in places[-2:]]
    return batch, channels, *places[:-2], *scaled


def _growth(name: str, one: ModelSummary, now: ModelSummary) -> Bars:
    rows = [
        ("parameters", one.parameters, now.parameters, f"{now.parameters:,}"),
        ("mult-adds", one.mult_adds, now.mult_adds, in_units(now.mult_adds)),
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
        layer: where the layer dropdown starts; None is the first convolution.
        out: where the slider of output channels starts.
        keep: leave the panel of an earlier call with the same arguments open.
    """
    networks = Networks(model)

    def names(network: str) -> list[str]:
        return layer_names(networks[network], nn.Conv2d)

    first = names(networks.given[0])
    if not first:
        raise ValueError(
            f"{type(model).__name__} has no nn.Conv2d, so there are no kernels to show. "
            "viz.explore_structure(model) shows which layers it has."
        )
    start = layer_name(model, layer) if layer else first[0]
    _channel("output channel", out, convolution(model, start).out_channels)

    def adapt(controls: Controls) -> None:
        found = names(controls["network"].value)
        offer(controls["layer"], found, found[0])

    def compute(network: str, layer: str, weights: int) -> Scene:
        seed = None if weights < 0 else weights
        return Scene([kernels(networks[network], layer, random_seed=seed)])

    controls = {
        "network": networks.dropdown,
        "layer": dropdown("layer", first, start),
        # Not None, which ipywidgets takes for "nothing selected": the dropdown would be blank.
        "weights": dropdown("weights", [("as loaded", -1), ("random, seed 0", 0)]),
    }
    return Panel(
        "The kernels of a convolution",
        compute,
        controls,
        version=networks.changes,
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
        layer: where the layer dropdown starts; None is the first layer with maps.
        channel: where the channel slider starts.
        transform: PIL image -> tensor, for a module of the user's own, as in ``prepare``.
        keep: leave the panel of an earlier call with the same arguments open.

    Raises:
        ValueError: no layer of the model has maps, or ``layer`` has none.
    """
    networks = Networks(model, transform=transform)
    photographs = Photographs(networks, image)
    first = networks.given[0]

    def layers(network: str) -> list[str]:
        shapes = of_several_cells(photographs.map_shapes(network))
        return _some(list(shapes), networks[network], "maps")

    start = _known(model, layer, layers(first)) if layer else layers(first)[0]
    _channel("channel", channel, photographs.map_shapes(first)[start][1])

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
        version=networks.changes,
        adapt=adapt,
        start={"i0": channel},
        offline={
            "photograph": ["cat", "coffee", "astronaut"],
            "layer": main_layers(networks.first, photographs.map_shapes(first)),
        },
        extra=[photographs.upload],
    )


def _channel(what: str, index: int, count: int) -> None:
    """Refuse a channel that a layer does not have."""
    if not 0 <= whole(what, index) < count:
        raise unknown(what, index, range(count))


def _some(names: list[str], model: nn.Module, what: str) -> list[str]:
    """Return the names of layers to offer; raise a ``ValueError`` if there is none."""
    if names:
        return names
    raise ValueError(
        f"No layer of this {type(model).__name__} has {what}: none that runs once has an output "
        "with channels, rows and columns. viz.capture returns a layer's output, whatever its shape."
    )


def _known(model: nn.Module, layer: Layer, names: Sequence[str]) -> str:
    """Return the dotted path of a layer that the panel offers; raise for another layer."""
    layer = layer_name(model, layer)
    if layer not in names:
        raise unknown("layer in the menu of this panel:", layer, names)
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

    All pairs of a layer and a class are computed at once, so that these two controls also work
    without a kernel. Each layer has one colour scale for all classes, and maps of its own size.

    Args:
        model: from ``load_model``, or any classifier.
        image: a bundled name, or anything that ``load_image`` takes.
        layer: where the layer control starts; None is the last block.
        target: a class to offer, and to begin with, besides the five most probable.
        method: where the method dropdown starts.
        transform: PIL image -> tensor, for a module of the user's own, as in ``prepare``.
        labels: class names, for a module of the user's own.
        keep: leave the panel of an earlier call with the same arguments open.
    """
    networks = Networks(model, transform=transform, labels=labels)
    photographs = Photographs(networks, image)
    if method not in CAM_METHODS:
        raise unknown("CAM method", method, CAM_METHODS)
    first = networks.given[0]
    wanted = None if target is None else class_index(networks.first, target, labels=labels)
    shapes = of_several_cells(photographs.map_shapes(first))
    wanted_layer = _known(model, layer, list(shapes)) if layer else None
    layers = _some(_cam_layers(networks.first, shapes, wanted_layer), networks.first, "maps")
    start = layers.index(wanted_layer) if wanted_layer else len(layers) - 1

    def compute(network: str, photograph: str, other: str, method: str) -> Scene:
        sample = photographs.sample(network, photograph)
        asked = [other, wanted if network == first else None]
        classes = photographs.classes(network, photograph, asked)
        if CAM_METHODS[method] == "perturbation":
            classes = classes[:1]  # seconds for each map
        names = photographs.labels(network, photograph, classes)
        asked_layer = wanted_layer if network == first else None
        stacks = _cam_stacks(networks, network, sample, classes, method, asked_layer)
        answer = photographs.answer(network, photograph)
        bars = [[prediction_bars(answer, index)] for index in classes]
        where = [stack.axes["layer"][0] for stack in stacks]
        return Scene(
            stacks,
            axes={"layer": where, "class": names},
            charts=bars * len(where),
            name=stacks[0].name.partition(" at ")[0],
        )

    controls = {
        "network": networks.dropdown,
        "photograph": photographs.dropdown,
        "method": dropdown("method", list(CAM_METHODS), method),
        "other": class_search(networks.first, networks.labels(first)),
    }
    return Panel(
        "Class activation maps",
        compute,
        controls,
        version=networks.changes,
        adapt=_Search(networks, photographs),
        start={"i0": start, "blend": 50},
        offline={"method": [m for m, cost in CAM_METHODS.items() if cost != "perturbation"]},
        jumps={"network": ("i0", -1), "other": ("i1", 0)},
        extra=[photographs.upload],
    )


class _Search:
    """The box for another class: its suggestions, and what becomes of a text that finds none."""

    def __init__(self, networks: Networks, photographs: Photographs) -> None:
        self.networks, self.photographs = networks, photographs
        self.tried = ""

    def __call__(self, controls: Controls) -> None:
        """Suggest the classes of the network, and clear a text that failed once.

        Otherwise it would fail again with every change of another control.
        """
        network, box = controls["network"].value, controls["other"]
        box.options = class_names(self.networks[network], self.networks.labels(network))
        if box.value == self.tried and not self._finds(network, controls):
            box.value = ""
        self.tried = box.value

    def _finds(self, network: str, controls: Controls) -> bool:
        try:
            self.photographs.classes(
                network, controls["photograph"].value, [controls["other"].value]
            )
        except ValueError:
            return False
        return True


def _cam_stacks(
    networks: Networks,
    network: str,
    sample: Sample,
    classes: Sequence[int],
    method: str,
    wanted: str | None,
) -> list[ImageStack]:
    """Return one stack of CAMs for each layer that the panel offers for this method."""
    model, labels = networks[network], networks.labels(network)
    shapes = networks.map_shapes(network, tuple(sample.x.shape))
    if method == "cam":
        layers = pooled_layers(model, shapes)
        return [original_cam(model, sample, layers=layers, targets=classes, labels=labels)]
    layers = _cam_layers(model, shapes, wanted)
    if CAM_METHODS[method] == "perturbation":
        layers = [wanted] if wanted else layers[-1:]
    return cams_by_layer(
        model, sample, layers=layers, targets=classes, method=method, labels=labels
    )


def _cam_layers(model: nn.Module, shapes: Shapes, wanted: str | None) -> list[str]:
    """Return the layers to offer, in the order of definition: the main ones and the wanted one."""
    layers = main_layers(model, shapes)
    return [name for name in shapes if name in layers or name == wanted]


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
        transform: PIL image -> tensor, for a module of the user's own, as in ``prepare``.
        labels: class names, for a module of the user's own.
        keep: leave the panel of an earlier call with the same arguments open.
    """
    networks = Networks(model, transform=transform, labels=labels)
    photographs = Photographs(networks, image)
    if method not in ONE_PASS:
        way_on = "viz.saliency(model, sample, method=...) computes the other methods."
        raise unknown("saliency method in this panel:", method, ONE_PASS, way_on)
    first = networks.given[0]
    wanted = None if target is None else class_index(networks.first, target, labels=labels)

    photographs.answer(first, photographs.dropdown.value)  # refuses an output without classes

    @networks.cached
    def methods(network: str) -> list[str]:
        relus = dry_run(networks[network], [photographs.size(network)], uses_relu)
        return [m for m in ONE_PASS if m != "guided" or relus]

    def compute(network: str, photograph: str, other: str) -> Scene:
        own, sample = networks[network], photographs.sample(network, photograph)
        asked = [other, wanted if network == first else None]
        classes = photographs.classes(network, photograph, asked, count=3)
        names = photographs.labels(network, photograph, classes)
        labels = networks.labels(network)
        stacks = saliencies(own, sample, targets=classes, methods=methods(network), labels=labels)
        return Scene(
            stacks,
            axes={"method": methods(network), "class": names},
            photograph=True,
            name=f"Saliency{stacks[0].name.partition('Saliency')[2]}",
        )

    controls = {
        "network": networks.dropdown,
        "photograph": photographs.dropdown,
        "other": class_search(networks.first, networks.labels(first)),
    }
    return Panel(
        "Saliency maps",
        compute,
        controls,
        version=networks.changes,
        adapt=_Search(networks, photographs),
        start={"i0": _place_of(method, methods(first), networks.first)},
        jumps={"other": ("i1", 0)},
        extra=[photographs.upload],
    )


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
    """Show activation maximisation step by step; choose layer, filter and iteration.

    Args:
        model: from ``load_model``, or any module that takes images of one or three channels.
        layer: where the layer dropdown starts; None is the first convolution.
        channel: where the filter slider starts.
        steps: number of optimisation steps.
        size: height and width of the pictures, in pixels; None is 96 if the model takes that, else
            the side of its input.
        input_size: (N, C, H, W) of the model's input; None finds one, as ``module_tree``.
        keep: leave the panel of an earlier call with the same arguments open.

    Raises:
        ValueError: no layer of the model has maps, or ``layer`` has none.
    """
    networks = Networks(model, size=input_size)
    first = networks.given[0]

    def beginning(network: str) -> str:
        found, convolutions = counts(network), layer_names(networks[network], nn.Conv2d)
        return next((name for name in convolutions if name in found), next(iter(found)))

    @networks.cached
    def counts(network: str) -> dict[str, int]:
        shapes = networks.map_shapes(network, networks.size(network))
        names = _some(list(shapes), networks[network], "maps")
        return {name: shapes[name][1] for name in names}

    @networks.cached
    def side(network: str) -> int:
        own = networks.size(network)
        try:
            networks.map_shapes(network, (*own[:2], *[size or _SIDE] * (len(own) - 2)))
        except Exception:  # models check their size in ways of their own
            return size or own[-1]
        return size or _SIDE

    start = _known(model, layer, list(counts(first))) if layer else beginning(first)
    _channel("channel", channel, counts(first)[start])

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
        version=networks.changes,
        adapt=adapt,
        start={"i0": steps},
        offline={"channel": range(min(4, counts(first)[start]))},
    )


def explore_stack(stack: ImageStack, *, photograph: bool = False) -> Panel:
    """Show one frame of a stack, or all frames, with a control for each axis."""
    scene = Scene([stack], photograph=photograph)
    return Panel(_one_at_a_time(stack), lambda: scene, start={"blend": round(100 * stack.blend)})


def page_of_stack(stack: ImageStack) -> Page:
    """Return the page that ``explore_stack(stack)`` would be saved as."""
    return page_of(_one_at_a_time(stack), Scene([stack]), blend=round(100 * stack.blend))


def _one_at_a_time(stack: ImageStack) -> str:
    return f"{stack.name}: one frame at a time"
