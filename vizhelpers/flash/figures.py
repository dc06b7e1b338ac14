"""Figures as FlashTorch's users expect them: returned, and known to pyplot as well."""

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
_KEPT = 10  # matplotlib warns when more than 20 are open, others' included
_CLIPPED = 0.995  # a few pixels tower above all others
_LARGEST = 20.0  # inches of a side of a figure with many pictures
_MOST = 16  # pictures on such a side


class Figure(canvas.Figure):
    """A figure that a notebook shows once, be it the value of its cell or not.

    The inline backend shows whatever pyplot still holds when a cell ends. A figure that was
    already shown as the cell's value must have left pyplot by then.
    """

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        if "inline" in matplotlib.get_backend().lower():
            plt.close(self)
        return {}  # IPython's own formatters draw it


def new_figure(size: tuple[float, float]) -> Figure:
    """Open a figure with pyplot, and close the oldest of ours where ten are open."""
    ours = [label for label in plt.get_figlabels() if label.startswith(_LABEL)]
    numbers = sorted(int(label.rsplit(" ", 1)[1]) for label in ours)
    for old in numbers[: max(0, len(numbers) + 1 - _KEPT)]:
        plt.close(f"{_LABEL} {old}")
    number = numbers[-1] + 1 if numbers else 1
    figure = plt.figure(f"{_LABEL} {number}", figsize=size, dpi=100, FigureClass=Figure)
    assert isinstance(figure, Figure)
    if type(figure.canvas) is FigureCanvasAgg:  # no window that would lose its own
        canvas.Canvas(figure)
    return figure


@default_style()
def saliency_figure(
    x: Tensor, gradients: Tensor, explained: str, size: tuple[float, float], cmap: str, alpha: float
) -> Figure:
    """Draw input, gradient per colour, its maximum with a colour bar, and an overlay.

    Args:
        x: the input, (1, C, H, W), normalised as ImageNet networks are.
        gradients: (C, H, W), signed.
        explained: which class, in words.
        size: (width, height) in inches.
        cmap: colour map of the maximum.
        alpha: share of the maximum in the overlay.

    Raises:
        ValueError: the gradients hold NaN or infinite values.
    """
    if not gradients.isfinite().all():
        raise ValueError(
            "The gradient holds NaN or infinite values, so there is nothing to draw: numbers of "
            "the model overflow or are divided by zero. calculate_gradients returns it as it is."
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
    room = {"left": 0.01, "right": 0.99, "bottom": 0.03, "top": 1 - 0.5 / size[1], "wspace": 0.08}
    grid = figure.add_gridspec(1, 6, width_ratios=(1, 1, 1, 0.06, 0.12, 1), **room)
    axes = [figure.add_subplot(grid[i]) for i in (0, 1, 2, 5)]
    bar = figure.add_subplot(grid[3])
    # Nearest: each pixel is drawn as it is, and in a third of the time.
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

    More than fit on 20 inches stand in a square of smaller ones, at most 16 x 16; the title says
    how many are shown. Colours are standardised for each picture, as FlashTorch does: they show
    pattern, not strength.
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
    room = {"left": 0.02, "right": 0.98, "bottom": 0.02, "top": top, "wspace": 0.05}
    axes = np.ravel(figure.subplots(rows, columns, gridspec_kw=room))
    figure.suptitle(name + _mean_of(pictures[0]), y=1 - 0.05 / rows, va="top", fontsize=11)
    for ax in axes:
        ax.set_axis_off()
    for ax, picture, title in zip(axes, pictures, titles, strict=False):
        standard = standardize_and_clip(_drawable(picture).float(), saturation=0.15, brightness=0.7)
        ax.imshow(format_for_plotting(standard).numpy(), cmap="gray", vmin=0, vmax=1)
        ax.set_title(title, fontsize=9)
    return figure


def _drawable(tensor: Tensor) -> Tensor:
    """Return one or three channels of (…, C, H, W) as they are, of other numbers the mean."""
    return tensor if tensor.shape[-3] in (1, 3) else tensor.mean(dim=-3, keepdim=True)


def _mean_of(tensor: Tensor) -> str:
    """Say for a title that ``_drawable`` takes the mean, if it does."""
    channels = tensor.shape[-3]
    return "" if channels in (1, 3) else f", mean of {channels} channels"
