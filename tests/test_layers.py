import threading

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

import vizhelpers as viz
from vizhelpers.passes.forward import evaluating


def hooks_left(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules())


def test_layer_names_are_those_that_get_submodule_takes(model: nn.Module) -> None:
    names = viz.layer_names(model)
    assert "features.3.squeeze" in names and "" not in names
    assert all(model.get_submodule(name) is viz.get_layer(model, name) for name in names)
    assert len(viz.layer_names(model, kind=nn.Conv2d)) == 26


def test_unknown_layer_names_the_nearest(model: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"no layer 'features.3.squeze'.*'features.3.squeeze'"):
        viz.get_layer(model, "features.3.squeze")


def test_capture_returns_conv_output_before_inplace_relu(tiny: nn.Module, noise: Tensor) -> None:
    expected = tiny[0](noise)
    assert expected.min() < 0  # the in-place ReLU would make this 0
    torch.testing.assert_close(viz.capture(tiny, noise, "0")["0"], expected)


def test_capture_equals_torchvisions_feature_extractor(model: nn.Module, cat: viz.Sample) -> None:
    names = ["features.4", "features.11", "classifier.3"]
    ours = viz.capture(model, cat, names)
    with torch.no_grad():
        theirs = create_feature_extractor(model, names)(cat.x)
    for name in names:
        assert theirs[name].abs().max() > 0
        torch.testing.assert_close(ours[name], theirs[name])
    assert not torch.equal(ours["features.4"], viz.capture(model, cat, "features.3")["features.3"])


def test_capture_keeps_the_order_asked_for(tiny: nn.Module, noise: Tensor) -> None:
    assert list(viz.capture(tiny, noise, ["2", "0", "2"])) == ["2", "0"]


def test_capture_leaves_mode_hooks_and_input(tiny: nn.Module, noise: Tensor) -> None:
    tiny.train()
    tiny[2].eval()
    before = noise.clone()
    viz.capture(tiny, noise, ["0", "1"])
    assert [m.training for m in tiny] == [True, True, False, True, True, True, True]
    assert hooks_left(tiny) == 0 and torch.equal(noise, before)


@pytest.mark.parametrize("raised", [RuntimeError, KeyboardInterrupt])
def test_hooks_go_even_when_the_pass_is_interrupted(
    tiny: nn.Module, noise: Tensor, raised: type[BaseException]
) -> None:
    def stop(module: nn.Module, args: object) -> None:
        raise raised("stop")

    handle = tiny[3].register_forward_pre_hook(stop)
    tiny.train()
    with pytest.raises((raised, ValueError)):
        viz.capture(tiny, noise, ["0", "2"])
    handle.remove()
    assert hooks_left(tiny) == 0 and all(m.training for m in tiny.modules())


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.relu, self.unused = nn.ReLU(), nn.Linear(2, 2)
        self.lstm = nn.LSTM(4, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(
            self.relu(x).flatten(2)[:, 0, :4].unsqueeze(1) + self.lstm(x[:, 0, :, :4])[0]
        )


@pytest.mark.parametrize(
    ("layer", "word"),
    [("relu", "more than once"), ("unused", "did not run"), ("lstm", "returns a tuple")],
)
def test_layers_without_one_output_are_refused(layer: str, word: str) -> None:
    net = Twice()
    with pytest.raises(ValueError, match=word):
        viz.capture(net, torch.randn(1, 3, 6, 6), layer)
    assert hooks_left(net) == 0


@pytest.mark.parametrize(
    ("x", "word"),
    [
        (torch.zeros(3, 12, 12), "unsqueeze"),
        (torch.zeros(1, 4, 12, 12), "3 channels"),
        (torch.zeros(1, 3, 2, 2), "viz.prepare"),
        (torch.full((1, 3, 12, 12), float("nan")), "NaN"),
        (torch.zeros(1, 3, 12, 12, dtype=torch.uint8), "floating point"),
        (torch.zeros(1, 3, 12, 12, device="meta"), "on meta"),
    ],
)
def test_wrong_input_says_what_is_wrong(tiny: nn.Module, x: Tensor, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        viz.capture(tiny, x, "0")
    assert hooks_left(tiny) == 0


def test_not_a_tensor_is_a_type_error(tiny: nn.Module) -> None:
    with pytest.raises(TypeError, match=r"viz\.prepare"):
        viz.capture(tiny, [[1.0]], "0")  # type: ignore[arg-type]


def test_another_threads_pass_is_not_recorded(tiny: nn.Module, noise: Tensor) -> None:
    other = noise + 1

    def run_another_pass(module: nn.Module, args: object) -> None:
        if threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=lambda: tiny(other))
            thread.start()
            thread.join()

    expected = tiny[0](noise)
    handle = tiny[0].register_forward_pre_hook(run_another_pass)
    found = viz.capture(tiny, noise, "0")["0"]
    handle.remove()
    torch.testing.assert_close(found, expected)


def test_evaluating_restores_each_flag(tiny: nn.Module) -> None:
    tiny.train()
    tiny[0].eval()
    with evaluating(tiny):
        assert not any(m.training for m in tiny.modules())
    assert not tiny[0].training and tiny[1].training
