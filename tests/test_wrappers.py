"""Hooks, parametrisations and attributes that no copy of a model may lose."""

import threading
from collections.abc import Callable
from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
from networks import SIZE, SMALL, TINY, Net, closure_over, seeded
from snapshots import difference, snapshot
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import vizhelpers as viz


def need_hook(net: Net) -> None:
    """Make forward need what a hook, a function of the model itself, stores."""
    net.between = lambda net, x: net.kept * 2
    net.first.register_forward_hook(lambda module, args, output: setattr(net, "kept", output))


def replace_forward(net: Net) -> None:
    net.forward = MethodType(lambda self, x: Net.forward(self, x) * 2, net)  # type: ignore


UNUSUAL: dict[str, Callable[[Net], object]] = {
    "old weight_norm": lambda net: torch.nn.utils.weight_norm(net.first),
    "weight_norm": lambda net: parametrizations.weight_norm(net.first),
    "old spectral_norm": lambda net: torch.nn.utils.spectral_norm(net.first),
    "spectral_norm": lambda net: parametrizations.spectral_norm(net.first),
    "orthogonal": lambda net: parametrizations.orthogonal(net.first),
    "pruned": lambda net: prune.l1_unstructured(net.first, "weight", 0.5),
    "a hook that computes": lambda net: net.first.register_forward_hook(lambda m, a, o: o * 3),
    "a hook that forward needs": need_hook,
    "a layer in a closure": lambda net: setattr(net, "between", closure_over(nn.ReLU())),
    "a replaced forward": replace_forward,
    "a lock": lambda net: setattr(net, "lock", threading.Lock()),
    "kept activations": lambda net: setattr(
        net, "between", lambda net, x: setattr(net, "kept", x) or x
    ),
}
each_unusual = pytest.mark.parametrize("kind", UNUSUAL)
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def trained(kind: str, x: Tensor) -> Net:
    """Return an unusual network as it is in the middle of training."""
    net = Net()
    UNUSUAL[kind](net)
    net.train()(x).sum().backward()
    return net


@each_unusual
def test_a_panel_shows_the_numbers_of_the_function(kind: str, x: Tensor) -> None:
    model = trained(kind, x)
    sample = viz.prepare(model, "cat", transform=SMALL)
    panel = viz.explore_feature_maps(model, "cat", layer="first", transform=SMALL)
    maps = viz.feature_maps(model, sample, "first")
    np.testing.assert_array_equal(panel.scene.stacks[0].frames, maps.frames)
    panel.close()
    panel = viz.explore_cam(model, "cat", transform=SMALL)
    shown = [stack.axes["layer"][0] for stack in panel.scene.stacks]
    expected = viz.cam(model, sample, shown[-1]).frames[0]
    np.testing.assert_allclose(panel.scene.stacks[-1].frames[0], expected, atol=1e-6)
    panel.close()
    panel = viz.explore_kernels(model, layer="first")
    kernels = viz.kernels(model, "first").frames
    np.testing.assert_array_equal(panel.scene.stacks[0].frames, kernels)
    panel.close()


@each_unusual
def test_nothing_moves_in_a_model_in_train_mode(kind: str, x: Tensor) -> None:
    model = trained(kind, x)
    before = snapshot(model, x)
    viz.kernels(model, "first")
    viz.kernels(model, "first", random_seed=1)
    viz.module_tree(model, input_size=SIZE)
    viz.summary(model, SIZE)
    viz.explore_module_tree(model, input_size=SIZE).close()
    assert difference(before, snapshot(model, x)) == []
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for method in ("gradcam", "eigencam", "scorecam"):
        viz.cam(model, x, "second", method=method)
    viz.capture(model, x, "first")
    viz.predict(model, x)
    viz.saliency(model, x)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)


@each_unusual
def test_random_weights_are_those_of_a_plain_layer_of_that_shape(kind: str, x: Tensor) -> None:
    model = trained(kind, x)
    stack = viz.kernels(model, "first", random_seed=5)
    with seeded(5):
        expected = nn.Conv2d(3, 4, 3).weight
    np.testing.assert_array_equal(stack.frames.reshape(4, 3, 3, 3), expected.detach().numpy())
    assert stack.name.startswith("RANDOM weights (seed 5)")
    assert not np.allclose(stack.frames, viz.kernels(model, "first").frames)


def ablation_cam(model: nn.Module, x: Tensor, layer: str, target: int) -> np.ndarray:
    """Return Ablation-CAM by hand: a channel's weight is the share of the logit lost without it."""
    maps, logit = viz.capture(model, x, layer)[layer][0], model(x)[0, target].item()
    weights = []
    for channel in range(len(maps)):
        handle = model.get_submodule(layer).register_forward_hook(
            lambda m, a, o, c=channel: o.index_fill(1, torch.tensor([c]), 0.0)
        )
        weights.append((logit - model(x)[0, target].item()) / logit)
        handle.remove()
    return torch.einsum("c,chw->hw", torch.tensor(weights), maps).relu().numpy()


@each_unusual
def test_ablation_cam_is_the_share_of_the_logit_lost(kind: str, x: Tensor) -> None:
    model = trained(kind, x).eval()
    viz.cam(model, x, "last", method="scorecam")
    expected = ablation_cam(model, x, "last", 2)
    assert expected.any()
    ours = viz.cam(model, x, "last", target=2, method="ablationcam").frames[0]
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)


def test_ablation_cam_needs_no_copy(x: Tensor) -> None:
    """A layer of two names, one followed by an in-place addition, tokens, signed activations."""

    class Aliased(Net):
        def __init__(self) -> None:
            super().__init__()
            self.again = nn.Sequential(self.first, nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            h = self.second(self.again(x))
            h += 1
            return self.fc(h.mean((2, 3)))

    model = Aliased().eval()
    for layer in ("first", "second"):
        ours = viz.cam(model, x, layer, target=2, method="ablationcam").frames[0]
        np.testing.assert_allclose(ours, ablation_cam(model, x, layer, 2), rtol=1e-3, atol=1e-5)
    tokens = TINY["attention"]
    stack = viz.cam(tokens.built(), tokens.x(), "norm2", target=1, method="ablationcam")
    assert stack.frames.shape == (1, 4, 4)


def test_the_original_cam_reads_a_normalised_head_without_moving_it(x: Tensor) -> None:
    model = Net()
    parametrizations.spectral_norm(model.fc)
    model.train()
    before = snapshot(model, x)
    assert viz.cam(model, x, "last", method="cam").frames.any()
    assert difference(before, snapshot(model, x)) == []


def test_a_convolution_that_initialises_itself_in_its_own_way_still_has_random_kernels() -> None:
    class Own(nn.Conv2d):
        def reset_parameters(self) -> None:
            nn.init.constant_(self.weight, self.fill)  # type: ignore[arg-type]

        def __init__(self, *args: Any) -> None:
            self.__dict__["fill"] = 3.0
            super().__init__(*args)

    model = nn.Sequential(Own(3, 4, 3))
    assert viz.kernels(model, "0", random_seed=1).frames.std() > 0
