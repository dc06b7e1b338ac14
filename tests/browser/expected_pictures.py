"""What a panel must show in each state of its controls, computed in Python."""

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from small_notebooks import panel_of
from torch import nn
from torchvision import models

import vizhelpers as viz
from tools import browser
from tools.browser import Expected, Oracle, State


@cache
def model(network: str = "SqueezeNet") -> nn.Module:
    return viz.load_model("efficientnet_lite0") if "Efficient" in network else viz.load_model()


@cache
def named(name: str) -> nn.Module:
    if name.startswith(("SqueezeNet", "EfficientNet")):
        return model(name.partition(" ")[0])
    with torch.device("meta"):
        return models.vgg13()


@cache
def photograph(network: str, name: str) -> viz.Sample:
    return viz.prepare(model(network), name)


def drawn(
    stack: viz.ImageStack,
    frame: int,
    state: State,
    *,
    title: str = "",
    words: str = "one scale for all",
) -> Expected:
    """Return one frame of a stack with the overlay and the colour scale of a state."""
    own = state.text("colour scale") == "each frame its own"
    if own:
        stack = replace(stack, scale_group="frame", vmin=None, vmax=None)
    scale = "each frame its own scale" if own else words
    blend = state.number("overlay strength", 100) / 100
    title = title or stack.long_titles()[frame]
    picture = stack.colours(frame, blend)
    return Expected(picture, tolerance=tolerance(stack, frame), title=title, scale=scale)


def tolerance(stack: viz.ImageStack, frame: int) -> int:
    """Return the greatest difference of colours: a frame is sent in 256 levels of its own range."""
    (low, high), values = stack.limits()[frame], stack.frames[frame]
    levels = 1 + int(0.5 * np.ptp(values) / (high - low)) if high > low else 1
    return browser.ONE_LEVEL * levels


def structure(state: State) -> Expected:
    tree = viz.module_tree(named(state.text("model")), state.number("depth"))
    return Expected(rows=table(tree))


def table(found: object, *how: int) -> list[list[str]]:
    rows = found.bars(*how).wire()["rows"]
    return [[*(cell.strip() for cell in row["cells"]), row["text"]] for row in rows]


def summary(state: State) -> Expected:
    net = named(state.text("model"))
    side = state.number("image side")
    one = viz.summary(net, (1, 3, 224, 224))
    now = viz.summary(net, (state.number("batch size"), 3, side, side))
    units = {"mult_adds": ("{:.2f} G", 1e9), "parameters": ("{:,.0f}", 1)}
    growth = []
    for label, key in [
        ("parameters", "parameters"),
        ("mult-adds", "mult_adds"),
        ("input", "input_bytes"),
        ("forward/backward", "pass_bytes"),
        ("parameters in MB", "parameter_bytes"),
        ("total", "total_bytes"),
    ]:
        form, unit = units.get(key, ("{:.2f} MB", 1e6))
        value = getattr(now, key)
        times = value / getattr(one, key)
        growth.append([label, f"{form.format(value / unit)}  (x {times:.3g})"])
    return Expected(rows=[*growth, *table(now, state.number("depth", 1))])


def kernels(state: State) -> Expected:
    seed = 0 if "random" in state.text("weights") else None
    stack = viz.kernels(model(state.text("network")), state.text("layer"), random_seed=seed)
    places = [state.number("output channel"), state.number("input channel")]
    frame = np.ravel_multi_index(places[: len(stack.shape)], stack.shape) if len(stack) > 1 else 0
    return drawn(stack, int(frame), state)


@cache
def maps_of(photo: str, layer: str, network: str = "SqueezeNet") -> viz.ImageStack:
    return viz.feature_maps(model(network), photograph(network, photo), layer)


def feature_maps(state: State) -> Expected:
    photo, layer = state.text("photograph", "cat"), state.text("layer")
    stack = maps_of(photo, layer, state.text("network", "SqueezeNet"))
    return drawn(stack, state.number("channel"), state)


@cache
def cams(
    network: str, photo: str, layer: str, targets: tuple[str, ...], method: str
) -> viz.ImageStack:
    net, sample = model(network), photograph(network, photo)
    return viz.cam_sweep(net, sample, layers=[layer], targets=targets, method=method)


def cam(state: State) -> Expected:
    """Return the expected CAM; if one layer has negative values, all have the diverging scale."""
    photo, method = state.text("photograph", "cat_coffee"), state.text("method")
    network = state.text("network", "SqueezeNet")
    layers = state["layer"].options if "layer" in state else ("features.12",)
    layer, asked = state.text("layer", layers[-1]), state.text("class")
    offered = state["class"].options
    stack = cams(network, photo, layer, offered, method)
    signed = layers if method in ("cam", "eigencam", "eigengradcam") else ()
    stacks = [cams(network, photo, other, offered, method) for other in signed]
    if any(other.scale == "diverging" for other in stacks):
        stack = replace(stack, scale="diverging")
    title = f"{layer} · {asked}" if len(layers) > 1 else asked
    answer = viz.predict(model(network), photograph(network, photo))
    rows = [["▸ " * (p.label == asked) + p.label, f"{p.probability:.3f}"] for p in answer]
    words = "one scale for each layer" if len(layers) > 1 else "one scale for all"
    shown = drawn(stack, offered.index(asked), state, title=title, words=words)
    return replace(shown, rows=rows)


@cache
def salient(photo: str, target: str, method: str) -> viz.ImageStack:
    return viz.saliency(model(), photograph("SqueezeNet", photo), target=target, method=method)


def saliency(state: State) -> Expected:
    stack = salient("cat", state.text("class"), state.text("method"))
    title = f"{state.text('method')} · {state.text('class')}"
    return drawn(stack, 0, state, title=title, words="each frame its own scale")


@cache
def climb(network: str, layer: str, channel: int) -> viz.ImageStack:
    steps = range(31)
    return viz.activation_maximization(
        model(network), layer, channels=[channel], steps=30, keep=steps, size=96
    )


def filters(state: State) -> Expected:
    layer, network = state.text("layer", "features.0"), state.text("network")
    stack, at = climb(network, layer, state.number("filter")), state.number("iteration")
    return Expected(stack.frames[at], tolerance=0, curve=float(stack.values[at]))


ORACLES: dict[str, Oracle] = {
    "explore_module_tree": structure,
    "explore_summary": summary,
    "explore_kernels": kernels,
    "explore_feature_maps": feature_maps,
    "explore_cam": cam,
    "explore_activation_maximization": filters,
}


def oracle_of(cell: str) -> Oracle:
    """Return the function that computes what the panel of a notebook's cell must show."""
    panel = panel_of(cell)
    assert panel in ORACLES, (
        f"viz.{panel}: no function computes what it must show. Write it in "
        f"tests/browser/expected_pictures.py and add it to ORACLES, beside {', '.join(ORACLES)}."
    )
    return ORACLES[panel]
