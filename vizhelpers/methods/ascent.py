"""One step of gradient ascent on the input, for activation maximisation and FlashTorch."""

from collections.abc import Sequence

from torch import Tensor, nn

from vizhelpers.inputs.errors import unknown
from vizhelpers.passes.capture import run_to
from vizhelpers.passes.gradients import gradients_of
from vizhelpers.passes.maps import arranged


def mean_activations(model: nn.Module, x: Tensor, layer: str, channels: Sequence[int]) -> Tensor:
    """Return each picture's mean activation of its channel, (N,), with its autograd graph.

    From the second pass on, the network runs only up to the layer.

    Args:
        model: any module that takes (N, C, H, W).
        x: N pictures, (N, C, H, W).
        layer: dotted path of a layer with maps, or with tokens that lie on the image.
        channels: a channel index for each picture.

    Raises:
        ValueError: a layer without maps, or no such channel.
    """
    result = run_to(model, x, layer)
    if result.is_quantized:
        raise ValueError(
            f"Layer {layer!r} is quantised, so no gradient passes. Use the model as it was before "
            "it was quantised."
        )
    output = arranged(model, result, x)
    if output is None:
        raise ValueError(
            f"Layer {layer!r} has an output of shape {tuple(result.shape)}; expected maps "
            "(N, C, H, W), or tokens that lie on the image."
        )
    for channel in channels:
        if not 0 <= channel < output.shape[1]:
            count = output.shape[1]
            raise unknown("channel", channel, range(count), f"{layer!r} has {count} channels.")
    return output[range(len(x)), list(channels)].mean(dim=(1, 2))


def uphill(model: nn.Module, leaf: Tensor, means: Tensor, lr: float) -> Tensor:
    """Return the pictures after one ascent step, (N, C, H, W), detached.

    Args:
        model: the model that computed ``means``, for error texts.
        leaf: pictures (N, C, H, W) from which ``means`` was computed.
        means: the values to increase, (N,).
        lr: step size; each picture's gradient is divided by its root mean square.

    Raises:
        ValueError: no gradient reaches the pictures.
    """
    (gradient,) = gradients_of(means.sum(), [leaf], model, ["the pixels"])
    strength = gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return leaf.detach() + lr * (gradient / (strength + 1e-5))
