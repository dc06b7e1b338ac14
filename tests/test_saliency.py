import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from networks import seeded
from oracles import case, equal, strongest, unequal
from torch import Tensor, nn

import vizhelpers as viz


@pytest.mark.parametrize("method", ["vanilla", "input_x_gradient", "integrated_gradients"])
def test_saliency_equals_its_equation(tiny: nn.Module, noise: Tensor, method: str) -> None:
    """The gradient; times the pixel; or its mean at 4 points of the way from black (Riemann)."""
    net, points = copy.deepcopy(tiny).double(), [1.0]
    if method == "integrated_gradients":
        points = [0.125, 0.375, 0.625, 0.875]
    x = noise.double()
    gradient = sum(
        torch.autograd.functional.jacobian(lambda t: net(t)[0, 2], x * p) for p in points
    ) / len(points)
    expected = strongest(gradient if method == "vanilla" else gradient * x)
    ours, wrong = (
        viz.saliency(tiny, noise, target=t, method=method, passes=4).frames[0] for t in (2, 3)
    )
    equal(ours, expected)
    unequal(wrong, expected)


@pytest.mark.parametrize("name", ["squeezenet", "efficientnet", "resnet"])
def test_guided_equals_a_backward_pass_by_hand(name: str) -> None:
    """Also where captum cannot: ReLU6, and one ReLU module that runs twice."""
    c = case(name)
    x = c.x.clone().requires_grad_()
    with clamped_relus():
        (reference,) = torch.autograd.grad(c.clean(x)[0, c.target], x)
    ours, wrong, plain = (
        viz.saliency(c.model, c.x, target=t, method=method).frames[0]
        for t, method in ((c.target, "guided"), (c.other, "guided"), (c.target, "vanilla"))
    )
    equal(ours, strongest(reference))
    unequal(wrong, strongest(reference))
    unequal(plain, strongest(reference))


class GuidedClamp(torch.autograd.Function):
    """ReLU or ReLU6 with the backward pass of Springenberg et al. 2014, figure 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, top: float) -> Tensor:
        ctx.save_for_backward((x > 0) & (x < top))
        return x.clamp(0, top)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (open_,) = ctx.saved_tensors
        return gradients[0] * open_ * (gradients[0] > 0), None


@contextmanager
def clamped_relus() -> Iterator[None]:
    """Give every ReLU module, in a ``with`` block, a forward pass whose backward pass is guided."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.ReLU, "forward", lambda self, x: GuidedClamp.apply(x, float("inf")))
        patch.setattr(nn.ReLU6, "forward", lambda self, x: GuidedClamp.apply(x, 6.0))
        yield


def test_integrated_gradients_are_complete() -> None:
    """They add up to f(x) - f(0), up to an error that falls with the steps (axiom 1)."""
    with seeded(2):  # no weight is negative, so no attribution is, and the absolute values add up
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sigmoid(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        net.append(nn.Linear(4, 3)).requires_grad_(False)
        net[0].weight.abs_()
        net[4].weight.abs_()
        x = torch.rand(1, 1, 10, 10)
    difference = (net(x) - net(torch.zeros_like(x)))[0, 2].item()
    sums = [
        viz.saliency(net, x, target=2, method="integrated_gradients", passes=n).frames.sum()
        for n in (1, 40)
    ]
    assert sums[1] == pytest.approx(difference, rel=1e-4)
    assert sums[0] != pytest.approx(difference, rel=1e-3)


def test_saliency_predicts_what_a_nudge_does(tiny: nn.Module, noise: Tensor) -> None:
    net, x = tiny.double(), noise.double()
    nudged = x.clone()
    nudged[0, :, 5, 6] += 1e-6
    with torch.no_grad():
        moved = ((net(nudged) - net(x))[0, 2] / 1e-6).item()
    signed = torch.autograd.functional.jacobian(lambda t: net(t)[0, 2], x)[0, :, 5, 6]
    assert moved == pytest.approx(signed.sum().item(), rel=1e-4)
    found = viz.saliency(net, x, target=2).frames[0, 5, 6]
    assert found == pytest.approx(signed.abs().max().item(), rel=1e-5)


def test_probability_is_another_question_than_the_logit(model: nn.Module, cat: viz.Sample) -> None:
    logit = viz.saliency(model, cat, target=282)
    probability = viz.saliency(model, cat, target=282, of="probability")
    x = cat.x.clone().requires_grad_()
    model(x).softmax(1)[0, 282].backward()
    assert x.grad is not None
    np.testing.assert_allclose(probability.frames[0], strongest(x.grad), rtol=1e-4, atol=1e-6)
    correlation = np.corrcoef(logit.frames.ravel(), probability.frames.ravel())[0, 1]
    assert correlation < 0.95
    assert "probability" in probability.name


def test_without_a_target_the_predicted_class_is_explained(
    model: nn.Module, cat: viz.Sample
) -> None:
    found = viz.saliency(model, cat)
    assert found.axes == {"class": ["tiger cat"]}
    np.testing.assert_array_equal(found.frames, viz.saliency(model, cat, target="tiger cat").frames)


def test_the_scale_ends_below_the_brightest_and_says_so(model: nn.Module, cat: viz.Sample) -> None:
    found = viz.saliency(model, cat)
    assert found.vmax is not None
    assert found.values is not None
    assert np.mean(found.frames > found.vmax) == pytest.approx(0.005, abs=0.001)
    assert found.values[0] == found.frames.max() > found.vmax
    assert "clipped" in found.unit


def test_a_class_without_support_is_said_to_have_none(tiny: nn.Module, noise: Tensor) -> None:
    nn.init.zeros_(tiny[6].weight)
    assert "no support" in viz.saliency(tiny, noise, target=0).titles[0]


def test_wrong_questions_are_answered_with_the_right_ones(tiny: nn.Module, noise: Tensor) -> None:
    with pytest.raises(ValueError, match=r"'guide'.*Did you mean 'guided'"):
        viz.saliency(tiny, noise, method="guide")
    with pytest.raises(ValueError, match=r"'logits'.*'logit'"):
        viz.saliency(tiny, noise, of="logits")
    with pytest.raises(ValueError, match="passes=0"):
        viz.saliency(tiny, noise, method="smoothgrad", passes=0)
    with pytest.raises(ValueError, match="0 to 4"):
        viz.saliency(tiny, noise, target=5)


@pytest.mark.parametrize("method", ["vanilla", "input_x_gradient", "integrated_gradients"])
def test_a_batch_gets_an_axis_of_images(tiny: nn.Module, noise: Tensor, method: str) -> None:
    batch = torch.cat([noise, -2 * noise])
    found = viz.saliency(tiny, batch, method=method)
    assert found.axes["image"] == [0, 1]
    for n in range(2):
        alone = viz.saliency(tiny, batch[n : n + 1], method=method)
        assert alone.frames.any()
        np.testing.assert_allclose(found.frames[n], alone.frames[0], rtol=1e-5, atol=1e-8)
        assert found.titles[n] == f"image {n} · {alone.axes['class'][0]}"


def test_the_seed_decides_smoothgrad_and_the_global_state_does_not(
    tiny: nn.Module, noise: Tensor
) -> None:
    def smooth(seed: int) -> np.ndarray:
        return viz.saliency(tiny, noise, method="smoothgrad", passes=3, seed=seed).frames

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = smooth(0)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(first, smooth(0))
    assert not np.array_equal(first, smooth(1))
