"""What a ``forward`` may do: numbers looked at, tensors kept, any order, errors of its own."""

from collections.abc import Callable
from types import MethodType
from typing import Any

import pytest
import torch
import torchinfo
from networks import SIZE, SMALL, Net, closure_over
from snapshots import difference, snapshot
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import vizhelpers as viz


class Normalises(nn.Module):
    """Holds a tensor that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.tensor([0.5, 0.4, 0.3]).view(-1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x - self.mean


def looks_at_numbers(net: Net, x: Tensor) -> Tensor:
    if torch.isnan(x).any():
        raise ValueError("NaN")
    return x / float(x.detach().abs().max())


OFF_META = {
    "a tensor attribute": lambda: nn.Sequential(Normalises(), Net()),
    "a tensor in a closure": lambda: Net(closure_over(torch.ones(1))),
    "a test for NaN": lambda: Net(looks_at_numbers),
    "positions made on the CPU": lambda: Net(lambda net, x: x + torch.linspace(0, 1, x.shape[-1])),
    "a boolean mask": lambda: Net(lambda net, x: x * (x[x > 0].mean() > 0)),
}


@pytest.mark.parametrize("kind", OFF_META)
def test_shapes_and_totals_of_a_model_that_does_not_run_on_meta(kind: str) -> None:
    model = OFF_META[kind]()
    tree = viz.module_tree(model, 3, input_size=SIZE)
    assert all(row.shape is not None for row in tree.rows)
    ours, expected = viz.summary(model, SIZE), torchinfo.summary(model, SIZE, verbose=0)
    assert ours.torchinfo_mult_adds == expected.total_mult_adds > 0
    assert ours.pass_bytes == expected.total_output_bytes
    viz.explore_feature_maps(model, "cat", transform=SMALL).close()
    viz.explore_module_tree(model).close()


@pytest.mark.parametrize("kind", ["runs on meta", "a test for NaN"])
def test_shapes_call_no_hook_of_the_reader_and_keep_what_forward_keeps(
    kind: str, x: Tensor
) -> None:
    def keep(net: Net, x: Tensor) -> Tensor:
        net.kept = x
        return looks_at_numbers(net, x) if kind == "a test for NaN" else x

    model, called = Net(keep), []
    model(x)
    model.first.register_forward_hook(lambda *args: called.append("forward"))
    model.second.register_forward_pre_hook(lambda *args: called.append("before"))
    before = snapshot(model, x)
    viz.module_tree(model, input_size=SIZE)
    viz.summary(model, SIZE)
    viz.explore_module_tree(model, input_size=SIZE).close()
    viz.explore_summary(model, input_size=SIZE).close()
    assert called == [] and difference(before, snapshot(model, x)) == []
    model(x)
    assert called == ["forward", "before"]


def test_what_a_forward_keeps_in_lists_and_dictionaries_stays_the_readers(x: Tensor) -> None:
    def keep(net: Net, x: Tensor) -> Tensor:
        net.maps["first"] = x
        net.history.append(x.mean())
        if (size := tuple(x.shape[2:])) not in net.cache:
            net.cache[size] = torch.ones(size)
        return x * net.cache[size]

    model: Any = Net(keep)
    model.maps, model.history, model.cache = {}, [], {}
    model(x).sum().backward()
    viz.module_tree(model, input_size=(1, 3, 20, 20))
    viz.summary(model, SIZE)
    assert [t.device.type for t in model.history] == ["cpu"]
    assert model.maps["first"].device.type == "cpu" and list(model.cache) == [(10, 10)]
    model(torch.rand(1, 3, 20, 20))


def test_a_forward_that_reads_what_its_own_hook_stored_has_the_shapes_of_this_input() -> None:
    def store(net: Any, module: nn.Module, args: Any, output: Tensor) -> None:
        net.stored["first"] = output

    model: Any = Net(lambda net, x: net.stored["first"])
    model.stored = {}
    model.first.register_forward_hook(MethodType(store, model))
    with torch.no_grad():
        model(torch.rand(4, 3, 12, 12))
    tree = viz.module_tree(model, input_size=(1, 3, 20, 20))
    assert {row.name: row.shape for row in tree.rows}["fc"] == (1, 5)
    assert len(model.stored["first"]) == 4


def test_a_replaced_forward_has_shapes_and_work() -> None:
    model, plain = Net(), Net()
    model.forward = lambda x: model.fc(model.last(model.second(model.first(x))).mean((2, 3)))  # type: ignore
    shapes = [row.shape for row in viz.module_tree(model, input_size=SIZE).rows]
    assert shapes == [row.shape for row in viz.module_tree(plain, input_size=SIZE).rows]
    assert viz.summary(model, SIZE).mult_adds == viz.summary(plain, SIZE).mult_adds > 0


class HeadFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.stem = nn.Conv2d(8, 5, 1), nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x).relu()).mean((2, 3))


class Repeats(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.stem(x.repeat(1, 3, 1, 1)).mean((2, 3))


@pytest.mark.parametrize(
    ("model", "channels", "layer", "before"),
    [
        (HeadFirst(), 3, "stem", lambda x: x),
        (Repeats(), 1, "stem", lambda x: x.repeat(1, 3, 1, 1)),
        (nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 5, 3), nn.Flatten()), 3, "1",
         nn.PixelUnshuffle(2)),
    ],
)  # fmt: skip
def test_the_convolution_defined_first_need_not_run_first(
    model: nn.Module, channels: int, layer: str, before: Callable[[Tensor], Tensor]
) -> None:
    x = torch.rand(1, channels, 12, 12)
    expected = model.get_submodule(layer)(before(x)).detach()
    torch.testing.assert_close(viz.capture(model, x, layer)[layer], expected)
    viz.predict(model, x)
    assert viz.cam(model, x, layer).frames.any()
    assert viz.module_tree(model).input_size[1] == channels
    ascent = viz.flash.GradientAscent(model, 12)
    (picture,) = ascent.optimize(model.get_submodule(layer), 0, num_iter=1)
    assert picture.shape == x.shape


def test_a_summary_names_why_torchinfo_differs() -> None:
    normalised = nn.Sequential(parametrizations.spectral_norm(nn.Conv2d(3, 8, 3)))
    assert "whose weight is computed" in repr(viz.summary(normalised, SIZE))

    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(36, 16)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.zeros(len(x), 16, device=x.device)
            for row in range(x.shape[2]):
                h = self.cell(x[:, :, row].flatten(1), h)
            return h

    text = repr(viz.summary(Cell(), SIZE))
    assert "counts GRUCell in another way" in text and "biases" not in text


def test_a_wrong_input_names_the_layer_that_failed(x: Tensor) -> None:
    with pytest.raises(ValueError, match=r"'first' \(Conv2d\).*to have 3 channels, but got 1"):
        viz.capture(Net(), x[:, :1], "first")
    with pytest.raises(ValueError, match=r"\(1, 3, 12, 12\)"):
        viz.module_tree(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), input_size=SIZE[1:])


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, KeyError, AssertionError])
def test_what_the_models_own_code_raises_is_passed_on(kind: type[Exception], x: Tensor) -> None:
    def fail(net: Net, x: Tensor) -> Tensor:
        raise kind("the queue has the wrong size")

    for call in (viz.predict, lambda m, x: viz.cam(m, x, "first")):
        with pytest.raises(kind, match="the queue has the wrong size") as caught:
            call(Net(fail), x)
        assert "viz.prepare" not in str(caught.value) and caught.value.__cause__ is None


def test_a_model_of_two_inputs_is_refused_with_the_lines_that_help(x: Tensor) -> None:
    class Two(Net):
        def forward(self, x: Tensor, age: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x) + age

    for call in (
        lambda: viz.capture(Two(), x, "first"),
        lambda: viz.module_tree(Two(), input_size=SIZE),
        lambda: viz.summary(Two(), SIZE),
    ):
        with pytest.raises(TypeError, match="2 inputs: x, age") as caught:
            call()
    lines = str(caught.value).partition("\n")[2].replace("…", "torch.ones(5)")
    scope: dict[str, Any] = {"torch": torch}
    exec("\n".join(line[4:] for line in lines.splitlines()), scope)
    wrapped = scope["OneInput"](Two())
    assert viz.capture(wrapped, x, "model.first")["model.first"].shape == (1, 4, 10, 10)


@pytest.mark.parametrize(
    ("shape", "model", "word"),
    [
        ((3, 12, 12), Net(), r"x\.unsqueeze\(0\)"),
        ((2, 1, 9), nn.Sequential(nn.Conv1d(1, 4, 3)), "capture"),
        ((1, 1, 5, 5, 5), nn.Sequential(nn.Conv3d(1, 4, 3)), "capture"),
    ],
)
def test_a_batch_axis_is_only_advised_where_it_is_missing(
    shape: tuple[int, ...], model: nn.Module, word: str
) -> None:
    with pytest.raises(ValueError, match=word) as caught:
        viz.feature_maps(model, torch.rand(shape), viz.layer_names(model)[0])
    assert ("unsqueeze" in str(caught.value)) == ("unsqueeze" in word)
    if word == "capture":
        assert viz.capture(model, torch.rand(shape), "0")["0"].shape[:2] == (shape[0], 4)


def test_lazy_layers_are_named_and_stay_lazy() -> None:
    net = nn.Sequential(nn.LazyConv2d(8, 5), nn.Flatten(), nn.LazyLinear(10))
    x = torch.rand(1, 1, 28, 28)
    for call in (
        lambda: viz.module_tree(net), lambda: viz.summary(net), lambda: viz.capture(net, x, "0"),
        lambda: viz.predict(net, x), lambda: viz.kernels(net, "0"), lambda: viz.cam(net, x, "0"),
        lambda: viz.saliency(net, x), lambda: viz.explore_module_tree(net),
        lambda: viz.explore_kernels(net), lambda: viz.explore_activation_maximization(net),
        lambda: viz.activation_maximization(net, "0", channels=[0], steps=1, size=28),
        lambda: viz.flash.Backprop(net).calculate_gradients(x),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"lazy layers .*0', '.*2'.*model\(x\) once"):
            call()
    assert viz.layer_names(net) == ["0", "1", "2"]
    assert nn.parameter.is_lazy(net[0].weight)
    net(x)
    assert viz.module_tree(net, input_size=x.shape).rows[0].shape == (1, 8, 24, 24)


@pytest.mark.usefixtures("no_figures_left")
def test_diverged_weights_are_named_as_the_cause(x: Tensor) -> None:
    model = Net()
    with torch.no_grad():
        model.fc.weight[3] = torch.nan
    for call in (
        lambda: viz.predict(model, x),
        lambda: viz.cam(model, x, "second"),
        lambda: viz.cam(model, x, "last", method="cam"),
        lambda: viz.saliency(model, x),
        lambda: viz.explore_cam(model, "cat", transform=SMALL),
        lambda: viz.explore_saliency(model, "cat", transform=SMALL),
        lambda: viz.flash.Backprop(model).visualize(x, None),
    ):
        with pytest.raises(ValueError, match="output holds NaN, in 1 of 5 classes"):
            call()
    with torch.no_grad():
        model.first.weight[0] = torch.nan
    assert "no number" in viz.feature_maps(model, x, "first").plot().texts[0].get_text()
    with pytest.raises(ValueError, match="maps hold NaN"):
        viz.cam(model, x, "second", method="eigencam", target=1)
    with pytest.raises(ValueError, match="'second' is NaN"):
        viz.activation_maximization(model, "second", channels=[0], steps=1, size=12)
    ascent = viz.flash.GradientAscent(model, img_size=12)
    for call in (
        lambda: ascent.optimize(model.second, 0, num_iter=2),
        lambda: ascent.visualize(model.first, [1, 0], num_iter=1),
        lambda: ascent.deepdream("cat", model.second, 0, num_iter=1),
    ):
        with pytest.raises(ValueError, match=r"NaN.*diverged"):
            call()
    with pytest.raises(ValueError, match="is NaN"):
        viz.explore_activation_maximization(model, size=12, steps=1)
    colours = viz.kernels(model, "first", colour=True)
    assert (colours.frames[0] == (105, 30, 0)).all() and "no number" in colours.name
