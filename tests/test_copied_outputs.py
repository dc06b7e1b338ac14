"""A layer's own output is returned, whatever overwrites it later."""

import numpy as np
import pytest
import torch
from stoppable import Between, Layer, Net, by_hook, net
from torch import Tensor, nn

import vizhelpers as viz
from vizhelpers.passes.capture import captured
from vizhelpers.passes.gradients import activations_and_gradients, logit_of


@pytest.fixture
def x() -> Tensor:
    return torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def _through_data(net: Net, x: Tensor) -> Tensor:
    x.data.clamp_(min=0)
    return x * 1


def _other_data(net: Net, x: Tensor) -> Tensor:
    x.data = x.data.clamp(min=0)
    return x * 1


def _through_numpy(net: Net, x: Tensor) -> Tensor:
    array = x.detach().numpy()
    np.maximum(array, 0, out=array)
    return x * 1


def _into(net: Net, x: Tensor) -> Tensor:
    torch.clamp(x.detach(), min=0, out=x.detach())
    return x * 1


OVERWRITING: dict[str, Between] = {
    "a module": lambda net, x: net.relu(x),
    "F.relu": lambda net, x: nn.functional.relu(x, inplace=True),
    "+=": lambda net, x: x.__iadd__(1),
    "a view": lambda net, x: x[:, :2].relu_().repeat(1, 2, 1, 1),
    "a view of a dead tensor": lambda net, x: net.flat(x).relu_().view_as(x),
    "foreach": lambda net, x: (torch._foreach_add_([x], 1.0), x)[1],
    ".data": _through_data,
    ".data =": _other_data,
    "NumPy": _through_numpy,
    "out=": _into,
}
MODES = {"no_grad": torch.no_grad, "inference": torch.inference_mode, "grad": torch.enable_grad}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", OVERWRITING)
def test_a_layers_own_output_is_returned_however_it_is_overwritten(
    how: str, mode: str, x: Tensor
) -> None:
    model = net(OVERWRITING[how]).requires_grad_(False)
    model.relu, model.flat = nn.ReLU(inplace=True), nn.Flatten()
    expected = by_hook(model, x, "first")
    kept: list[Tensor] = []
    handle = model.first.register_forward_hook(lambda module, args, output: kept.append(output))
    with torch.no_grad():
        model(x)
    handle.remove()
    assert not torch.equal(kept[0], expected), "a reference to the output shows something else"
    with MODES[mode]():
        for layers in (["first"], ["first", "second"], ["first", "third"]):
            for _ in range(3):
                assert torch.equal(viz.capture(model, x, layers)["first"], expected)
                assert torch.equal(captured(model, x, layers)[0]["first"], expected)


def test_a_write_that_the_first_image_did_not_show_does_not_reach_the_output(x: Tensor) -> None:
    def limited(net: Net, x: Tensor) -> Tensor:
        x.data.clamp_(max=50)
        return x * 1

    model = net(limited)
    expected = by_hook(model, x * 1000, "first")
    assert by_hook(model, x, "first").max() < 50 < expected.max()
    for image in (x, x * 1000):
        outputs = captured(model, image, ["first"])[0]
    assert torch.equal(outputs["first"], expected)


@pytest.mark.parametrize("how", ["a module", "F.relu", "+=", "a view", "a view of a dead tensor"])
def test_gradients_pass_through_an_output_that_is_overwritten_later(how: str, x: Tensor) -> None:
    model = net(OVERWRITING[how])
    model.relu, model.flat = nn.ReLU(inplace=True), nn.Flatten()
    leaf = model.first(x).detach().requires_grad_()
    rest = model.head(model.third(model.second(model.between(leaf.clone()))).mean((2, 3)))
    (expected,) = torch.autograd.grad(rest[0, 2], leaf)
    assert expected.any()
    for _ in range(3):
        activations, gradients, output = activations_and_gradients(
            model, x, ["first", "second"], [logit_of(2)]
        )
        torch.testing.assert_close(activations["first"], leaf.detach())
        torch.testing.assert_close(gradients["first"][0], expected)
        torch.testing.assert_close(output, rest.detach())


def test_captured_outputs_share_no_memory(x: Tensor) -> None:
    model = nn.Sequential(Layer("first", 3), nn.Identity(), nn.Flatten(), nn.Linear(256, 2)).eval()
    for _ in range(3):
        outputs = viz.capture(model, x, ["0", "1", "2"])
        for name in outputs:
            outputs[name].zero_()
            assert all(other.any() for other in list(outputs.values())[int(name) + 1 :])
