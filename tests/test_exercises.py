"""The exercises at each notebook's end: every right answer holds, nothing wrong does."""

import inspect
import itertools
import json
import re
import signal
import socket
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from snapshots import difference, snapshot
from torch import Tensor, nn
from wrong_answers import WRONG

import vizhelpers as viz
from tools.build_notebooks import NOTEBOOKS, names
from vizhelpers.exercises import damage, judges, plain, progress_file, runner
from vizhelpers.exercises.catalogue import EXERCISES
from vizhelpers.exercises.comparison import TOLERANCE
from vizhelpers.exercises.exercise import is_open
from vizhelpers.exercises.runner import Runner, time_limit
from vizhelpers.exercises.verdict import Verdict

KEYS = list(EXERCISES)
BY_FUNCTION = [key for key, one in EXERCISES.items() if one.kind != "break"]
ON_PAPER = [key for key, one in EXERCISES.items() if one.paper is not None]
BREAKS = [key for key, one in EXERCISES.items() if one.kind == "break"]
FOR_EACH = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress_file, "_in_memory", {})


def paper(key: str) -> list[Any]:
    """Return the number on paper as a list of one, or an empty one where none is asked for."""
    made = EXERCISES[key].paper
    return [] if made is None else [eval(str(made()))]


def check(key: str, function: Any) -> Verdict:
    return viz.check(key, *paper(key), function)


# ------------------------------------------------------------------ the book
@pytest.mark.parametrize("name", names())
def test_each_notebook_ends_with_its_three_exercises_unanswered(name: str) -> None:
    number = name[:2]
    cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
    title = next(i for i, c in enumerate(cells) if c.source.startswith("## Exercises"))
    asked = [cell for cell in cells[title:] if cell.cell_type == "code"]
    assert [re.findall(r'viz\.check\("([\d.]+)"', cell.source) for cell in asked] == [
        [f"{number}.{i}"] for i in (1, 2, 3)
    ]
    for cell in asked:
        (output,) = cell.outputs
        assert "○ Open" in output.data["text/plain"], cell.source
        assert "Open" in output.data["text/html"]
    kinds = [EXERCISES[f"{number}.{i}"].kind for i in (1, 2, 3)]
    text = "".join(cell.source for cell in cells[title:] if cell.cell_type == "markdown")
    assert kinds == [word.lower() for word in re.findall(r"\*\*\d\d\.\d (\w+)\.\*\*", text)]
    assert kinds == ["derive", "implement", "break"]


@pytest.mark.parametrize("key", KEYS)
def test_the_solution_as_it_is_shown_runs_in_an_empty_notebook_and_holds(key: str) -> None:
    code = re.search(r"```python\n(.*)\n```", viz.solution(key).text, re.DOTALL)[1]
    *lines, last = code.splitlines()
    assert last.startswith("viz.check(")
    space: dict[str, Any] = {}
    exec("\n".join(lines), space)
    verdict = eval(last, space)
    assert verdict, verdict
    assert verdict.mistake is None
    longest = max(len(block.splitlines()) for block in "\n".join(lines).split("\n\n\n"))
    assert EXERCISES[key].kind != "implement" or longest <= 16  # imports, a signature, ten lines


def test_a_worked_function_has_at_most_ten_lines() -> None:
    for key, one in EXERCISES.items():
        if one.kind == "implement":
            body = inspect.getsource(one.solution).split('"""', 2)[2].strip().splitlines()
            assert len(body) <= 10, key


# ------------------------------------------------------------------ foreseen mistakes
FORESEEN = [
    (key, name) for key, one in EXERCISES.items() for name, m in one.mistakes.items() if m.compute
]
AS_STUDENTS_WRITE = [
    pytest.param(key, name, build, id=f"{key} {name} {i}")
    for key, rows in WRONG.items()
    for i, (name, build) in enumerate(rows)
]


@pytest.mark.parametrize(("key", "name", "build"), AS_STUDENTS_WRITE)
def test_a_wrong_answer_is_named(key: str, name: str, build: Callable[[], Any]) -> None:
    verdict = viz.check(key, *build())
    assert not verdict
    assert verdict.mistake == name, verdict
    known = EXERCISES[key].mistakes
    if name in known:
        assert known[name].explanation in verdict.text


@pytest.mark.parametrize(("key", "name"), FORESEEN)
def test_no_foreseen_mistake_is_taken_for_another_or_for_the_truth(key: str, name: str) -> None:
    mistake = EXERCISES[key].mistakes[name]
    verdict = check(key, mistake.compute)
    assert (verdict.standing, verdict.mistake) == ("wrong", name), verdict
    assert mistake.explanation in verdict.text


