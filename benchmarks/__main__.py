"""Time the package against the document's code and its peers: ``uv run python -m benchmarks``.

Both sides run alternately in one process, so that a busy machine slows both; medians are told.
Nothing here is a test: a ratio is a measurement, and it differs from machine to machine.
"""

import argparse
import io
import subprocess
import sys
from itertools import chain

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import vizhelpers as viz
from benchmarks.gradient_rows import ascent_rows, figure_rows, sweep_rows
from benchmarks.timing import Row, alternately, seconds
from tools import build_notebooks
from vizhelpers.view.canvas import to_png


def shown(figure: plt.Figure) -> bytes:
    """Return a pyplot figure as PNG, as a notebook shows it, and close it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return buffer.getvalue()


def documents_kernels(layer: nn.Conv2d, figures: int) -> None:
    """Draw kernels as the document does: one figure a filter, one subplot a slice."""
    for filter_ in layer.weight.detach()[:figures]:
        figure = plt.figure(figsize=(20, 17))
        for i, part in enumerate(filter_):
            plt.subplot(9, 9, i + 1)
            plt.axis("off")
            plt.imshow(part, cmap="bwr")
        shown(figure)


def documents_maps(maps: torch.Tensor) -> None:
    """Draw up to 100 maps as the document's ``plot_feature`` does."""
    figure = plt.figure(figsize=(20, 17))
    for i, one in enumerate(maps[:100]):
        plt.subplot(10, 10, i + 1)
        plt.axis("off")
        plt.imshow(one)
    shown(figure)


def kernels_row(rounds: int) -> Row:
    """All 8,192 kernels of VGG-11's layer 3; the document's 128 figures are extrapolated from 2."""
    vgg11 = viz.load_model("vgg11", weights=None)
    stack = viz.kernels(vgg11, "features.3")
    weight = vgg11.features[3].weight.detach()
    assert np.array_equal(stack.frames, weight.reshape(8192, 3, 3).numpy()), "other kernels"
    ours, theirs = alternately(
        lambda: to_png(viz.kernels(vgg11, "features.3").plot(limit=8192, columns=128, width=12)),
        lambda: documents_kernels(vgg11.features[3], 2),
        rounds,
    )
    return "8,192 kernels to PNG", ours, theirs * 64, "goal: 1,000 x; theirs from 2 of 128 figures"


def maps_row(rounds: int) -> Row:
    """100 feature maps of one layer."""
    model = viz.load_model()
    cat = viz.prepare(model, "cat")
    maps = viz.capture(model, cat, "features.3")["features.3"][0]
    assert np.array_equal(viz.feature_maps(model, cat, "features.3").frames, maps), "other maps"
    ours, theirs = alternately(
        lambda: to_png(viz.feature_maps(model, cat, "features.3").plot(limit=100, columns=10)),
        lambda: documents_maps(maps),
        rounds,
    )
    return "grid of 100 feature maps", ours, theirs, "goal: 15 x; ours captures the maps as well"


def import_row(rounds: int) -> Row:
    """Importing the package against importing torch and torchvision, each in a new process."""

    def started(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    ours, theirs = alternately(
        lambda: started("import vizhelpers"),
        lambda: started("import torch, torchvision"),
        rounds,
    )
    return "import", ours, theirs, "goal: at most 1.05 x the time of torch and torchvision"


def first_picture_row() -> Row:
    """From a new process to the first picture, against importing torch and torchvision alone."""
    code = (
        "import vizhelpers as viz; m = viz.load_model();"
        "viz.feature_maps(m, viz.prepare(m, 'cat'), 'features.3').plot().savefig('/dev/null',"
        "format='png')"
    )
    ours = seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True))
    bare = [sys.executable, "-c", "import torch, torchvision"]
    theirs = seconds(lambda: subprocess.run(bare, check=True))
    return "new process to first picture", ours, theirs, "goal: 10 s; against import alone"


def notebooks_seconds() -> dict[str, float]:
    """Return how long each notebook takes to execute, kernel start included."""
    found = {}
    for name in build_notebooks.names():
        notebook = build_notebooks.read_source(name)
        found[name] = seconds(lambda notebook=notebook: build_notebooks.execute(notebook))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print("| what | vizhelpers, s | the other, s | ratio | |\n|---|---|---|---|---|")
    for name, ours, theirs, note in chain(
        (make(rounds) for make in (kernels_row, maps_row, figure_rows, import_row)),
        figure_rows(rounds),
        sweep_rows(rounds),
        ascent_rows(rounds),
        [first_picture_row()],
    ):
        print(
            f"| {name} | {ours:.3f} | {theirs:.3f} | {theirs / ours:.3g} x | {note} |", flush=True
        )
    times = notebooks_seconds()
    each = ", ".join(f"{name} {took:.1f}" for name, took in times.items())
    print(f"\nNotebooks: {sum(times.values()):.0f} s together (goal: 60; none over 20): {each}.")


if __name__ == "__main__":
    main()
