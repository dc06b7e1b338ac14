"""``viz.summary`` against torch's counter of operations and torchinfo."""

from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch
import torchinfo
import torchvision
from networks import seeded
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import vizhelpers as viz

if any(find_spec(name) is None for name in ("captum", "torchcam", "timm")):
    pytest.skip("captum, torchcam and timm come with uv sync", allow_module_level=True)
import timm
from oracles import (
    CNNS,
    LAYERS,
    case,
)


def beside_multiplication(model: nn.Module, x: Tensor) -> int:
    """Return what torchinfo counts beside the multiply-adds of convolutions and linear layers.

    A convolution's bias once for each place, every other parameter (a linear layer's bias,
    BatchNorm's scale and shift) once for each image.
    """
    shapes: dict[nn.Module, torch.Size] = {}
    handles = [
        m.register_forward_hook(lambda m, args, out: shapes.update({m: out.shape}))
        for m in model.modules()
        if not list(m.children())
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    total = 0
    for module, shape in shapes.items():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            bias = 0 if module.bias is None else module.bias.numel()
            total += bias * (shape[2:].numel() if isinstance(module, nn.Conv2d) else 1)
        else:
            total += sum(p.numel() for p in module.parameters())
    return total * len(x)


def flops(model: nn.Module, x: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", CNNS)
def test_mult_adds_are_half_of_torchs_flops_and_torchinfo_adds_biases_and_scales(name: str) -> None:
    c = case(name)
    found = viz.summary(c.model, tuple(c.x.shape))
    assert found.mult_adds > found.parameters
    assert found.mult_adds == flops(c.clean, c.x) // 2
    beside = beside_multiplication(c.clean, c.x)
    assert found.torchinfo_mult_adds == found.mult_adds + beside


# Linear layers that see many places or tokens, and attention; with the side of the input.
TOKENS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "convnext_tiny": (torchvision.models.convnext_tiny, 64),
    "swin_t": (torchvision.models.swin_t, 64),
    "vit_b_16": (lambda: torchvision.models.vit_b_16(image_size=64), 64),
    "maxvit_t": (torchvision.models.maxvit_t, 224),
    "edgenext_xx_small": (lambda: timm.create_model("edgenext_xx_small"), 64),
    "mobilevit_xxs": (lambda: timm.create_model("mobilevit_xxs"), 64),
    "deit_tiny": (lambda: timm.create_model("deit_tiny_patch16_224", img_size=64), 64),
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
    found = viz.summary(model, tuple(x.shape))
    assert found.mult_adds == work
    assert found.torchinfo_mult_adds == theirs.total_mult_adds
    assert "too few" in repr(found)

    parts = {text.partition(":")[0]: done for depth, text, _, done in found.layers if depth == 1}
    called = {
        path.partition(".")[2]: sum(counts.values()) // 2
        for path, counts in counter.get_flop_counts().items()
        if path.count(".") == 1
    }
    assert called.keys() <= parts.keys()
    assert all(parts[part] == done for part, done in called.items())
    assert sum(parts.values()) == work


@pytest.mark.parametrize("name", LAYERS)
def test_totals_are_torchinfos_and_parameters_are_all_of_them(name: str) -> None:
    c = case(name)
    found = viz.summary(c.model, tuple(c.x.shape))
    with seeded(0):
        theirs = torchinfo.summary(c.clean, tuple(c.x.shape), device="cpu", mode="eval", verbose=0)
    assert found.parameters == sum(p.numel() for p in c.model.parameters()) > 1e6
    assert found.parameters == theirs.total_params
    assert found.torchinfo_mult_adds == theirs.total_mult_adds
    assert found.pass_bytes == theirs.total_output_bytes
    assert found.parameter_bytes == theirs.total_param_bytes
