"""Wherever a network keeps its channels, its outputs are laid on the photograph right."""

import pytest
import torch
from torch import Tensor, nn

import vizhelpers as viz
from vizhelpers.passes.maps import as_maps, map_shapes


class Tokens(nn.Module):
    """A vision transformer's skeleton: patches, two more tokens, one block, a head on the first."""

    def __init__(self, mean_of_patches: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, kernel_size=4, stride=4)
        self.block = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6))
        self.norm = nn.Identity()
        self.head = nn.Linear(6, 5)
        self.mean_of_patches = mean_of_patches

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([patches[:, :2] * 0 + 9, patches], dim=1)
        tokens = self.norm(self.block(tokens) + tokens)
        return self.head(tokens.mean(dim=1) if self.mean_of_patches else tokens[:, 0])


class ChannelsLast(nn.Module):
    """Swin's habit: (N, h, w, C) between its layers."""

    def __init__(self, channels: int = 11) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, channels, kernel_size=4, stride=4)
        self.norm = nn.LayerNorm(channels)
        self.mix = nn.Linear(channels, channels)
        self.head = nn.Linear(channels, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(self.norm(self.patches(x).permute(0, 2, 3, 1)))
        return self.head(x.mean(dim=(1, 2)))


@pytest.fixture
def wide() -> Tensor:
    """Two images, wider than high: rows and columns cannot be taken for each other."""
    return torch.randn(2, 3, 12, 20, generator=torch.Generator().manual_seed(0))


def test_tokens_lie_on_the_image_as_the_patches_did(wide: Tensor) -> None:
    net = Tokens().eval()
    nn.init.zeros_(net.block[1].weight)
    nn.init.zeros_(net.block[1].bias)  # now the block hands its tokens on as they are
    out = viz.capture(net, wide, ["patches", "norm"])
    assert out["norm"].shape == (2, 17, 6)
    maps = as_maps(net, "norm", out["norm"], wide)
    assert maps.shape == (2, 6, 3, 5)
    torch.testing.assert_close(maps, out["patches"])
    assert not torch.allclose(maps.flip(3), out["patches"])


def test_channels_that_come_last_are_found_last(wide: Tensor) -> None:
    net = ChannelsLast().eval()
    out = viz.capture(net, wide, "norm")["norm"]
    assert out.shape == (2, 3, 5, 11)
    torch.testing.assert_close(as_maps(net, "norm", out, wide), out.permute(0, 3, 1, 2))
    assert map_shapes(net, wide)["mix"] == (2, 11, 3, 5)


def test_a_convolutions_output_is_never_turned(tiny: nn.Module, wide: Tensor) -> None:
    out = torch.zeros(2, 12, 20, 3)  # as proportioned as an image, but no LayerNorm is about
    assert as_maps(tiny, "0", out, wide) is out


def test_what_can_be_read_both_ways_is_refused() -> None:
    net, x = ChannelsLast(channels=5).eval(), torch.randn(1, 3, 20, 20)
    with pytest.raises(ValueError, match=r"\(1, 5, 5, 5\).*read as"):
        viz.feature_maps(net, x, "norm")
    assert "norm" not in map_shapes(net, x)


def test_outputs_without_places_are_refused(wide: Tensor) -> None:
    net = Tokens().eval()
    with pytest.raises(ValueError, match="no rows and columns"):
        viz.feature_maps(net, wide, "head")
    assert "head" not in map_shapes(net, wide) and "block.0" in map_shapes(net, wide)


def test_gradcam_of_tokens_is_the_equation_on_their_maps(wide: Tensor) -> None:
    net = Tokens(mean_of_patches=True).eval()
    x = wide[:1]
    found = viz.cam(net, x, "block", target=3).frames[0]
    record: dict[str, Tensor] = {}
    handle = net.block.register_forward_hook(lambda m, a, out: record.update(out=out))
    logits = net(x)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, 3], record["out"])
    a, g = (t[0, 2:].T.unflatten(1, (3, 5)) for t in (record["out"], gradient))
    expected = (g.mean((1, 2))[:, None, None] * a).sum(0).relu().detach()
    assert expected.max() > 0
    torch.testing.assert_close(torch.from_numpy(found), expected)


def test_where_only_the_class_token_is_read_the_title_says_so(wide: Tensor) -> None:
    stack = viz.cam(Tokens().eval(), wide[:1], "norm", target=1)
    assert not stack.frames.any()
    assert stack.titles == ["1 · all zero: after it, only the class token is read"]


def test_where_patches_are_read_but_speak_against_the_class_the_title_says_no_more(
    wide: Tensor,
) -> None:
    net = Tokens(mean_of_patches=True).eval()
    nn.init.zeros_(net.head.weight)
    net.head.weight.data[1] = -1.0  # all activations positive below, so the sum is negative
    nn.init.zeros_(net.patches.weight)
    nn.init.ones_(net.patches.bias)
    for parameter in net.block.parameters():
        nn.init.zeros_(parameter)
    stack = viz.cam(net, wide[:1], "norm", target=1)
    assert not stack.frames.any()
    assert stack.titles == ["1 · all zero: no support"]
