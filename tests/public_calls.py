"""Every public function that is given a model, as a call on any tiny network."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from networks import Tiny
from PIL import Image
from torch import Tensor, nn

import vizhelpers as viz
from vizhelpers.methods.saliency import METHODS

Call = Callable[[nn.Module, Tensor, str, Tiny], object]


def convolution(layer: str, network: Tiny) -> str:
    """Return the network's convolution; a layer that does not exist stays as it is."""
    return network.convolution if layer in network.layers else layer


# Key: the public name, and what varies. A call is given the model, its input, a layer with maps,
# and the network's description.
CALLS: dict[str, Call] = {
    "layer_names": lambda m, x, layer, t: viz.layer_names(m),
    "get_layer": lambda m, x, layer, t: viz.get_layer(m, layer),
    "kernels": lambda m, x, layer, t: viz.kernels(m, convolution(layer, t)),
    "kernels: random": lambda m, x, layer, t: viz.kernels(m, convolution(layer, t), random_seed=3),
    "cam_layers": lambda m, x, layer, t: viz.cam_layers(m, x),
    "module_tree": lambda m, x, layer, t: viz.module_tree(m, input_size=t.shape),
    "summary": lambda m, x, layer, t: viz.summary(m, t.shape),
    "predict": lambda m, x, layer, t: viz.predict(m, x),
    "capture": lambda m, x, layer, t: viz.capture(m, x, [layer]),
    "capture: several": lambda m, x, layer, t: viz.capture(m, x, [*t.layers, layer]),
    "feature_maps": lambda m, x, layer, t: viz.feature_maps(m, x, layer),
    **{
        f"cam: {method}": lambda m, x, layer, t, method=method: viz.cam(
            m, x, layer, target=1, method=method
        )
        for method in viz.CAM_METHODS
    },
    "cam_sweep": lambda m, x, layer, t: viz.cam_sweep(
        m, x, layers=[*t.layers[:1], layer], targets=[0, None, 3]
    ),
    **{
        f"saliency: {method}": lambda m, x, layer, t, method=method: viz.saliency(
            m, x, method=method
        )
        for method in METHODS
    },
    "activation_maximization": lambda m, x, layer, t: viz.activation_maximization(
        m, layer, channels=[0, 2], steps=2, size=16
    ),
    "ImageStack: plot": lambda m, x, layer, t: viz.feature_maps(m, x, layer).plot(),
    "flash.Backprop": lambda m, x, layer, t: viz.flash.Backprop(m).calculate_gradients(x, 1),
    "flash.Backprop: guided": lambda m, x, layer, t: viz.flash.Backprop(m).calculate_gradients(
        x, 1, guided=True, take_max=True
    ),
    "flash.Backprop: visualize": lambda m, x, layer, t: viz.flash.Backprop(m).visualize(x, 1),
    "flash.GradientAscent": lambda m, x, layer, t: viz.flash.GradientAscent(m, 16).optimize(
        viz.get_layer(m, convolution(layer, t)), 1, num_iter=2
    ),
}
# FlashTorch's figures belong to pyplot as well, by design.
IN_PYPLOT = ("flash.Backprop: visualize",)

PANELS = [name for name in viz.__all__ if name.startswith("explore_")]


def small(image: Image.Image) -> Tensor:
    """Return a photograph as a tiny network's input, (3, 10, 10), 0..1."""
    return torch.from_numpy(np.array(image.resize((10, 10)))).permute(2, 0, 1) / 255


def explore(name: str, model: nn.Module) -> Any:
    """Open a panel; a transform and three steps go to those that take them."""
    function = getattr(viz, name)
    known = inspect.signature(function).parameters
    return function(model, **{k: v for k, v in (("transform", small), ("steps", 3)) if k in known})
