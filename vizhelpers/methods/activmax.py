"""Activation maximisation: pictures that raise a channel's mean activation (notebook 06)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.inputs.arguments import integer, integers, number, one_of, optional, seed_of
from vizhelpers.inputs.layers import Layer, path_of
from vizhelpers.inputs.models import title_warning
from vizhelpers.inputs.modules import dtype_of, unwrapped
from vizhelpers.inputs.samples import model_colours
from vizhelpers.methods.ascent import mean_activations, uphill
from vizhelpers.methods.fourier import random_spectrum, random_view, to_rgb
from vizhelpers.passes.failures import raised_by_model
from vizhelpers.passes.forward import evaluating, without_autocast
from vizhelpers.passes.gradients import gradients_of
from vizhelpers.passes.sizes import input_size
from vizhelpers.stack import ImageStack
from vizhelpers.view.live.progress import steps as with_progress

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
    """Return pictures (size, size, 3) that raise the mean activation of chosen channels.

    Mode "pixels" is plain gradient ascent (Erhan et al. 2009) on the input, from grey noise, with
    each gradient divided by its root mean square, as in FlashTorch. Mode "fourier" optimises
    Fourier coefficients of decorrelated colours with Adam, under random shifts, scales and
    rotations (Olah et al. 2017, "Feature Visualization"); its pictures are smoother, and activate
    the channel also when they are shifted a little. All channels are optimised as one batch, and
    the network runs only up to ``layer``.

    Args:
        model: any module that takes images of one or three channels.
        layer: its dotted path, or the module itself; preferably a layer before its ReLU, since a
            channel that a ReLU sets to zero everywhere has gradient zero.
        channels: indices of the channels.
        steps: number of optimisation steps.
        size: height and width of the pictures, in pixels; None is 128 if the model takes that, else
            the side of its input (``sizes.input_size``).
        lr: step size; in "pixels" in units of normalised input, in "fourier" a factor of Adam's
            learning rate, 0.05.
        seed: of the noise and of the random transformations; the global random state does not
            change.
        keep: steps after which pictures are kept, 0 being the noise; None keeps the last only.
        mode: "pixels" or "fourier". "fourier" is for middle and late layers and needs about 100
            steps; its transformations blur the finest stripes of a first layer.

    Returns:
        RGB pictures (size, size, 3), axes ``channel`` and ``step``. In mode "pixels" each picture
        is standardised, so its colours show the pattern and not its magnitude; in mode "fourier"
        the colours are those that the network sees, without the random transformations. ``values``
        holds the mean activation of each kept picture, so ``keep=range(steps + 1)`` gives the
        curve. Mode "pixels" reaches far higher values, with noise that photographs do not contain.

    Raises:
        ValueError: unknown mode, layer or channel; a layer without maps; ``steps``, ``size`` or
            ``keep`` out of range; a model whose input has not one or three channels; an activation
            that is NaN or infinite.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3))
        >>> activation_maximization(net, "0", channels=[2], steps=2, size=16).frames.shape
        (1, 16, 16, 3)
    """
    one_of("mode", mode, MODES)
    model = unwrapped(model)
    layer, steps = path_of(model, layer), integer("steps", steps, 1)
    size = optional(integer, "size", size, 8, 4096)
    lr, seed = number("lr", lr, -1e6, 1e6), seed_of("seed", seed)
    kept = [steps] if keep is None else sorted(set(integers("keep", keep, 0, steps)))
    channels = integers("channels", channels)
    if not kept:
        raise ValueError("keep is empty: name at least one step, or omit keep=.")
    if not channels:
        raise ValueError("channels is empty: name at least one.")
    ascent = _Ascent(model, layer, channels, kept, steps, lr, seed)
    side, pictures, values = _at_first_size(ascent, size, mode)
    return ImageStack(
        np.stack(pictures, axis=1).reshape(-1, side, side, 3),
        axes={"channel": channels, "step": kept},
        titles=[
            f"channel {channel}, step {step}\nmean activation {value:.3g}"
            for i, channel in enumerate(channels)
            for step, value in zip(kept, np.stack(values)[:, i], strict=True)
        ],
        scale="rgb",
        name=f"{title_warning(model)}Activation maximisation at {layer}"
        + (", Fourier coefficients" if mode == "fourier" else ""),
        values=np.stack(values, axis=1).reshape(-1),
    )


@dataclass(frozen=True)
class _Ascent:
    """One optimisation, its arguments validated.

    Attributes:
        model: the module inside its wrappers.
        layer: dotted module path.
        channels: the index of a channel for each picture.
        kept: steps after which pictures are kept, in ascending order.
        steps: number of steps.
        lr: step size.
        seed: of the noise and of the random transformations.
    """

    model: nn.Module
    layer: str
    channels: list[int]
    kept: list[int]
    steps: int
    lr: float
    seed: int

    @property
    def device(self) -> torch.device:
        """Device of the model's parameters; the CPU if it has none."""
        return next(self.model.parameters(), torch.empty(0, device="cpu")).device

    def means(self, x: Tensor, step: int) -> Tensor:
        """Return the mean activation of each picture's channel, (N,), with its autograd graph.

        Raises:
            ValueError: one of them is NaN or infinite.
        """
        means = mean_activations(self.model, x, self.layer, self.channels)
        if not means.isfinite().all():
            raise ValueError(
                f"The mean activation at {self.layer!r} is NaN or infinite at step {step}: the "
                "model's weights diverged in training, values overflowed, or lr is too large."
            )
        return means

    def generator(self) -> torch.Generator:
        """Return a generator on the CPU, so that results are the same on every device."""
        return torch.Generator(device="cpu").manual_seed(self.seed)


