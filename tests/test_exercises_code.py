"""Exercises run a reader's code safely; ``plain`` refuses and ``damage`` reports what it must."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from exercise_answers import on_paper
from snapshots import difference, snapshot
from torch import Tensor, nn

import vizhelpers as viz
from vizhelpers.exercises import damage, plain, runner
from vizhelpers.exercises.catalogue import EXERCISES
from vizhelpers.exercises.interruption import time_limit
from vizhelpers.exercises.runner import Runner

pytestmark = pytest.mark.usefixtures("empty_folder")


def forever(*args: Any) -> None:
    while True:
        pass


def forever_with_excuses(*args: Any) -> None:
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            continue


def asleep(*args: Any) -> None:
    time.sleep(60)


@pytest.mark.parametrize("code", [forever, forever_with_excuses, asleep])
def test_a_loop_that_never_ends_is_stopped(
    code: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SECONDS", 0.3)
    start = time.monotonic()
    verdict = viz.check("01.2", code)
    assert verdict.mistake == "too slow"
    assert "loop never end" in verdict.text
    assert time.monotonic() - start < 5


def test_the_limit_is_ten_seconds() -> None:
    assert runner.SECONDS == 10


@pytest.mark.parametrize("code", [forever, forever_with_excuses])
def test_it_is_stopped_in_a_kernels_other_thread_too(code: Callable[..., None]) -> None:
    """Where no signal arrives: in a thread, as on Windows."""
    faults: list[str] = []

    def work() -> None:
        with pytest.raises(runner.Fault) as fault:
            Runner(0.3)(code)
        faults.append(fault.value.name)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert faults == ["too slow"]


def test_a_limit_in_another_thread_leaves_no_flag_with_which_a_profiled_call_never_ends() -> None:
    code = """if True:
        import sys, threading
        from vizhelpers.exercises.interruption import time_limit

        def work():
            with time_limit(60):
                pass

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        sys.setprofile(lambda *event: None)
        work.__repr__()
        (lambda: None)()
    """
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


def test_the_limit_leaves_no_alarm_behind() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with time_limit(5):
        pass
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert signal.getsignal(signal.SIGALRM) is before


def test_a_person_who_interrupts_is_obeyed() -> None:
    def interrupted(layer: nn.Module) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        viz.check("01.2", interrupted)


def leave_hook(model: nn.Module) -> float:
    next(model.modules()).register_forward_hook(lambda module, args, output: None)
    return 1.0


def leave_train_mode(model: nn.Module) -> float:
    for module in model.modules():
        module.training = not module.training
    return 1.0


def zero_weights(model: nn.Module) -> float:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return 1.0


def freeze(model: nn.Module) -> float:
    model.requires_grad_(False)
    return 1.0


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (leave_hook, "left hook"),
        (leave_train_mode, "left mode"),
        (zero_weights, "left parameters"),
        (freeze, "left requires_grad"),
    ],
)
def test_a_damaged_model_gets_a_word_and_the_readers_own_stays(
    code: Callable[..., Any], name: str
) -> None:
    own = viz.load_model()
    before = snapshot(own)
    verdict = viz.check("02.2", code)
    assert verdict.mistake == name, verdict
    assert not difference(before, snapshot(own))


@pytest.mark.parametrize(
    ("code", "name", "words"),
    [
        (lambda layer: 1 / 0, "raised", "ZeroDivisionError"),
        (lambda layer: layer.nothing, "raised", "AttributeError"),
        (lambda: 1, "raised", "TypeError"),
        (lambda layer: sys.exit("gone"), "raised", "SystemExit"),
        (lambda layer: print(1792), "returned None", "Return the value instead"),  # noqa: T201
        (lambda layer: [][:0].extend([]), "returned None", "return"),
        (lambda layer: layer, "not plain", "Conv2d"),
        (lambda layer: "1792", "value", "one number"),
        (lambda layer: True, "value", "not right"),
        (1792, "no function", "int"),
        (nn.Conv2d(3, 64, 3), "raised", "TypeError"),
    ],
)
def test_other_answers_get_a_clear_word(code: Any, name: str, words: str) -> None:
    verdict = viz.check("01.2", code)
    assert (verdict.standing, verdict.mistake) == ("wrong", name), verdict
    assert words in verdict.text


def test_an_error_names_the_line_of_the_readers_code() -> None:
    code = compile("def count(layer):\n    x = 1\n    return x.parts\n", "cell", "exec")
    space: dict[str, Any] = {}
    exec(code, space)
    assert "line 3" in viz.check("01.2", space["count"]).text


def test_prints_are_held_back_and_mentioned(capsys: pytest.CaptureFixture[str]) -> None:
    def noisy(layer: nn.Module) -> int:
        print("here I am")  # noqa: T201
        return EXERCISES["01.2"].solution(layer)

    verdict = viz.check("01.2", noisy)
    assert verdict
    assert "printed" in verdict.text
    assert capsys.readouterr().out == ""


def test_an_object_that_equals_everything_does_not_pass() -> None:
    class Yes(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    assert viz.check("01.2", lambda layer: Yes(1)).mistake == "not plain"
    assert viz.check("04.1", Yes(1), EXERCISES["04.1"].solution).mistake == "not plain"


def test_an_input_changed_in_place_changes_no_truth() -> None:
    def careless(x: Tensor, weight: Tensor, bias: float, stride: int) -> Tensor:
        result = EXERCISES["03.2"].solution(x.clone(), weight.clone(), bias, stride)
        x.zero_()
        weight.zero_()
        return result

    assert viz.check("03.2", careless)


@pytest.mark.parametrize("key", EXERCISES)
def test_checking_changes_nothing_in_torch_numpy_or_python(key: str) -> None:
    answers = EXERCISES[key].solution
    answer = answers() if EXERCISES[key].kind == "break" else answers
    parts = answer if isinstance(answer, tuple) else (answer,)

    def rude(*args: Any) -> Any:
        torch.set_grad_enabled(False)
        torch.manual_seed(1)
        return 1

    own, paper = nn.Linear(1, 1), on_paper(key)
    before = snapshot(own)
    viz.check(key, *paper, *parts)
    viz.hint(key)
    viz.solution(key)
    if EXERCISES[key].kind != "break":
        viz.check(key, *paper, rude)
    assert not difference(before, snapshot(own))


# ------------------------------------------------------------------ plain, damage
class Liar:
    def __eq__(self, other: object) -> bool:
        return True

    def __array__(self, *args: Any) -> np.ndarray:
        raise AssertionError("a method of the student's class was called")

    __float__ = __index__ = __iter__ = __len__ = __array__
    __hash__ = None  # type: ignore[assignment]


class MyTensor(Tensor):
    pass


class MyArray(np.ndarray):
    pass


@pytest.mark.parametrize(
    "value",
    [
        Liar(),
        [1, Liar()],
        {"a": (1, Liar())},
        type("float", (float,), {})(1.0),
        type("bool_", (), {"__module__": "numpy"})(),
        torch.zeros(2).as_subclass(MyTensor),
        np.zeros(2).view(MyArray),
        np.array([object()]),
        {Liar: 1},
        torch.float32,
        nn.ReLU(),
        lambda: 1,
    ],
)
def test_plain_refuses_whatever_could_lie(value: Any) -> None:
    with pytest.raises(TypeError, match=r"type|array"):
        plain(value)


def test_plain_refuses_what_never_ends() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(TypeError, match="deep"):
        plain(endless)


def test_plain_returns_exact_types_and_copies() -> None:
    x = torch.ones(2, requires_grad=True)
    value = plain({"a": (x, np.float32(2.5)), "b": [x.shape, None, True, "t"], 3: nn.Parameter(x)})
    assert type(value["a"][0]) is np.ndarray
    assert value["a"][0].dtype == np.float32
    value["a"][0][0] = 9
    assert x[0] == 1
    assert type(value["a"][1]) is float
    assert value["b"] == [[2], None, True, "t"]
    assert plain(torch.ones(2, dtype=torch.bfloat16)).dtype == np.float32
    assert plain(torch.tensor(True)).dtype == bool


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (lambda m: m(torch.zeros(1, 3)), []),
        (leave_hook, ["hook"]),
        (lambda m: m[0].register_forward_pre_hook(lambda *a: None), ["hook"]),
        (lambda m: m[0].register_full_backward_hook(lambda *a: None), ["hook"]),
        (lambda m: m[1].eval(), ["mode"]),
        (zero_weights, ["parameters"]),
        (lambda m: m[1].running_mean.add_(1), ["parameters"]),
        (freeze, ["requires_grad"]),
        (lambda m: m[0](torch.zeros(1, 3)).sum().backward(), ["grad"]),
        (lambda m: (leave_hook(m), freeze(m)), ["hook", "requires_grad"]),
    ],
)
def test_damage_names_what_a_call_left(code: Callable[..., Any], words: list[str]) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    model[1].running_var.fill_(2.0)
    if words == []:
        model.eval()
    assert damage(code, model) == words


def test_damage_lets_the_calls_own_error_through() -> None:
    with pytest.raises(ZeroDivisionError):
        damage(lambda model: 1 / 0, nn.ReLU())
