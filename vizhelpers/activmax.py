"""Notebook 06: the picture that one filter would like best."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.errors import unknown
from vizhelpers.layers import evaluating, run_to
from vizhelpers.models import warning_word
from vizhelpers.progress import steps as watched
from vizhelpers.stack import ImageStack


def activation_maximization(
    model: nn.Module,
    layer: str,
    *,
    channels: Sequence[int],
    steps: int = 30,
    size: int = 128,
    lr: float = 1.0,
    seed: int = 0,
    keep: Sequence[int] | None = None,
) -> ImageStack:
    """Climb from grey noise to pictures that raise the mean activation of chosen channels.

    Plain gradient ascent (Erhan et al. 2009) on the input, with each gradient divided by its root
    mean square, as in FlashTorch. All channels climb as one batch, and the network runs only as
    far as ``layer``.

    Args:
        model: any module that takes (N, 3, H, W).
        layer: dotted path; best a layer before its ReLU, since a channel that a ReLU holds at
            zero has gradient zero, and then nothing climbs.
        channels: which channels.
        steps: how many steps of ascent.
        size: height and width of the pictures, in pixels.
        lr: length of a step, in units of normalised input.
        seed: of the noise; the global random state is left as it was.
        keep: after which steps a picture is kept, 0 being the noise; the last one alone where
            None.

    Returns:
        RGB pictures (size, size, 3), axes ``channel`` and ``step``; colours are standardised for
        each picture, so they show pattern and not magnitude. ``values`` holds the mean activation
        that each kept picture reaches, so that ``keep=range(steps + 1)`` gives the curve.

    Raises:
        ValueError: unknown layer or channel; a layer without channels and places; ``steps``,
            ``size`` or ``keep`` out of range.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3))
        >>> activation_maximization(net, "0", channels=[2], steps=2, size=16).frames.shape
        (1, 16, 16, 3)
    """
    kept = [steps] if keep is None else sorted({int(step) for step in keep})
    if steps < 1 or size < 8 or not kept or kept[0] < 0 or kept[-1] > steps:
        raise ValueError(
            f"steps={steps}, size={size}, keep={keep}: steps must be at least 1, size at least 8, "
            "and keep lie between 0 and steps."
        )
    pictures, values = [], []
    with torch.inference_mode(False), torch.enable_grad(), evaluating(model):
        x = _noise(model, len(channels), size, seed)
        for step in watched(range(steps + 1), "step"):
            means, gradient = _climb(model, x, layer, channels)
            if step in kept:
                pictures.append(_as_pictures(x))
                values.append(means)
            x = x + lr * gradient
    return ImageStack(
        np.stack(pictures, axis=1).reshape(-1, size, size, 3),
        axes={"channel": [int(channel) for channel in channels], "step": kept},
        titles=[
            f"channel {channel}, step {step}\nmean activation {value:.3g}"
            for i, channel in enumerate(channels)
            for step, value in zip(kept, np.stack(values)[:, i], strict=True)
        ],
        scale="rgb",
        name=f"{warning_word(model)}Activation maximisation at {layer}",
        values=np.stack(values, axis=1).reshape(-1),
    )


def _noise(model: nn.Module, count: int, size: int, seed: int) -> Tensor:
    """Return grey noise, pixel values 150 to 180 of 255, normalised as ImageNet networks want it.

    Every channel climbs from the same noise, so that two results differ by their channel alone.
    """
    if count < 1:
        raise ValueError("channels is empty: name at least one.")
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(1, 3, size, size, generator=generator) * 30 + 150
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    x = ((pixels / 255 - mean) / std).expand(count, -1, -1, -1)
    weight = next(model.parameters(), x)
    return x.to(device=weight.device, dtype=weight.dtype).contiguous()


def _climb(
    model: nn.Module, x: Tensor, layer: str, channels: Sequence[int]
) -> tuple[np.ndarray, Tensor]:
    """Return each picture's mean activation (N,) and its normalised gradient, (N, 3, H, W)."""
    leaf = x.detach().requires_grad_()
    output = run_to(model, leaf.clone(), layer)
    if output.ndim != 4:
        raise ValueError(
            f"Layer {layer!r} puts out shape {tuple(output.shape)}; expected maps (N, C, H, W)."
        )
    for channel in channels:
        if not 0 <= channel < output.shape[1]:
            count = output.shape[1]
            raise unknown("channel", channel, range(count), f"{layer!r} has {count}.")
    means = output[range(len(x)), list(channels)].mean(dim=(1, 2))
    (gradient,) = torch.autograd.grad(means.sum(), leaf)
    strength = gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return means.detach().float().cpu().numpy(), gradient / (strength + 1e-5)


def _as_pictures(x: Tensor) -> np.ndarray:
    """Standardise each picture to mean 0.7 and spread 0.15, as FlashTorch draws them."""
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    std = x.std(dim=(1, 2, 3), keepdim=True).clamp(min=1e-7)
    rgb = ((x - mean) / std * 0.15 + 0.7).clamp(0, 1).mul(255).round()
    return rgb.permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)
