"""Kernels and feature maps: ours, the document's code as it stands, and torchvision's grid."""

import io
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.utils import make_grid

import vizhelpers as viz
from benchmarks.measure import FLOOR, OURS, Budget, Result, Spread, in_turn
from benchmarks.shown import shown
from vizhelpers.view.canvas import COMPRESSION, Canvas

DOCUMENT = "document"
GRID = "torchvision"
LAYER, WIDGET_LAYER = "features.3", "features.0"  # 128 maps of 55 x 55, 64 of 111 x 111
SHOWN = 100


def documents_kernels(layer: nn.Conv2d, figures: int) -> None:
    """Draw kernels as the document does: one figure a filter, one subplot a slice."""
    for filter_ in layer.weight.detach()[:figures]:
        figure = plt.figure(figsize=(20, 17))
        for i, part in enumerate(filter_):
            plt.subplot(9, 9, i + 1)
            plt.axis("off")
            plt.imshow(part, cmap="bwr")
        shown(figure)


class Hook:
    """The document's: it keeps a reference to what a layer puts out."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.features_out_hook: list[Tensor] = []

    def __call__(self, module: nn.Module, fea_in: Any, fea_out: Tensor) -> None:
        """Keep the output."""
        self.features_out_hook.append(fea_out)


def documents_maps(model: nn.Module, idx: int, inputs: Tensor) -> None:
    """Draw up to 100 maps as the document's ``plot_feature`` does; but the hook is removed."""
    hook = Hook()
    handle = model.features[idx].register_forward_hook(hook)
    model(inputs)
    handle.remove()
    first = hook.features_out_hook[0][0].detach().clone()
    figure = plt.figure(figsize=(20, 17))
    for i, one in enumerate(first[:SHOWN]):
        plt.subplot(10, 10, i + 1)
        plt.axis("off")
        plt.imshow(one)
    shown(figure)


def grid_of(frames: Tensor, columns: int) -> None:
    """Draw frames (N, H, W) as torchvision's grid: grey, one scale for all."""
    grid = make_grid(frames[:, None], nrow=columns, padding=1, normalize=True)
    figure = plt.figure(figsize=(12, 8))
    plt.axis("off")
    plt.imshow(grid.permute(1, 2, 0), interpolation="nearest")
    shown(figure)


