"""Class activation maps: each method against its paper's equation, titles and refusals."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import LIMITS, both_sides, case, equal, maps, paper, unequal
from torch import Tensor, nn

import vizhelpers as viz

TABBY = 281
CAMS = [
    ("squeezenet", "features.9"),
    ("efficientnet", "blocks.5.3"),
    ("resnet", "layer3.0"),
    ("vit", "encoder.layers.encoder_layer_1"),
]


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "xgradcam", "layercam", "gradcam++"])
@pytest.mark.parametrize(("name", "layer"), CAMS)
def test_cam_equals_its_paper(name: str, layer: str, method: str) -> None:
    expected = paper(method, *both_sides(name, layer))
    ours, wrong = maps(name, layer, method)
    equal(ours, expected, LIMITS.get(method, 1e-5))
    unequal(wrong, expected)
    unequal(-ours, expected)


@pytest.mark.parametrize("layer", ["bn1", "blocks.3", "bn2"])
def test_a_title_counts_the_weights_that_gradcam_plus_plus_makes_negative(layer: str) -> None:
    """Equation 19 shortened by the squared gradient; bn1 and bn2 end in a ReLU6, blocks.3 not."""
    c = case("efficientnet")
    a, g = both_sides("efficientnet", layer)
    coefficients = np.divide(1, 2 + g * a.sum(axis=(1, 2), keepdims=True))
    weights = (coefficients * np.maximum(g, 0)).sum(axis=(1, 2))
    stack = viz.cam(c.model, c.x, layer, target=c.target, method="gradcam++")
    equal(stack.frames[0], np.maximum(np.tensordot(weights, a, axes=1), 0), 1e-4)
    negative = int((weights < 0).sum())
    if layer == "blocks.3":
        assert negative >= 3
        unequal(stack.frames[0], np.maximum(np.tensordot(np.abs(weights), a, axes=1), 0))
        assert f"{negative} of 80 weights negative" in stack.titles[0]
        plain = viz.cam(c.model, c.x, layer, target=c.target, method="gradcam")
        assert "negative" not in plain.titles[0]
    else:
        assert a.min() == 0
        assert (coefficients[g > 0] <= 0.5).all()
        assert negative == 0 and "negative" not in stack.titles[0]


def test_the_original_cam_is_the_heads_weighted_sum() -> None:
    """Zhou et al. 2016: the map's mean plus the bias is the logit."""
    c = case("efficientnet")
    with torch.no_grad():
        head, logit = c.clean.classifier, c.clean(c.x)[0]
        a = c.clean.forward_features(c.x)[0]
        expected = torch.einsum("c,chw->hw", head.weight[c.target], a)
    equal(expected.mean() + head.bias[c.target], logit[c.target])
    ours, wrong = maps("efficientnet", "bn2", "cam")
    equal(ours, expected)
    unequal(wrong, expected)


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


@pytest.mark.parametrize(
    ("name", "method"),
    [("squeezenet", "gradcam"), ("efficientnet", "eigengradcam"), ("resnet", "gradcam++")],
)
def test_a_sweep_is_one_call_for_each_pair(name: str, method: str) -> None:
    """Layers of several sizes: maps are stretched to the largest, bilinearly."""
    c = case(name)
    layers, targets = c.layers[1:], [c.target, c.other]
    sweep = viz.cam_sweep(c.model, c.x, layers=layers, targets=targets, method=method).frames
    pairs = [(layer, target) for layer in layers for target in targets]
    for frame, (layer, target) in zip(sweep, pairs, strict=True):
        single = viz.cam(c.model, c.x, layer, target=target, method=method).frames
        size = sweep.shape[1:]
        stretched = F.interpolate(torch.from_numpy(single)[None], size, mode="bilinear")[0, 0]
        if single.any():
            equal(frame, stretched)
        else:
            assert not frame.any()
    unequal(sweep[0], sweep[1])
    unequal(sweep[0], sweep[2])
    assert sum(frame.any() for frame in sweep) >= 4


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


def test_without_a_layer_the_last_of_cam_layers_is_taken(model: nn.Module, cat: viz.Sample) -> None:
    layers = viz.cam_layers(model, cat)
    default, last = viz.cam(model, cat, target=TABBY), viz.cam(model, cat, layers[-1], target=TABBY)
    assert default.axes["layer"] == [layers[-1]] and len(layers) > 3
    np.testing.assert_array_equal(default.frames, last.frames)
    sweep = viz.cam_sweep(model, cat, targets=["tabby", "tench", 285])
    assert sweep.axes == {"layer": layers, "class": ["tabby", "tench", "Egyptian cat"]}
    with pytest.raises(ValueError, match="maps"):
        viz.cam(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(1, 3, 2, 2))
