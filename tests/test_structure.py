from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchinfo
from torch import Tensor, nn
from torchvision import models

import vizhelpers as viz
from vizhelpers.methods.work import counting
from vizhelpers.passes.dry import dry_run


@pytest.fixture(scope="module")
def vgg13() -> nn.Module:
    with torch.device("meta"):
        return models.vgg13()


def test_tree_counts_each_module_and_what_is_in_it(vgg13: nn.Module) -> None:
    tree = viz.module_tree(vgg13)
    rows = {row.name: row for row in tree.rows}
    assert tree.total == 133_047_848
    assert rows["classifier"].parameters == sum(p.numel() for p in vgg13.classifier.parameters())
    assert rows["classifier.0"].parameters == 25_088 * 4_096 + 4_096
    assert rows["classifier.0"].share == pytest.approx(0.772, abs=5e-4)
    assert rows["features.24"].shape == (1, 512, 7, 7)
    assert [row.name for row in tree.rows] == [name for name, _ in vgg13.named_modules() if name]


def test_depth_cuts_the_tree(model: nn.Module) -> None:
    assert [row.name for row in viz.module_tree(model, 1).rows] == ["features", "classifier"]
    assert len(viz.module_tree(model, 3).rows) == len(list(model.named_modules())) - 1
    with pytest.raises(ValueError, match="depth=0: it must be at least 1"):
        viz.module_tree(model, 0)


def test_tree_prints_every_row_and_draws(model: nn.Module) -> None:
    tree = viz.module_tree(model)
    lines = repr(tree).splitlines()
    assert lines[0] == "SqueezeNet on [1, 3, 224, 224]: 1,235,496 parameters"
    assert len(lines) == 1 + len(tree.rows)
    assert "[1, 1000, 13, 13]" in repr(tree)
    texts = {text.get_text() for text in tree.plot().axes[0].texts}
    assert "513,000 (41.5%)" in texts


def test_a_module_that_does_not_run_has_no_shape() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    tree = viz.module_tree(Idle(), input_size=(1, 3, 4, 4))
    assert [row.shape for row in tree.rows] == [(1, 2, 4, 4), None]


@pytest.mark.parametrize("size", [(1, 3, 224, 224), (5, 3, 65, 97)])
def test_summary_on_meta_equals_torchinfo_on_real_memory(
    model: nn.Module, size: tuple[int, ...]
) -> None:
    found = viz.summary(model, size)
    real = torchinfo.summary(model, input_size=size, verbose=0, mode="eval", device="cpu")
    assert (
        found.parameters,
        found.torchinfo_mult_adds,
        found.input_bytes,
        found.pass_bytes,
        found.parameter_bytes,
    ) == (
        real.total_params,
        real.total_mult_adds,
        real.total_input,
        real.total_output_bytes,
        real.total_param_bytes,
    )
    assert found.torchinfo_mult_adds > 0


def test_summary_of_vgg13_gives_the_documents_figures(vgg13: nn.Module) -> None:
    found = viz.summary(vgg13)
    assert found.parameters == 133_047_848
    assert f"{found.torchinfo_mult_adds / 1e9:.2f}" == "11.32"
    assert f"{found.mult_adds / 1e9:.2f}" == "11.31"  # without the biases
    sizes = (found.input_bytes, found.pass_bytes, found.parameter_bytes, found.total_bytes)
    assert [f"{size / 1e6:.2f}" for size in sizes] == ["0.60", "98.02", "532.19", "630.81"]
    text = repr(found)
    assert "Total mult-adds (G): 11.32" in text
    assert "Units" not in text
    assert text.endswith("=")  # a tenth of a percent is not worth an explanation


def test_summary_columns_and_depth(model: nn.Module) -> None:
    flat = repr(viz.summary(model, depth=1, col_names=("kernel_size", "mult_adds")))
    assert "Kernel Shape" in flat
    assert "Conv2d" not in flat
    with pytest.raises(ValueError, match=r"'mult_add'.*Did you mean 'mult_adds'"):
        viz.summary(model, col_names=("mult_add",))


def test_sizes_that_do_not_fit_are_refused_and_those_that_do_are_not(
    model: nn.Module, vgg13: nn.Module
) -> None:
    for net, side in ((model, 17), (vgg13, 32)):
        viz.summary(net, (1, 3, side, side))
        with pytest.raises(ValueError, match=rf"{side - 1}, {side - 1}"):
            viz.summary(net, (1, 3, side - 1, side - 1))
    with pytest.raises(ValueError, match="1, 4, 224, 224"):
        viz.summary(vgg13, (1, 4, 224, 224))


