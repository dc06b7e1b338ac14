import pytest
import torch
from torch import Tensor, nn

from vizhelpers.passes.gradients import (
    activations_and_gradients,
    input_gradient,
    logit_of,
    probability_of,
)


def test_guided_sees_functional_relus(tiny: nn.Module, noise: Tensor) -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = tiny

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.parts[0](x))
            return self.parts[4:](nn.functional.relu(self.parts[2](x)))

    expected = input_gradient(tiny, noise, logit_of(1), guided=True)
    assert not torch.allclose(expected, input_gradient(tiny, noise, logit_of(1)))
    torch.testing.assert_close(
        input_gradient(Functional(), noise, logit_of(1), guided=True), expected
    )


def test_guided_without_relu_is_refused(noise: Tensor) -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Sigmoid(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match="uses none"):
        input_gradient(net, noise, logit_of(0), guided=True)


def test_probability_gradient_is_that_of_the_softmax(tiny: nn.Module, noise: Tensor) -> None:
    x = noise.clone().requires_grad_()
    (expected,) = torch.autograd.grad(tiny(x).softmax(1)[0, 2], x)
    torch.testing.assert_close(input_gradient(tiny, noise, probability_of(2)), expected)


def test_gradients_of_many_scores_equal_one_by_one(tiny: nn.Module, noise: Tensor) -> None:
    acts, grads, _ = activations_and_gradients(
        tiny, noise, ["0", "2"], [logit_of(i) for i in range(5)]
    )
    for i in range(5):
        a = tiny[0](noise).detach().requires_grad_()
        (expected,) = torch.autograd.grad(tiny[1:](a.clone())[0, i], a)
        torch.testing.assert_close(acts["0"], a.detach())
        torch.testing.assert_close(grads["0"][i], expected)
    assert [one.shape for one in grads["2"]] == [(1, 6, 8, 8)] * 5


def test_nothing_is_left_on_the_model(tiny: nn.Module, noise: Tensor) -> None:
    tiny.requires_grad_(False)
    tiny[0].weight.requires_grad_(True)
    tiny[0].weight.grad = torch.ones_like(tiny[0].weight)
    tiny.train()
    with torch.no_grad():
        input_gradient(tiny, noise, logit_of(0), guided=True)
        activations_and_gradients(tiny, noise, ["0"], [logit_of(0)])
    assert [p.requires_grad for p in tiny.parameters()] == [True] + [False] * 5
    assert torch.equal(tiny[0].weight.grad, torch.ones_like(tiny[0].weight))
    assert all(m.training and not m._forward_hooks for m in tiny.modules())
    assert not noise.requires_grad


def test_class_beyond_the_last_is_refused(tiny: nn.Module, noise: Tensor) -> None:
    with pytest.raises(ValueError, match="from 0 to 4"):
        input_gradient(tiny, noise, logit_of(5))


def test_a_relu_beside_the_way_of_the_gradient_does_not_count(noise: Tensor) -> None:
    class Table(nn.Module):
        """As in Swin V2: a ReLU makes numbers that do not depend on the pixels."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bias = nn.Conv2d(3, 2, 3), nn.Parameter(torch.randn(2))

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).mean((2, 3)) + torch.relu(self.bias)

    with pytest.raises(ValueError, match="uses none between the pixels and the score"):
        input_gradient(Table(), noise, logit_of(0), guided=True)
