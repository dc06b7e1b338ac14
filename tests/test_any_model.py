"""Networks as people write them: each kind was met in another project's bug reports."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms as T
from snapshots import difference, snapshot
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

import vizhelpers as viz
from vizhelpers.passes.sizes import input_size

SMALL = T.Compose([T.Resize((12, 12)), T.ToTensor()])
SIZE = (1, 3, 12, 12)


class Net(nn.Module):
    """Two convolutions, a mean over places, one linear layer; ``between`` runs after the first."""

    def __init__(self, between: Callable[["Net", Tensor], Tensor] = lambda net, x: x) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3)
            self.last, self.fc = nn.ReLU(), nn.Linear(6, 5)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(self, self.first(x)).relu()
        return self.fc(self.last(self.second(x)).mean((2, 3)))


@pytest.fixture
def x() -> Tensor:
    return torch.rand(SIZE, generator=torch.Generator().manual_seed(1))


# ------------------------------------------------------------ what the meta device cannot do


def _looks_at_numbers(net: Net, x: Tensor) -> Tensor:
    if torch.isnan(x).any():
        raise ValueError("NaN")
    return x / float(x.detach().abs().max())


def _closure_over(factor: Any) -> Callable[[Net, Tensor], Tensor]:
    return lambda net, x: factor(x) if callable(factor) else x * factor


class Normalises(nn.Module):
    """Holds a tensor that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.tensor([0.5, 0.4, 0.3]).view(-1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x - self.mean


OFF_META = {
    "a tensor attribute": lambda: nn.Sequential(Normalises(), Net()),
    "a tensor in a closure": lambda: Net(_closure_over(torch.ones(1))),
    "a test for NaN": lambda: Net(_looks_at_numbers),
    "positions made on the CPU": lambda: Net(lambda net, x: x + torch.linspace(0, 1, x.shape[-1])),
    "a boolean mask": lambda: Net(lambda net, x: x * (x[x > 0].mean() > 0)),
}


@pytest.mark.parametrize("kind", OFF_META)
def test_shapes_and_totals_of_a_model_that_does_not_run_on_meta(kind: str) -> None:
    import torchinfo

    model = OFF_META[kind]()
    tree = viz.module_tree(model, 3, input_size=SIZE)
    assert all(row.shape is not None for row in tree.rows)
    found = viz.summary(model, SIZE)
    expected = torchinfo.summary(model, SIZE, verbose=0)
    assert found.torchinfo_mult_adds == expected.total_mult_adds > 0
    assert found.pass_bytes == expected.total_output_bytes
    viz.explore_feature_maps(model, "cat", transform=SMALL).close()
    viz.explore_structure(model).close()


@pytest.mark.parametrize("kind", ["runs on meta", "a test for NaN"])
def test_shapes_call_no_hook_of_the_reader_and_keep_what_forward_keeps(
    kind: str, x: Tensor
) -> None:
    def keep(net: Net, x: Tensor) -> Tensor:
        net.kept = x
        return _looks_at_numbers(net, x) if kind == "a test for NaN" else x

    model, seen = Net(keep), []
    model(x)
    model.first.register_forward_hook(lambda *args: seen.append("forward"))
    model.second.register_forward_pre_hook(lambda *args: seen.append("before"))
    before = snapshot(model, x)
    viz.module_tree(model, input_size=SIZE)
    viz.summary(model, SIZE)
    viz.explore_structure(model, input_size=SIZE).close()
    viz.explore_summary(model, input_size=SIZE).close()
    assert seen == [] and difference(before, snapshot(model, x)) == []
    model(x)
    assert seen == ["forward", "before"]


def test_a_replaced_forward_has_shapes_and_work() -> None:
    model, plain = Net(), Net()
    model.forward = lambda x: model.fc(model.last(model.second(model.first(x))).mean((2, 3)))  # type: ignore
    shapes = [row.shape for row in viz.module_tree(model, input_size=SIZE).rows]
    assert shapes == [row.shape for row in viz.module_tree(plain, input_size=SIZE).rows]
    assert viz.summary(model, SIZE).mult_adds == viz.summary(plain, SIZE).mult_adds > 0


# ------------------------------------------------------------ the order of definition, and errors


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
    ("model", "channels", "layer"),
    [
        (HeadFirst(), 3, "stem"),
        (Repeats(), 1, "stem"),
        (nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 5, 3), nn.Flatten()), 3, "1"),
    ],
)
def test_the_convolution_defined_first_need_not_run_first(
    model: nn.Module, channels: int, layer: str
) -> None:
    x = torch.rand(1, channels, 12, 12)
    torch.testing.assert_close(viz.capture(model, x, layer)[layer], _output_of(model, x, layer))
    viz.predict(model, x)
    assert viz.cam(model, x, layer).frames.any()
    assert input_size(model)[1] == channels


def _output_of(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    kept: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda m, i, o: kept.append(o))
    model(x)
    handle.remove()
    return kept[0].detach()


def test_a_wrong_input_is_told_by_the_layer_that_failed(x: Tensor) -> None:
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
    one = scope["OneInput"](Two())
    assert viz.capture(one, x, "model.first")["model.first"].shape == (1, 4, 10, 10)


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
        lambda: viz.saliency(net, x), lambda: viz.explore_structure(net),
        lambda: viz.explore_kernels(net), lambda: viz.explore_filters(net),
        lambda: viz.activation_maximization(net, "0", channels=[0], steps=1, size=28),
        lambda: viz.flash.Backprop(net).calculate_gradients(x),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"lazy layers .*0', '.*2'.*model\(x\) once"):
            call()
    assert viz.layer_names(net) == ["0", "1", "2"]
    assert nn.parameter.is_lazy(net[0].weight)
    net(x)
    assert viz.module_tree(net, input_size=x.shape).rows[0].shape == (1, 8, 24, 24)


