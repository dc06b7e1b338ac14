"""Probabilities, classes, labels and layers, however a model or its user gives them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import SMALL, Net
from torch import Tensor, nn

import vizhelpers as viz


class Says(nn.Module):
    """Says the same logits of any picture, through a last function."""

    def __init__(self, logits: list[float], last: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.register_buffer("logits", torch.tensor([logits]))
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.logits + 0 * self.conv(x).mean((1, 2, 3))[:, None])


@pytest.mark.parametrize(
    ("logits", "last", "expected", "word"),
    [
        ([6.0, 0.0], nn.Identity(), [0.9975, 0.0025], ""),
        ([6.0, 0.0], nn.Softmax(1), [0.9975, 0.0025], "softmax"),
        ([6.0, 0.0], lambda x: F.softmax(x, 1) * 1, [0.9975, 0.0025], "sum to 1"),
        ([6.0, 0.0], nn.LogSoftmax(1), [0.9975, 0.0025], ""),
        ([-6.0], nn.Identity(), [0.0025], "sigmoid"),
        ([-6.0], nn.Sigmoid(), [0.0025], "sigmoid"),
        ([0.3], nn.Sigmoid(), [0.5744], "sigmoid"),
        ([0.3], nn.Identity(), [0.5744], "sigmoid"),
        ([-6.0], lambda x: torch.sigmoid(x).squeeze(1), [0.0025], "sigmoid"),
        ([6.0, 6.0], nn.Sigmoid(), [0.9975, 0.9975], "sigmoid"),
        ([6.0, 0.0], lambda x: x * torch.sigmoid(x), [0.9975, 0.0025], ""),
        ([0.0], lambda x: torch.sigmoid(x).clamp(0, 1), [0.5], "sigmoid"),
        ([0.0], lambda x: torch.sigmoid(x).clone(), [0.5], "sigmoid"),
        ([0.0], lambda x: torch.sigmoid(x).double(), [0.5], "sigmoid"),
        ([0.0], F.hardsigmoid, [0.5], "sigmoid"),
    ],
)
def test_probabilities_are_taken_once(
    logits: list[float], last: Any, expected: list[float], word: str, x: Tensor
) -> None:
    model = Says(logits, last)
    predictions = sorted(viz.predict(model, x), key=lambda p: p.index)
    assert [p.probability for p in predictions] == pytest.approx(expected, abs=2e-3)
    assert all(word in p.assumed and bool(p.assumed) == bool(word) for p in predictions)
    assert not word or word in repr(predictions[0])
    panel = viz.explore_cam(model, "cat", transform=SMALL, layer="conv")
    bars = panel.scene.charts[0][0]
    assert max(bars.lengths) == pytest.approx(max(expected), abs=2e-3)
    assert word in bars.title
    panel.close()


def test_one_output_of_two_classes_is_the_second(x: Tensor) -> None:
    model = Says([-6.0], lambda x: torch.sigmoid(x).squeeze())
    (top,) = viz.predict(model, x, labels=["cat", "dog"])
    assert (top.label, top.index) == ("dog", 0)
    assert top.probability == pytest.approx(0.0025, abs=1e-3)
    assert viz.cam(model, x, "conv", labels=["cat", "dog"]).axes["class"] == ["dog"]
    assert viz.saliency(model, x).name == "Saliency of the probability"
    five = Says([1.0, 2.0, 3.0, 2.0, 1.0], torch.squeeze)
    assert viz.predict(five, x)[0].index == 2


def test_the_gradient_of_a_probability_is_that_of_the_probability_shown(x: Tensor) -> None:
    """Against autograd on the softmax: the same network with and without a softmax inside."""
    plain = Net()
    inside = nn.Sequential(plain, nn.Softmax(1))
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(plain(leaf).softmax(1)[0, 2], leaf)
    strength = expected[0].abs().amax(0).numpy()
    for model in (plain, inside):
        ours = viz.saliency(model, x, target=2, of="probability")
        np.testing.assert_allclose(ours.frames[0], strength, atol=1e-7)
    logit = viz.saliency(plain, x, target=2)
    assert not np.allclose(logit.frames[0], strength, atol=1e-5)
    assert logit.name == "Saliency of the logit"
    assert viz.saliency(inside, x, target=2).name == "Saliency of the probability"


def test_a_cam_says_where_it_explains_a_probability(x: Tensor) -> None:
    inside = nn.Sequential(Net(), nn.Softmax(1))
    assert (
        "of a probability (the model ends in a softmax)" in viz.cam(inside, x, "0.last").titles[0]
    )
    assert "probability" not in viz.cam(inside, x, "0.last", method="eigencam").titles[0]
    assert "probability" not in viz.cam(Net(), x, "last").titles[0]


def test_a_list_has_one_class_for_each_image(x: Tensor) -> None:
    model, batch = Net(), torch.cat([x, x.flip(3)])
    for method in ("gradcam", "cam", "scorecam", "ablationcam"):
        both = viz.cam(model, batch, "last", target=[1, "b"], method=method, labels=list("abcde"))
        alone = [viz.cam(model, batch[i : i + 1], "last", target=1, method=method) for i in (0, 1)]
        np.testing.assert_allclose(
            both.frames, np.concatenate([s.frames for s in alone]), atol=1e-6
        )
    predicted = int(model(batch)[1].argmax())
    for make in (
        lambda target: viz.cam(model, batch, "second", target=target),
        lambda target: viz.saliency(model, batch, target=target),
        lambda target: viz.saliency(model, batch, target=target, method="smoothgrad", passes=2),
        lambda target: viz.saliency(model, batch, target=target, of="probability"),
    ):
        stack = make([0, None])
        np.testing.assert_allclose(stack.frames[0], make(0).frames[0], atol=1e-6)
        np.testing.assert_allclose(stack.frames[1], make(predicted).frames[1], atol=1e-6)
        assert all(f"image {i}" in title for i, title in enumerate(stack.titles))
    with pytest.raises(ValueError, match="3 classes for 2 images"):
        viz.cam(model, batch, "second", target=[1, 2, 3])
    with pytest.raises(ValueError, match="from 0 to 4"):
        viz.cam(model, batch, "second", target=[1, 5])


def test_smoothgrad_of_an_image_does_not_depend_on_the_batch(x: Tensor) -> None:
    batch = torch.cat([x.flip(2), x])
    both = viz.saliency(Net(), batch, target=1, method="smoothgrad", passes=2).frames
    alone = viz.saliency(Net(), x, target=1, method="smoothgrad", passes=2).frames
    np.testing.assert_allclose(both[1], alone[0], atol=1e-6)


def test_labels_may_be_a_mapping_and_may_be_fewer(x: Tensor) -> None:
    names = dict(enumerate("abcde"))
    assert viz.predict(Net(), x, 1, labels=names)[0].label in names.values()  # type: ignore
    panel = viz.explore_cam(Net(), "cat", transform=SMALL, labels=names)  # type: ignore
    assert set(panel.scene.axes["class"]) == set("abcde")
    panel.requests["other"].value = "99"
    assert panel.wait(20) and "classes go from 0 to 4" in panel.message
    panel.close()
    few = viz.cam(Net(), x, "second", target=4, labels=["a", "b"])
    assert few.axes["class"] == ["4"]
    with pytest.raises(ValueError, match="indices 0, 1, 2"):
        viz.predict(Net(), x, labels={1: "a"})  # type: ignore[arg-type]


def test_a_layer_may_be_given_as_the_module(x: Tensor) -> None:
    model = Net()
    by_name, by_module = (viz.cam(model, x, layer) for layer in ("second", model.second))
    np.testing.assert_array_equal(by_module.frames, by_name.frames)
    assert by_module.axes["layer"] == ["second"]
    assert list(viz.capture(model, x, [model.first, "second"])) == ["first", "second"]
    assert viz.kernels(model, model.first).name == viz.kernels(model, "first").name
    assert viz.feature_maps(model, x, model.first).name == viz.feature_maps(model, x, "first").name
    assert viz.get_layer(model, model.first) is model.first
    viz.activation_maximization(model, model.second, channels=[0], steps=1, size=12)
    viz.cam_sweep(model, x, layers=[model.first, model.second], targets=[None])
    viz.explore_kernels(model, layer=model.second).close()
    with pytest.raises(ValueError, match=r"not a layer inside Net.*layer_names"):
        viz.cam(model, x, Net().second)
    with pytest.raises(ValueError, match="the whole model"):
        viz.cam(model, x, model)
    with pytest.raises(TypeError, match="cam_sweep"):
        viz.cam(model, x, [model.second])  # type: ignore[arg-type]
