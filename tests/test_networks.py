"""The second network: that it is the real one, and that panels offer it."""

import importlib.util
import re
from typing import Any

import pytest
import torch
from torch import nn

import vizhelpers as viz
from vizhelpers.explore import networks
from vizhelpers.explore.networks import Networks

SECOND = "EfficientNet-Lite0"


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without the extra."""
    find = importlib.util.find_spec
    monkeypatch.setattr(networks, "find_spec", lambda name: None if name == "timm" else find(name))


def test_it_knows_photographs_and_its_size_is_the_papers(second: nn.Module) -> None:
    """The probabilities are those that its own definition gives (FACTS of the project)."""
    assert sum(p.numel() for p in second.parameters()) == 4_652_008
    for name, label, probability in (
        ("cat", "tiger cat", 0.38),
        ("coffee", "espresso", 0.95),
        ("panda", "giant panda", 0.97),
    ):
        (top,) = viz.predict(second, viz.prepare(second, name), k=1)
        assert top.label == label
        assert top.probability == pytest.approx(probability, abs=0.02)


def test_its_random_weights_are_seeded_and_leave_the_global_state() -> None:
    before = torch.get_rng_state()
    a, b, c = (
        viz.load_model("efficientnet_lite0", weights=None, seed=seed).conv_stem.weight
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(viz.WeightsUnavailable, match=r"vizhelpers\[models\]"):
        viz.load_model("efficientnet_lite0")


def test_another_file_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"weights='my\.pt'"):
        viz.load_model("efficientnet_lite0", weights="my.pt")


PANELS = [name for name in viz.__all__ if name.startswith("explore_")]


@pytest.mark.parametrize("name", PANELS)
def test_every_panel_offers_it_where_it_is_installed(name: str, model: nn.Module) -> None:
    few = {"steps": 2} if name == "explore_activation_maximization" else {}
    panel = getattr(viz, name)(model, **few)
    chooser = panel.requests.get("model") or panel.requests["network"]
    assert list(chooser.options) == ["SqueezeNet", SECOND]
    assert chooser.layout.display is None
    panel.close()


def test_a_panel_without_the_extra_hides_the_choice_and_prints_the_same(
    model: nn.Module, missing: None, request: pytest.FixtureRequest
) -> None:
    panel = viz.explore_kernels(model)
    assert list(panel.requests["network"].options) == ["SqueezeNet"]
    assert panel.requests["network"].layout.display == "none"
    assert repr(panel).startswith("The kernels of a convolution [network, layer, weights")
    panel.close()


def test_a_model_of_the_readers_own_can_be_compared_with_both(tiny: nn.Module) -> None:
    offered = Networks(tiny)
    assert offered.names == ["Sequential", "SqueezeNet 1.1", SECOND]
    assert offered["SqueezeNet 1.1"] is offered["SqueezeNet 1.1"]
    assert type(offered[SECOND]).__name__ == "EfficientNet"


def test_the_original_cam_is_shown_where_each_network_allows_it(model: nn.Module) -> None:
    panel = viz.explore_cam(model, method="cam")
    assert panel.scene.axes["layer"] == ["features.12"]
    panel.requests["network"].value = SECOND
    assert panel.wait(60)
    assert panel.message == ""
    assert panel.scene.axes["layer"] == ["bn2"]
    panel.close()


def test_the_last_layer_is_shown_when_the_network_changes(model: nn.Module) -> None:
    panel = viz.explore_cam(model, layer="features.3")
    assert panel.view.i0 == 0
    panel.requests["network"].value = SECOND
    assert panel.wait(60)
    assert panel.scene.axes["layer"][panel.view.i0] == "bn2"
    panel.close()


def test_perturbation_methods_show_one_map_and_can_be_stopped(
    tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    def transform(image: Any) -> torch.Tensor:
        return torch.ones(3, 12, 12) * 0.5

    panel = viz.explore_cam(tiny, transform=transform, labels=list("abcde"))
    assert set(panel.scene.axes["class"]) <= set("abcde")
    panel.requests["method"].value = "scorecam"
    assert panel.wait(120)
    assert panel.message == ""
    assert [len(labels) for labels in panel.scene.axes.values()] == [1, 1]
    assert re.match("Score-CAM", panel.scene.name)
    panel.close()


def test_the_readers_labels_stand_in_the_panel_and_not_on_the_model(tiny: nn.Module) -> None:
    before = dict(vars(tiny))
    panel = viz.explore_saliency(
        tiny, transform=lambda image: torch.ones(3, 12, 12), labels=list("abcde"), target="d"
    )
    assert panel.scene.axes["class"][0] == "d"
    panel.close()
    assert vars(tiny).keys() == before.keys()


def test_a_model_of_timm_knows_its_own_preprocessing() -> None:
    import timm

    net = timm.create_model("resnet10t", pretrained=False).eval()
    sample = viz.prepare(net, "cat")
    assert sample.x.shape == (1, 3, 176, 176)
    assert sample.view.shape == (176, 176, 3)
    assert viz.cam(net, sample, "layer4").frames.shape == (1, 6, 6)
