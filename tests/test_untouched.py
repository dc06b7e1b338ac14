"""Nothing outlives a call: whatever is called, on whatever network, however it ends.

A model that the reader goes on training with must be the same model, to the bit.
"""

import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import TINY, Tiny
from public_calls import CALLS, IN_PYPLOT, PANELS, explore
from snapshots import difference, snapshot
from torch import Tensor, nn

from vizhelpers.view.live.progress import watching

# These draw, or run torchinfo: tens of milliseconds instead of a few.
SLOW = ("ImageStack: plot", "flash.Backprop: visualize", "summary")


class Stop(Exception):
    """What a user's own hook raises; no kind of error that vizhelpers knows."""


# Where a call can fail. "hook" and "module" fail on the way forward, "gradient" on the way back.
FAILURES = (
    "none", "hook", "pre-hook", "module", "gradient", "function", "tuple", "nothing", "layer",
    "watcher",
)  # fmt: skip
KINDS = (Stop, RuntimeError, KeyboardInterrupt, MemoryError)
FIRED: list[str] = []  # a list here, since a counter on the model would itself be a change


class Breaking(torch.autograd.Function):
    """Identity on the way forward; on the way back it raises."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kind: type[BaseException]) -> Tensor:
        ctx.kind = kind
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        FIRED.append("function")
        raise ctx.kind("function")


class Broken(nn.Module):
    """A module of the user's that does its work, and then something else."""

    def __init__(self, inside: nn.Module, failure: str, kind: type[BaseException]) -> None:
        super().__init__()
        self.inside, self.failure, self.kind = inside, failure, kind

    def forward(self, x: Tensor) -> Any:
        x = self.inside(x)
        if self.failure == "function":
            return Breaking.apply(x, self.kind)
        if self.failure == "module":
            FIRED.append("module")
            raise self.kind("module")
        return {"tuple": (x, x), "nothing": None}[self.failure]


@dataclass
class Situation:
    """One example: a network in some state, a call, a way to fail, and the caller's own mode."""

    network: str
    call: str
    failure: str = "none"
    kind: type[BaseException] = Stop
    place: int = 0
    layer: int = 0
    training: list[bool] = field(default_factory=lambda: [True])
    frozen: list[bool] = field(default_factory=lambda: [False])
    grads: list[bool] = field(default_factory=lambda: [True])
    caller: str = "grad"
    input_grad: bool = False


CALLERS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "grad": torch.enable_grad,
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "float64 by default": lambda: default_dtype(torch.float64),
}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    kept = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(kept)


def users_hook(*args: object) -> None:
    """Stand for what users register; it must still be there afterwards."""


def prepared(s: Situation) -> tuple[nn.Module, Tensor]:
    """Build the network in the state that the situation describes, failure included."""
    network = TINY[s.network]
    model, x = network.built(), network.x()
    for i, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(not s.frozen[i % len(s.frozen)])
        if s.grads[i % len(s.grads)]:
            parameter.grad = torch.full_like(parameter, 0.5)
        if parameter.requires_grad:
            parameter.register_hook(users_hook)
            parameter.register_post_accumulate_grad_hook(users_hook)
    for module in model.modules():
        module.register_forward_hook(users_hook)
        module.register_state_dict_post_hook(users_hook)
    x.requires_grad_(s.input_grad)
    fail(model, network, s)
    for i, module in enumerate(model.modules()):
        module.training = s.training[i % len(s.training)]
    return model, x


def fail(model: nn.Module, network: Tiny, s: Situation) -> None:
    """Make the network fail at one of its modules."""
    name = network.layers[s.place % len(network.layers)]
    module = model.get_submodule(name)

    def raises(*args: object) -> None:
        FIRED.append(s.failure)
        raise s.kind(s.failure)

    def raises_on_the_way_back(module: nn.Module, args: object, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(raises)

    if s.failure == "hook":
        module.register_forward_hook(raises)
    elif s.failure == "pre-hook":
        module.register_forward_pre_hook(raises)
    elif s.failure == "gradient":
        module.register_forward_hook(raises_on_the_way_back)
    elif s.failure in ("module", "function", "tuple", "nothing"):
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, Broken(module, s.failure, s.kind))


def watcher(s: Situation) -> AbstractContextManager[object]:
    """Interrupt a loop at its second step, where the situation says so."""

    def report(what: str, done: int, total: int) -> bool:
        if done:
            FIRED.append("watcher")
            raise s.kind("watcher")
        return True

    return watching(report) if s.failure == "watcher" else nullcontext()


def left_behind(s: Situation) -> tuple[list[str], BaseException | None]:
    """Make the call; return what differs afterwards, and what it raised."""
    model, x = prepared(s)
    network, raised = TINY[s.network], None
    layer = network.layers[s.layer % len(network.layers)]
    layer = "no.such.layer" if s.failure == "layer" else layer
    FIRED.clear()
    with CALLERS[s.caller](), watcher(s), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = snapshot(model, x)
        try:
            CALLS[s.call](model, x, layer, network)
        except BaseException as error:
            raised = error
        after = snapshot(model, x)
    if s.call in IN_PYPLOT:
        plt.close("all")
        after["global: figures"] = before["global: figures"]
    return difference(before, after), raised


