"""Figures of ``vizhelpers.flash``, and what FlashTorch's README and notebooks show."""

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torchvision.models import vgg

import vizhelpers as viz
from vizhelpers.flash import Backprop

pytestmark = [
    # FlashTorch's hooks are of a kind that PyTorch no longer recommends, and it says so each time.
    pytest.mark.filterwarnings("ignore:Using a non-full backward hook:FutureWarning"),
    pytest.mark.usefixtures("no_figures_left"),
]


def test_visualize_draws_four_pictures_or_returns_two_tensors(
    model: nn.Module, cat: viz.Sample
) -> None:
    backprop = Backprop(model)
    figure = backprop.visualize(cat.x, 282, figsize=(8, 2))
    assert isinstance(figure, Figure)
    pictures = [axes for axes in figure.axes if axes.get_title()]
    assert len(pictures) == 4
    shown = pictures[0].images[0].get_array()
    assert shown is not None
    np.testing.assert_allclose(shown * 255, cat.view, atol=0.51)
    (bar,) = (axes for axes in figure.axes if axes not in pictures)
    assert bar.get_ylim() == pictures[2].images[0].get_clim()
    assert bar.images[0].get_cmap() == pictures[2].images[0].get_cmap()
    assert len(bar.get_yticks()) > 2
    gradients, strongest = backprop.visualize(cat.x, 282, return_output=True)
    assert gradients.shape == (3, 224, 224)
    assert torch.equal(strongest, gradients.abs().amax(0, keepdim=True))
    coloured = pictures[2].images[0].get_array()
    np.testing.assert_array_equal(coloured, strongest[0])
    middle = pictures[1].images[0].get_array()
    assert middle is not None
    np.testing.assert_array_equal(middle > 0.5, gradients.permute(1, 2, 0) > 0)


def test_figures_belong_to_pyplot_as_flashtorchs_do_but_never_pile_up(
    tiny: nn.Module, noise: Tensor
) -> None:
    figure = Backprop(tiny).visualize(noise, None)
    assert plt.gcf() is figure
    Backprop(tiny).visualize(noise, None, return_output=True)
    assert plt.gcf() is not figure
    assert len(plt.gcf().axes) == 5
    others = plt.figure()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(9):
            Backprop(tiny).visualize(noise, None, figsize=(2, 1))
    assert len(plt.get_fignums()) == 11
    assert plt.fignum_exists(others.number)


def test_a_notebook_shows_a_figure_once(tiny: nn.Module, noise: Tensor, monkeypatch: Any) -> None:
    """The inline backend shows what pyplot holds at a cell's end: not what the cell's value is."""
    figure = Backprop(tiny).visualize(noise, None)
    assert figure._repr_mimebundle_() == {}  # type: ignore[union-attr]
    assert plt.gcf() is figure
    monkeypatch.setattr("matplotlib.get_backend", lambda: "inline")
    figure._repr_mimebundle_()  # type: ignore[union-attr]
    assert not plt.get_fignums()


@pytest.fixture
def owl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A photograph where the examples look for one."""
    (tmp_path / "images").mkdir()
    viz.load_image("cat").save(tmp_path / "images" / "great_grey_owl.jpg")
    monkeypatch.chdir(tmp_path)
    return "./images/great_grey_owl.jpg"


def test_example_image_handling_and_saliency_maps(owl: str, model: nn.Module) -> None:
    from vizhelpers.flash.saliency import Backprop
    from vizhelpers.flash.utils import (
        ImageNetIndex,
        apply_transforms,
        denormalize,
        format_for_plotting,
        load_image,
    )

    image = load_image(owl)
    plt.imshow(image)
    owl_ = apply_transforms(image)
    plt.imshow(format_for_plotting(owl_))
    plt.imshow(format_for_plotting(denormalize(owl_)))
    assert plt.gca().images[-1].get_array().shape == (224, 224, 3)

    backprop = Backprop(model)
    target_class = ImageNetIndex()["great grey owl"]
    assert target_class == 24
    with pytest.warns(UserWarning, match="explains class 24"):
        backprop.visualize(owl_, target_class, guided=True, use_gpu=True)
    plt.savefig("saliency.png")
    assert Path("saliency.png").stat().st_size > 20_000
    with pytest.warns(UserWarning):
        assert backprop.calculate_gradients(owl_, target_class).shape == (3, 224, 224)
        max_gradients = backprop.calculate_gradients(owl_, target_class, take_max=True)
    assert max_gradients.shape == (1, 224, 224)


def test_example_activation_maximization() -> None:
    from vizhelpers.flash.activmax import GradientAscent

    model = SimpleNamespace(features=vgg.make_layers(vgg.cfgs["D"]))  # VGG-16 without its head
    g_ascent = GradientAscent(model.features, img_size=32)  # 224 takes too long for a test
    conv5_1 = model.features[24]
    conv5_1_filters = [45, 271, 363, 489]
    g_ascent.visualize(conv5_1, conv5_1_filters, title="VGG16: conv5_1", num_iter=2)
    assert [axes.get_title() for axes in plt.gcf().axes] == [f"filter {i}" for i in conv5_1_filters]
    assert plt.gcf().get_suptitle() == "VGG16: conv5_1"
    output = g_ascent.visualize(conv5_1, 45, num_iter=2, title="conv5_1 45", return_output=True)
    assert len(output) == 2
    assert output[-1].shape == (1, 3, 32, 32)


def test_example_deepdream(owl: str, model: nn.Module) -> None:
    from vizhelpers.flash.activmax import GradientAscent

    g_ascent = GradientAscent(model.features, img_size=64)
    layer = model.features[9].expand3x3
    assert isinstance(g_ascent.deepdream(owl, layer, 33, num_iter=2), Figure)
    assert np.all(np.diff(g_ascent.activations) > 0)
    plt.savefig("dream.png")
    assert Path("dream.png").stat().st_size > 5_000
    climb = g_ascent.deepdream(owl, layer, 33, num_iter=1, return_output=True)
    assert climb[-1].shape == (1, 3, 64, 64)
