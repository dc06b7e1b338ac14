"""Every worked answer passes its check, every foreseen mistake is named, nothing wrong passes."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from exercise_answers import check, on_paper
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from wrong_answers import WRONG as VALUES
from wrong_answers_01_03 import WRONG as WAYS_01_03
from wrong_answers_04_06 import WRONG as WAYS_04_06

import vizhelpers as viz
from tools.build_notebooks import names, read_built
from vizhelpers.exercises import judges, plain
from vizhelpers.exercises.catalogue import EXERCISES
from vizhelpers.exercises.comparison import TOLERANCE

KEYS = list(EXERCISES)
WRONG = {
    key: [row for rows in (VALUES, WAYS_01_03, WAYS_04_06) for row in rows.get(key, [])]
    for key in KEYS
}
BREAKS = [key for key, exercise in EXERCISES.items() if exercise.kind == "break"]
BY_FUNCTION = [key for key in KEYS if key not in BREAKS]
ON_PAPER = [key for key, exercise in EXERCISES.items() if exercise.paper is not None]
FOR_EACH = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
pytestmark = pytest.mark.usefixtures("empty_folder")


# ------------------------------------------------------------------ the catalogue
@pytest.mark.parametrize("name", names())
def test_each_notebook_ends_with_its_three_exercises_unanswered(name: str) -> None:
    number = name[:2]
    cells = read_built(name).cells
    title = next(i for i, c in enumerate(cells) if c.source.startswith("## Exercises"))
    code = [cell for cell in cells[title:] if cell.cell_type == "code"]
    assert [re.findall(r'viz\.check\("([\d.]+)"', cell.source) for cell in code] == [
        [f"{number}.{i}"] for i in (1, 2, 3)
    ]
    for cell in code:
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
    for key, exercise in EXERCISES.items():
        if exercise.kind == "implement":
            body = inspect.getsource(exercise.solution).split('"""', 2)[2].strip().splitlines()
            assert len(body) <= 10, key


# ------------------------------------------------------------------ foreseen mistakes
FORESEEN = [
    (key, name)
    for key, exercise in EXERCISES.items()
    for name, m in exercise.mistakes.items()
    if m.compute
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


def test_every_foreseen_mistake_is_tested() -> None:
    for key, exercise in EXERCISES.items():
        fed = {name for name, _ in WRONG[key]} | {
            n for n, m in exercise.mistakes.items() if m.compute
        }
        assert set(exercise.mistakes) <= fed, key
    # The common mistakes, each under the name that a reader would look for.
    names = {name for exercise in EXERCISES.values() for name in exercise.mistakes}
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
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list) else [value]


def spoilt(value: Any, how: str, where: float, size: float) -> Any:
    """Return a plain result with something wrong in one place of it."""
    if how == "wrapped":
        return [value]
    if how == "as a text":
        return str(value)
    if isinstance(value, list):
        i = int(where * len(value)) % len(value)
        return [spoilt(item, how, where, size) if i == j else item for j, item in enumerate(value)]
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
    results: list[Any] = []

    def constant(*args: Any) -> Any:
        results.append(EXERCISES[key].solution(*args))
        return results[0]

    verdict = check(key, constant)
    assert not verdict
    assert "not for another" in verdict.text


@pytest.mark.parametrize("key", ON_PAPER)
@given(factor=st.one_of(st.floats(-5, 0.97), st.floats(1.03, 5)))
@FOR_EACH
def test_no_wrong_number_on_paper_passes(not_recognised: None, key: str, factor: float) -> None:
    right = np.array(on_paper(key)[0], dtype=float)
    for wrong in (right * factor, right + 1, right - 1):
        number = tuple(int(n) for n in wrong) if wrong.ndim else float(wrong)
        if np.allclose(number, right, rtol=1e-2):
            continue
        verdict = viz.check(key, number, EXERCISES[key].solution)
        assert not verdict, number
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