def allowed(s: Situation, raised: BaseException | None) -> bool:
    """Say whether a call may end like this: what a user's code raises is neither hidden nor new."""
    if FIRED and s.kind is RuntimeError:
        # torch's word for a wrong shape; ``forward`` makes a ValueError of it.
        return isinstance(raised, (RuntimeError, ValueError))
    if FIRED:
        return type(raised) is s.kind
    if s.failure in ("tuple", "nothing"):
        # The network itself stumbles over what its broken module returns.
        return raised is None or isinstance(raised, (AttributeError, TypeError, ValueError))
    return raised is None or isinstance(raised, (ValueError, TypeError))


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """Load what is loaded on first use: scikit-learn, say, adds a warnings filter as it loads."""
    for name in CALLS:
        left_behind(Situation("plain", name))


flags = st.lists(st.booleans(), min_size=1, max_size=4)
situations = st.builds(
    Situation,
    network=st.sampled_from(list(TINY)),
    call=st.sampled_from([name for name in CALLS if name not in SLOW]),
    failure=st.sampled_from(FAILURES),
    kind=st.sampled_from(KINDS),
    place=st.integers(0, 2),
    layer=st.integers(0, 2),
    training=flags,
    frozen=flags,
    grads=flags,
    caller=st.sampled_from(list(CALLERS)),
    input_grad=st.booleans(),
)


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(situations)
def test_nothing_outlives_a_call(s: Situation) -> None:
    changed, raised = left_behind(s)
    assert changed == [], f"{s} left {changed}"
    assert allowed(s, raised), f"{s} raised {raised!r}"


@pytest.mark.parametrize("call", SLOW)
@pytest.mark.parametrize("failure", ["none", "module", "tuple"])
def test_nothing_outlives_a_slow_call(call: str, failure: str) -> None:
    s = Situation("plain", call, failure, KeyboardInterrupt)
    changed, raised = left_behind(s)
    assert changed == []
    assert allowed(s, raised)


@pytest.mark.parametrize("name", PANELS)
def test_nothing_outlives_a_panel(name: str) -> None:
    model, x = prepared(Situation("plain", name))
    before = snapshot(model, x)
    explore(name, model).close()
    assert difference(before, snapshot(model, x)) == []


# The property above would be empty if nothing ever ran, or nothing ever failed.


@pytest.mark.parametrize("network", TINY)
def test_without_a_failure_every_call_works_or_says_why_not(network: str) -> None:
    refused = {}
    for call in CALLS:
        changed, raised = left_behind(Situation(network, call))
        assert changed == [], f"{call} left {changed}"
        if raised is not None:
            refused[call] = str(raised)
    assert set(refused) <= REFUSED[network], refused
    assert len(refused) < len(CALLS) / 3


_NO_RELU = {"saliency: guided", "flash.Backprop: guided"}
# "cam" needs the last layer and a pooled linear head; noise to climb from has three colours.
REFUSED = {
    "plain": {"cam: cam"},
    "residual": {"cam: cam"},
    "depthwise": {"cam: cam"} | _NO_RELU,
    "functional": {"cam: cam"},
    "attention": {"cam: cam"} | _NO_RELU,
    "grey": {"cam: cam", "activation_maximization", "flash.GradientAscent"},
}


@pytest.mark.parametrize("failure", ["hook", "pre-hook", "module", "gradient", "function"])
@pytest.mark.parametrize("kind", [Stop, KeyboardInterrupt])
def test_failures_do_happen_and_are_not_swallowed(failure: str, kind: type[BaseException]) -> None:
    way_back = failure in ("gradient", "function")
    calls = ["cam: gradcam", "saliency: vanilla", *([] if way_back else ["capture", "predict"])]
    for call in calls:
        changed, raised = left_behind(Situation("plain", call, failure, kind, place=2))
        assert failure in FIRED, call
        assert type(raised) is kind
        assert changed == []


def test_a_watcher_can_interrupt_a_sweep() -> None:
    changed, raised = left_behind(Situation("plain", "cam_sweep", "watcher", KeyboardInterrupt))
    assert "watcher" in FIRED
    assert type(raised) is KeyboardInterrupt
    assert changed == []


# And it would prove nothing if the comparison were blind: each kind of damage is done once.


def _flip_last_bit(tensor: Tensor) -> None:
    tensor.data.view(-1)[:1].view(torch.int32).bitwise_xor_(1)