def test_every_foreseen_mistake_is_fed() -> None:
    for key, one in EXERCISES.items():
        fed = {name for name, _ in WRONG[key]} | {n for n, m in one.mistakes.items() if m.compute}
        assert set(one.mistakes) <= fed, key
    # The issue's own list, each under the name that a reader would look for.
    names = {name for one in EXERCISES.values() for name in one.mistakes}
    assert names >= {
        "height and width transposed",
        "bias forgotten",
        "padding forgotten",
        "mean instead of sum",
        "ReLU omitted",
        "softmax gradient",
        "left hook",
        "left mode",
        "signed instead of absolute",
    }


# ------------------------------------------------------------------ nothing wrong passes
@pytest.fixture
def not_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the search for the mistake's name, which takes longest: only right or wrong counts."""
    monkeypatch.setattr(judges, "_recognised", lambda *args: None)


def leaves(value: Any) -> list[Any]:
    return [leaf for one in value for leaf in leaves(one)] if isinstance(value, list) else [value]


def spoilt(value: Any, how: str, where: float, size: float) -> Any:
    """Return a plain result with something wrong in one place of it."""
    if how == "wrapped":
        return [value]
    if how == "as a text":
        return str(value)
    if isinstance(value, list):
        i = int(where * len(value)) % len(value)
        return [spoilt(one, how, where, size) if i == j else one for j, one in enumerate(value)]
    if isinstance(value, int):
        return value + max(1, int(size * value)) if how != "negated" else -value
    whole = np.array(value, dtype=np.float64)
    step = size * np.abs(whole).max()
    if how == "one place":
        whole.flat[int(where * whole.size) % whole.size] += step
    elif how == "all of it":
        whole += step
    elif how == "scaled":
        whole *= 1 + size
    elif how == "negated":
        whole = -whole
    elif how == "NaN":
        whole.flat[int(where * whole.size) % whole.size] = np.nan
    return whole if whole.ndim else float(whole)


WAYS = ["one place", "all of it", "scaled", "negated", "NaN", "wrapped", "as a text"]


@pytest.mark.parametrize("key", BY_FUNCTION)
@given(
    how=st.sampled_from(WAYS),
    where=st.floats(0, 1, exclude_max=True),
    size=st.floats(4 * TOLERANCE, 3.0),
    late=st.booleans(),
)
@FOR_EACH
def test_nothing_wrong_passes(
    not_recognised: None, key: str, how: str, where: float, size: float, late: bool
) -> None:
    """A worked function with one fault, from the first input on or only from the second."""
    calls = []

    def answer(*args: Any) -> Any:
        calls.append(args)
        right = plain(EXERCISES[key].solution(*args))
        return right if late and len(calls) == 1 else spoilt(right, how, where, size)

    verdict = check(key, answer)
    assert not verdict, (how, where, size, late)


@pytest.mark.parametrize("key", BY_FUNCTION)
def test_the_answer_to_the_visible_input_alone_does_not_pass(key: str) -> None:
    kept: list[Any] = []

    def constant(*args: Any) -> Any:
        kept.append(EXERCISES[key].solution(*args))
        return kept[0]

    verdict = check(key, constant)
    assert not verdict
    assert "not for another" in verdict.text


@pytest.mark.parametrize("key", ON_PAPER)
@given(factor=st.one_of(st.floats(-5, 0.97), st.floats(1.03, 5)))
@FOR_EACH
def test_no_wrong_number_on_paper_passes(not_recognised: None, key: str, factor: float) -> None:
    right = np.array(paper(key)[0], dtype=float)
    wrong = [right * factor, right + 1, right - 1]
    for number in wrong:
        given_ = tuple(int(n) for n in number) if number.ndim else float(number)
        if np.allclose(given_, right, rtol=1e-2):
            continue
        verdict = viz.check(key, given_, EXERCISES[key].solution)
        assert not verdict, given_
        assert verdict.text.startswith("On paper"), verdict


ANYTHING = st.one_of(
    st.integers(),
    st.text(),
    st.lists(st.integers(), max_size=2),
    st.builds(lambda n: torch.randn(1, 3, n, n), st.integers(1, 40)),
    st.sampled_from([nn.Identity(), nn.Conv2d(3, 4, 3), nn.Sequential(), nn.ReLU(), torch.relu]),
    st.just(torch.randn(1, 3, 224, 224)),
    st.builds(dict, a=st.just(torch.zeros(2))),
)


