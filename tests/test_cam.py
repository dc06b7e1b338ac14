"""Each method against its paper's equation in float64 NumPy, and grad-cam where it is right."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import vizhelpers as viz
from vizhelpers.passes.gradients import activations_and_gradients, logit_of

LAYER = "features.9"
TABBY = 281


@pytest.fixture(scope="module")
def both(model: nn.Module, cat: viz.Sample) -> tuple[np.ndarray, np.ndarray]:
    """Activation and gradient at one layer, (C, H, W) float64."""
    a, g, _ = activations_and_gradients(model, cat.x, [LAYER], [logit_of(TABBY)])
    return a[LAYER][0].double().numpy(), g[LAYER][0][0].double().numpy()


def paper(method: str, a: np.ndarray, g: np.ndarray) -> np.ndarray:
    if method == "gradcam":
        cam = np.tensordot(g.mean((1, 2)), a, 1)
    elif method == "hirescam":
        cam = (g * a).sum(0)
    elif method == "xgradcam":
        sums = a.sum((1, 2))
        weights = np.divide((g * a).sum((1, 2)), sums, out=np.zeros_like(sums), where=sums != 0)
        cam = np.tensordot(weights, a, 1)
    elif method == "layercam":
        cam = (np.maximum(g, 0) * a).sum(0)
    else:
        bottom = 2 * g**2 + a.sum((1, 2), keepdims=True) * g**3
        alpha = np.divide(g**2, bottom, out=np.zeros_like(g), where=bottom != 0)
        cam = np.tensordot((alpha * np.maximum(g, 0)).sum((1, 2)), a, 1)
    return np.maximum(cam, 0)


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "xgradcam", "layercam", "gradcam++"])
def test_cam_equals_its_paper(
    model: nn.Module, cat: viz.Sample, both: tuple[np.ndarray, np.ndarray], method: str
) -> None:
    expected = paper(method, *both)
    peak = expected.max()
    assert peak > 0
    ours = viz.cam(model, cat, LAYER, target=TABBY, method=method).frames[0]
    np.testing.assert_allclose(ours, expected, atol=1e-5 * peak)
    other = viz.cam(model, cat, LAYER, target="tench", method=method).frames[0]
    assert np.abs(other - expected).max() > 0.01 * peak


@pytest.mark.parametrize(
    ("method", "name"),
    [("gradcam", "GradCAM"), ("layercam", "LayerCAM"), ("xgradcam", "XGradCAM"),
     ("hirescam", "HiResCAM")],
)  # fmt: skip
def test_cam_equals_grad_cam(
    model: nn.Module,
    cat: viz.Sample,
    both: tuple[np.ndarray, np.ndarray],
    method: str,
    name: str,
) -> None:
    import pytorch_grad_cam

    layer = model.get_submodule(LAYER)
    a, g = (value.astype(np.float32)[None] for value in both)
    with getattr(pytorch_grad_cam, name)(copy.deepcopy(model), [layer]) as cam:
        smooth = {} if name in ("GradCAM", "XGradCAM") else {"eigen_smooth": False}
        theirs = np.maximum(cam.get_cam_image(cat.x, layer, None, a, g, **smooth)[0], 0)
    ours = viz.cam(model, cat, LAYER, target=TABBY, method=method).frames[0]
    assert theirs.max() > 0
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * theirs.max())


def test_class_channel_of_squeezenet_pools_to_the_logit(model: nn.Module, cat: viz.Sample) -> None:
    maps = viz.capture(model, cat, ["classifier.2"])["classifier.2"]
    torch.testing.assert_close(maps.mean((2, 3)), model(cat.x).detach(), rtol=1e-5, atol=1e-5)


def test_original_cam_plus_bias_and_relu_is_the_class_channel(
    model: nn.Module, cat: viz.Sample
) -> None:
    ours = viz.cam(model, cat, "features.12", target=TABBY, method="cam").frames[0]
    channel = viz.capture(model, cat, "classifier.2")["classifier.2"][0, TABBY].numpy()
    bias = viz.get_layer(model, "classifier.1").bias[TABBY].item()
    assert channel.max() > 1
    np.testing.assert_allclose(np.maximum(ours + bias, 0), channel, atol=1e-3)


def test_original_cam_on_a_pooled_linear_head(tiny: nn.Module, noise: Tensor) -> None:
    ours = viz.cam(tiny, noise, "3", target=2, method="cam").frames[0]
    a = tiny[:4](noise)[0].detach()
    expected = torch.einsum("c,chw->hw", tiny[6].weight[2], a).detach().numpy()
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_original_cam_is_refused_where_the_head_does_not_allow_it(noise: Tensor) -> None:
    vgg_like = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 8), nn.ReLU(), nn.Linear(8, 4)
    )
    with pytest.raises(ValueError, match="gradcam"):
        viz.cam(vgg_like, noise, "1", target=1, method="cam")


@pytest.mark.parametrize("bias", [torch.full((5,), 1e3), 1e3 * torch.arange(5)])
def test_a_bias_that_dominates_proves_no_head_at_the_wrong_layer(
    noise: Tensor, bias: Tensor
) -> None:
    head = nn.Linear(4, 5)
    head.bias.data.copy_(bias)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        head,
    )
    maps = viz.capture(net, noise, "3")["3"]
    expected = torch.einsum("c,chw->hw", head.weight[2], maps[0]).detach().numpy()
    assert 0 < np.abs(expected).max() < 1e-3 * bias.abs().max()
    found = viz.cam(net, noise, "3", target=2, method="cam").frames[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    for layer in ("0", "1", "2"):
        with pytest.raises(ValueError, match="no such head"):
            viz.cam(net, noise, layer, target=2, method="cam")


def test_sweep_equals_one_call_for_each_pair(model: nn.Module, cat: viz.Sample) -> None:
    layers, targets = ["features.11", "features.12"], ["tabby", "tench", 285]
    sweep = viz.cam_sweep(model, cat, layers=layers, targets=targets)
    assert sweep.axes == {"layer": layers, "class": ["tabby", "tench", "Egyptian cat"]}
    for i, (layer, target) in enumerate((la, t) for la in layers for t in targets):
        one = viz.cam(model, cat, layer, target=target)
        assert one.frames.max() > 0
        np.testing.assert_allclose(sweep.frames[i], one.frames[0], rtol=1e-5, atol=1e-7)


def test_sweep_runs_forward_once_and_backward_once_per_class(
    tiny: nn.Module, noise: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"forward": 0, "backward": 0}
    tiny.register_forward_hook(lambda *args: counts.update(forward=counts["forward"] + 1))
    grad = torch.autograd.grad

    def counted(*args: object, **kwargs: object) -> object:
        counts["backward"] += 1
        return grad(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.autograd, "grad", counted)
    viz.cam_sweep(tiny, noise, layers=["0", "1", "2", "3"], targets=[0, 1, 2])
    assert counts == {"forward": 1, "backward": 3}


def test_of_a_batch_only_the_image_without_a_logit_has_an_empty_ablation_cam(
    tiny: nn.Module, noise: Tensor
) -> None:
    net = nn.Sequential(*tiny[:6], nn.ReLU())  # its six logits are means of a ReLU
    batch = torch.cat([noise, torch.full_like(noise, -9.0)])
    target = int((net(batch)[0] > 0).nonzero()[0])
    net[2].bias.data[target] = 0.0
    net[2].weight.data[target] = net[2].weight.data[target].abs()
    net[0].bias.data.zero_()
    net[0].weight.data.abs_()  # so that the dark image is zero behind the first ReLU
    assert (net(batch)[:, target] > 0).tolist() == [True, False]
    found = viz.cam(net, batch, "1", target=target, method="ablationcam").frames
    assert found[0].any() and not found[1].any()


@pytest.mark.parametrize("target", [None, 2])
def test_a_batch_gets_an_axis_of_images(tiny: nn.Module, noise: Tensor, target: int | None) -> None:
    batch = torch.cat([noise, -2 * noise])
    found = viz.cam_sweep(tiny, batch, layers=["1", "3"], targets=[target, 0])
    assert {name: len(labels) for name, labels in found.axes.items()} == {
        "layer": 2, "class": 2, "image": 2,
    }  # fmt: skip
    alone = [
        viz.cam_sweep(tiny, batch[n : n + 1], layers=["1", "3"], targets=[target, 0]).frames
        for n in range(2)
    ]
    expected = np.stack(alone, axis=1).reshape(found.frames.shape)
    assert expected.any()
    np.testing.assert_allclose(found.frames, expected, rtol=1e-5, atol=1e-7)


def test_every_method_says_what_it_costs(
    tiny: nn.Module, noise: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backward passes are counted: the stated cost is the real one."""
    backward = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: backward.append(1) or grad(*a, **k))
    assert set(viz.CAM_METHODS.values()) == {"forward", "gradient", "perturbation"}
    for method, cost in viz.CAM_METHODS.items():
        backward.clear()
        layers = ["3"] if method == "cam" else ["1", "3"]
        viz.cam_sweep(tiny, noise, layers=layers, targets=[0, 1, 2], method=method)
        assert len(backward) == (3 if cost == "gradient" else 0), method