Damage = Callable[[nn.Module, Tensor], object]
DAMAGES: dict[str, tuple[str, Damage]] = {
    "one bit of a parameter": ("tensor 0.weight: bits", lambda m, x: _flip_last_bit(m[0].weight)),
    "one bit of a statistic": (
        "tensor 1.running_mean: bits",
        lambda m, x: _flip_last_bit(m[1].running_mean),
    ),
    "BatchNorm's counter": (
        "tensor 1.num_batches_tracked: bits",
        lambda m, x: m[1].num_batches_tracked.data.add_(1),
    ),
    "changed and put back": ("tensor 0.weight: version", lambda m, x: m[0].weight.detach().add_(0)),
    "one bit of a gradient": (
        "tensor 0.weight: grad",
        lambda m, x: _flip_last_bit(m[0].weight.grad),
    ),
    "another gradient, equal": (
        "tensor 0.weight: grad",
        lambda m, x: setattr(m[0].weight, "grad", m[0].weight.grad.clone()),
    ),
    "gradients gone": ("tensor 0.weight: grad", lambda m, x: m.zero_grad()),
    "a gradient where none was": (
        "tensor 0.bias: grad",
        lambda m, x: setattr(m[0].bias, "grad", torch.zeros(4)),
    ),
    "requires_grad": ("tensor 0.bias: requires_grad", lambda m, x: m[0].bias.requires_grad_(False)),
    "another parameter, equal": (
        "module 0: _parameters",
        lambda m, x: setattr(m[0], "weight", nn.Parameter(m[0].weight.detach().clone())),
    ),
    "eval mode of one module": ("module 3: training", lambda m, x: m[3].eval()),
    **{
        f"a hook in {table}": (
            f"module 2: {table}",
            lambda m, x, register=register: getattr(m[2], register)(users_hook),
        )
        for table, register in {
            "_forward_hooks": "register_forward_hook",
            "_forward_pre_hooks": "register_forward_pre_hook",
            "_backward_hooks": "register_full_backward_hook",
            "_backward_pre_hooks": "register_full_backward_pre_hook",
            "_state_dict_hooks": "register_state_dict_post_hook",
        }.items()
    },
    "the user's hooks gone": ("module 0: _forward_hooks", lambda m, x: m[0]._forward_hooks.clear()),
    "a hook on a parameter": ("tensor 0.bias: hooks", lambda m, x: m[0].bias.register_hook(print)),
    "another layer in its place": (
        "module (itself): _modules",
        lambda m, x: m.__setitem__(2, nn.ReLU()),
    ),
    "in-place switched off": (
        "module 2: attribute inplace",
        lambda m, x: setattr(m[2], "inplace", False),
    ),
    "an attribute": (
        "module 0: attribute activations",
        lambda m, x: setattr(m[0], "activations", []),
    ),
    "a patched forward": (
        "module 0: attribute forward",
        lambda m, x: setattr(m[0], "forward", print),
    ),
    "another class": (
        "module 0: class",
        lambda m, x: setattr(m[0], "__class__", type("Conv2d", (nn.Conv2d,), {})),
    ),
    "one bit of the input": ("tensor input 0: bits", lambda m, x: _flip_last_bit(x)),
    "the input's requires_grad": (
        "tensor input 0: requires_grad",
        lambda m, x: x.requires_grad_(),
    ),
    "the autograd mode": ("global: grad mode", lambda m, x: torch.set_grad_enabled(False)),
    "anomaly mode": ("global: anomaly mode", lambda m, x: torch.set_anomaly_enabled(True)),
    "torch's random state": ("global: torch random state", lambda m, x: torch.rand(1)),
    "numpy's random state": ("global: numpy random state", lambda m, x: np.random.rand()),
    "Python's random state": ("global: python random state", lambda m, x: random.random()),
    "the default dtype": (
        "global: default dtype",
        lambda m, x: torch.set_default_dtype(torch.float64),
    ),
    "cudnn": ("global: cudnn", lambda m, x: setattr(torch.backends.cudnn, "benchmark", True)),
    "rcParams": ("global: rcParams", lambda m, x: matplotlib.rcParams.update({"font.size": 7})),
    "an open figure": ("global: figures", lambda m, x: plt.figure()),
    "a warnings filter": ("global: warnings", lambda m, x: warnings.simplefilter("error")),
    "an environment variable": (
        "global: environment",
        lambda m, x: os.environ.update(VIZHELPERS_TEST="1"),
    ),
    "a hook on all modules": (
        "global: _global_forward_hooks",
        lambda m, x: nn.modules.module.register_module_forward_hook(print),
    ),
}


@contextmanager
def globals_kept() -> Iterator[None]:
    """Put back what the damages below do outside of the model."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    benchmark = torch.backends.cudnn.benchmark
    with matplotlib.rc_context(), warnings.catch_warnings(), default_dtype(torch.float32):
        try:
            yield
        finally:
            torch.set_rng_state(states[0])
            np.random.set_state(states[1])
            random.setstate(states[2])
            torch.set_grad_enabled(True)
            torch.set_anomaly_enabled(False)
            torch.backends.cudnn.benchmark = benchmark
            plt.close("all")
            os.environ.pop("VIZHELPERS_TEST", None)
            nn.modules.module._global_forward_hooks.clear()


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_comparison_sees(damage: str) -> None:
    name, do = DAMAGES[damage]
    model, x = prepared(Situation("plain", "capture", grads=[True, False]))
    with globals_kept():
        before = snapshot(model, x)
        assert difference(before, snapshot(model, x)) == []
        do(model, x)
        assert name in difference(before, snapshot(model, x))
