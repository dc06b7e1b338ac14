"""The package's figures look the same in every style; only their fonts follow the reader."""

import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from fontTools.ttLib import TTFont
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager
from PIL import Image

import vizhelpers as viz
from vizhelpers.flash.figures import pictures_figure, saliency_figure
from vizhelpers.view.canvas import to_png
from vizhelpers.view.charts import Bars, Curve
from vizhelpers.view.live.scene import Scene
from vizhelpers.view.style import default_style

BASE = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
MAPS = viz.ImageStack(
    np.random.default_rng(1).standard_normal((4, 5, 5)),
    {"channel": range(4)},
    name="maps",
    unit="activation",
    base=BASE,
)
BARS = Bars("B", [("a",), ("b",)], [1.0, 0.5], ["1", "1/2"], marked=0)
NOISE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(2))
FIGURES: dict[str, Callable[[], Figure]] = {
    "montage": MAPS.plot,
    "bars": BARS.draw,
    "tree": Bars("T", [("0", "Conv2d", "8 x 6 x 6")], [0.5], ["30"]).draw,
    "curve": Curve("C", [1.0, 4.0, 9.0], 1, "step", "value").draw,
    "panel": lambda: Scene([MAPS], charts=[[BARS]], photograph=True).figure([2]),
    "FlashTorch's saliency": lambda: saliency_figure(
        NOISE, NOISE[0] - 0.5, "class 3", (8, 1.6), "viridis", 0.5
    ),
    "FlashTorch's filters": lambda: pictures_figure(
        [NOISE] * 2, ["filter 0", "filter 1"], "conv", (1, 1)
    ),
}
SETTINGS: dict[str, Any] = {
    "ggplot": "ggplot",
    "seaborn": ["seaborn-v0_8-whitegrid", "seaborn-v0_8-poster"],
    "dark background": "dark_background",
    "layout": {"figure.constrained_layout.use": True, "savefig.bbox": "tight"},
    "all at once": {
        "axes.facecolor": np.array([0.0, 1.0, 0.0]),
        "axes.grid": True,
        "axes.labelpad": 20,
        "axes.linewidth": 7,
        "axes.titlesize": 30,
        "figure.autolayout": True,
        "figure.facecolor": "blue",
        "font.size": 20,
        "font.weight": "bold",
        "image.interpolation": "bilinear",
        "image.origin": "lower",
        "lines.linewidth": 9,
        "lines.marker": "x",
        "savefig.facecolor": "red",
        "text.color": "red",
        "xtick.minor.visible": True,
        "yaxis.labellocation": "bottom",
        "ytick.direction": "in",
        "ytick.labelcolor": "red",
    },
}


@pytest.fixture(autouse=True)
def _readers_settings() -> Iterator[None]:
    with plt.rc_context():
        yield
    plt.close("all")


def screen(figure: Figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def saved(figure: Figure) -> np.ndarray:
    figure.savefig(file := io.BytesIO())
    return np.asarray(Image.open(file).convert("RGB"))


def set_to(settings: Any) -> None:
    # These fonts come with styles, and letters of other fonts are other pixels.
    fonts = {name: value for name, value in plt.rcParams.items() if name.startswith("font.")}
    plt.style.use(settings)
    kept = {name: fonts[name] for name in ("font.family", "font.sans-serif")}
    plt.rcParams.update(kept)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_a_figure_looks_the_same_in_every_style(make: Callable[[], Figure], settings: Any) -> None:
    plain, made_before = screen(make()), make()
    set_to(settings)
    np.testing.assert_array_equal(screen(made_before), plain)
    np.testing.assert_array_equal(screen(make()), plain)
    np.testing.assert_array_equal(saved(make()), plain)


def test_matplotlibs_own_figure_differs_in_every_one_of_these_settings() -> None:
    def theirs() -> np.ndarray:
        figure, (left, right) = plt.subplots(1, 2, num="theirs", clear=True, figsize=(4, 3))
        left.imshow(np.arange(6).reshape(2, 3))
        right.plot([1, 3, 2])
        right.set(title="title", ylabel="label")
        return saved(figure)

    plain = theirs()
    for name, settings in SETTINGS.items():
        with plt.rc_context():
            set_to(settings)
            other = theirs()
            assert other.shape != plain.shape or (other != plain).any(), name
        plt.close("all")


def test_the_readers_settings_are_as_they_were_afterwards_even_if_drawing_fails() -> None:
    set_to({"font.size": 20})
    before = dict(plt.rcParams)
    MAPS.plot().savefig(io.BytesIO())
    assert dict(plt.rcParams) == before
    with pytest.raises(RuntimeError, match="fails"), default_style():
        assert plt.rcParams["font.size"] == 10
        raise RuntimeError("drawing fails")
    assert dict(plt.rcParams) == before


def test_what_a_reader_sets_for_files_holds() -> None:
    plt.rcParams.update({"savefig.dpi": 200, "savefig.transparent": True})
    MAPS.plot().savefig(file := io.BytesIO())
    picture = Image.open(file)
    assert picture.size == tuple(2 * MAPS.plot().get_size_inches() * 100)
    assert picture.mode == "RGBA" and np.asarray(picture)[0, 0, 3] == 0


# ------------------------------------------------------------ fonts


def letters(words: str = "cat") -> np.ndarray:
    """Return the pixels of a figure whose only text is the title of its tile."""
    stack = viz.ImageStack(np.zeros((1, 4, 4, 3), np.uint8), {"c": [0]}, [words], scale="rgb")
    return np.asarray(Image.open(io.BytesIO(to_png(stack.plot()))))


def test_titles_of_tiles_follow_the_font_that_the_reader_sets() -> None:
    plain = letters()
    plt.rcParams["font.sans-serif"] = ["DejaVu Serif"]
    serif = letters()
    assert (serif != plain).any()
    plt.rcParams["font.family"] = ["DejaVu Sans Mono"]
    assert all((letters() != other).any() for other in (plain, serif))
    matplotlib.rcdefaults()
    np.testing.assert_array_equal(letters(), plain)


def test_titles_of_tiles_follow_a_font_that_is_added_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "late.ttf"
    font = TTFont(findfont("DejaVu Serif"))
    for record in font["name"].names:
        if record.nameID in (1, 4, 16):
            record.string = "Font of the test"
    font.save(file)
    monkeypatch.setattr(fontManager, "ttflist", list(fontManager.ttflist))
    plain = letters()
    plt.rcParams["font.sans-serif"] = ["Font of the test", "DejaVu Sans"]
    np.testing.assert_array_equal(letters(), plain)
    fontManager.addfont(file)
    added = letters()
    plt.rcParams["font.sans-serif"] = ["DejaVu Serif"]
    np.testing.assert_array_equal(letters(), added)
    assert (added != plain).any()


def test_a_letter_that_the_first_font_lacks_is_taken_from_the_next() -> None:
    plain = letters("☃")
    plt.rcParams["font.family"] = ["STIXGeneral", "DejaVu Sans"]
    np.testing.assert_array_equal(letters("☃"), plain)
    plt.rcParams["font.family"] = ["STIXGeneral"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions of matplotlib say that the glyph is missing
        assert (letters("☃") != plain).any()