@pytest.mark.parametrize("key", BREAKS)
@given(data=st.data())
@FOR_EACH
def test_nothing_built_at_random_passes(key: str, data: st.DataObject) -> None:
    answers = [data.draw(ANYTHING) for _ in EXERCISES[key].parts]
    verdict = viz.check(key, *answers)
    assert verdict.standing == "wrong"
    assert verdict.mistake is not None


def test_each_check_of_a_construction_can_be_undone_by_a_small_change() -> None:
    """Right answers with one thing spoilt: what is checked is the property, not the form."""
    one, other = EXERCISES["01.3"].solution()
    with torch.no_grad():
        other.first.weight[0, 0, 0, 0] += 1e-3
    assert viz.check("01.3", one, other).mistake == "weights differ"
    noise = EXERCISES["05.3"].solution()
    assert viz.check("05.3", 0.2 * noise).mistake == "not sure"
    model, x, place = EXERCISES["06.3"].solution()
    assert viz.check("06.3", model, x / 4, place).mistake == "has a gradient"
    assert viz.check("06.3", model, x, (0, 0)).mistake == "does not matter"
    checkpoint = EXERCISES["07.3"].solution()
    checkpoint["module.features.0.bias"] = checkpoint["module.features.0.bias"] + 1
    assert viz.check("07.3", checkpoint).mistake == "weights missing"


# ------------------------------------------------------------------ code that misbehaves
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
    found: list[str] = []

    def work() -> None:
        with pytest.raises(runner.Fault) as fault:
            Runner(0.3)(code)
        found.append(fault.value.name)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert found == ["too slow"]


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
        return sum(p.numel() for p in layer.parameters())

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
        found = EXERCISES["03.2"].solution(x.clone(), weight.clone(), bias, stride)
        x.zero_()
        weight.zero_()
        return found

    assert viz.check("03.2", careless)


@pytest.mark.parametrize("key", KEYS)
def test_checking_changes_nothing_in_torch_numpy_or_python(key: str) -> None:
    answers = EXERCISES[key].solution
    given_ = answers() if EXERCISES[key].kind == "break" else answers
    parts = given_ if isinstance(given_, tuple) else (given_,)

    def rude(*args: Any) -> Any:
        torch.set_grad_enabled(False)
        torch.manual_seed(1)
        return 1

    own, on_paper = nn.Linear(1, 1), paper(key)
    before = snapshot(own)
    viz.check(key, *on_paper, *parts)
    viz.hint(key)
    viz.solution(key)
    if EXERCISES[key].kind != "break":
        viz.check(key, *on_paper, rude)
    assert not difference(before, snapshot(own))


# ------------------------------------------------------------------ open
@pytest.mark.parametrize("answer", [..., None])
def test_an_answer_that_was_not_begun_is_open(answer: Any) -> None:
    def only_a_text(layer: nn.Module) -> int:
        """Only this."""

    def dots(layer: nn.Module) -> int: ...

    def text_and_dots(layer: nn.Module) -> int:
        """Both."""
        ...

    for one in (answer, only_a_text, dots, text_and_dots):
        found = viz.check("01.2", one)
        assert found.standing == "open", one
    assert not Path(progress_file.FILE).exists(), "nothing was tried, so nothing is written"


def test_zero_is_an_answer() -> None:
    def zero(layer: nn.Module) -> int:
        return 0

    assert not is_open(0)
    assert not is_open(zero)
    assert viz.check("01.2", zero).standing == "wrong"


def test_half_an_answer_says_which_half_is_open() -> None:
    assert "the function is still open" in viz.check("04.1", 15, ...).text
    assert "the number on paper is still" in viz.check("04.1", ..., lambda layers: 1).text


def test_a_wrong_name_or_number_of_answers_is_an_error_with_the_way_on() -> None:
    with pytest.raises(ValueError, match=r"no exercise '03\.4'.*'03\.1'.*progress"):
        viz.check("03.4", 1)
    for call in (viz.hint, viz.solution):
        with pytest.raises(ValueError, match="no exercise"):
            call("3")
    with pytest.raises(
        ValueError, match=r"takes 2 answer.*number on paper, function.*1 were given"
    ):
        viz.check("04.1", 15)


# ------------------------------------------------------------------ what is shown
def test_a_verdict_reads_without_colour_and_escapes_what_code_returned() -> None:
    verdict = Verdict("01.1", "wrong", "got <b>1</b>", "value")
    assert repr(verdict) == "✘ Not yet · 01.1: got <b>1</b>"
    shown = verdict._repr_html_()
    assert "&lt;b&gt;" in shown
    without_tags = re.sub(r"<[^>]*>", "", shown)
    assert without_tags == "✘ Not yet · 01.1: got &lt;b&gt;1&lt;/b&gt;"
    colours = {Verdict("1", s, "")._repr_html_().split("#")[1][:6] for s in ("right", "wrong")}
    assert len(colours) == 2


