"""A pass that stops behind the last wanted layer changes no answer and leaves nothing behind."""

import gc
import random
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from snapshots import difference, snapshot
from stoppable import CALLS, SWITCH, Between, Layer, Net, by_hook, called, net
from torch import Tensor, nn

import vizhelpers as viz
from vizhelpers.passes.capture import run_to
from vizhelpers.passes.forward import evaluating


@pytest.fixture(autouse=True)
def nothing_called() -> Iterator[None]:
    CALLS.clear()
    SWITCH.clear()
    yield


# ------------------------------------------------------------ where a pass ends


@pytest.mark.parametrize(
    "call",
    [
        lambda model, x, layer: viz.capture(model, x, layer),
        lambda model, x, layer: viz.feature_maps(model, x, layer),
        run_to,
    ],
)
def test_the_first_pass_runs_whole_and_later_ones_end_behind_the_layer(
    call: Any, x: Tensor
) -> None:
    model = net()
    assert called(lambda: call(model, x, "first")) == ["first", "second", "third"]
    assert called(lambda: call(model, x, "first")) == ["first"]
    assert called(lambda: call(model, x, "second")) == ["first", "second"]
    larger = torch.cat([x, x], dim=3)
    assert called(lambda: call(model, larger, "first")) == ["first", "second", "third"]
    assert called(lambda: call(model, larger, "first")) == ["first"]


def test_a_pass_for_several_layers_ends_behind_the_last_to_run(x: Tensor) -> None:
    model = net()
    viz.capture(model, x, "first")
    assert called(lambda: viz.capture(model, x, ["second", "first.conv"])) == ["first", "second"]
    outputs = viz.capture(model, x, ["second", "first"])
    assert list(outputs) == ["second", "first"]
    for name, output in outputs.items():
        assert torch.equal(output, by_hook(model, x, name))


def test_a_function_that_needs_the_output_runs_whole(x: Tensor) -> None:
    model = net()
    for _ in range(3):
        assert called(lambda: viz.cam(model, x, "first")) == ["first", "second", "third"]
        assert called(lambda: viz.predict(model, x)) == ["first", "second", "third"]


HOOKS: dict[str, Callable[[nn.Module, Callable[..., None]], Any]] = {
    "forward": lambda model, hook: model.register_forward_hook(hook),
    "pre": lambda model, hook: model.register_forward_pre_hook(hook),
    "backward": lambda model, hook: model.register_full_backward_hook(hook),
    "global": lambda model, hook: nn.modules.module.register_module_forward_hook(hook),
}


@pytest.mark.parametrize("kind", HOOKS)
def test_a_model_with_hooks_of_the_readers_runs_whole(kind: str, x: Tensor) -> None:
    model = net()
    viz.capture(model, x, "first")
    assert called(lambda: viz.capture(model, x, "first")) == ["first"]
    handle = HOOKS[kind](model.third, lambda *args: None)
    try:
        for _ in range(2):
            assert called(lambda: viz.capture(model, x, "first")) == ["first", "second", "third"]
    finally:
        handle.remove()
    viz.capture(model, x, "first")
    assert called(lambda: viz.capture(model, x, "first")) == ["first"]


def test_activation_maximisation_refuses_a_layer_that_runs_twice(x: Tensor) -> None:
    model = net(lambda net, x: net.second(x))
    for call in (viz.capture, run_to):
        call(model, x, "first")
        assert called(lambda call=call: call(model, x, "first")) == ["first"]
    for _ in range(2):
        for call in (
            lambda: run_to(model, x, "second"),
            lambda: viz.capture(model, x, "second"),
            lambda: viz.activation_maximization(model, "second", channels=[0], steps=1, size=8),
        ):
            with pytest.raises(ValueError, match="'second' runs more than once"):
                call()


def test_activation_maximisation_takes_a_size_that_only_the_front_accepts(x: Tensor) -> None:
    model = nn.Sequential(Layer("first", 3), nn.Flatten(), nn.Linear(4 * 8 * 8, 5)).eval()
    small = x[..., :4, :4]
    with pytest.raises(ValueError, match="shape"):
        viz.capture(model, small, "0")
    for _ in range(2):
        torch.testing.assert_close(run_to(model, small, "0"), model[0](small))
    with pytest.raises(ValueError, match="shape"):
        viz.capture(model, small, "0")


# ------------------------------------------------------------ what makes the first pass no guide


def _set_steps(model: Any) -> None:
    model.steps = 2


def _add_layer(model: Any) -> None:
    model.again = nn.Sequential(model.second)


CHANGES: dict[str, tuple[Between, Callable[[Any], object]]] = {
    "an attribute": (
        lambda net, x: net.second(x) if getattr(net, "steps", 1) > 1 else x,
        _set_steps,
    ),
    "a submodule": (lambda net, x: net.again(x) if hasattr(net, "again") else x, _add_layer),
}


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_of_the_model_runs_are_counted_again(change: str, x: Tensor) -> None:
    between, make = CHANGES[change]
    model = net(between)
    for _ in range(2):
        viz.capture(model, x, "second")
    make(model)
    for call in (lambda: viz.capture(model, x, "second"), lambda: run_to(model, x, "second")):
        with pytest.raises(ValueError, match="more than once"):
            call()


def test_a_replaced_layer_is_the_one_that_is_recorded(x: Tensor) -> None:
    model = net()
    before = [viz.capture(model, x, "second")["second"] for _ in range(2)][-1]
    model.second = Layer("other", 4)
    expected = by_hook(model, x, "second")
    assert not torch.allclose(before, expected)
    for _ in range(2):
        assert torch.equal(viz.capture(model, x, "second")["second"], expected)