# ------------------------------------------------------------ where no gradient passes


def _without_gradient(how: str) -> Net:
    def between(net: Net, x: Tensor) -> Tensor:
        if how == "detach":
            return x.detach()
        with torch.no_grad() if how == "no_grad" else torch.inference_mode():
            return x * 1

    return Net(between)


@pytest.mark.parametrize("how", ["no_grad", "inference_mode", "detach"])
def test_a_part_without_gradients_is_told_in_words(how: str, x: Tensor) -> None:
    model = _without_gradient(how)
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
def test_reentrant_checkpointing_is_told_in_words(x: Tensor) -> None:
    model = Net(lambda net, x: checkpoint(torch.sin, x, use_reentrant=True))
    for call in (lambda: viz.saliency(model, x), lambda: viz.cam(model, x, "first")):
        with pytest.raises(ValueError, match="use_reentrant=False"):
            call()


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_scripted_and_quantised_parts_are_told_in_words(x: Tensor) -> None:
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


# ------------------------------------------------------------ copies, hooks and parametrisations


def _normalised(how: Callable[[nn.Module], object]) -> Net:
    net = Net()
    how(net.first)
    return net


def _with_hook(hook: Callable[..., Any]) -> Net:
    net = Net()
    net.first.register_forward_hook(hook)
    return net


def _keeps_by_hook() -> Net:
    """Its hook is a function of the model itself, which forward needs."""
    net = Net(lambda net, x: net.kept * 2)
    net.first.register_forward_hook(lambda module, args, output: setattr(net, "kept", output))
    return net


def _with_method() -> Net:
    net = Net()
    net.forward = MethodType(lambda self, x: Net.forward(self, x) * 2, net)  # type: ignore
    return net


def _with_lock() -> Net:
    net = Net()
    net.lock = threading.Lock()
    return net


