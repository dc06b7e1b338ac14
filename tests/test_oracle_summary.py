"""``viz.summary`` against torch's counter of operations and torchinfo."""

from collections.abc import Callable
from functools import partial

import pytest
import timm
import torch
import torchinfo
from networks import seeded
from oracles import LAYERS, case, tiny_vit
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import ConvNeXt, MaxVit, SwinTransformer
from torchvision.models.convnext import CNBlockConfig

import vizhelpers as viz


@pytest.mark.parametrize("name", LAYERS)
def test_totals_are_torchinfos_and_mult_adds_half_of_torchs_flops(name: str) -> None:
    c = case(name)
    summary = viz.summary(c.model, tuple(c.x.shape))
    with seeded(0):
        theirs = torchinfo.summary(c.clean, tuple(c.x.shape), device="cpu", mode="eval", verbose=0)
    assert summary.parameters == sum(p.numel() for p in c.model.parameters()) > 1e5
    assert summary.parameters == theirs.total_params
    assert summary.torchinfo_mult_adds == theirs.total_mult_adds
    assert summary.pass_bytes == theirs.total_output_bytes
    assert summary.parameter_bytes == theirs.total_param_bytes
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        c.clean(c.x)
    assert summary.mult_adds == counter.get_total_flops() // 2 > summary.parameters


# Linear layers that see many places or tokens, and attention; with the side of the input.
TOKENS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "convnext": (lambda: ConvNeXt([CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 1)]), 64),
    "swin": (lambda: SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=5), 64),
    "vit": (lambda: tiny_vit(64, 2), 64),
    "maxvit": (lambda: MaxVit((32, 32), 8, 4, [8], [1], 4, 0.0, num_classes=5), 32),
    "edgenext": (partial(timm.create_model, "edgenext_xx_small", depths=(1, 1, 1, 1)), 64),
    "mobilevit": (partial(timm.create_model, "mobilevit_xxs"), 64),
    "deit": (partial(timm.create_model, "deit_tiny_patch16_224", img_size=64, depth=2), 64),
}


@pytest.mark.parametrize("name", TOKENS)
def test_mult_adds_of_linear_layers_and_attention_are_half_of_torchs_flops(name: str) -> None:
    """The oracle sees a real forward pass with gradients; without them torch fuses attention."""
    build, side = TOKENS[name]
    with seeded(0):
        model, x = build().eval(), torch.rand(1, 3, side, side)
        theirs = torchinfo.summary(model, input_data=x, device="cpu", mode="eval", verbose=0)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(x)
    work = counter.get_total_flops() // 2
    assert 0 < theirs.total_mult_adds < 0.75 * work
    summary = viz.summary(model, tuple(x.shape))
    assert summary.mult_adds == work
    assert summary.torchinfo_mult_adds == theirs.total_mult_adds
    assert "too few" in repr(summary)

    parts = {text.partition(":")[0]: done for depth, text, _, done in summary.layers if depth == 1}
    called = {
        path.partition(".")[2]: sum(counts.values()) // 2
        for path, counts in counter.get_flop_counts().items()
        if path.count(".") == 1
    }
    assert called.keys() <= parts.keys()
    assert all(parts[part] == done for part, done in called.items())
    assert sum(parts.values()) == work
