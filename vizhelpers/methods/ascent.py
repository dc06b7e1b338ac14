"""A step of gradient ascent on the input: what activation maximisation and FlashTorch share."""

from collections.abc import Sequence

from torch import Tensor, nn

from vizhelpers.errors import unknown
from vizhelpers.gradients import gradients_of
from vizhelpers.layers import run_to
from vizhelpers.maps import arranged


def mean_activations(model: nn.Module, x: Tensor, layer: str, channels: Sequence[int]) -> Tensor:
    """Return each picture's mean activation of its own channel, (N,), graph attached.

    The network runs only as far as the layer.

    Args:
        model: any module that takes (N, C, H, W).
        x: N pictures.
        layer: dotted path of a layer with maps, or with tokens that lie on the image.
        channels: one for each picture.

    Raises:
        ValueError: a layer without channels and places, or no such channel.
    """
    found = run_to(model, x, layer)
    output = arranged(model, found, x)
    if output is None:
        raise ValueError(
            f"Layer {layer!r} puts out shape {tuple(found.shape)}; expected maps (N, C, H, W), or "
            "tokens that lie on the image."
        )
    for channel in channels:
        if not 0 <= channel < output.shape[1]:
            count = output.shape[1]
            raise unknown("channel", channel, range(count), f"{layer!r} has {count}.")
    return output[range(len(x)), list(channels)].mean(dim=(1, 2))


def uphill(model: nn.Module, leaf: Tensor, means: Tensor, lr: float) -> Tensor:
    """Return the pictures one step further, (N, C, H, W), without a graph.

    Args:
        model: that ``means`` was computed with, for the error texts.
        leaf: pictures (N, C, H, W) that ``means`` was computed of.
        means: what is to grow, (N,).
        lr: length of the step; each picture's gradient is divided by its own root mean square.

    Raises:
        ValueError: no gradient reaches the pictures.
    """
    (gradient,) = gradients_of(means.sum(), [leaf], model, ["the pixels"])
    strength = gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return leaf.detach() + lr * (gradient / (strength + 1e-5))