UNUSUAL: dict[str, Callable[[], nn.Module]] = {
    "old weight_norm": lambda: _normalised(torch.nn.utils.weight_norm),
    "weight_norm": lambda: _normalised(parametrizations.weight_norm),
    "old spectral_norm": lambda: _normalised(torch.nn.utils.spectral_norm),
    "spectral_norm": lambda: _normalised(parametrizations.spectral_norm),
    "orthogonal": lambda: _normalised(parametrizations.orthogonal),
    "pruned": lambda: _normalised(lambda m: prune.l1_unstructured(m, "weight", 0.5)),
    "a hook that computes": lambda: _with_hook(lambda module, args, output: output * 3),
    "a hook that forward needs": _keeps_by_hook,
    "a layer in a closure": lambda: Net(_closure_over(nn.ReLU())),
    "a replaced forward": _with_method,
    "a lock": _with_lock,
    "kept activations": lambda: Net(lambda net, x: setattr(net, "kept", x) or x),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", UNUSUAL)
def test_a_panel_shows_the_numbers_of_the_function(kind: str, x: Tensor) -> None:
    model = UNUSUAL[kind]().train()
    model(x).sum().backward()
    sample = viz.prepare(model, "cat", transform=SMALL)
    panel = viz.explore_feature_maps(model, "cat", layer="first", transform=SMALL)
    maps = viz.feature_maps(model, sample, "first")
    np.testing.assert_array_equal(panel.scene.stacks[0].frames, maps.frames)
    panel.close()
    panel = viz.explore_cam(model, "cat", transform=SMALL)
    shown = [stack.axes["layer"][0] for stack in panel.scene.stacks]
    expected = viz.cam(model, sample, shown[-1]).frames[0]
    np.testing.assert_allclose(panel.scene.stacks[-1].frames[0], expected, atol=1e-6)
    panel.close()
    panel = viz.explore_kernels(model, layer="first")
    kernels = viz.kernels(model, "first").frames
    np.testing.assert_array_equal(panel.scene.stacks[0].frames, kernels)
    panel.close()


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", UNUSUAL)
def test_nothing_moves_in_a_model_in_train_mode(kind: str, x: Tensor) -> None:
    model = UNUSUAL[kind]().train()
    model(x).sum().backward()
    before = snapshot(model, x)
    viz.kernels(model, "first")
    viz.kernels(model, "first", random_seed=1)
    viz.module_tree(model, input_size=SIZE)
    viz.summary(model, SIZE)
    viz.explore_structure(model, input_size=SIZE).close()
    assert difference(before, snapshot(model, x)) == []
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for method in ("gradcam", "eigencam", "scorecam"):
        viz.cam(model, x, "second", method=method)
    viz.capture(model, x, "first")
    viz.predict(model, x)
    viz.saliency(model, x)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", UNUSUAL)
def test_random_weights_are_those_of_a_plain_layer_of_that_shape(kind: str) -> None:
    model = UNUSUAL[kind]()
    found = viz.kernels(model, "first", random_seed=5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        expected = nn.Conv2d(3, 4, 3).weight
    np.testing.assert_array_equal(found.frames.reshape(4, 3, 3, 3), expected.detach().numpy())
    assert found.name.startswith("RANDOM weights (seed 5)")
    assert not np.allclose(found.frames, viz.kernels(model, "first").frames)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", UNUSUAL)
def test_perturbation_methods_are_right_or_refuse_in_words(kind: str, x: Tensor) -> None:
    """Ablation-CAM by hand: the share of the logit that is lost without a channel."""
    model = UNUSUAL[kind]().eval()
    model(x)
    viz.cam(model, x, "last", method="scorecam")
    try:
        found = viz.cam(model, x, "last", target=2, method="ablationcam").frames[0]
    except ValueError as refusal:
        assert "scorecam" in str(refusal) and kind == "a hook that forward needs"
        return
    maps = viz.capture(model, x, "last")["last"][0]
    whole = model(x)[0, 2].item()
    weights = []
    for channel in range(6):
        handle = model.last.register_forward_hook(
            lambda m, a, o, c=channel: o.index_fill(1, torch.tensor([c]), 0.0)
        )
        weights.append((whole - model(x)[0, 2].item()) / whole)
        handle.remove()
    expected = torch.einsum("c,chw->hw", torch.tensor(weights), maps).relu().detach()
    assert expected.any()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


# ------------------------------------------------------------ threads


class Dropping(nn.Module):
    """In train mode every pass is another one, and BatchNorm moves."""

    def __init__(self, shared: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = shared or nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        threading.Event().wait(0.002)
        return self.fc(self.drop(self.stem(x)).mean((2, 3)))


def test_threads_that_share_a_model_or_a_part_of_one_get_the_same_answers(x: Tensor) -> None:
    model = Dropping().train()
    other = Dropping(model.stem).train()
    calls: list[Callable[[], Any]] = [
        lambda: viz.predict(model, x)[0].probability,
        lambda: viz.predict(other, x)[0].probability,
        lambda: viz.capture(model.stem, x, "1")["1"].sum().item(),
        lambda: float(viz.cam(model, x, "stem").frames.sum()),
    ]
    alone, before = [call() for call in calls], snapshot(model, x)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: (i % 4, calls[i % 4]()), range(48)))
    assert all(value == pytest.approx(alone[i]) for i, value in found)
    assert difference(before, snapshot(model, x)) == []


# ------------------------------------------------------------ device, precision, random states


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """The default device is another one than the CPU, as on a machine with a GPU."""
    with torch.device("meta"):  # torch.set_default_device does the same, and is hard to undo
        yield


def _every_call(model: nn.Module, x: Tensor) -> dict[str, Callable[[], Any]]:
    calls: dict[str, Callable[[], Any]] = {
        "prepare": lambda: viz.prepare(model, "cat", transform=SMALL).x.numpy(),
        "capture": lambda: viz.capture(model, x, "second")["second"].numpy(),
        "feature_maps": lambda: viz.feature_maps(model, x, "second").frames,
        "kernels": lambda: viz.kernels(model, "first", random_seed=2).frames,
        "predict": lambda: [p.probability for p in viz.predict(model, x)],
        "summary": lambda: viz.summary(model, SIZE).mult_adds,
        "Backprop": lambda: viz.flash.Backprop(model).calculate_gradients(x).numpy(),
    }
    for method in viz.CAM_METHODS:
        calls[f"cam {method}"] = lambda m=method: viz.cam(model, x, "last", method=m).frames
    for method in ("vanilla", "guided", "smoothgrad", "integrated_gradients"):
        calls[method] = lambda m=method: (
            viz.saliency(model, x, method=m, passes=2, of="probability").frames
        )
    for mode in ("pixels", "fourier"):
        calls[mode] = lambda m=mode: (
            viz.activation_maximization(
                model, "second", channels=[1], steps=2, size=16, mode=m
            ).values
        )
    return calls


def test_the_default_device_makes_no_difference(x: Tensor, request: Any) -> None:
    model = Net()
    expected = {name: call() for name, call in _every_call(model, x).items()}
    request.getfixturevalue("elsewhere")
    for name, call in _every_call(model, x).items():
        np.testing.assert_array_equal(call(), expected[name], err_msg=name)


def test_autocast_around_a_call_makes_no_difference(x: Tensor) -> None:
    model = Net()
    expected = {name: call() for name, call in _every_call(model, x).items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(x).dtype == torch.bfloat16
        for name, call in _every_call(model, x).items():
            np.testing.assert_array_equal(call(), expected[name], err_msg=name)
        assert torch.is_autocast_enabled("cpu")


def test_cuda_is_never_seeded(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    model, state = Net(), torch.get_rng_state()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: False)
    for call in _every_call(model, x).values():
        call()
    viz.load_model("squeezenet1_1", weights=None, seed=3)
    panel = viz.explore_kernels(model)
    panel.requests["weights"].value = 0
    assert panel.wait(20)
    panel.close()
    assert seeds == [] and torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    torch.set_rng_state(state)
    assert seeds == [5], "a seed of CUDA would have been seen"


# ------------------------------------------------------------ NaN


def test_a_model_that_diverged_is_told_in_words(x: Tensor) -> None:
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
    with pytest.raises(ValueError, match="is NaN"):
        viz.explore_filters(model, size=12, steps=1)
    colours = viz.kernels(model, "first", colour=True)
    assert (colours.frames[0] == (105, 30, 0)).all() and "no number" in colours.name


# ------------------------------------------------------------ outputs


class Says(nn.Module):
    """Says the same logits of any picture, through a last function."""

    def __init__(self, logits: list[float], last: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.register_buffer("logits", torch.tensor([logits]))
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.logits + 0 * self.conv(x).mean((1, 2, 3))[:, None])


@pytest.mark.parametrize(
    ("logits", "last", "expected", "word"),
    [
        ([6.0, 0.0], nn.Identity(), [0.9975, 0.0025], ""),
        ([6.0, 0.0], nn.Softmax(1), [0.9975, 0.0025], "softmax"),
        ([6.0, 0.0], lambda x: F.softmax(x, 1) * 1, [0.9975, 0.0025], "sum to 1"),
        ([6.0, 0.0], nn.LogSoftmax(1), [0.9975, 0.0025], ""),
        ([-6.0], nn.Identity(), [0.0025], "sigmoid"),
        ([-6.0], nn.Sigmoid(), [0.0025], "sigmoid"),
        ([0.3], nn.Sigmoid(), [0.5744], "sigmoid"),
        ([0.3], nn.Identity(), [0.5744], "sigmoid"),
        ([-6.0], lambda x: torch.sigmoid(x).squeeze(1), [0.0025], "sigmoid"),
        ([6.0, 6.0], nn.Sigmoid(), [0.9975, 0.9975], "sigmoid"),
        ([6.0, 0.0], lambda x: x * torch.sigmoid(x), [0.9975, 0.0025], ""),
    ],
)
def test_probabilities_are_taken_once(
    logits: list[float], last: Any, expected: list[float], word: str, x: Tensor
) -> None:
    model = Says(logits, last)
    found = viz.predict(model, x)
    shares = [p.probability for p in sorted(found, key=lambda p: p.index)]
    assert shares == pytest.approx(expected, abs=2e-3)
    assert all(word in p.assumed and bool(p.assumed) == bool(word) for p in found)
    assert not word or word in repr(found[0])
    panel = viz.explore_cam(model, "cat", transform=SMALL, layer="conv")
    bars = panel.scene.charts[0][0]
    assert max(bars.lengths) == pytest.approx(max(expected), abs=2e-3)
    assert word in bars.title
    panel.close()


def test_the_gradient_of_a_probability_is_that_of_the_probability_shown(x: Tensor) -> None:
    """Against autograd on the softmax: the same network with and without a softmax inside."""
    plain = Net()
    inside = nn.Sequential(plain, nn.Softmax(1))
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(plain(leaf).softmax(1)[0, 2], leaf)
    strength = expected[0].abs().amax(0).numpy()
    for model in (plain, inside):
        found = viz.saliency(model, x, target=2, of="probability")
        np.testing.assert_allclose(found.frames[0], strength, atol=1e-7)
    logit = viz.saliency(plain, x, target=2)
    assert not np.allclose(logit.frames[0], strength, atol=1e-5)
    assert logit.name == "Saliency of the logit"
    assert viz.saliency(inside, x, target=2).name == "Saliency of the probability"


# ------------------------------------------------------------ classes and layers


def test_a_list_has_one_class_for_each_image(x: Tensor) -> None:
    model, batch = Net(), torch.cat([x, x.flip(3)])
    for method in ("gradcam", "cam", "scorecam", "ablationcam"):
        both = viz.cam(model, batch, "last", target=[1, "b"], method=method, labels=list("abcde"))
        alone = [viz.cam(model, batch[i : i + 1], "last", target=1, method=method) for i in (0, 1)]
        np.testing.assert_allclose(
            both.frames, np.concatenate([s.frames for s in alone]), atol=1e-6
        )
    each = [0, None]
    predicted = int(model(batch)[1].argmax())
    for make in (
        lambda target: viz.cam(model, batch, "second", target=target),
        lambda target: viz.saliency(model, batch, target=target),
        lambda target: viz.saliency(model, batch, target=target, method="smoothgrad", passes=2),
        lambda target: viz.saliency(model, batch, target=target, of="probability"),
    ):
        found = make(each)
        np.testing.assert_allclose(found.frames[0], make(0).frames[0], atol=1e-6)
        np.testing.assert_allclose(found.frames[1], make(predicted).frames[1], atol=1e-6)
        assert [f"image {i}" in title for i, title in enumerate(found.titles)] == [True, True]
    with pytest.raises(ValueError, match="3 classes for 2 images"):
        viz.cam(model, batch, "second", target=[1, 2, 3])
    with pytest.raises(ValueError, match="from 0 to 4"):
        viz.cam(model, batch, "second", target=[1, 5])


def test_a_layer_may_be_given_as_the_module(x: Tensor) -> None:
    model = Net()
    by_name, by_module = (viz.cam(model, x, layer) for layer in ("second", model.second))
    np.testing.assert_array_equal(by_module.frames, by_name.frames)
    assert by_module.axes["layer"] == ["second"]
    assert list(viz.capture(model, x, [model.first, "second"])) == ["first", "second"]
    assert viz.kernels(model, model.first).name == viz.kernels(model, "first").name
    assert viz.feature_maps(model, x, model.first).name == viz.feature_maps(model, x, "first").name
    assert viz.get_layer(model, model.first) is model.first
    viz.activation_maximization(model, model.second, channels=[0], steps=1, size=12)
    viz.cam_sweep(model, x, layers=[model.first, model.second], targets=[None])
    viz.explore_kernels(model, layer=model.second).close()
    with pytest.raises(ValueError, match=r"not a layer inside Net.*layer_names"):
        viz.cam(model, x, Net().second)
    with pytest.raises(ValueError, match="the whole model"):
        viz.cam(model, x, model)
    with pytest.raises(TypeError, match="cam_sweep"):
        viz.cam(model, x, [model.second])  # type: ignore[arg-type]


# ------------------------------------------------------------ panels of any size


class Cifar(nn.Module):
    """As in PyTorch's own tutorial: ReLUs as functions, and a linear layer that fixes the size."""

    def __init__(self, channels: int = 3, side: int = 32) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 5)
        self.fc = nn.Linear(4 * ((side - 4) // 2) ** 2, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.max_pool2d(F.relu(self.conv(x)), 2).flatten(1))


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (Cifar(), (1, 3, 32, 32)),
        (Cifar(1, 28), (1, 1, 28, 28)),
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 5)), (1, 1, 28, 28)),
        (nn.Sequential(nn.Linear(7, 5)), (1, 7)),
        (nn.Sequential(nn.Conv1d(2, 4, 3)), (1, 2, 128)),
        (Net(), (1, 3, 224, 224)),
    ],
)
def test_panels_find_the_size_that_a_model_takes(model: nn.Module, size: tuple[int, ...]) -> None:
    assert input_size(model) == size
    assert viz.module_tree(model).input_size == viz.summary(model).input_size == size
    for explore in (viz.explore_structure, viz.explore_summary):
        panel = explore(model)
        assert panel.scene.charts
        panel.close()


