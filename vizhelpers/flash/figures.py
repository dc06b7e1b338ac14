"""Figures that are returned and, as FlashTorch's, also belong to pyplot."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import Tensor

from vizhelpers.flash.utils import denormalize, format_for_plotting, standardize_and_clip
from vizhelpers.view import canvas
from vizhelpers.view.bar import colour_bar
from vizhelpers.view.style import default_style

_LABEL = "vizhelpers.flash"
_KEPT = 10  # matplotlib warns when more than 20 figures are open, the user's own included
_CLIPPED = 0.995  # quantile at which the scale ends: a few pixels are far brighter than the rest
_LARGEST = 20.0  # inches, height of a figure with many pictures
_MOST = 16  # pictures in a row or column of such a figure


class Figure(canvas.Figure):
    """A figure that a notebook shows once, whether or not it is the value of its cell.

    The inline backend shows all of pyplot's figures when a cell ends. A figure that was already
    shown as the cell's value is therefore closed in pyplot.
    """

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        if "inline" in matplotlib.get_backend().lower():
            plt.close(self)
        return {}  # IPython's formatters for figures draw it


def new_figure(size: tuple[float, float]) -> Figure:
    """Open a pyplot figure of ``size`` inches; close our oldest if ten are open."""
    ours = [label for label in plt.get_figlabels() if label.startswith(_LABEL)]
    numbers = sorted(int(label.rsplit(" ", 1)[1]) for label in ours)
    for old in numbers[: max(0, len(numbers) + 1 - _KEPT)]:
        plt.close(f"{_LABEL} {old}")
    number = numbers[-1] + 1 if numbers else 1
    figure = plt.figure(f"{_LABEL} {number}", figsize=size, dpi=100, FigureClass=Figure)
    assert isinstance(figure, Figure)
    if type(figure.canvas) is FigureCanvasAgg:  # a window keeps its own canvas
        canvas.Canvas(figure)
    return figure


@default_style()
def saliency_figure(
    x: Tensor, gradients: Tensor, explained: str, size: tuple[float, float], cmap: str, alpha: float
) -> Figure:
    """Draw the input, the gradient in colour, its maximum with a colour bar, and an overlay.

    Args:
        x: network input, (1, C, H, W), normalised as for ImageNet.
        gradients: (C, H, W), signed.
        explained: text that names the explained class.
        size: (width, height) in inches.
        cmap: colour map of the maximum.
        alpha: opacity of the maximum in the overlay, 0 to 1.

    Raises:
        ValueError: the gradients hold NaN or infinite values.
    """
    if not gradients.isfinite().all():
        raise ValueError(
            "The gradient holds NaN or infinite values and cannot be drawn: numbers in the model "
            "overflow or are divided by zero. calculate_gradients returns the gradient as it is."
        )
    mean = _mean_of(gradients)
    what = "Gradients, RGB channels" if len(gradients) == 3 else f"Gradient{mean}"
    photograph = format_for_plotting(denormalize(_drawable(x.detach()))).clamp(0, 1).float().numpy()
    strengths = gradients.float().abs().amax(dim=0).numpy()
    top = float(np.quantile(strengths, _CLIPPED)) or float(strengths.max())
    grey = (
        format_for_plotting(_drawable(gradients).float() / (2 * (top or 1)) + 0.5)
        .clamp(0, 1)
        .numpy()
    )
    figure = new_figure(size)
    margins = {
        "left": 0.01,
        "right": 0.99,
        "bottom": 0.03,
        "top": 1 - 0.5 / size[1],
        "wspace": 0.08,
    }
    grid = figure.add_gridspec(1, 6, width_ratios=(1, 1, 1, 0.06, 0.12, 1), **margins)
    axes = [figure.add_subplot(grid[i]) for i in (0, 1, 2, 5)]
    bar = figure.add_subplot(grid[3])
    # interpolation="nearest" leaves pixels unchanged, and takes a third of the time.
    plain: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    scale = {**plain, "cmap": cmap, "vmax": top or 1}
    axes[0].imshow(photograph, **plain)
    axes[1].imshow(grey, **plain)
    axes[2].imshow(strengths, **scale)
    colour_bar(bar, cmap, 0.0, top or 1.0)
    bar.tick_params(labelsize=8)
    axes[3].imshow(photograph, **plain)
    axes[3].imshow(strengths, alpha=alpha, **scale)
    titles = (
        f"Input image{mean}\n{explained}",
        f"{what}\nblack −{top:.2g}, grey 0, white +{top:.2g}",
        f"Max |gradient|\n{'brightest 0.5 % clipped' if top else 'zero everywhere'}",
        "Overlay\nsame colours",
    )
    for ax, title in zip(axes, titles, strict=True):
        ax.set_axis_off()
        ax.set_title(title, fontsize=min(10.0, size[0] * 0.75))
    return figure


@default_style()
def pictures_figure(
    pictures: Sequence[Tensor], titles: Sequence[str], name: str, size: tuple[float, float]
) -> Figure:
    """Draw optimised inputs, each (1, C, H, W), four in a row.

    Pictures that exceed 20 inches are drawn smaller, in a square of at most 16 x 16; the title says
    how many are shown. Each picture's colours are standardised, as in FlashTorch: they show its
    pattern, not its strength.
    """
    count = len(pictures)
    columns = min(4, count)
    rows = math.ceil(count / columns)
    if rows > 1 and rows * size[1] > _LARGEST:
        columns = min(_MOST, math.ceil(math.sqrt(count)))
        rows = min(_MOST, math.ceil(count / columns))
        smaller = min(1.0, _LARGEST / max(columns * size[0], rows * size[1]))
        size = size[0] * smaller, size[1] * smaller
    if count > columns * rows:
        name += f" ({columns * rows} of {count})"
    figure = new_figure((size[0] * columns, size[1] * rows))
    top = 1 - 0.6 / (size[1] * rows)
    margins = {"left": 0.02, "right": 0.98, "bottom": 0.02, "top": top, "wspace": 0.05}
    axes = np.ravel(figure.subplots(rows, columns, gridspec_kw=margins))
    figure.suptitle(name + _mean_of(pictures[0]), y=1 - 0.05 / rows, va="top", fontsize=11)
    for ax in axes:
        ax.set_axis_off()
    for ax, picture, title in zip(axes, pictures, titles, strict=False):
        standard = standardize_and_clip(_drawable(picture).float(), saturation=0.15, brightness=0.7)
        ax.imshow(format_for_plotting(standard).numpy(), cmap="gray", vmin=0, vmax=1)
        ax.set_title(title, fontsize=9)
    return figure


def _drawable(tensor: Tensor) -> Tensor:
    """Return (…, C, H, W) unchanged if C is 1 or 3, else the mean over channels, (…, 1, H, W)."""
    return tensor if tensor.shape[-3] in (1, 3) else tensor.mean(dim=-3, keepdim=True)


def _mean_of(tensor: Tensor) -> str:
    """Return ", mean of C channels" for a title if ``_drawable`` takes the mean, else ""."""
    channels = tensor.shape[-3]
    return "" if channels in (1, 3) else f", mean of {channels} channels"
