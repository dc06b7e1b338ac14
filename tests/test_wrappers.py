"""Hooks, parametrisations and attributes that no copy of a model may lose."""

import threading
from collections.abc import Callable
from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
from networks import SIZE, SMALL, TINY, Net, closure_over
from snapshots import difference, snapshot
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import vizhelpers as viz


def _normalised(how: Callable[[nn.Module], object]) -> Net:
    net = Net()
    how(net.first)
    return net


def _with_hook(hook: Callable[..., Any]) -> Net:
    net = Net()
    net.first.register_forward_hook(hook)
    return net


def _keeps_by_hook() -> Net:
    """Its hook is a function of the model itself, which forward needs."""
    net = Net(lambda net, x: net.kept * 2)
    net.first.register_forward_hook(lambda module, args, output: setattr(net, "kept", output))
    return net


def _with_method() -> Net:
    net = Net()
    net.forward = MethodType(lambda self, x: Net.forward(self, x) * 2, net)  # type: ignore
    return net


def _with_lock() -> Net:
    net = Net()
    net.lock = threading.Lock()
    return net


UNUSUAL: dict[str, Callable[[], nn.Module]] = {
    "old weight_norm": lambda: _normalised(torch.nn.utils.weight_norm),
    "weight_norm": lambda: _normalised(parametrizations.weight_norm),
    "old spectral_norm": lambda: _normalised(torch.nn.utils.spectral_norm),
    "spectral_norm": lambda: _normalised(parametrizations.spectral_norm),
    "orthogonal": lambda: _normalised(parametrizations.orthogonal),
    "pruned": lambda: _normalised(lambda m: prune.l1_unstructured(m, "weight", 0.5)),
    "a hook that computes": lambda: _with_hook(lambda module, args, output: output * 3),
    "a hook that forward needs": _keeps_by_hook,
    "a layer in a closure": lambda: Net(closure_over(nn.ReLU())),
    "a replaced forward": _with_method,
    "a lock": _with_lock,
    "kept activations": lambda: Net(lambda net, x: setattr(net, "kept", x) or x),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", UNUSUAL)
def test_a_panel_shows_the_numbers_of_the_function(kind: str, x: Tensor) -> None:
    model = UNUSUAL[kind]().train()
    model(x).sum().backward()
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


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", UNUSUAL)
def test_nothing_moves_in_a_model_in_train_mode(kind: str, x: Tensor) -> None:
    model = UNUSUAL[kind]().train()
    model(x).sum().backward()
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


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", UNUSUAL)
def test_random_weights_are_those_of_a_plain_layer_of_that_shape(kind: str) -> None:
    model = UNUSUAL[kind]()
    found = viz.kernels(model, "first", random_seed=5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        expected = nn.Conv2d(3, 4, 3).weight
    np.testing.assert_array_equal(found.frames.reshape(4, 3, 3, 3), expected.detach().numpy())
    assert found.name.startswith("RANDOM weights (seed 5)")
    assert not np.allclose(found.frames, viz.kernels(model, "first").frames)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", UNUSUAL)
def test_perturbation_methods_are_right_or_refuse_in_words(kind: str, x: Tensor) -> None:
    """Ablation-CAM by hand: the share of the logit that is lost without a channel."""
    model = UNUSUAL[kind]().eval()
    model(x)
    viz.cam(model, x, "last", method="scorecam")
    try:
        found = viz.cam(model, x, "last", target=2, method="ablationcam").frames[0]
    except ValueError as refusal:
        assert "scorecam" in str(refusal) and kind == "a hook that forward needs"
        return
    maps = viz.capture(model, x, "last")["last"][0]
    whole = model(x)[0, 2].item()
    weights = []
    for channel in range(6):
        handle = model.last.register_forward_hook(
            lambda m, a, o, c=channel: o.index_fill(1, torch.tensor([c]), 0.0)
        )
        weights.append((whole - model(x)[0, 2].item()) / whole)
        handle.remove()
    expected = torch.einsum("c,chw->hw", torch.tensor(weights), maps).relu().detach()
    assert expected.any()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


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

    model, index = Aliased().eval(), 2
    for layer in ("first", "second"):
        found = viz.cam(model, x, layer, target=index, method="ablationcam").frames[0]
        maps, whole = viz.capture(model, x, layer)[layer][0], model(x)[0, index].item()
        weights = []
        for channel in range(len(maps)):
            handle = model.get_submodule(layer).register_forward_hook(
                lambda m, a, o, c=channel: o.index_fill(1, torch.tensor([c]), 0.0)
            )
            weights.append((whole - model(x)[0, index].item()) / whole)
            handle.remove()
        expected = torch.einsum("c,chw->hw", torch.tensor(weights), maps).relu()
        np.testing.assert_allclose(found, expected.detach(), rtol=1e-3, atol=1e-5)
    tokens = TINY["attention"]
    found = viz.cam(tokens.built(), tokens.x(), "norm2", target=1, method="ablationcam")
    assert found.frames.shape == (1, 4, 4)


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