def test_a_dry_run_copies_shapes_and_leaves_the_model_alone(tiny: nn.Module) -> None:
    tiny[0].weight.requires_grad_(False)
    copied, x = dry_run(tiny, [(1, 3, 12, 12)], lambda stand_in, x: (stand_in, x))
    assert all(p.device.type == "meta" for p in [*copied.parameters(), x])
    assert all(p.device.type == "cpu" for p in tiny.parameters())
    assert [p.requires_grad for p in copied.parameters()] == [
        p.requires_grad for p in tiny.parameters()
    ]
    assert [n for n, _ in copied.named_parameters()] == [n for n, _ in tiny.named_parameters()]


def test_the_model_is_as_it_was_after_summary(tiny: nn.Module) -> None:
    tiny.train()
    viz.summary(tiny, (1, 3, 12, 12))
    viz.module_tree(tiny, input_size=(1, 3, 12, 12))
    assert all(m.training and not m._forward_hooks for m in tiny.modules())


# --- the work ------------------------------------------------------------------------------------


class OnTokens(nn.Module):
    """A layer that sees 4 x 4 places of 4 channels as 16 tokens, (N, 16, 4)."""

    def __init__(
        self, layer: nn.Module, call: Callable[[Any, Tensor], Tensor] = lambda layer, t: layer(t)
    ) -> None:
        super().__init__()
        self.layer, self.call = layer, call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.layer, x.flatten(2).transpose(1, 2))


