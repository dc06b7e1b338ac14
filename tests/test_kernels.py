"""Kernels: the layer's own weights, nothing else."""

import numpy as np
import pytest
import torch
from torch import nn

import vizhelpers as viz


def test_slices_are_the_layers_weights(tiny: nn.Module) -> None:
    stack = viz.kernels(tiny, "2")
    assert stack.shape == (6, 4) and stack.scale == "diverging"
    np.testing.assert_array_equal(stack.frames, tiny[2].weight.detach().reshape(24, 3, 3))
    one = stack.select(**{"out": 5, "in": 2}).frames[0]
    np.testing.assert_array_equal(one, tiny[2].weight[5, 2].detach())


def test_a_grouped_convolution_has_the_slices_of_its_group() -> None:
    net = nn.Sequential(nn.Conv2d(4, 8, 3, groups=4))
    assert viz.kernels(net, "0").shape == (8, 1)


def test_a_1x1_convolution_is_its_matrix() -> None:
    net = nn.Sequential(nn.Conv2d(5, 7, 1))
    np.testing.assert_array_equal(
        viz.kernels(net, "0").frames[0], net[0].weight.detach()[:, :, 0, 0]
    )


def test_colour_shows_zero_as_grey_and_keeps_signs(tiny: nn.Module) -> None:
    rgb = viz.kernels(tiny, "0", colour=True).frames.astype(int)
    weight = tiny[0].weight.detach().permute(0, 2, 3, 1).numpy()
    strong = np.abs(weight) > 0.1 * np.abs(weight).max()
    assert ((rgb > 128) == (weight > 0))[strong].all()
    assert max(rgb.max(), 255 - rgb.min()) == 255


def test_random_weights_say_so_and_repeat_with_their_seed(tiny: nn.Module) -> None:
    before = torch.random.get_rng_state()
    first, second = (viz.kernels(tiny, "0", random_seed=seed) for seed in (1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert first.name.startswith("RANDOM")
    np.testing.assert_array_equal(first.frames, viz.kernels(tiny, "0", random_seed=1).frames)
    assert not np.array_equal(first.frames, second.frames)
    assert not np.array_equal(first.frames, viz.kernels(tiny, "0").frames)


def test_an_untrained_model_says_random_in_its_titles() -> None:
    untrained = viz.load_model("squeezenet1_1", weights=None)
    assert viz.kernels(untrained, "features.0").name.startswith("RANDOM")


def test_a_layer_without_kernels_names_those_that_have_some(model: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"'features.3' is a Fire.*'features.3.squeeze'"):
        viz.kernels(model, "features.3")


def test_colour_needs_three_input_channels(model: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"has\s+16"):
        viz.kernels(model, "features.3.expand3x3", colour=True)


def test_a_sketch_on_the_meta_device_has_no_kernels() -> None:
    with torch.device("meta"):
        sketch = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match="meta device"):
        viz.kernels(sketch, "0")


def test_trained_neighbours_are_alike_and_random_ones_are_not(model: nn.Module) -> None:
    def neighbours(frames: np.ndarray) -> float:
        pairs = [(frames[:, :, :-1], frames[:, :, 1:]), (frames[:, :-1], frames[:, 1:])]
        left, right = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
        return float(np.corrcoef(left, right)[0, 1])

    layer = "features.9.expand3x3"
    assert neighbours(viz.kernels(model, layer).frames) == pytest.approx(0.30, abs=0.01)
    assert abs(neighbours(viz.kernels(model, layer, random_seed=0).frames)) < 0.02


def test_a_picture_of_kernels_stays_when_the_weights_move() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    stack = viz.kernels(net, "0")
    before = stack.frames.copy()
    with torch.no_grad():
        net[0].weight.add_(1)
    np.testing.assert_array_equal(stack.frames, before)