_Kept = tuple[list[np.ndarray], list[np.ndarray]]
"""For each kept step, the pictures (N, size, size, 3) uint8, and their mean activations (N,)."""


def _at_first_size(
    ascent: _Ascent, size: int | None, mode: str
) -> tuple[int, list[np.ndarray], list[np.ndarray]]:
    """Return the side of the pictures, in pixels, and what is kept, at the first size that runs."""
    climb = _from_pixels if mode == "pixels" else _from_fourier
    refusal: Exception | None = None
    for planes, side in _sizes(ascent.model, size):
        try:
            with torch.inference_mode(False), torch.enable_grad():
                return side, *climb(ascent, planes, side)
        except Exception as error:
            if not raised_by_model(error):
                raise  # such as an unknown channel
            refusal = error
    assert refusal is not None
    raise refusal


def _sizes(model: nn.Module, side: int | None) -> Iterator[tuple[int, int]]:
    """Yield (channels, side) of pictures to try: first the usual, then what the model takes.

    Raises:
        ValueError: the model takes another number of channels than one or three.
    """
    usual = 3, side or _SIDE
    yield usual
    try:
        _, planes, *sides = input_size(model)
    except ValueError:
        return  # the error for the usual size is more specific
    if planes not in (1, 3):
        raise ValueError(
            f"{type(model).__name__} takes {planes} input channels; activation maximisation "
            "needs a model with 1 (grey) or 3 (RGB)."
        )
    if sides and (planes, side or sides[-1]) != usual:
        yield planes, side or sides[-1]


def _from_pixels(ascent: _Ascent, planes: int, side: int) -> _Kept:
    pictures, values = [], []
    x = _noise(ascent, planes, side)
    for step in with_progress(range(ascent.steps + 1), "step"):
        leaf = x.detach().requires_grad_()
        with evaluating(ascent.model):
            means = ascent.means(leaf.clone(), step)
            x = uphill(ascent.model, leaf, means, ascent.lr) if step < ascent.steps else x
        if step in ascent.kept:
            pictures.append(_as_pictures(leaf.detach()))
            values.append(means.detach().float().cpu().numpy())
    return pictures, values


def _from_fourier(ascent: _Ascent, planes: int, side: int) -> _Kept:
    model, dtype, generator = ascent.model, dtype_of(ascent.model), ascent.generator()
    spectrum = random_spectrum(len(ascent.channels), side, generator)
    spectrum = spectrum.to(ascent.device).requires_grad_()
    # Adam scales each coefficient separately, so a picture does not depend on the others.
    colours = model_colours(model)
    adam = torch.optim.Adam([spectrum], lr=ascent.lr * _ADAM, maximize=True)
    pictures, values = [], []
    for step in with_progress(range(ascent.steps + 1), "step"):
        rgb = to_rgb(spectrum)
        rgb = rgb.mean(dim=1, keepdim=True) if planes == 1 else rgb
        if step in ascent.kept:
            x = colours.apply(rgb).to(dtype)
            with torch.no_grad(), evaluating(model):
                means = ascent.means(x.detach().clone(), step)
            pictures.append(_as_uint8(rgb.detach()))
            values.append(means.float().cpu().numpy())
        if step == ascent.steps:
            break
        x = random_view(colours.apply(rgb), generator).to(dtype)
        with evaluating(model):
            total = mean_activations(model, x, ascent.layer, ascent.channels).sum()
            (spectrum.grad,) = gradients_of(total, [spectrum], model, ["the pixels"])
        with torch.device("cpu"):  # Adam creates its counters on the default device
            adam.step()
    return pictures, values


def _noise(ascent: _Ascent, planes: int, side: int) -> Tensor:
    """Return grey noise (N, C, side, side), pixel values 150 to 180 of 255, normalised.

    All channels begin with the same noise, so that results differ only because of the channel.
    """
    model, count = ascent.model, len(ascent.channels)
    drawn = torch.rand(1, planes, side, side, generator=ascent.generator(), device="cpu")
    x = model_colours(model).apply((drawn * 30 + 150) / 255).expand(count, -1, -1, -1)
    return x.to(device=ascent.device, dtype=dtype_of(model)).contiguous()


def _as_pictures(x: Tensor) -> np.ndarray:
    """Standardise each picture to mean 0.7 and standard deviation 0.15, as FlashTorch does."""
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    std = x.std(dim=(1, 2, 3), keepdim=True).clamp(min=1e-7)
    return _as_uint8((x - mean) / std * 0.15 + 0.7)


def _as_uint8(rgb: Tensor) -> np.ndarray:
    """Convert pictures (N, 3, H, W), values 0 to 1, to (N, H, W, 3) uint8."""
    rounded = rgb.float().clamp(0, 1).mul(255).round().to(torch.uint8).expand(-1, 3, -1, -1)
    return rounded.permute(0, 2, 3, 1).cpu().numpy()
