import pytest
import torch
import torchinfo
from torch import nn
from torchvision import models

import vizhelpers as viz
from vizhelpers.methods.structure import on_meta


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

        def forward(self, x: torch.Tensor) -> torch.Tensor:
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
        found.mult_adds,
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
    assert found.mult_adds > 0


def test_summary_of_vgg13_gives_the_documents_figures(vgg13: nn.Module) -> None:
    found = viz.summary(vgg13)
    assert found.parameters == 133_047_848
    assert f"{found.mult_adds / 1e9:.2f}" == "11.32"
    sizes = (found.input_bytes, found.pass_bytes, found.parameter_bytes, found.total_bytes)
    assert [f"{size / 1e6:.2f}" for size in sizes] == ["0.60", "98.02", "532.19", "630.81"]
    text = repr(found)
    assert "Total mult-adds (G): 11.32" in text
    assert "Units" not in text


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


def test_on_meta_copies_shapes_and_leaves_the_model_alone(tiny: nn.Module) -> None:
    tiny[0].weight.requires_grad_(False)
    copied = on_meta(tiny)
    assert all(p.device.type == "meta" for p in copied.parameters())
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