@pytest.mark.parametrize("model", [Cifar(), Cifar(1, 28)])
def test_every_panel_works_on_a_small_network(model: Cifar) -> None:
    _, channels, side, _ = input_size(model)
    steps = [T.Resize((side, side)), T.ToTensor()]
    transform = T.Compose([T.Grayscale(), *steps] if channels == 1 else steps)
    labels = list("abcdefghij")
    panel = viz.explore_saliency(model, "cat", transform=transform, labels=labels, method="guided")
    assert list(panel.scene.axes["method"]) == ["vanilla", "guided", "input_x_gradient"]
    panel.close()
    for panel in (
        viz.explore_cam(model, "cat", transform=transform, labels=labels),
        viz.explore_feature_maps(model, "cat", transform=transform),
        viz.explore_kernels(model),
        viz.explore_filters(model, steps=1),
        viz.explore_filters(model, steps=1, size=20),
    ):
        assert len(panel.scene.stacks[0])
        panel.close()
    pictures = viz.activation_maximization(model, "conv", channels=[0], steps=2, size=24)
    assert pictures.frames.shape == (1, 24, 24, 3)
    grey = (pictures.frames[..., 0] == pictures.frames[..., 1]).all()
    assert grey == (channels == 1)


def test_a_model_without_maps_kernels_or_relus_says_so() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 144, 5))
    for call, word in (
        (lambda: viz.explore_feature_maps(model, "cat", transform=SMALL), "has maps"),
        (lambda: viz.explore_cam(model, "cat", transform=SMALL), "has maps"),
        (lambda: viz.explore_filters(model), "has maps"),
        (lambda: viz.explore_kernels(model), "no kernels"),
        (lambda: viz.kernels(model, "1"), "no nn.Conv2d at all"),
        (
            lambda: viz.explore_saliency(model, "cat", transform=SMALL, method="guided"),
            "uses no ReLU",
        ),
    ):
        with pytest.raises(ValueError, match=word):
            call()
    with pytest.raises(ValueError, match="takes 5 input channels"):
        viz.activation_maximization(nn.Sequential(nn.Conv2d(5, 2, 3)), "0", channels=[0], steps=1)


