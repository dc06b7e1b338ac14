"""How time and memory grow, ours and the peers', on axes of powers."""

import copy
import ctypes
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import psutil
import torch
from captum.attr import Saliency
from flashtorch.saliency import Backprop
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, NullLocator

import vizhelpers as viz
from benchmarks import peers
from benchmarks.gradients import CLASSES, SWEEPS, frozen
from benchmarks.measure import MB, OURS, Budget, Call, seconds
from benchmarks.pictures import DOCUMENT
from benchmarks.shown import shown

IMAGE = Path(__file__).parents[1] / "images" / "growth.png"
_SLOW = 1.0  # seconds: what takes longer is not repeated


@dataclass
class Line:
    """What one side took at each size: seconds, and megabytes above what the process held."""

    sizes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    def exponent(self) -> float:
        """Return the power with which the time grows, fitted to the larger half of the sizes."""
        return fitted(self.sizes, self.seconds)


@dataclass(frozen=True)
class Curve:
    """How a task grows.

    Attributes:
        name: what grows.
        xlabel: in what it is counted.
        lines: who -> what it took.
        work: the power with which the work itself grows.
    """

    name: str
    xlabel: str
    lines: Mapping[str, Line]
    work: float


def fitted(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Return the slope of a line through the larger half of the points, both axes logarithmic."""
    half = len(sizes) // 2
    known = [(x, y) for x, y in zip(sizes[half:], values[half:], strict=True) if y > 0]
    if len(known) < 2:
        return float("nan")
    x, y = np.log(np.array(known)).T
    return float(np.polyfit(x, y, 1)[0])


def cost(call: Call) -> tuple[float, float]:
    """Return how long a call takes, and by how many megabytes its peak lies above the start.

    The peak is Linux's own record, set back before the call; elsewhere it is not known (NaN).
    """
    if sys.platform != "linux":
        return seconds(call), float("nan")
    ctypes.CDLL(None).malloc_trim(0)  # what was freed does not hide what is taken anew
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")
    took = seconds(call)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) * 1024
    return took, max(peak - before, 0) / MB


def grow(
    sizes: Sequence[int], sides: Mapping[str, Callable[[int], Call]], largest: Mapping[str, int]
) -> dict[str, Line]:
    """Measure each side at each size, in turn, up to the largest size that it is asked for."""
    lines = {name: Line() for name in sides}
    for size in sizes:
        for name, side in sides.items():
            if size > largest.get(name, size):
                continue
            call = side(size)
            first = cost(call)  # of which the first also warms up
            found = [first] if first[0] > _SLOW else [cost(call) for _ in range(3)]
            lines[name].sizes.append(size)
            lines[name].seconds.append(float(np.median([took for took, _ in found])))
            lines[name].megabytes.append(max(first[1], *(more for _, more in found)))
    return lines


def channels(sizes: Sequence[int]) -> Curve:
    """Maps of 32 x 32 drawn as one figure."""
    frames = torch.rand(max(sizes), 32, 32, generator=torch.Generator().manual_seed(0)).numpy()

    def ours(count: int) -> Call:
        stack = viz.ImageStack(frames[:count], {"channel": range(count)})
        return lambda: shown(stack.plot(limit=count))

    def theirs(count: int) -> Call:
        def draw() -> None:
            figure, columns = plt.figure(figsize=(20, 17)), int(np.ceil(np.sqrt(count)))
            for i, frame in enumerate(frames[:count]):
                plt.subplot(columns, columns, i + 1)
                plt.axis("off")
                plt.imshow(frame)
            shown(figure)

        return draw

    lines = grow(sizes, {OURS: ours, DOCUMENT: theirs}, {DOCUMENT: 128})
    return Curve("a figure of feature maps", "channels", lines, work=1)


def sides(sizes: Sequence[int]) -> Curve:
    """The gradient of a logit in the pixels; the work grows with the area."""
    model = viz.load_model()
    captum, flash = Saliency(frozen(model)), Backprop(copy.deepcopy(model))
    one = CLASSES[0]

    def picture(side: int) -> torch.Tensor:
        return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))

    def by_captum(side: int) -> Call:
        x = picture(side)
        return lambda: captum.attribute(x.clone().requires_grad_(), target=one)

    def by_flashtorch(side: int) -> Call:
        x = picture(side)
        return lambda: flash.calculate_gradients(x.clone().requires_grad_(), None)

    def ours(side: int) -> Call:
        x = picture(side)
        return lambda: viz.saliency(model, x, target=one)

    makers = {OURS: ours, "captum": by_captum, "FlashTorch": by_flashtorch}
    return Curve("saliency", "image side, pixels", grow(sizes, makers, {}), work=2)


def pairs(sizes: Sequence[int]) -> Curve:
    """Grad-CAM of some layers and up to five classes; the work grows with the classes alone."""
    model = viz.load_model()
    sample, net = viz.prepare(model, "cat"), copy.deepcopy(model)
    layers = SWEEPS["SqueezeNet"][1]

    def asked(count: int) -> tuple[list[str], list[int]]:
        classes = min(count, len(CLASSES))
        return layers[-(count // classes) :], CLASSES[:classes]

    def ours(count: int) -> Call:
        names, classes = asked(count)
        return lambda: viz.cam_sweep(model, sample, layers=names, targets=classes)

    makers = {
        OURS: ours,
        "grad-cam": lambda count: lambda: peers.gradcam_pairs(net, sample.x, *asked(count)),
        "torchcam": lambda count: lambda: peers.torchcam_sweep(net, sample.x, *asked(count)),
    }
    return Curve("Grad-CAM", "layers x classes", grow(sizes, makers, {}), work=1)


def iterations(sizes: Sequence[int]) -> Curve:
    """Activation maximisation of one filter."""
    model = viz.load_model()
    net, start = copy.deepcopy(model.features), torch.rand(1, 3, 96, 96)

    def ours(steps: int) -> Call:
        return lambda: viz.activation_maximization(
            model, "features.4.expand3x3", channels=[1], size=96, steps=steps
        )

    makers = {
        OURS: ours,
        "FlashTorch": lambda n: lambda: peers.flashtorch_ascent(net, "4.expand3x3", [1], start, n),
    }
    return Curve("activation maximisation", "iterations", grow(sizes, makers, {}), work=1)


CURVES: Mapping[str, tuple[Callable[[Sequence[int]], Curve], Sequence[int]]] = {
    "grow-channels": (channels, (16, 32, 64, 128, 256, 512, 1024)),
    "grow-side": (sides, (64, 128, 256, 512, 1024)),
    "grow-pairs": (pairs, (1, 5, 10, 20, 40)),
    "grow-iterations": (iterations, (5, 10, 20, 40, 80)),
}


def measured(name: str, budget: Budget) -> Curve:
    """Measure one curve; quickly, at its smaller sizes alone."""
    make, sizes = CURVES[name]
    return make(sizes[:3] if budget.quick else sizes)


def draw(curves: Sequence[Curve]) -> Figure:
    """Draw time above, memory below, one column for each curve."""
    figure, grid = plt.subplots(
        2, len(curves), figsize=(3.6 * len(curves), 6.4), layout="constrained", squeeze=False
    )
    plt.close(figure)
    for column, curve in zip(grid.T, curves, strict=True):
        _panel(column[0], curve, "seconds", "seconds")
        _panel(column[1], curve, "megabytes", "megabytes above the start")
        column[0].set_title(curve.name, fontsize=11)
        column[1].set_xlabel(curve.xlabel)
    for row in grid:
        row[0].set_ylabel(row[0].get_label())
    return figure


def _panel(axes: Axes, curve: Curve, what: str, label: str) -> None:
    styles: Iterator[str] = iter(["s--", "^:", "v-."])
    for name, line in curve.lines.items():
        values = np.maximum(getattr(line, what), 1e-3 if what == "seconds" else 0.25)
        power = fitted(line.sizes, values)
        style = {"color": "#d55e00", "lw": 2.2} if name == OURS else {"color": "#31688e"}
        marks = "o-" if name == OURS else next(styles)
        axes.plot(line.sizes, values, marks, ms=4, label=f"{name}, power {power:.1f}", **style)
    axes.set(xscale="log", yscale="log")
    sizes = next(iter(curve.lines.values())).sizes
    axes.set_xticks(sizes, labels=[str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
    axes.set_label(label)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