REPEATS: dict[str, Between] = {
    "a value": lambda net, x: net.second(x) if x.abs().max().item() > 50 else x,
    "a truth value": lambda net, x: net.second(x) if (x.abs() > 50).any() else x,
    "the size of a mask": lambda net, x: net.second(x) if len(x[x.abs() > 50]) else x,
    "an array": lambda net, x: net.second(x) if abs(x.detach().numpy()).max() > 50 else x,
    "a list": lambda net, x: net.second(x) if max(x.abs().flatten().tolist()) > 50 else x,
    "Python's random numbers": lambda net, x: net.second(x) if random.random() > 0.5 else x,
    "NumPy's random numbers": lambda net, x: net.second(x) if np.random.rand() > 0.5 else x,
    "torch's random numbers": lambda net, x: net.second(x) if torch.rand(1)[0] > 0.5 else x,
}


@pytest.fixture
def seed() -> Iterator[Callable[[int], None]]:
    """Yield a function that seeds every generator; their states are restored afterwards."""

    def seed(number: int) -> None:
        random.seed(number)
        np.random.seed(number)
        torch.random.default_generator.manual_seed(number)

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield seed
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


@pytest.mark.parametrize("what", REPEATS)
def test_a_layer_that_runs_twice_for_some_inputs_or_draws_is_refused_for_them(
    what: str, x: Tensor, seed: Callable[[int], None]
) -> None:
    model, outcomes = net(REPEATS[what]), set()
    for number, image in enumerate([x, x, x * 1000, x, x * 1000, x, x * 1000, x] * 2):
        seed(number)
        runs = called(lambda image=image: model(image)).count("second")
        outcomes.add(runs)
        for call in (viz.capture, run_to):
            seed(number)
            if runs == 1:
                call(model, image, "second")
            else:
                with pytest.raises(ValueError, match="more than once"):
                    call(model, image, "second")
    assert outcomes == {1, 2}


def test_a_layer_that_no_longer_runs_is_refused(x: Tensor) -> None:
    model = net(lambda net, x: net.extra(x) if not SWITCH else x)
    model.extra = Layer("extra", 4)
    for _ in range(2):
        viz.capture(model, x, "extra")
    SWITCH.append("off")
    with pytest.raises(ValueError, match="'extra' did not run"):
        viz.capture(model, x, "extra")


# ------------------------------------------------------------ what a stopped pass leaves


class Keeping(Net):
    """Its forward changes the model, and undoes that at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[int] = [1]
        self.table: dict[str, Any] = {"inner": [0]}
        self.register_buffer("buffer", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        buffer = self.buffer
        self.kept, self.buffer = x, torch.ones(1)
        self.stack.append(2)
        self.table["inner"].append(3)
        self.table["new"] = 4
        x = super().forward(x)
        self.stack.pop()
        self.table["inner"].pop()
        del self.table["new"], self.kept
        self.buffer = buffer
        return x


def test_a_stopped_pass_leaves_no_attribute_behind(x: Tensor) -> None:
    model = Keeping().eval()
    before = snapshot(model, x)
    for ran in (["first", "second", "third"], ["first"]):
        assert called(lambda: viz.capture(model, x, "first")) == ran
        assert difference(before, snapshot(model, x)) == []
    assert (model.stack, model.table) == ([1], {"inner": [0]})
    with pytest.raises(RuntimeError), evaluating(model):
        model(x[:, :2])  # a pass that ends early without us does leave some
    assert model.stack != [1] and hasattr(model, "kept")


def test_a_forward_that_changes_a_tensor_of_its_own_always_runs_whole(x: Tensor) -> None:
    def counted(net: Net, x: Tensor) -> Tensor:
        net.passes += 1
        return x

    model = net(counted)
    model.register_buffer("passes", torch.zeros(1))
    for _ in range(3):
        assert called(lambda: viz.capture(model, x, "second")) == ["first", "second", "third"]
    assert model.passes.item() == 3


class Careful(Net):
    """Its forward catches everything."""

    def forward(self, x: Tensor) -> Tensor:
        try:
            x = self.first(x)
        except BaseException as error:
            if SWITCH:
                raise RuntimeError("the first layer failed") from error
            x = self.second(self.first(x * 0))
        finally:
            CALLS.append("finally")
        return self.head(self.third(self.second(x)).mean((2, 3)))


@pytest.mark.parametrize("switch", [[], ["raise another error"]])
def test_a_forward_that_swallows_the_end_of_a_pass_runs_whole(switch: list[str], x: Tensor) -> None:
    model = Careful().eval()
    SWITCH.extend(switch)
    expected = by_hook(model, x, "first")
    before = snapshot(model, x)
    for _ in range(3):
        assert torch.equal(viz.capture(model, x, "first")["first"], expected)
        assert torch.equal(run_to(model, x, "first"), expected)
        assert difference(before, snapshot(model, x)) == []
    whole = ["first", "finally", "second", "third"]
    assert called(lambda: viz.capture(model, x, "first")) == whole


def test_threads_that_want_different_layers_of_one_model_get_their_own(x: Tensor) -> None:
    model = net()
    names = ["first", "second", "third"]
    expected = {name: by_hook(model, x, name) for name in names}
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda i: (i, viz.capture(model, x, names[i % 3])), range(60))
        for i, answer in answers:
            assert torch.equal(answer[names[i % 3]], expected[names[i % 3]])


def test_what_is_known_of_a_model_does_not_keep_it_alive(x: Tensor) -> None:
    model = net()
    for _ in range(2):
        viz.capture(model, x, "first")
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None
