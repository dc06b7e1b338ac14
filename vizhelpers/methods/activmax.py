"""Notebook 06: the picture that one filter would like best."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.arguments import number, one_of, optional, seed_of, whole, whole_numbers
from vizhelpers.gradients import gradients_of
from vizhelpers.inputs import bare, dtype_of
from vizhelpers.layers import Layer, layer_name
from vizhelpers.methods.ascent import mean_activations, uphill
from vizhelpers.methods.fourier import random_spectrum, random_view, to_rgb
from vizhelpers.models import warning_word
from vizhelpers.passes import evaluating, without_autocast
from vizhelpers.progress import steps as watched
from vizhelpers.samples import model_colours
from vizhelpers.sizes import input_size
from vizhelpers.stack import ImageStack

MODES = ("pixels", "fourier")
_ADAM = 0.05  # Olah et al. 2017
_SIDE = 128  # pixels


@without_autocast()
def activation_maximization(
    model: nn.Module,
    layer: Layer,
    *,
    channels: Sequence[int],
    steps: int = 30,
    size: int | None = None,
    lr: float = 1.0,
    seed: int = 0,
    keep: Sequence[int] | None = None,
    mode: str = "pixels",
) -> ImageStack:
    """Climb from noise to pictures that raise the mean activation of chosen channels.

    In mode "pixels" plain gradient ascent (Erhan et al. 2009) on the input, from grey noise, with
    each gradient divided by its root mean square, as in FlashTorch. In mode "fourier" Adam on
    the coefficients of frequencies and decorrelated colours, through random shifts, scales and
    turns (Olah et al. 2017, "Feature Visualization"): smoother pictures, which please a filter
    also when they move a little. All channels climb as one batch, and the network runs only as
    far as ``layer``.

    Args:
        model: any module that takes images of one or three channels.
        layer: its dotted path, or the module itself; best a layer before its ReLU, since a channel
            that a ReLU holds at zero has gradient zero, and then nothing climbs.
        channels: which channels.
        steps: how many steps of ascent.
        size: height and width of the pictures, in pixels; None takes 128 where the model can, else
            the side of its input (``sizes.input_size``).
        lr: length of a step: in units of normalised input, or of Adam's 0.05.
        seed: of the noise and of the random transformations; the global random state is left as
            it was.
        keep: after which steps a picture is kept, 0 being the noise; the last one alone where
            None.
        mode: "pixels" or "fourier". The second is for middle and late layers, and wants 100 steps;
            a first layer's finest stripes do not survive its transformations.

    Returns:
        RGB pictures (size, size, 3), axes ``channel`` and ``step``. From pixels, colours are
        standardised for each picture, so they show pattern and not magnitude; from Fourier
        coefficients, they are what the network sees, untransformed. ``values`` holds the mean
        activation that each kept picture reaches, so that ``keep=range(steps + 1)`` gives the
        curve. Plain pixels reach far higher values: noise that no photograph holds pleases most.

    Raises:
        ValueError: unknown mode, layer or channel; a layer without channels and places; ``steps``,
            ``size`` or ``keep`` out of range; a model of another number of input channels; an
            activation that is NaN.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3))
        >>> activation_maximization(net, "0", channels=[2], steps=2, size=16).frames.shape
        (1, 16, 16, 3)
    """
    one_of("mode", mode, MODES)
    layer, steps = layer_name(model, layer), whole("steps", steps, 1)
    size = optional(whole, "size", size, 8, 4096)
    lr, seed = number("lr", lr, -1e6, 1e6), seed_of("seed", seed)
    kept = [steps] if keep is None else sorted(set(whole_numbers("keep", keep, 0, steps)))
    channels = whole_numbers("channels", channels)
    if not kept:
        raise ValueError("keep is empty: name at least one step, or leave it out.")
    if not channels:
        raise ValueError("channels is empty: name at least one.")
    climb = _from_pixels if mode == "pixels" else _from_fourier
    refused: ValueError | None = None
    for planes, side in _sizes(model, size):
        try:
            with torch.inference_mode(False), torch.enable_grad():
                pictures, values = climb(
                    model, layer, channels, kept, steps, (planes, side), lr, seed
                )
            break
        except ValueError as error:
            if error.__cause__ is None:
                raise  # not the model's: no such channel, say
            refused = error
    else:
        assert refused is not None
        raise refused
    return ImageStack(
        np.stack(pictures, axis=1).reshape(-1, side, side, 3),
        axes={"channel": [int(channel) for channel in channels], "step": kept},
        titles=[
            f"channel {channel}, step {step}\nmean activation {value:.3g}"
            for i, channel in enumerate(channels)
            for step, value in zip(kept, np.stack(values)[:, i], strict=True)
        ],
        scale="rgb",
        name=f"{warning_word(model)}Activation maximisation at {layer}"
        + (", Fourier coefficients" if mode == "fourier" else ""),
        values=np.stack(values, axis=1).reshape(-1),
    )


_Kept = tuple[list[np.ndarray], list[np.ndarray]]
"""Of each kept step: the pictures (N, size, size, 3) uint8, and their mean activations (N,)."""


def _sizes(model: nn.Module, side: int | None) -> Iterator[tuple[int, int]]:
    """Yield (channels, side) of pictures to try: the usual ones, then those that the model takes.

    Raises:
        ValueError: the model takes another number of channels than one or three.
    """
    usual = 3, side or _SIDE
    yield usual
    try:
        _, planes, *sides = input_size(model)
    except ValueError:
        return  # the error of the usual size says more
    if planes not in (1, 3):
        raise ValueError(
            f"{type(bare(model)).__name__} takes {planes} input channels; pictures of one (grey) "
            "or three (RGB) can be drawn."
        )
    if sides and (planes, side or sides[-1]) != usual:
        yield planes, side or sides[-1]


def _from_pixels(
    model: nn.Module,
    layer: str,
    channels: Sequence[int],
    kept: list[int],
    steps: int,
    size: tuple[int, int],
    lr: float,
    seed: int,
) -> _Kept:
    pictures, values = [], []
    x = _noise(model, len(channels), *size, seed)
    for step in watched(range(steps + 1), "step"):
        leaf = x.detach().requires_grad_()
        with evaluating(model):
            means = _finite(mean_activations(model, leaf.clone(), layer, channels), layer, step)
            x = uphill(model, leaf, means, lr) if step < steps else x
        if step in kept:
            pictures.append(_as_pictures(leaf.detach()))
            values.append(means.detach().float().cpu().numpy())
    return pictures, values


def _from_fourier(
    model: nn.Module,
    layer: str,
    channels: Sequence[int],
    kept: list[int],
    steps: int,
    size: tuple[int, int],
    lr: float,
    seed: int,
) -> _Kept:
    planes, side = size
    device, dtype = next(model.parameters(), torch.empty(0, device="cpu")).device, dtype_of(model)
    generator = torch.Generator(device="cpu").manual_seed(seed)
    spectrum = random_spectrum(len(channels), side, generator).to(device).requires_grad_()
    # Adam scales each coefficient by itself, so a picture does not depend on its batch mates.
    colours = model_colours(model)
    adam = torch.optim.Adam([spectrum], lr=lr * _ADAM, maximize=True)
    pictures, values = [], []
    for step in watched(range(steps + 1), "step"):
        rgb = to_rgb(spectrum)
        rgb = rgb.mean(dim=1, keepdim=True) if planes == 1 else rgb
        if step in kept:
            x = colours.apply(rgb).to(dtype)
            with torch.no_grad(), evaluating(model):
                means = mean_activations(model, x.detach().clone(), layer, channels)
            pictures.append(_as_uint8(rgb.detach()))
            values.append(_finite(means, layer, step).float().cpu().numpy())
        if step == steps:
            break
        x = random_view(colours.apply(rgb), generator).to(dtype)
        with evaluating(model):
            means = mean_activations(model, x, layer, channels)
            (spectrum.grad,) = gradients_of(means.sum(), [spectrum], model, ["the pixels"])
        adam.step()
    return pictures, values


def _finite(means: Tensor, layer: str, step: int) -> Tensor:
    """Return mean activations; refuse a model whose weights or activations are NaN."""
    if means.isfinite().all():
        return means
    raise ValueError(
        f"The mean activation at {layer!r} is NaN or infinite at step {step}: the model's weights "
        "diverged in training, numbers overflowed, or lr is too large."
    )


def _noise(model: nn.Module, count: int, planes: int, size: int, seed: int) -> Tensor:
    """Return grey noise, pixel values 150 to 180 of 255, normalised as the model wants it.

    Every channel climbs from the same noise, so that two results differ by their channel alone.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    drawn = torch.rand(1, planes, size, size, generator=generator, device="cpu")
    x = model_colours(model).apply((drawn * 30 + 150) / 255).expand(count, -1, -1, -1)
    weight = next(model.parameters(), x)
    return x.to(device=weight.device, dtype=dtype_of(model)).contiguous()


def _as_pictures(x: Tensor) -> np.ndarray:
    """Standardise each picture to mean 0.7 and spread 0.15, as FlashTorch draws them."""
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    std = x.std(dim=(1, 2, 3), keepdim=True).clamp(min=1e-7)
    return _as_uint8((x - mean) / std * 0.15 + 0.7)


def _as_uint8(rgb: Tensor) -> np.ndarray:
    """Return pictures (N, H, W, 3) uint8 of (N, 3, H, W), values 0 to 1."""
    rounded = rgb.float().clamp(0, 1).mul(255).round().to(torch.uint8).expand(-1, 3, -1, -1)
    return rounded.permute(0, 2, 3, 1).cpu().numpy()