def test_hints_come_one_more_each_time_and_end_with_the_way_on() -> None:
    shown = [viz.hint("03.2").text for _ in range(4)]
    assert [text.count("**Hint") for text in shown] == [1, 2, 3, 3]
    assert all(later.startswith(text) for text, later in itertools.pairwise(shown))
    assert "viz.solution" in shown[2]
    assert "viz.solution" not in shown[1]


@pytest.mark.parametrize("key", KEYS)
def test_hints_do_not_repeat_and_the_why_is_said(key: str) -> None:
    one = EXERCISES[key]
    assert len(set(one.hints)) == 3
    assert len(one.why) > 60
    assert one.why in viz.solution(key).text


# ------------------------------------------------------------------ progress
def solve(key: str = "04.1") -> Verdict:
    return check(key, EXERCISES[key].solution)


def test_progress_is_kept_in_a_file_beside_the_notebook() -> None:
    viz.check("04.1", 7, lambda layers: 7)
    solve()
    viz.hint("03.2")
    viz.solution("01.1")
    rows = json.loads(Path(progress_file.FILE).read_text(encoding="utf-8"))
    assert rows == {
        "01.1": {"hints": 0, "solution": True, "solved": False, "tries": 0},
        "03.2": {"hints": 1, "solution": False, "solved": False, "tries": 0},
        "04.1": {"hints": 0, "solution": False, "solved": True, "tries": 2},
    }
    table = viz.progress().text
    assert "| 04.1 | derive | how many pixels a cell sees | ✔ | 2 | 0 |  |" in table
    assert "| 01.1 | derive | a convolution's output shape | · | 0 | 0 | shown |" in table
    assert table.endswith("1 of 21 solved.")


def test_a_wrong_answer_later_does_not_undo_what_was_solved() -> None:
    solve()
    viz.check("04.1", 7, lambda layers: 7)
    assert "1 of 21 solved" in viz.progress().text


def test_another_kernel_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    solve()
    monkeypatch.setattr(progress_file, "_in_memory", {})
    assert "1 of 21 solved" in viz.progress().text


def test_in_colab_memory_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    solve()
    assert not list(Path.cwd().iterdir())
    assert "1 of 21 solved" in viz.progress().text


def test_where_the_folder_takes_no_file_memory_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(Path, "write_text", refuse)
    assert solve()
    assert "1 of 21 solved" in viz.progress().text


@pytest.mark.parametrize("text", ["no JSON", "[1, 2]", '{"04.1": 3}', "\udcff"])
def test_a_file_that_cannot_be_read_is_set_aside_and_not_lost(text: str) -> None:
    raw = text.encode("utf-8", "surrogateescape")
    Path(progress_file.FILE).write_bytes(raw)
    assert solve()
    assert "1 of 21 solved" in viz.progress().text
    (aside,) = Path.cwd().glob("vizhelpers-progress-unreadable-*.json")
    assert aside.read_bytes() == raw


def test_a_file_that_was_edited_by_hand_breaks_nothing() -> None:
    Path(progress_file.FILE).write_text('{"04.1": {"tries": "many", "hints": -5, "solved": 1}, "99.9": {}}')
    assert "0 of 21 solved" in viz.progress().text
    solve()
    viz.hint("04.1")
    assert "| ✔ | 1 | 1 |" in viz.progress().text
    assert "99.9" in Path(progress_file.FILE).read_text(encoding="utf-8"), "rows that we do not know stay"


def test_nothing_is_sent_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    solve()
    viz.hint("04.1")
    viz.solution("04.1")
    viz.progress()


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
    found = plain({"a": (x, np.float32(2.5)), "b": [x.shape, None, True, "t"], 3: nn.Parameter(x)})
    assert type(found["a"][0]) is np.ndarray
    assert found["a"][0].dtype == np.float32
    found["a"][0][0] = 9
    assert x[0] == 1
    assert type(found["a"][1]) is float
    assert found["b"] == [[2], None, True, "t"]
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
def test_damage_tells_what_a_call_left(code: Callable[..., Any], words: list[str]) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    model[1].running_var.fill_(2.0)
    if words == []:
        model.eval()
    assert damage(code, model) == words


def test_damage_lets_the_calls_own_error_through() -> None:
    with pytest.raises(ZeroDivisionError):
        damage(lambda model: 1 / 0, nn.ReLU())
