"""Feature maps, against torchvision's feature extractor."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

import vizhelpers as viz


@pytest.mark.parametrize("layer", ["features.0", "features.3", "features.12"])
def test_maps_equal_torchvisions(model: nn.Module, cat: viz.Sample, layer: str) -> None:
    with torch.no_grad():
        expected = create_feature_extractor(model, [layer])(cat.x)[layer][0].numpy()
    assert expected.any()
    np.testing.assert_array_equal(viz.feature_maps(model, cat, layer).frames, expected)


def test_the_scale_is_diverging_only_where_something_is_negative(
    model: nn.Module, cat: viz.Sample
) -> None:
    assert viz.feature_maps(model, cat, "features.0").scale == "diverging"
    assert viz.feature_maps(model, cat, "features.3").scale == "sequential"


def test_several_photographs_share_one_scale(model: nn.Module) -> None:
    samples = {name: viz.prepare(model, name) for name in ("cat", "astronaut")}
    both = viz.feature_maps(model, samples, "features.11", channels=[131])
    assert both.shape == (2, 1)
    assert both.limits()[0] == both.limits()[1] == (0.0, both.frames.max())
    alone = viz.feature_maps(model, samples["astronaut"], "features.11", channels=[131])
    np.testing.assert_array_equal(both.frames[1], alone.frames[0])


def test_the_photograph_of_a_sample_lies_under_the_maps(model: nn.Module, cat: viz.Sample) -> None:
    assert viz.feature_maps(model, cat, "features.3").base is cat.view
    assert viz.feature_maps(model, cat.x, "features.3").base is None


def test_an_unknown_channel_names_the_range(tiny: nn.Module, noise: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="'2' has 6"):
        viz.feature_maps(tiny, noise, "2", channels=[6])
    with pytest.raises(ValueError, match="0 to 5"):
        viz.feature_maps(tiny, noise, "2", channels=[])


def test_a_layer_without_places_is_refused(tiny: nn.Module, noise: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="'6'"):
        viz.feature_maps(tiny, noise, "6")


def test_a_batch_gets_an_axis_of_images(tiny: nn.Module, noise: torch.Tensor) -> None:
    batch = torch.cat([noise, -noise, noise + 1])
    stack = viz.feature_maps(tiny, batch, "2", channels=[1, 4])
    assert stack.axes == {"image": [0, 1, 2], "channel": [1, 4]}
    for n in range(3):
        alone = viz.feature_maps(tiny, batch[n : n + 1], "2", channels=[1, 4])
        assert alone.frames.any()
        np.testing.assert_allclose(stack.frames[2 * n : 2 * n + 2], alone.frames, atol=1e-6)
    assert not np.allclose(stack.frames[:2], stack.frames[2:4])


def test_in_a_mapping_each_photograph_is_one(tiny: nn.Module, noise: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="'two' holds 2 images"):
        viz.feature_maps(tiny, {"two": torch.cat([noise, noise])}, "2")


def test_photographs_of_different_sizes_are_refused(tiny: nn.Module, noise: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="different sizes"):
        viz.feature_maps(tiny, {"a": noise, "b": noise[..., :10]}, "2")
    with pytest.raises(ValueError, match="no photograph"):
        viz.feature_maps(tiny, {}, "2")
