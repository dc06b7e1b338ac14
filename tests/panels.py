"""What the tests of panels share: a value for each control, and what a reader does and sees."""

import io
from datetime import UTC, datetime

import ipywidgets as widgets
import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision import models

import vizhelpers as viz
from vizhelpers.view.charts import Bars
from vizhelpers.view.live.panel import Panel
from vizhelpers.view.live.scene import Scene

WAIT = 60  # seconds; only a test that fails waits so long
# For each panel: its requests, and a value to which each is changed.
REQUESTS: dict[str, dict[str, object]] = {
    "module_tree": {"depth": 1, "model": "vgg13"},
    "summary": {"batch": 9, "side": 100, "depth": 2, "model": "vgg13"},
    "kernels": {"network": "EfficientNet-Lite0", "layer": "features.3.expand3x3", "weights": 0},
    "feature_maps": {
        "network": "EfficientNet-Lite0",
        "photograph": "rocket",
        "layer": "features.4",
    },
    "cam": {
        "network": "EfficientNet-Lite0",
        "photograph": "panda",
        "other": "tench",
        "method": "layercam",
    },
    "saliency": {"network": "EfficientNet-Lite0", "photograph": "panda", "other": "tench"},
    "activation_maximization": {
        "network": "EfficientNet-Lite0",
        "layer": "features.1",
        "channel": 1,
    },
}
# For each panel: the controls that move through frames which are in the browser.
AXES: dict[str, set[str]] = {
    "module_tree": set(),
    "summary": set(),
    "kernels": {"output channel", "input channel", "colour scale", "show"},
    "feature_maps": {"channel", "overlay strength", "colour scale", "show"},
    "cam": {"layer", "class", "overlay strength", "colour scale", "show"},
    "saliency": {"method", "class", "overlay strength", "show"},
    "activation_maximization": {"iteration", "show"},
}


def build(name: str, model: nn.Module) -> Panel:
    """Return a panel of ``viz.explore_...``."""
    explore = getattr(viz, f"explore_{name}")
    if name in ("module_tree", "summary"):
        with torch.device("meta"):
            return explore({"SqueezeNet": model, "vgg13": models.vgg13()})
    return explore(model, steps=3) if name == "activation_maximization" else explore(model)


def ask(panel: Panel, **requests: object) -> None:
    """Change requests as a reader would, and wait for the answer."""
    for name, value in requests.items():
        panel.requests[name].value = value
    assert panel.wait(WAIT)


def pixels(panel: Panel) -> np.ndarray:
    assert panel.message == ""
    return np.asarray(Image.open(io.BytesIO(panel._png())).convert("RGB"))


def shown(panel: Panel) -> dict[str, object]:
    """What crossed the wire, without what is the same in every scene."""
    return {key: value for key, value in panel.view.scene.items() if key != "lut"}


def number(value: float) -> Scene:
    """A scene that shows one number."""
    return Scene(charts=[[Bars("A bar", [("a",)], [value], [str(value)])]])


def uploaded(data: bytes, name: str = "mine.png") -> object:
    """What a FileUpload holds when a file came: a dict in ipywidgets 7, a tuple in 8."""
    if widgets.__version__.startswith("7."):
        return {name: {"metadata": {"name": name}, "content": data}}
    now = datetime.now(UTC)
    entry = {"name": name, "type": "image/png", "size": len(data), "last_modified": now}
    return ({**entry, "content": memoryview(data)},)


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
