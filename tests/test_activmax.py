import numpy as np
import pytest
import torch
from torch import nn

import vizhelpers as viz


def test_the_climb_rises(model: nn.Module) -> None:
    found = viz.activation_maximization(
        model, "features.0", channels=[47, 55], steps=10, size=32, keep=range(11)
    )
    assert found.frames.shape == (22, 32, 32, 3)
    assert found.axes == {"channel": [47, 55], "step": list(range(11))}
    assert found.values is not None
    for curve in found.values.reshape(2, 11):
        assert (np.diff(curve) > 0).all()


def test_values_are_what_the_network_says_of_the_last_picture() -> None:
    """One filter that reads red alone: its optimum is red, and its value is known by hand."""
    net = nn.Conv2d(3, 1, 1, bias=False)
    net.weight.data = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    found = viz.activation_maximization(
        nn.Sequential(net), "0", channels=[0], steps=3, size=8, keep=[0, 3]
    )
    assert found.values is not None
    # The gradient is the same everywhere in red and zero elsewhere: its root mean square over
    # the three colours is 1/sqrt(3) of it, so each step adds sqrt(3) to red.
    assert found.values[1] - found.values[0] == pytest.approx(3 * 3**0.5, rel=2e-3)
    red, green, blue = found.frames[1].reshape(-1, 3).mean(0)
    assert red > green + 50
    assert red > blue + 50


def test_the_seed_decides_and_the_global_state_does_not(model: nn.Module) -> None:
    def climb(seed: int) -> viz.ImageStack:
        return viz.activation_maximization(
            model, "features.0", channels=[3], steps=2, size=32, seed=seed
        )

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = climb(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    np.testing.assert_array_equal(first.frames, climb(0).frames)
    assert not np.array_equal(first.frames, climb(1).frames)


def test_a_batch_of_channels_climbs_as_each_would_alone(model: nn.Module) -> None:
    def climb(*channels: int) -> viz.ImageStack:
        return viz.activation_maximization(
            model, "features.3.expand3x3", channels=channels, steps=3, size=64
        )

    together = climb(1, 2)
    assert together.values is not None
    for i, channel in enumerate((1, 2)):
        alone = climb(channel)
        assert alone.values is not None
        assert together.values[i] == pytest.approx(alone.values[0], rel=1e-3)


def test_a_dead_start_stays_flat(model: nn.Module) -> None:
    # Whether a start is dead is the noise's doing: at size 64 the same filter climbs.
    found = viz.activation_maximization(
        model, "features.7", channels=[0], steps=3, size=96, keep=range(4)
    )
    assert found.values is not None
    assert (found.values == 0).all()
    assert (found.frames == found.frames[0]).all()


def test_the_model_is_as_it_was(tiny: nn.Module) -> None:
    tiny.train()
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    with torch.inference_mode():
        viz.activation_maximization(tiny, "0", channels=[0], steps=2, size=16)
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in tiny.parameters())
    assert all(m.training and not m._forward_hooks for m in tiny.modules())


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        ("9", {}, "'9'"),
        ("0", {"channels": [4]}, "channel 4.*0 to 3.*'0' has 4"),
        ("0", {"channels": [-1]}, "channel -1"),
        ("0", {"channels": []}, "name at least one"),
        ("0", {"steps": 0}, "steps must be at least 1"),
        ("0", {"keep": [5]}, "keep lie between"),
        ("0", {"keep": []}, "keep lie between"),
        ("0", {"size": 4}, "size at least 8"),
        ("5", {}, r"expected maps \(N, C, H, W\)"),
    ],
)
def test_bad_input_is_refused_in_words(
    tiny: nn.Module, layer: str, options: dict, message: str
) -> None:
    arguments = {"channels": [0], "steps": 2, "size": 16} | options
    with pytest.raises(ValueError, match=message):
        viz.activation_maximization(tiny, layer, **arguments)
    assert not any(m._forward_hooks for m in tiny.modules())