def encoded(pixels: np.ndarray) -> int:
    """Encode pixels as we do and return how many bytes they take."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **COMPRESSION)
    return buffer.tell()


def kernels(budget: Budget) -> Result:
    """All kernels of VGG-11's layer 3; of the document's 128 figures one is drawn."""
    vgg11 = viz.load_model("vgg11", weights=None)
    weight = vgg11.features[3].weight.detach()
    many = {"limit": 8192, "columns": 128, "width": 12}
    stack = viz.kernels(vgg11, LAYER)
    assert np.array_equal(stack.frames, weight.reshape(8192, 3, 3).numpy()), "other kernels"
    pixels = Canvas(stack.plot(**many)).pixels()
    sides = in_turn(
        {
            OURS: lambda: shown(viz.kernels(vgg11, LAYER).plot(**many)),
            DOCUMENT: lambda: documents_kernels(vgg11.features[3], 1),
            GRID: lambda: grid_of(weight.reshape(8192, 3, 3), 128),
            FLOOR: lambda: encoded(pixels),
        },
        budget,
        times={DOCUMENT: 128},
    )
    return Result(
        "8,192 kernels of VGG-11, layer 3",
        sides,
        goals={DOCUMENT: 1000},
        floor="one PNG encode of the same pixels",
        note="the document's time is 128 times that of one of its 128 figures; torchvision's grid "
        "has no colour bar and no titles. Above the floor: matplotlib's axes, ticks and letters "
        "take two thirds of our time, colouring and laying out 8,192 tiles a tenth",
    )


def maps(budget: Budget) -> Result:
    """100 feature maps of one layer, from the photograph to the picture."""
    model = viz.load_model()
    cat = viz.prepare(model, "cat")
    found = viz.capture(model, cat, LAYER)[LAYER][0]
    stack = viz.feature_maps(model, cat, LAYER)
    hook = Hook()
    handle = model.features[3].register_forward_hook(hook)
    model(cat.x)
    handle.remove()
    theirs = hook.features_out_hook[0][0].detach()
    assert np.array_equal(stack.frames, theirs), "other maps"
    pixels = Canvas(stack.plot(limit=SHOWN, columns=10)).pixels()

    def floor() -> None:
        with torch.no_grad():
            model(cat.x)
        encoded(pixels)

    sides = in_turn(
        {
            OURS: lambda: shown(viz.feature_maps(model, cat, LAYER).plot(limit=SHOWN, columns=10)),
            DOCUMENT: lambda: documents_maps(model, 3, cat.x),
            GRID: lambda: grid_of(found[:SHOWN], 10),
            FLOOR: floor,
        },
        budget,
    )
    return Result(
        f"grid of {SHOWN} feature maps",
        sides,
        goals={DOCUMENT: 15},
        floor="one forward pass, one PNG encode of the same pixels",
        note="torchvision's grid is given the maps and draws neither titles nor colour bar. Above "
        "the floor: matplotlib's axes, ticks and letters",
    )


def png_of_a_plot(frame: np.ndarray) -> bytes:
    """Return one map as ``imshow`` in a notebook shows it."""
    figure = plt.figure()
    plt.imshow(frame)
    plt.axis("off")
    return shown(figure)


def png_of_pixels(frame: np.ndarray) -> bytes:
    """Return one map as a small PNG, each over its own range."""
    low, high = float(frame.min()), float(frame.max())
    levels = ((frame - low) / ((high - low) or 1) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return buffer.getvalue()


def slider_of_pngs(frames: Sequence[np.ndarray]) -> widgets.VBox:
    """Return a slider over PNGs that are all made beforehand."""
    pictures = [png_of_pixels(frame) for frame in frames]
    slider, image = widgets.IntSlider(0, 0, len(frames) - 1), widgets.Image(value=pictures[0])
    slider.observe(lambda change: setattr(image, "value", pictures[change["new"]]), "value")
    return widgets.VBox([slider, image])


def widget(budget: Budget) -> Result:
    """64 maps to a widget that can be moved through all of them."""
    model = viz.load_model()
    cat = viz.prepare(model, "cat")
    frames = viz.capture(model, cat, WIDGET_LAYER)[WIDGET_LAYER][0].numpy()

    def panel() -> viz.ImageStack:
        made = viz.feature_maps(model, cat, WIDGET_LAYER)
        shown_as = made.explore()
        assert "image/png" in shown_as._repr_mimebundle_()[0]
        shown_as.close()
        return made

    def ready_as_pngs() -> None:
        slider_of_pngs(viz.capture(model, cat, WIDGET_LAYER)[WIDGET_LAYER][0].numpy()).close()

    def floor() -> None:
        with torch.no_grad():
            model(cat.x)
        encoded(np.zeros((400, 800, 3), np.uint8))

    assert np.array_equal(panel().frames, frames), "other maps"
    sides = in_turn(
        {
            OURS: panel,
            DOCUMENT: lambda: [png_of_a_plot(frame) for frame in frames[:8]],
            "Image widget": ready_as_pngs,
            FLOOR: floor,
        },
        budget,
        times={DOCUMENT: 8},
    )
    return Result(
        "64 maps to a widget, ready to move",
        sides,
        floor="one forward pass, one PNG encode of an empty picture",
        note="the document's `imshow` under `interact` draws each of the 64 when it is first "
        "reached; timed on 8. The Image widget has 64 small PNGs, no colour bar. Above the floor: "
        "the picture for viewers without widgets, drawn by matplotlib, and the panel's controls",
    )


def wire(budget: Budget) -> Result:
    """What has crossed the wire once all of 64 maps were seen."""
    model = viz.load_model()
    stack = viz.feature_maps(model, viz.prepare(model, "cat"), WIDGET_LAYER)
    panel = stack.explore()
    ours = sum(len(v) for v in panel.view.scene.values() if isinstance(v, bytes))
    panel.close()
    plots = [len(png_of_a_plot(frame)) for frame in stack.frames]
    small = [len(png_of_pixels(frame)) for frame in stack.frames]
    amounts = {
        OURS: ours,
        DOCUMENT: sum(plots),
        "Image widget": sum(small),
        FLOOR: stack.frames.size,
    }
    return Result(
        "bytes of 64 maps of 111 x 111",
        {name: Spread.of([amount / 1e6]) for name, amount in amounts.items()},
        unit="MB",
        floor="one byte for each number",
        note="ours holds the photograph and every value to 1/255; the PNGs hold colours",
    )


ROWS = {"kernels": kernels, "maps": maps, "widget": widget, "wire": wire}
