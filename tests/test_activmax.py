import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms.functional import normalize

import vizhelpers as viz
from vizhelpers.methods.fourier import random_view, to_rgb


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
        ("0", {"steps": 0}, "steps=0: it must be at least 1"),
        ("0", {"keep": [5]}, "keep=5: it must be between 0 and"),
        ("0", {"keep": []}, "keep is empty"),
        ("0", {"size": 4}, "size=4: it must be between 8"),
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


# Mode "fourier"


def test_fourier_values_are_the_networks_answer_to_the_picture_that_is_shown(
    model: nn.Module,
) -> None:
    found = viz.activation_maximization(
        model, "features.9.expand3x3", channels=[0, 3], steps=12, size=64, mode="fourier"
    )
    assert found.values is not None
    shown = torch.from_numpy(found.frames.copy()).permute(0, 3, 1, 2) / 255
    x = normalize(shown, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    maps = viz.capture(model, x, "features.9.expand3x3")["features.9.expand3x3"]
    means = maps[[0, 1], [0, 3]].mean(dim=(1, 2)).numpy()
    assert abs(means[0] - means[1]) > 0.05 * abs(means[0])
    np.testing.assert_allclose(found.values, means, rtol=0.02)  # 8 bits a colour


def test_fourier_climbs_to_smooth_pictures(model: nn.Module) -> None:
    """Neighbouring pixels are alike, as in photographs; in the plain climb they are not."""

    def climb(mode: str) -> viz.ImageStack:
        return viz.activation_maximization(
            model, "features.9.expand3x3", channels=[0], steps=20, size=96, mode=mode, keep=[0, 20]
        )

    def likeness(frame: np.ndarray) -> float:
        grey = frame.mean(axis=2)
        return float(np.corrcoef(grey[:, 1:].ravel(), grey[:, :-1].ravel())[0, 1])

    pixels, fourier = climb("pixels"), climb("fourier")
    assert fourier.values is not None
    assert fourier.values[1] > fourier.values[0] + 100
    assert likeness(fourier.frames[1]) > 0.85
    assert likeness(pixels.frames[1]) < 0.7
    assert fourier.frames[1].std() > 20


def test_fourier_pictures_do_not_depend_on_their_batch_mates(model: nn.Module) -> None:
    def climb(*channels: int) -> viz.ImageStack:
        return viz.activation_maximization(
            model, "features.4.expand3x3", channels=channels, steps=6, size=64, mode="fourier"
        )

    together = climb(0, 1, 5)
    assert together.values is not None
    assert np.abs(together.frames[0].astype(int) - together.frames[1]).mean() > 1
    for i, channel in enumerate((0, 1, 5)):
        alone = climb(channel)
        assert alone.values is not None
        assert together.values[i] == pytest.approx(alone.values[0], rel=1e-3)
        assert np.abs(together.frames[i].astype(int) - alone.frames[0]).max() <= 2


def test_fourier_is_decided_by_its_seed_and_leaves_the_global_state(tiny: nn.Module) -> None:
    def climb(seed: int) -> np.ndarray:
        return viz.activation_maximization(
            tiny, "2", channels=[0, 1], steps=3, size=17, seed=seed, mode="fourier"
        ).frames

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = climb(0)
    assert first.shape == (2, 17, 17, 3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    np.testing.assert_array_equal(first, climb(0))
    assert not np.array_equal(first, climb(1))


def test_fourier_leaves_the_model_as_it_was(tiny: nn.Module) -> None:
    tiny.train()
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    with torch.inference_mode():
        viz.activation_maximization(tiny, "2", channels=[0], steps=2, size=16, mode="fourier")
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in tiny.parameters())
    assert all(m.training and not m._forward_hooks for m in tiny.modules())


def test_transformations_are_small_and_the_same_for_all() -> None:
    ramp = torch.linspace(-1, 1, 65).expand(2, 3, 65, 65)
    views = [
        random_view(ramp, torch.Generator().manual_seed(seed)).mean(dim=1) for seed in range(20)
    ]
    assert all(torch.equal(*view) for view in views)
    centres = torch.stack([view[0, 32, 32] for view in views])
    assert 0.02 < centres.abs().max() <= 2 * 8 / 128 + 0.03  # at most 8 of 128 pixels
    slopes = torch.stack([view[0, 32, 40] - view[0, 32, 24] for view in views]) / 0.5
    assert slopes.std() > 0.02
    assert slopes.min() > 0.9 * np.cos(np.radians(10)) - 0.01
    assert slopes.max() < 1.1 + 0.01


def test_colours_are_decorrelated_axes() -> None:
    """One coefficient of the first axis is brightness: all three colours move together."""
    spectrum = torch.zeros(3, 3, 16, 9, 2)
    for axis in range(3):
        spectrum[axis, axis, 0, 1, 0] = 1.0
    red, green, blue = to_rgb(spectrum).sub(0.5).flatten(2).unbind(1)
    strengths = torch.stack([red, green, blue], dim=1).abs().amax(dim=2)
    assert (strengths[0] > 2 * strengths[1:].max()).all()
    assert (red[1] * blue[1]).sum() < 0
    assert (green[2] * red[2]).sum() < 0
    assert strengths.min(dim=1).values[0] > 0


def test_an_unknown_mode_is_refused(tiny: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"mode 'furrier'.*'fourier'"):
        viz.activation_maximization(tiny, "0", channels=[0], mode="furrier")
