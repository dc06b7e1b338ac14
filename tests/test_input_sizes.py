"""The input size that a model takes, determined by trying."""

import pytest
import torch
import torch.nn.functional as F
from networks import Cifar, Net
from torch import Tensor, nn

import vizhelpers as viz


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (Cifar(), (1, 3, 32, 32)),
        (Cifar(1, 28), (1, 1, 28, 28)),
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 5)), (1, 1, 28, 28)),
        (nn.Sequential(nn.Linear(7, 5)), (1, 7)),
        (nn.Sequential(nn.Conv1d(2, 4, 3)), (1, 2, 128)),
        (Net(), (1, 3, 224, 224)),
    ],
)
def test_panels_find_the_size_that_a_model_takes(model: nn.Module, size: tuple[int, ...]) -> None:
    assert viz.module_tree(model).input_size == viz.summary(model).input_size == size
    for explore in (viz.explore_module_tree, viz.explore_summary):
        panel = explore(model)
        assert panel.scene.charts
        panel.close()


class Fixed(Net):
    """Checks its input's size itself, and raises an error of any kind."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != 32:
            raise self.error
        return super().forward(x)


@pytest.mark.parametrize("kind", [AssertionError, ValueError, RuntimeError, KeyError])
def test_a_model_that_takes_one_size_only_is_climbed_at_that_size(kind: type[Exception]) -> None:
    model = Fixed(kind())
    stack = viz.activation_maximization(model, "second", channels=[0], steps=1)
    assert stack.frames.shape[1:3] == (32, 32)
    panel = viz.explore_activation_maximization(model, steps=1)
    assert panel.scene.stacks[0].frames.shape[1:3] == (32, 32)
    panel.close()
    viz.explore_module_tree(model).close()
    panel = viz.explore_summary(model)
    slider = panel.requests["side"]
    assert slider.disabled and slider.min == slider.max == slider.value == 32
    panel.close()


def test_the_models_own_words_about_its_size_are_passed_on() -> None:
    def check(net: Net, x: Tensor) -> Tensor:
        torch._assert(x.shape[-1] == 30, f"Wrong image height! Expected 30 but got {x.shape}")
        return x

    with pytest.raises(ValueError, match="Wrong image height"):
        viz.activation_maximization(Net(check), "second", channels=[0], steps=1, size=16)


class Views(nn.Module):
    """Flattens with ``view(-1, n)``: places of a larger image become rows of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 16 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.max_pool2d(F.relu(self.conv(x)), 2).view(-1, 4 * 16 * 16))


def test_an_input_that_becomes_several_rows_is_no_input_of_that_size() -> None:
    model, large = Views(), torch.rand(1, 3, 64, 64)
    assert viz.module_tree(model).input_size == (1, 3, 32, 32)
    for call in (
        lambda: viz.predict(model, large),
        lambda: viz.cam(model, large, "conv", target=1),
        lambda: viz.cam(model, large, "conv", target=1, method="scorecam"),
        lambda: viz.saliency(model, large, target=1, method="smoothgrad", passes=1),
        lambda: viz.saliency(model, large),
    ):
        with pytest.raises(ValueError, match=r"4 rows of scores for 1 image.*x\.flatten\(1\)"):
            call()
    panel = viz.explore_summary(model)
    slider = panel.requests["side"]
    assert slider.disabled and slider.value == 32
    panel.close()


def test_a_size_that_does_not_fit_calls_no_hook_of_the_reader() -> None:
    model, called = Cifar(), []
    model.conv.register_forward_hook(lambda *args: called.append("conv"))
    with pytest.raises(ValueError, match="cannot run on an input of shape"):
        viz.module_tree(model, input_size=(1, 3, 64, 64))
    viz.explore_summary(model).close()
    assert called == []


def test_a_summary_keeps_the_proportions_of_its_input() -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    panel = viz.explore_summary(model, input_size=(1, 1, 64, 128))
    assert "image 128 x 256, against one of 64 x 128" in panel.scene.charts[0][0].title
    panel.close()
    for size, kind in ((224, TypeError), ((1, 1, -5, 9), ValueError), ((1, 1, 9.0, 9), TypeError)):
        with pytest.raises(kind, match="input_size"):
            viz.explore_summary(model, input_size=size)  # type: ignore[arg-type]