def test_eigencam_does_not_know_the_class(model: nn.Module, cat: viz.Sample) -> None:
    maps = [
        viz.cam(model, cat, "features.12", target=t, method="eigencam").frames for t in (281, 0)
    ]
    assert maps[0].max() > 0
    np.testing.assert_array_equal(*maps)


def test_unsupported_class_gives_zeros_and_says_so(model: nn.Module) -> None:
    grey = torch.zeros(1, 3, 224, 224)
    with torch.no_grad():
        empty = int((model(grey)[0] == 0).nonzero()[0])
    stack = viz.cam(model, grey, "features.12", target=empty)
    assert not stack.frames.any() and "no support" in stack.titles[0]
    stack.plot()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"method": "gradcan"}, "'gradcam'"),
        ({"target": "tabbi"}, "'tabby'"),
        ({"target": 1000}, "0 to 999"),
        ({"target": "crane", "labels": ["crane", "crane", "egret"]}, r"\[0, 1\]"),
        ({"layer": "classifier.3"}, "rows and columns"),
        ({"layer": "features.13"}, "features.12"),
    ],
)
def test_bad_arguments_name_the_way_on(
    model: nn.Module, cat: viz.Sample, change: dict[str, object], word: str
) -> None:
    arguments = {"layer": "features.12", "target": "tabby", **change}
    with pytest.raises(ValueError, match=word):
        viz.cam(model, cat, **arguments)  # type: ignore[arg-type]


def test_grad_cam_plus_plus_says_where_its_weights_are_negative(second: nn.Module) -> None:
    """Behind no ReLU, as in EfficientNet's blocks, a channel's sum may be negative."""
    coffee = viz.prepare(second, "coffee")
    signed = viz.cam(second, coffee, "blocks.3", method="gradcam++")
    assert signed.titles[0].startswith("espresso · 6 of 80 weights negative")
    plain = viz.cam(second, coffee, "blocks.3", method="gradcam")
    assert plain.titles[0] == "espresso"


def test_without_a_layer_the_last_of_cam_layers_is_taken(model: nn.Module, cat: viz.Sample) -> None:
    layers = viz.cam_layers(model, cat)
    default, last = viz.cam(model, cat, target=TABBY), viz.cam(model, cat, layers[-1], target=TABBY)
    assert default.axes["layer"] == [layers[-1]] and len(layers) > 3
    np.testing.assert_array_equal(default.frames, last.frames)
    assert viz.cam_sweep(model, cat, targets=[TABBY]).axes["layer"] == layers
    with pytest.raises(ValueError, match="maps"):
        viz.cam(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(1, 3, 2, 2))
