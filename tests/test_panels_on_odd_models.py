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
from vizhelpers.passes.sizes import input_size


@pytest.mark.parametrize("model", [Cifar(), Cifar(1, 28)])
def test_every_panel_works_on_a_small_network(model: Cifar) -> None:
    _, channels, side, _ = input_size(model)
    steps = [T.Resize((side, side)), T.ToTensor()]
    transform = T.Compose([T.Grayscale(), *steps] if channels == 1 else steps)
    labels = list("abcdefghij")
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


def test_a_relu_that_no_gradient_passes_leaves_guided_out(x: Tensor) -> None:
    class Unused(Net):
        def __init__(self) -> None:
            super().__init__(lambda net, x: F.gelu(x))
            self.unused = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(F.gelu(self.second(F.gelu(self.first(x)))).mean((2, 3)))

    panel = viz.explore_saliency(Unused(), "cat", transform=SMALL)
    assert list(panel.scene.axes["method"]) == ["vanilla", "input_x_gradient"]
    panel.close()


def test_a_cam_panel_takes_any_layer_with_maps_also_as_a_module() -> None:
    model = viz.load_model()
    for layer in ("features.0", model.features[0]):
        panel = viz.explore_cam(model, layer=layer)
        assert panel.scene.axes["layer"][panel.view.i0] == "features.0"
        panel.close()
    for explore in (viz.explore_feature_maps, viz.explore_activation_maximization):
        net = Net()
        kwargs = {"transform": SMALL} if explore is viz.explore_feature_maps else {"steps": 1}
        panel = explore(net, layer=net.second, **kwargs)
        assert panel.requests["layer"].value == "second"
        panel.close()


def test_an_open_panel_follows_training_hooks_and_conversions(x: Tensor) -> None:
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
    panel = viz.explore_cam(Cifar(), "cat", transform=T.Compose([T.Resize((32, 32)), T.ToTensor()]))
    methods = panel.page().requests["method"]
    assert "cam" not in methods and {"gradcam", "layercam", "eigencam"} <= set(methods)
    assert panel.save_html(tmp_path / "cam.html").stat().st_size > 1000
    panel.close()
    both = viz.explore_summary({"small": Cifar(), "any": Net()})
    assert both.page().requests["model"] == ["small", "any"]
    both.close()


def test_a_class_search_that_failed_does_not_block_the_other_controls() -> None:
    panel = viz.explore_saliency(viz.load_model(), "cat")
    panel.controls["other"].value = "shark"
    assert panel.wait(20) and "contain 'shark'" in panel.message
    panel.controls["photograph"].value = "panda"
    assert panel.wait(20) and panel.message == "" and panel.controls["other"].value == ""
    assert "giant panda" in panel.scene.axes["class"]
    panel.close()


def test_a_class_that_another_network_does_not_know_is_cleared() -> None:
    transform = T.Compose([T.Resize((32, 32)), T.ToTensor()])
    panel = viz.explore_saliency(Cifar(), "cat", transform=transform)
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
    assert panel._repr_mimebundle_()[0] == {
        "text/plain": "This panel is closed. Run its cell again."
    }


class Dictionary(Net):
    def forward(self, x: Tensor) -> Any:
        return {"logits": super().forward(x)}


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: viz.explore_activation_maximization(Cifar(), channel=99), "no channel 99.*0 to 3"),
        (lambda: viz.explore_kernels(Cifar(), out=99), "no output channel 99"),
        (
            lambda: viz.explore_feature_maps(Net(), "cat", transform=SMALL, channel=9),
            "no channel 9",
        ),
        (lambda: viz.explore_summary(Cifar(), side=64), "side=64.*32"),
        (lambda: viz.explore_summary(Net(), batch=1000), "batch=1000"),
        (lambda: viz.explore_module_tree({}), "models is empty"),
        (
            lambda: viz.explore_saliency(Dictionary(), transform=SMALL, method="guided"),
            "dict",
        ),
    ],
)
def test_panels_refuse_what_the_functions_refuse(call: Callable[[], Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        call()


def test_a_single_limit_beyond_all_values_turns_no_scale_round() -> None:
    frames = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    assert viz.ImageStack(frames, {"n": [0]}, vmin=50).limits() == [(50.0, 50.0)]
    assert viz.ImageStack(frames - 20, {"n": [0]}, vmax=-50).limits() == [(-50.0, -50.0)]


def test_torchvisions_own_files_are_read_by_path_as_torchvision_reads_them(tmp_path: Any) -> None:
    import torchvision

    dense = viz.load_model("densenet121", weights=None)
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value
        for key, value in dense.state_dict().items()
    }
    assert old.keys() != dense.state_dict().keys()
    torch.save(old, tmp_path / "densenet121.pth")
    read = viz.load_model("densenet121", weights=tmp_path / "densenet121.pth")
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(read(x), dense(x))
    google = torchvision.models.googlenet(weights=None, init_weights=False)
    name = torchvision.models.GoogLeNet_Weights.DEFAULT.url.rpartition("/")[2]
    for file, changed in ((name, True), ("mine.pth", False)):
        torch.save(google.state_dict(), tmp_path / file)
        loaded = viz.load_model("googlenet", weights=tmp_path / file)
        assert loaded.transform_input is changed


def test_a_transform_keeps_the_crop_of_the_photograph_and_not_of_a_probe() -> None:
    class Keeps:
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def __call__(self, image: Any) -> Tensor:
            self.seen.append(image)
            return SMALL(image)

    keeps = Keeps()
    sample = viz.prepare(Net(), "cat", transform=keeps)
    assert len(keeps.seen) == 1
    assert sample.view.std() > 10
