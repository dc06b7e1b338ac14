import warnings

import numpy as np
import pytest
import torch
from captum.attr import GuidedBackprop, InputXGradient, Saliency
from torch import Tensor, nn

import vizhelpers as viz


@pytest.fixture
def images(cat: viz.Sample) -> Tensor:
    return cat.x.clone().requires_grad_()


def strongest(gradient: Tensor) -> np.ndarray:
    return gradient[0].abs().amax(0).detach().numpy()


def test_saliency_equals_captum(model: nn.Module, cat: viz.Sample, images: Tensor) -> None:
    expected = strongest(Saliency(model).attribute(images, 281, abs=False))
    assert expected.max() > 0
    found = viz.saliency(model, cat, target=281)
    assert found.frames.shape == (1, 224, 224)
    np.testing.assert_allclose(found.frames[0], expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(viz.saliency(model, cat, target=282).frames[0], expected, atol=1e-3)


def test_guided_equals_captum(
    model: nn.Module, clean_model: nn.Module, cat: viz.Sample, images: Tensor
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = strongest(GuidedBackprop(clean_model).attribute(images, 281))
    found = viz.saliency(model, cat, target=281, method="guided").frames[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(viz.saliency(model, cat, target=281).frames[0], expected, atol=1e-3)


def test_input_x_gradient_equals_captum(model: nn.Module, cat: viz.Sample, images: Tensor) -> None:
    expected = strongest(InputXGradient(model).attribute(images, 281))
    found = viz.saliency(model, cat, target=281, method="input_x_gradient").frames[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


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
