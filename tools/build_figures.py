"""Draw the figures of README into ``images/``: ``uv run python -m tools.build_figures``."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

import vizhelpers as viz
from vizhelpers.view.static import to_png

IMAGES = Path(__file__).parents[1] / "images"


def as_image(figure: Figure) -> Image.Image:
    """Return a figure as a Pillow image."""
    return viz.load_image(to_png(figure))


def asked_twice(model: torch.nn.Module) -> Figure:
    """Return one picture of two things, asked for each."""
    sample = viz.prepare(model, viz.composite("cat", "coffee"))
    targets = ["Egyptian cat", "coffee mug"]
    sweep = viz.cam_sweep(model, sample, layers=["features.12"], targets=targets)
    return sweep.plot(photograph=True)


def slider(model: torch.nn.Module) -> list[Image.Image]:
    """Return what the channel slider shows as it moves: the strongest channels of one layer."""
    maps = viz.feature_maps(model, viz.prepare(model, "cat"), "features.6")
    strongest = np.argsort(-maps.frames.max(axis=(1, 2)))[:16]
    return [as_image(maps.select(channel=int(c)).plot(photograph=True, width=6)) for c in strongest]


def main() -> None:
    """Write all figures."""
    IMAGES.mkdir(exist_ok=True)
    model = viz.load_model()
    cat = viz.prepare(model, "cat")
    (IMAGES / "asked_twice.png").write_bytes(to_png(asked_twice(model)))
    kernels = viz.kernels(model, "features.0", colour=True).plot(columns=16)
    (IMAGES / "kernels.png").write_bytes(to_png(kernels))
    guided = viz.saliency(model, cat, target="tiger cat", method="guided").plot(photograph=True)
    (IMAGES / "guided.png").write_bytes(to_png(guided))
    frames = [frame.quantize(128) for frame in slider(model)]
    frames[0].save(
        IMAGES / "slider.gif", save_all=True, append_images=frames[1:], duration=500, loop=0
    )
    for path in sorted(IMAGES.iterdir()):
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
