"""A check runs under settings of its own, and leaves none of the process's changed."""

import contextlib
import logging
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exercise_answers import on_paper
from torch import nn
from torch.nn.modules import module as torch_module
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import vizhelpers as viz
from vizhelpers.exercises.catalogue import EXERCISES
from vizhelpers.exercises.surroundings import defined, restored

pytestmark = pytest.mark.usefixtures("empty_folder")


@contextlib.contextmanager
def no_grad_and_set_defaults() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.use_deterministic_algorithms(True)
    try:
        with torch.no_grad(), np.errstate(all="raise"):
            yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
        # torch 2.6 asks the context that it keeps, None, for its device.
        vars(torch._GLOBAL_DEVICE_CONTEXT).pop("device_context", None)
        torch.use_deterministic_algorithms(False)


@contextlib.contextmanager
def inference_and_blocks() -> Iterator[None]:
    with torch.inference_mode(), torch.device("meta"), torch.autocast("cpu", torch.bfloat16):
        yield


READERS = [no_grad_and_set_defaults, inference_and_blocks]


def settings() -> dict[str, Any]:
    """Read what a reader could notice, in other words than the package does."""
    return {
        "grad": torch.ones(1, requires_grad=True).mul(2).requires_grad,
        "inference": torch.ones(1).is_inference(),
        "dtype": torch.ones(1).dtype,
        "device": torch.ones(1).device,
        "default device": torch.get_default_device(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "deterministic": torch.get_deterministic_debug_mode(),
        "modes": (torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.enabled),
        "precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "anomaly": torch.is_anomaly_enabled(),
        "hooks": [
            len(t)
            for n, t in vars(torch_module).items()
            if n.startswith("_global") and isinstance(t, dict)
        ],
        "random": (
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_rng_state().sum(),
        ),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "path": (list(sys.path), list(sys.argv), sys.stdout, sys.stderr),
        "recursion": sys.getrecursionlimit(),
        "warnings": list(warnings.filters),
        "print": repr(torch.tensor([1e-3 / 3, 100000.0])),
        "numpy": (np.geterr(), np.get_printoptions()["precision"]),
        "logging": logging.root.manager.disable,
        "figures": (plt.get_fignums(), dict(plt.rcParams)),
        "functions": (F.conv2d, torch.sum, torch.Tensor.sum, nn.Module.__call__, np.sum, print),
        "classes": (nn.Conv2d.forward, nn.Conv2d, torch.nn.functional, sys.modules["torch"]),
        "signal": signal.getsignal(signal.SIGINT),
        "profile": (sys.getprofile(), sys.gettrace()),
    }


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("key", EXERCISES)
def test_a_right_answer_is_accepted_under_the_readers_settings(
    key: str, reader: Callable[[], Any]
) -> None:
    solution = EXERCISES[key].solution
    answer = solution() if EXERCISES[key].kind == "break" else solution
    parts = answer if isinstance(answer, tuple) else (answer,)
    paper = on_paper(key)
    with reader():
        before = settings()
        verdict = viz.check(key, *paper, *parts)
        assert verdict, verdict
        assert settings() == before


# ------------------------------------------------------------------ what code leaves changed
def replace(owner: Any, name: str) -> Callable[[], None]:
    return lambda: setattr(owner, name, lambda *args, **kwargs: 0)


def delete_folder() -> None:
    folder = Path("deep").absolute()
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()


ENTERED: list[Any] = []  # a context that nothing holds ends by itself


def enter(context: Any) -> None:
    ENTERED.append(context)
    context.__enter__()


LEFT: dict[str, Callable[[], Any]] = {
    "grad": lambda: torch.set_grad_enabled(False),
    "inference mode": lambda: enter(torch.inference_mode()),
    "dtype": lambda: torch.set_default_dtype(torch.float64),
    "device": lambda: torch.set_default_device("meta"),
    "device mode": lambda: enter(torch.device("meta")),
    "function mode": lambda: enter(TorchFunctionMode()),
    "dispatch mode": lambda: enter(TorchDispatchMode()),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "deterministic": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "cudnn": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "precision": lambda: torch.set_float32_matmul_precision("medium"),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "forward hook": lambda: torch_module.register_module_forward_hook(lambda *a: None),
    "pre-hook": lambda: torch_module.register_module_forward_pre_hook(lambda *a: None),
    "backward hook": lambda: torch_module.register_module_full_backward_hook(lambda *a: None),
    "random states": lambda: (torch.manual_seed(3), np.random.seed(3), random.seed(3)),
    "folder": lambda: os.chdir("/"),
    "folder gone": delete_folder,
    "environment": lambda: os.environ.update(PATH="", NEW="1"),
    "path": lambda: (sys.path.clear(), sys.argv.append("x")),
    "modules": lambda: sys.modules.update(torch=os),
    "streams": lambda: (setattr(sys, "stderr", None), setattr(sys, "stdout", None)),
    "recursion": lambda: sys.setrecursionlimit(5000),
    "warnings": lambda: warnings.simplefilter("error"),
    "print": lambda: torch.set_printoptions(precision=1, sci_mode=False),
    "numpy": lambda: (np.seterr(all="raise"), np.set_printoptions(precision=1)),
    "logging": lambda: logging.disable(logging.CRITICAL),
    "figures": lambda: (plt.figure(), plt.rcParams.update({"figure.dpi": 30})),
    "style": lambda: plt.style.use("dark_background"),
    "torch.sum": replace(torch, "sum"),
    "F.conv2d": replace(F, "conv2d"),
    "Tensor.sum": replace(torch.Tensor, "sum"),
    "Module.__call__": replace(nn.Module, "__call__"),
    "Conv2d.forward": replace(nn.Conv2d, "forward"),
    "nn.Conv2d": replace(nn, "Conv2d"),
    "np.sum": replace(np, "sum"),
    "builtins.print": replace(sys.modules["builtins"], "print"),
    "a deleted function": lambda: delattr(F, "conv2d"),
    # Not SIG_IGN: a job in the background has it from the start.
    "interrupts": lambda: signal.signal(signal.SIGINT, lambda *event: None),
    "profile": lambda: sys.setprofile(lambda *event: None),
}


def stop(how: str) -> None:
    if how == "exit":
        sys.exit(1)
    if how == "error":
        raise RuntimeError
    if how == "interrupt":
        raise KeyboardInterrupt


@pytest.mark.parametrize("how", ["return", "error", "exit", "interrupt"])
@pytest.mark.parametrize("what", LEFT)
def test_what_code_changed_is_restored_whichever_way_it_ended(what: str, how: str) -> None:
    before = settings()

    def rude(layer: nn.Module) -> int:
        LEFT[what]()
        stop(how)
        return 1

    with contextlib.suppress(KeyboardInterrupt):
        assert not viz.check("01.2", rude)
    ENTERED.clear()
    assert settings() == before


@pytest.mark.parametrize("what", LEFT)
def test_each_of_these_changes_is_noticed(what: str) -> None:
    """The test above could not pass without the package's work."""
    with restored():
        before = settings()
        LEFT[what]()
        try:
            changed = settings() != before
        except Exception:
            changed = True
    assert changed


def test_a_changed_function_does_not_change_the_truth_of_the_next_input() -> None:
    def cheat(x: Any, weight: Any, bias: float, stride: int) -> Any:
        right = EXERCISES["03.2"].solution(x, weight, bias, stride)
        F.conv2d = torch.conv2d = lambda *args, **kwargs: torch.zeros(1, 1, 1, 1)
        return right

    assert viz.check("03.2", cheat)


def test_a_function_that_never_ends_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vizhelpers.exercises.runner.SECONDS", 0.5)
    before = settings()

    def rude(*args: Any) -> None:
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        os.chdir("/")
        while True:
            torch.ones(3).sum()

    assert viz.check("03.2", rude).mistake == "too slow"
    assert settings() == before


class Strange(Exception):
    def __str__(self) -> str:
        raise ValueError


class Harsh(BaseException):
    pass


@pytest.mark.parametrize("error", [Strange, Harsh, GeneratorExit, MemoryError, RecursionError])
def test_no_exception_of_the_readers_leaves_the_check(error: type[BaseException]) -> None:
    def raising(layer: nn.Module) -> int:
        raise error

    assert viz.check("01.2", raising).mistake == "raised"


class Refuses(nn.Module):
    """Raises wherever a judge looks at it."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("not for you")


@pytest.mark.parametrize("key", [k for k, e in EXERCISES.items() if e.kind == "break"])
def test_an_object_that_raises_everywhere_gets_a_verdict(key: str) -> None:
    answers = [Refuses.__new__(Refuses)] * len(EXERCISES[key].parts)
    verdict = viz.check(key, *answers)
    assert verdict.standing == "wrong"
    assert verdict.mistake is not None


def test_settings_are_defined_inside_and_the_readers_outside() -> None:
    with torch.inference_mode(), defined():
        assert settings()["grad"]
        assert not settings()["inference"]
