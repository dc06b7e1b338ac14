"""Models through which no gradient passes, and what the error says."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from networks import SIZE, Net
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import vizhelpers as viz

BLOCKS: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "no_grad": torch.no_grad()(lambda net, x: x * 1),
    "inference_mode": torch.inference_mode()(lambda net, x: x * 1),
    "detach": lambda net, x: x.detach(),
}


@pytest.mark.parametrize("how", BLOCKS)
def test_a_part_without_gradients_is_explained(how: str, x: Tensor) -> None:
    model = Net(BLOCKS[how])
    viz.predict(model, x)
    viz.cam(model, x, "first", method="eigencam")
    if how != "inference_mode":
        assert viz.cam(model, x, "second").frames.any(), "behind it gradients pass"
    for call in (
        lambda: viz.cam(model, x, "first"),
        lambda: viz.saliency(model, x),
        lambda: viz.saliency(model, x, method="guided"),
        lambda: viz.saliency(model, x, method="smoothgrad", passes=1),
        lambda: viz.saliency(model, x, method="integrated_gradients", passes=1),
        lambda: viz.activation_maximization(model, "second", channels=[0], steps=1, size=12),
        lambda: viz.activation_maximization(
            model, "second", channels=[0], steps=1, size=12, mode="fourier"
        ),
        lambda: viz.flash.Backprop(model).calculate_gradients(x),
        lambda: viz.flash.Backprop(model).calculate_gradients(x, guided=True),
        lambda: viz.flash.GradientAscent(model, 12).optimize(model.second, 0, num_iter=1),
    ):
        with pytest.raises(ValueError, match=r"(no_grad|inference_mode).*(torch: )"):
            call()


@pytest.mark.parametrize("layer", ["first", "second"])
def test_checkpointing_changes_no_map(layer: str, x: Tensor) -> None:
    def checkpointed(net: Net, x: Tensor) -> Tensor:
        return checkpoint(lambda x: x.sin(), x, use_reentrant=False)

    class Whole(Net):
        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(super().forward, x, use_reentrant=False)

    plain = Net(lambda net, x: x.sin())
    for model in (Net(checkpointed), Whole(lambda net, x: x.sin())):
        for method in ("gradcam", "layercam"):
            np.testing.assert_allclose(
                viz.cam(model, x, layer, method=method).frames,
                viz.cam(plain, x, layer, method=method).frames,
                atol=1e-6,
            )
        np.testing.assert_allclose(
            viz.saliency(model, x).frames, viz.saliency(plain, x).frames, atol=1e-6
        )


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_reentrant_checkpointing_is_explained(x: Tensor) -> None:
    model = Net(lambda net, x: checkpoint(torch.sin, x, use_reentrant=True))
    for call in (lambda: viz.saliency(model, x), lambda: viz.cam(model, x, "first")):
        with pytest.raises(ValueError, match="use_reentrant=False"):
            call()


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_scripted_and_quantised_parts_are_explained(x: Tensor) -> None:
    scripted = nn.Sequential(torch.jit.script(nn.Conv2d(3, 4, 3)), nn.ReLU(), nn.Flatten())
    with pytest.raises(ValueError, match="TorchScript"):
        viz.capture(scripted, x, "0")
    assert viz.capture(scripted, x, "1")["1"].shape == (1, 4, 10, 10)
    assert viz.module_tree(scripted, input_size=SIZE).rows[1].shape == (1, 4, 10, 10)
    quantised = torch.ao.quantization.quantize_dynamic(Net(), {nn.Linear}, dtype=torch.qint8)
    viz.predict(quantised, x)
    shapes = {row.name: row.shape for row in viz.module_tree(quantised, input_size=SIZE).rows}
    assert shapes["fc"] == (1, 5)
    for call in (lambda: viz.saliency(quantised, x), lambda: viz.cam(quantised, x, "second")):
        with pytest.raises(ValueError, match="quantised"):
            call()


@pytest.mark.parametrize(
    ("between", "word", "fails"),
    [
        (lambda net, x: x.register_hook(print) and x, r"if x\.requires_grad", viz.predict),
        (lambda net, x: x.retain_grad() or x, r"if x\.requires_grad", viz.predict),
        (lambda net, x: x.numpy() is not None and x, r"x\.detach\(\)\.numpy", viz.saliency),
    ],
)
def test_lines_of_a_forward_that_need_or_forbid_gradients_are_named(
    between: Any, word: str, fails: Callable[..., Any], x: Tensor
) -> None:
    with pytest.raises(ValueError, match=word):
        fails(Net(between), x)


def test_a_model_on_meta_or_built_under_inference_mode_is_refused_by_that_name(x: Tensor) -> None:
    with torch.device("meta"):
        sketch = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for call in (
        viz.predict,
        lambda m, x: viz.cam(m, x, "0"),
        lambda m, x: viz.feature_maps(m, x, "0"),
    ):
        with pytest.raises(ValueError, match="meta device"):
            call(sketch, torch.empty(SIZE, device="meta"))
    with torch.inference_mode():
        model = Net()
    viz.predict(model, x)
    with pytest.raises(ValueError, match=r"built under torch\.inference_mode"):
        viz.saliency(model, x)
    with pytest.raises(ValueError, match="to have 3 channels"):
        viz.predict(model, x[:, :1])


def test_nan_gradients_are_refused(x: Tensor) -> None:
    class Hidden(Net):
        def forward(self, x: Tensor) -> Tensor:
            return torch.nan_to_num(super().forward(x / 0 * 0))

    with pytest.raises(ValueError, match=r"gradient of the logit holds NaN"):
        viz.saliency(Hidden(), x)
