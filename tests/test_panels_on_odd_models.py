"""Panels on small, unusual and changing networks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms as T
from networks import SMALL, Cifar, Net
from torch import Tensor, nn

import vizhelpers as viz

SIDE_32 = T.Compose([T.Resize((32, 32)), T.ToTensor()])  # what Cifar takes


@pytest.mark.parametrize(
    ("channels", "transform"),
    [(3, SIDE_32), (1, T.Compose([T.Grayscale(), T.Resize((28, 28)), T.ToTensor()]))],
)
def test_every_panel_works_on_a_small_network(channels: int, transform: T.Compose) -> None:
    model, labels = Cifar(channels, 32 if channels == 3 else 28), list("abcdefghij")
    panel = viz.explore_saliency(model, "cat", transform=transform, labels=labels, method="guided")
    assert list(panel.scene.axes["method"]) == ["vanilla", "guided", "input_x_gradient"]
    panel.close()
    for panel in (
        viz.explore_cam(model, "cat", transform=transform, labels=labels),
        viz.explore_feature_maps(model, "cat", transform=transform),
        viz.explore_kernels(model),
        viz.explore_activation_maximization(model, steps=1),
        viz.explore_activation_maximization(model, steps=1, size=20),
    ):
        assert len(panel.scene.stacks[0])
        panel.close()
    pictures = viz.activation_maximization(model, "conv", channels=[0], steps=2, size=24)
    assert pictures.frames.shape == (1, 24, 24, 3)
    grey = (pictures.frames[..., 0] == pictures.frames[..., 1]).all()
    assert grey == (channels == 1)


def test_a_model_without_maps_kernels_or_relus_says_so() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 144, 5))
    for call, word in (
        (lambda: viz.explore_feature_maps(model, "cat", transform=SMALL), "has maps"),
        (lambda: viz.explore_cam(model, "cat", transform=SMALL), "has maps"),
        (lambda: viz.explore_activation_maximization(model), "has maps"),
        (lambda: viz.explore_kernels(model), "no kernels"),
        (lambda: viz.kernels(model, "1"), "no nn.Conv2d at all"),
        (
            lambda: viz.explore_saliency(model, "cat", transform=SMALL, method="guided"),
            "uses no ReLU",
        ),
    ):
        with pytest.raises(ValueError, match=word):
            call()
    with pytest.raises(ValueError, match="takes 5 input channels"):
        viz.activation_maximization(nn.Sequential(nn.Conv2d(5, 2, 3)), "0", channels=[0], steps=1)


def test_a_network_whose_output_is_maps_offers_layers_and_not_itself() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    panel = viz.explore_feature_maps(model, "cat", transform=SMALL)
    assert list(panel.requests["layer"].options) == ["0", "1"]
    panel.close()


def test_a_relu_that_no_gradient_passes_leaves_guided_out() -> None:
    class Unused(Net):
        def forward(self, x: Tensor) -> Tensor:  # without ``last``, the only ReLU
            return self.fc(F.gelu(self.second(F.gelu(self.first(x)))).mean((2, 3)))

    panel = viz.explore_saliency(Unused(), "cat", transform=SMALL)
    assert list(panel.scene.axes["method"]) == ["vanilla", "input_x_gradient"]
    panel.close()


def test_panels_take_any_layer_with_maps_also_as_a_module(model: nn.Module) -> None:
    for layer in ("features.0", model.features[0]):
        panel = viz.explore_cam(model, layer=layer)
        assert panel.scene.axes["layer"][panel.view.i0] == "features.0"
        panel.close()
    net = Net()
    for panel in (
        viz.explore_feature_maps(net, "cat", layer=net.second, transform=SMALL),
        viz.explore_activation_maximization(net, layer=net.second, steps=1),
    ):
        assert panel.requests["layer"].value == "second"
        panel.close()


def test_an_open_panel_follows_training_hooks_and_conversions() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(400, 3))
    model.eval()
    panel = viz.explore_feature_maps(model, "cat", transform=SMALL)

    def agrees() -> bool:
        panel.requests["photograph"].value = "coffee"
        panel.requests["photograph"].value = "cat"
        assert panel.wait(20) and panel.message == ""
        sample = viz.prepare(model, "cat", transform=SMALL)
        shown = panel.scene.stacks[0].frames
        return bool(np.array_equal(shown, viz.feature_maps(model, sample, "0").frames))

    assert agrees()
    with torch.no_grad():
        model[0].weight.mul_(2)
    assert agrees()
    model.double()
    assert agrees()
    model[0].register_forward_hook(lambda module, args, output: output * 0 + 1)
    assert agrees() and (panel.scene.stacks[0].frames == 1).all()
    panel.close()


def test_a_saved_panel_leaves_out_what_the_model_refuses(tmp_path: Any) -> None:
    panel = viz.explore_cam(Cifar(), "cat", transform=SIDE_32)
    methods = panel.page().requests["method"]
    assert "cam" not in methods and {"gradcam", "layercam", "eigencam"} <= set(methods)
    assert panel.save_html(tmp_path / "cam.html").stat().st_size > 1000
    panel.close()
    both = viz.explore_summary({"small": Cifar(), "any": Net()})
    assert both.page().requests["model"] == ["small", "any"]
    both.close()


def test_a_class_search_that_failed_does_not_block_the_other_controls(model: nn.Module) -> None:
    panel = viz.explore_saliency(model, "cat")
    panel.controls["other"].value = "shark"
    assert panel.wait(20) and "contain 'shark'" in panel.message
    panel.controls["photograph"].value = "panda"
    assert panel.wait(20) and panel.message == "" and panel.controls["other"].value == ""
    assert "giant panda" in panel.scene.axes["class"]
    panel.close()


def test_a_class_that_another_network_does_not_know_is_cleared() -> None:
    panel = viz.explore_saliency(Cifar(), "cat", transform=SIDE_32)
    panel.controls["network"].value = "SqueezeNet 1.1"
    assert panel.wait(20)
    panel.controls["other"].value = "tabby"
    assert panel.wait(20) and panel.scene.axes["class"][0] == "tabby"
    panel.controls["network"].value = "Cifar"
    assert panel.wait(20) and panel.message == ""
    assert panel.scene.axes["class"][0].isdigit()
    panel.close()


def test_a_closed_panel_says_so_where_it_is_shown() -> None:
    panel = viz.explore_module_tree(Net())
    panel.close()
    shown = {"text/plain": "This panel is closed. Run its cell again."}
    assert panel._repr_mimebundle_()[0] == shown


class Dictionary(Net):
    def forward(self, x: Tensor) -> Any:
        return {"logits": super().forward(x)}


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: viz.explore_activation_maximization(Cifar(), channel=99), "no channel 99.*0 to 3"),
        (lambda: viz.explore_kernels(Cifar(), out=99), "no output channel 99"),
        (lambda: viz.explore_feature_maps(Net(), transform=SMALL, channel=9), "no channel 9"),
        (lambda: viz.explore_summary(Cifar(), side=64), "side=64.*32"),
        (lambda: viz.explore_summary(Net(), batch=1000), "batch=1000"),
        (lambda: viz.explore_module_tree({}), "models is empty"),
        (lambda: viz.explore_saliency(Dictionary(), transform=SMALL, method="guided"), "dict"),
    ],
)
def test_panels_refuse_what_the_functions_refuse(call: Callable[[], Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        call()