def test_a_model_that_takes_one_size_only_is_climbed_at_that_size() -> None:
    class Fixed(Net):
        def forward(self, x: Tensor) -> Tensor:
            torch._assert(x.shape[-1] == 32, f"Wrong image height! Expected 32 but got {x.shape}")
            return super().forward(x)

    stack = viz.activation_maximization(Fixed(), "second", channels=[0], steps=1)
    assert stack.frames.shape[1:3] == (32, 32)
    panel = viz.explore_filters(Fixed(), steps=1)
    assert panel.scene.stacks[0].frames.shape[1:3] == (32, 32)
    panel.close()
    with pytest.raises(ValueError, match="Wrong image height"):
        viz.activation_maximization(Fixed(), "second", channels=[0], steps=1, size=16)
    panel = viz.explore_summary(Fixed())
    slider = panel.requests["side"]
    assert slider.disabled and slider.min == slider.max == slider.value == 32
    panel.close()


# ------------------------------------------------------------ found by trying other inputs


class Views(nn.Module):
    """Flattens with ``view(-1, n)``: places of a larger image become rows of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 16 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.max_pool2d(F.relu(self.conv(x)), 2).view(-1, 4 * 16 * 16))


def test_an_input_that_becomes_several_rows_is_no_input_of_that_size() -> None:
    model, large = Views(), torch.rand(1, 3, 64, 64)
    assert input_size(model) == (1, 3, 32, 32)
    for call in (
        lambda: viz.predict(model, large),
        lambda: viz.cam(model, large, "conv", target=1),
        lambda: viz.cam(model, large, "conv", target=1, method="scorecam"),
        lambda: viz.saliency(model, large, target=1, method="smoothgrad", passes=1),
        lambda: viz.saliency(model, large),
    ):
        with pytest.raises(ValueError, match=r"4 rows of scores for 1 image.*x\.flatten\(1\)"):
            call()


@pytest.mark.parametrize("kind", [AssertionError, ValueError, RuntimeError, KeyError])
def test_a_model_that_checks_its_size_itself_is_climbed_and_shown(kind: type[Exception]) -> None:
    class Fixed(Net):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] != 32:
                raise kind()
            return super().forward(x)

    stack = viz.activation_maximization(Fixed(), "second", channels=[0], steps=1)
    assert stack.frames.shape[1:3] == (32, 32)
    for explore in (viz.explore_filters, viz.explore_summary, viz.explore_structure):
        explore(Fixed()).close()


def test_a_network_whose_output_is_maps_offers_layers_and_not_itself() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    panel = viz.explore_feature_maps(model, "cat", transform=SMALL)
    assert list(panel.requests["layer"].options) == ["0", "1"]
    panel.close()


def test_a_relu_that_no_gradient_passes_leaves_guided_out(x: Tensor) -> None:
    class Unused(Net):
        def __init__(self) -> None:
            super().__init__(lambda net, x: F.gelu(x))
            self.unused = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(F.gelu(self.second(F.gelu(self.first(x)))).mean((2, 3)))

    panel = viz.explore_saliency(Unused(), "cat", transform=SMALL)
    assert list(panel.scene.axes["method"]) == ["vanilla", "input_x_gradient"]
    panel.close()


def test_what_a_forward_keeps_in_lists_and_dictionaries_stays_the_readers(x: Tensor) -> None:
    class Keeps(Net):
        def __init__(self) -> None:
            super().__init__()
            self.maps: dict[str, Tensor] = {}
            self.history: list[Tensor] = []
            self.cache: dict[tuple[int, ...], Tensor] = {}

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            self.maps["first"] = h
            self.history.append(h.mean())
            if (size := tuple(h.shape[2:])) not in self.cache:
                self.cache[size] = torch.ones(size)
            return self.fc(self.second(h * self.cache[size]).mean((2, 3)))

    model = Keeps()
    model(x).sum().backward()
    viz.module_tree(model, input_size=(1, 3, 20, 20))
    viz.summary(model, SIZE)
    assert [t.device.type for t in model.history] == ["cpu"]
    assert model.maps["first"].device.type == "cpu" and list(model.cache) == [(10, 10)]
    model(torch.rand(1, 3, 20, 20))


def test_a_size_that_does_not_fit_calls_no_hook_of_the_reader() -> None:
    model, seen = Cifar(), []
    model.conv.register_forward_hook(lambda *args: seen.append("called"))
    with pytest.raises(ValueError, match="cannot run on an input of shape"):
        viz.module_tree(model, input_size=(1, 3, 64, 64))
    viz.explore_summary(model).close()
    assert seen == []


def test_a_forward_that_reads_what_its_own_hook_stored_has_the_shapes_of_this_input() -> None:
    class Stores(Net):
        def __init__(self) -> None:
            super().__init__()
            self.stored: dict[str, Tensor] = {}
            self.first.register_forward_hook(self.store)

        def store(self, module: nn.Module, args: Any, output: Tensor) -> None:
            self.stored["first"] = output

        def forward(self, x: Tensor) -> Tensor:
            self.first(x)
            return self.fc(self.second(self.stored["first"]).mean((2, 3)))

    model = Stores()
    with torch.no_grad():
        model(torch.rand(4, 3, 12, 12))
    tree = viz.module_tree(model, input_size=(1, 3, 20, 20))
    assert {row.name: row.shape for row in tree.rows}["fc"] == (1, 5)
    assert len(model.stored["first"]) == 4


def test_threads_leave_the_settings_of_the_process_as_they_were() -> None:
    def settings() -> tuple[Any, ...]:
        kernels = torch.backends.cuda
        return (
            torch.backends.mha.get_fastpath_enabled(),
            kernels.flash_sdp_enabled(),
            kernels.mem_efficient_sdp_enabled(),
            torch.get_rng_state().tolist(),
        )

    nets = [Net() for _ in range(24)]  # their constructor draws
    before = settings()
    expected = viz.kernels(nets[0], "first", random_seed=1).frames
    wrong: list[int] = []

    def work(i: int) -> None:
        viz.summary(nets[i], SIZE)
        found = viz.kernels(nets[i], "first", random_seed=1).frames
        wrong.extend([i] * (not np.array_equal(found, expected)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(24)))
    assert settings() == before and wrong == []


def test_a_summary_keeps_the_proportions_of_its_input() -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    panel = viz.explore_summary(model, input_size=(1, 1, 64, 128))
    assert "image 128 x 256, against one of 64 x 128" in panel.scene.charts[0][0].title
    panel.close()
    for size, kind in ((224, TypeError), ((1, 1, -5, 9), ValueError), ((1, 1, 9.0, 9), TypeError)):
        with pytest.raises(kind, match="input_size"):
            viz.explore_summary(model, input_size=size)  # type: ignore[arg-type]


def test_one_output_of_two_classes_is_the_second(x: Tensor) -> None:
    model = Says([-6.0], lambda x: torch.sigmoid(x).squeeze())
    (found,) = viz.predict(model, x, labels=["cat", "dog"])
    assert (found.label, found.index) == ("dog", 0)
    assert found.probability == pytest.approx(0.0025, abs=1e-3)
    assert viz.cam(model, x, "conv", labels=["cat", "dog"]).axes["class"] == ["dog"]
    assert viz.saliency(model, x).name == "Saliency of the probability"
    five = Says([1.0, 2.0, 3.0, 2.0, 1.0], torch.squeeze)
    assert viz.predict(five, x)[0].index == 2


@pytest.mark.parametrize("of", ["clamp", "clone", "hardsigmoid", "double"])
def test_a_sigmoid_is_known_behind_what_keeps_its_values(of: str, x: Tensor) -> None:
    last = {
        "clamp": lambda x: torch.sigmoid(x).clamp(0, 1),
        "clone": lambda x: torch.sigmoid(x).clone(),
        "hardsigmoid": F.hardsigmoid,
        "double": lambda x: torch.sigmoid(x).double(),
    }[of]
    (found,) = viz.predict(Says([0.0], last), x)
    assert found.probability == pytest.approx(0.5) and "sigmoid" in found.assumed


def test_labels_may_be_a_mapping_and_may_be_fewer(x: Tensor) -> None:
    names = dict(enumerate("abcde"))
    assert viz.predict(Net(), x, 1, labels=names)[0].label in names.values()  # type: ignore
    panel = viz.explore_cam(Net(), "cat", transform=SMALL, labels=names)  # type: ignore
    assert set(panel.scene.axes["class"]) == set("abcde")
    panel.requests["other"].value = "99"
    assert panel.wait(20) and "classes go from 0 to 4" in panel.message
    panel.close()
    few = viz.cam(Net(), x, "second", target=4, labels=["a", "b"])
    assert few.axes["class"] == ["4"]
    with pytest.raises(ValueError, match="indices 0, 1, 2"):
        viz.predict(Net(), x, labels={1: "a"})  # type: ignore[arg-type]


def test_a_cam_panel_takes_any_layer_with_maps_also_as_a_module() -> None:
    model = viz.load_model()
    for layer in ("features.0", model.features[0]):
        panel = viz.explore_cam(model, layer=layer)
        assert panel.scene.axes["layer"][panel.view.i0] == "features.0"
        panel.close()
    for explore in (viz.explore_feature_maps, viz.explore_filters):
        net = Net()
        kwargs = {"transform": SMALL} if explore is viz.explore_feature_maps else {"steps": 1}
        panel = explore(net, layer=net.second, **kwargs)
        assert panel.requests["layer"].value == "second"
        panel.close()


def test_an_open_panel_follows_training_hooks_and_conversions(x: Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(400, 3))
    model.eval()
    panel = viz.explore_feature_maps(model, "cat", transform=SMALL)

    def agrees() -> bool:
        panel.requests["photograph"].value = "coffee"
        panel.requests["photograph"].value = "cat"
        assert panel.wait(20) and panel.message == ""
        sample = viz.prepare(model, "cat", transform=SMALL)
        shown = panel.scene.stacks[0].frames
        return bool(np.array_equal(shown, viz.feature_maps(model, sample, "0").frames))

    assert agrees()
    with torch.no_grad():
        model[0].weight.mul_(2)
    assert agrees()
    model.double()
    assert agrees()
    model[0].register_forward_hook(lambda module, args, output: output * 0 + 1)
    assert agrees() and (panel.scene.stacks[0].frames == 1).all()
    panel.close()


def test_the_original_cam_reads_a_normalised_head_without_moving_it(x: Tensor) -> None:
    model = Net()
    parametrizations.spectral_norm(model.fc)
    model.train()
    before = snapshot(model, x)
    assert viz.cam(model, x, "last", method="cam").frames.any()
    assert difference(before, snapshot(model, x)) == []


def test_ablation_cam_needs_no_copy(x: Tensor) -> None:
    """A layer of two names, one followed by an in-place addition, tokens, signed activations."""

    class Aliased(Net):
        def __init__(self) -> None:
            super().__init__()
            self.again = nn.Sequential(self.first, nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            h = self.second(self.again(x))
            h += 1
            return self.fc(h.mean((2, 3)))

    model, index = Aliased().eval(), 2
    for layer in ("first", "second"):
        found = viz.cam(model, x, layer, target=index, method="ablationcam").frames[0]
        maps, whole = viz.capture(model, x, layer)[layer][0], model(x)[0, index].item()
        weights = []
        for channel in range(len(maps)):
            handle = model.get_submodule(layer).register_forward_hook(
                lambda m, a, o, c=channel: o.index_fill(1, torch.tensor([c]), 0.0)
            )
            weights.append((whole - model(x)[0, index].item()) / whole)
            handle.remove()
        expected = torch.einsum("c,chw->hw", torch.tensor(weights), maps).relu()
        np.testing.assert_allclose(found, expected.detach(), rtol=1e-3, atol=1e-5)
    from networks import TINY

    tokens = TINY["attention"]
    found = viz.cam(tokens.built(), tokens.x(), "norm2", target=1, method="ablationcam")
    assert found.frames.shape == (1, 4, 4)


def test_smoothgrad_of_an_image_does_not_depend_on_the_batch(x: Tensor) -> None:
    batch = torch.cat([x.flip(2), x])
    both = viz.saliency(Net(), batch, target=1, method="smoothgrad", passes=2).frames
    alone = viz.saliency(Net(), x, target=1, method="smoothgrad", passes=2).frames
    np.testing.assert_allclose(both[1], alone[0], atol=1e-6)


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


def test_a_model_without_numbers_or_made_for_inference_is_told_so(x: Tensor) -> None:
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


def test_nan_gradients_are_told_in_words(x: Tensor) -> None:
    class Hidden(Net):
        def forward(self, x: Tensor) -> Tensor:
            return torch.nan_to_num(super().forward(x / 0 * 0))

    with pytest.raises(ValueError, match=r"gradient of the logit holds NaN"):
        viz.saliency(Hidden(), x)


def test_a_convolution_that_initialises_itself_in_its_own_way_still_has_random_kernels() -> None:
    class Own(nn.Conv2d):
        def reset_parameters(self) -> None:
            nn.init.constant_(self.weight, self.fill)  # type: ignore[arg-type]

        def __init__(self, *args: Any) -> None:
            self.__dict__["fill"] = 3.0
            super().__init__(*args)

    model = nn.Sequential(Own(3, 4, 3))
    assert viz.kernels(model, "0", random_seed=1).frames.std() > 0


def test_a_cam_says_where_it_explains_a_probability(x: Tensor) -> None:
    inside = nn.Sequential(Net(), nn.Softmax(1))
    assert (
        "of a probability (the model ends in a softmax)" in viz.cam(inside, x, "0.last").titles[0]
    )
    assert "probability" not in viz.cam(inside, x, "0.last", method="eigencam").titles[0]
    assert "probability" not in viz.cam(Net(), x, "last").titles[0]


def test_a_saved_panel_leaves_out_what_the_model_refuses(tmp_path: Any) -> None:
    panel = viz.explore_cam(Cifar(), "cat", transform=T.Compose([T.Resize((32, 32)), T.ToTensor()]))
    methods = panel.page().requests["method"]
    assert "cam" not in methods and {"gradcam", "layercam", "eigencam"} <= set(methods)
    assert panel.save_html(tmp_path / "cam.html").stat().st_size > 1000
    panel.close()
    both = viz.explore_summary({"small": Cifar(), "any": Net()})
    assert both.page().requests["model"] == ["small", "any"]
    both.close()


def test_a_class_search_that_failed_does_not_block_the_other_controls() -> None:
    panel = viz.explore_saliency(viz.load_model(), "cat")
    panel.controls["other"].value = "shark"
    assert panel.wait(20) and "contain 'shark'" in panel.message
    panel.controls["photograph"].value = "panda"
    assert panel.wait(20) and panel.message == "" and panel.controls["other"].value == ""
    assert "giant panda" in panel.scene.axes["class"]
    panel.close()


def test_a_class_that_another_network_does_not_know_is_cleared() -> None:
    transform = T.Compose([T.Resize((32, 32)), T.ToTensor()])
    panel = viz.explore_saliency(Cifar(), "cat", transform=transform)
    panel.controls["network"].value = "SqueezeNet 1.1"
    assert panel.wait(20)
    panel.controls["other"].value = "tabby"
    assert panel.wait(20) and panel.scene.axes["class"][0] == "tabby"
    panel.controls["network"].value = "Cifar"
    assert panel.wait(20) and panel.message == ""
    assert panel.scene.axes["class"][0].isdigit()
    panel.close()


def test_a_summary_offers_no_size_that_turns_into_rows() -> None:
    panel = viz.explore_summary(Views())
    slider = panel.requests["side"]
    assert slider.disabled and slider.value == 32
    panel.close()


def test_a_closed_panel_says_so_where_it_is_shown() -> None:
    panel = viz.explore_structure(Net())
    panel.close()
    assert panel._repr_mimebundle_()[0] == {
        "text/plain": "This panel is closed. Run its cell again."
    }


class Dictionary(Net):
    def forward(self, x: Tensor) -> Any:
        return {"logits": super().forward(x)}


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: viz.explore_filters(Cifar(), channel=99), "no channel 99.*0 to 3"),
        (lambda: viz.explore_kernels(Cifar(), out=99), "no output channel 99"),
        (
            lambda: viz.explore_feature_maps(Net(), "cat", transform=SMALL, channel=9),
            "no channel 9",
        ),
        (lambda: viz.explore_summary(Cifar(), side=64), "side=64.*32"),
        (lambda: viz.explore_summary(Net(), batch=1000), "batch=1000"),
        (lambda: viz.explore_structure({}), "models is empty"),
        (
            lambda: viz.explore_saliency(Dictionary(), transform=SMALL, method="guided"),
            "dict",
        ),
    ],
)
def test_panels_refuse_what_the_functions_refuse(call: Callable[[], Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        call()


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


def test_a_single_limit_beyond_all_values_turns_no_scale_round() -> None:
    frames = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    assert viz.ImageStack(frames, {"n": [0]}, vmin=50).limits() == [(50.0, 50.0)]
    assert viz.ImageStack(frames - 20, {"n": [0]}, vmax=-50).limits() == [(-50.0, -50.0)]


def test_torchvisions_own_files_are_read_by_path_as_torchvision_reads_them(tmp_path: Any) -> None:
    import torchvision

    dense = viz.load_model("densenet121", weights=None)
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value
        for key, value in dense.state_dict().items()
    }
    assert old.keys() != dense.state_dict().keys()
    torch.save(old, tmp_path / "densenet121.pth")
    read = viz.load_model("densenet121", weights=tmp_path / "densenet121.pth")
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(read(x), dense(x))
    google = torchvision.models.googlenet(weights=None, init_weights=False)
    name = torchvision.models.GoogLeNet_Weights.DEFAULT.url.rpartition("/")[2]
    for file, changed in ((name, True), ("mine.pth", False)):
        torch.save(google.state_dict(), tmp_path / file)
        loaded = viz.load_model("googlenet", weights=tmp_path / file)
        assert loaded.transform_input is changed


def test_a_transform_keeps_the_crop_of_the_photograph_and_not_of_a_probe() -> None:
    class Keeps:
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def __call__(self, image: Any) -> Tensor:
            self.seen.append(image)
            return SMALL(image)

    keeps = Keeps()
    sample = viz.prepare(Net(), "cat", transform=keeps)
    assert len(keeps.seen) == 1
    assert sample.view.std() > 10