class Products(nn.Module):
    """What a module multiplies without a layer: 16 tokens, each with each, then a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = OnTokens(nn.Linear(4, 5, bias=False))
        self.matrix = nn.Parameter(torch.ones(5, 7))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.tokens(x)
        return torch.einsum("nij,njk->nik", tokens @ tokens.mT, tokens) @ self.matrix


def attention(*, weights: bool) -> nn.Module:
    """Queries, keys, values by 4 x 4 weights each; 16 x 16 scores; their values; 4 x 4 weights."""
    layer = nn.MultiheadAttention(4, 2, batch_first=True)
    return OnTokens(layer, lambda layer, t: layer(t, t, t, need_weights=weights)[0])


def fused(layer: nn.Module, tokens: Tensor) -> Tensor:
    return nn.functional.scaled_dot_product_attention(*[tokens[:, None]] * 3)


def encoder() -> nn.Module:
    return OnTokens(nn.TransformerEncoderLayer(4, 2, 10, batch_first=True))


TOKENS, ATTENTION = 16 * 4 * 5, 3 * 16 * 4 * 4 + 2 * 16 * 16 * 4 + 16 * 4 * 4
WORK: dict[str, tuple[nn.Module, int]] = {
    "a linear layer that sees 16 tokens": (OnTokens(nn.Linear(4, 5, bias=False)), TOKENS),
    "products in forward": (Products(), TOKENS + 2 * 16 * 16 * 5 + 16 * 5 * 7),
    "attention": (attention(weights=False), ATTENTION),
    "attention that also gives its weights": (attention(weights=True), ATTENTION),
    "fused attention": (OnTokens(nn.Identity(), fused), 2 * 16 * 16 * 4),
    "a layer of a transformer": (encoder(), ATTENTION + 2 * 16 * 4 * 10),
    "a recurrent layer": (
        OnTokens(nn.LSTM(4, 4, batch_first=True), lambda layer, t: layer(t)[0]),
        16 * (4 * 16 + 4 * 16),
    ),
    "a convolution": (nn.Conv2d(4, 8, 3, groups=4), 4 * 8 * 9),
    "a transposed convolution": (nn.ConvTranspose2d(4, 6, 5, stride=2), 16 * 4 * 6 * 25),
}


@pytest.mark.parametrize("name", WORK)
def test_mult_adds_are_the_work_counted_by_hand(name: str) -> None:
    model, by_hand = WORK[name]
    assert viz.summary(model, (1, 4, 4, 4)).mult_adds == by_hand
    assert viz.summary(model, (2, 4, 4, 4)).mult_adds == 2 * by_hand
    assert viz.summary(model, (1, 4, 4, 4)).torchinfo_mult_adds != by_hand


@pytest.mark.parametrize("name", WORK)
def test_work_on_real_tensors_is_that_on_the_meta_device(name: str) -> None:
    """On the CPU torch fuses attention and recurrence in eval mode, and a counter sees nothing."""
    model, by_hand = WORK[name]
    x = torch.ones(1, 4, 4, 4)
    before = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    with torch.no_grad(), counting(model.eval()) as work:
        model(x)
    assert work.total == by_hand
    assert before == (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_counting_leaves_nothing_behind_where_the_model_fails() -> None:
    model = encoder().eval()
    with pytest.raises(AssertionError, match="embedding dimension"), counting(model):
        model(torch.ones(1, 3, 4, 4))
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.cuda.flash_sdp_enabled()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_each_module_has_its_own_products_and_those_of_its_parts() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.products = Products()
            self.twice = nn.Conv1d(7, 7, 1, bias=False)
            self.steps = nn.ModuleList([nn.Linear(7, 7), nn.Linear(7, 2)])
            self.idle = nn.Linear(9, 9)

        def forward(self, x: Tensor) -> Tensor:
            x = self.twice(self.twice(self.products(x).mT)[..., :10]).mT
            for step in self.steps:
                x = step(x)
            return x.mT @ x

    found = viz.summary(Model(), (1, 4, 4, 4))
    work = [(row[0], row[1].partition(":")[0], row[3]) for row in found.layers]
    products = WORK["products in forward"][1]
    twice, steps, itself = 16 * 49 + 10 * 49, [10 * 49, 10 * 14], 2 * 10 * 2
    total = products + twice + sum(steps) + itself
    assert work == [
        (0, "Model", total),
        (1, "products", products),
        (2, "tokens", TOKENS),
        (3, "layer", TOKENS),
        (1, "twice", 16 * 49),
        (1, "twice", 10 * 49),
        (1, "steps", sum(steps)),
        (2, "0", steps[0]),
        (2, "1", steps[1]),
    ]
    bars = found.bars(1)
    assert bars.lengths[-1] == itself / total
    assert bars.cells[-1][0] == "rest of the model"
    assert sum(bars.lengths) == pytest.approx(1)
    bars = viz.summary(OnTokens(nn.Linear(4, 5, bias=False)), (1, 4, 4, 4)).bars(1)
    assert sum(bars.lengths) == 1 and len(bars.cells) == 1


def test_where_torchinfos_mult_adds_are_not_the_work_the_printout_says_why() -> None:
    assert repr(viz.summary(Products(), (1, 4, 4, 4))).splitlines()[-3:] == [
        "The work is 3,440 mult-adds. torchinfo says 20:",
        "- it counts a linear layer once for each image, not at each place or token: 300 too few",
        "- it leaves out products outside of known layers, such as attention's: 3,120 too few",
    ]
    upscaling = nn.ConvTranspose2d(4, 6, 5, stride=2, bias=False)
    assert repr(viz.summary(upscaling, (1, 4, 4, 4))).splitlines()[-2:] == [
        "The work is 9,600 mult-adds. torchinfo says 72,600:",
        "- it counts a transposed convolution at each place of its output: 63,000 too many",
    ]
    biased = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6))
    assert repr(viz.summary(biased, (1, 4, 4, 4))).splitlines()[-2:] == [
        "The work is 864 mult-adds. torchinfo says 900:",
        "- it counts biases and normalisation: 36 too many",
    ]


def test_what_no_layer_multiplies_is_no_work() -> None:
    found = viz.summary(nn.ReLU(), (1, 4, 4, 4))
    assert (found.mult_adds, found.torchinfo_mult_adds) == (0, 0)
    assert repr(found).endswith("=")
    assert list(found.bars(2).cells) == []


def test_a_part_that_fails_and_is_replaced_has_the_work_that_it_did() -> None:
    class Tries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(nn.Conv2d(4, 2, 1, bias=False), nn.Conv2d(4, 2, 1))
            self.second = nn.Conv2d(4, 5, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.first(x)
            except RuntimeError:
                return self.second(x)

    found = viz.summary(Tries(), (1, 4, 4, 4))
    assert [(row[1].partition(":")[0], row[3]) for row in found.layers] == [
        ("Tries", 16 * 8 + 16 * 20),
        ("first", 16 * 8),
        ("0", 16 * 8),
        ("1", 0),
        ("second", 16 * 20),
    ]
