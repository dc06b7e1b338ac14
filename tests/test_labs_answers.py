"""The graded labs' tests refuse every answer of a wrong kind, and say so in a sentence.

Test cells run here in this process, with the lab's own solutions, of which one at a time is
replaced: its right answers are turned into ones of another shape, type or value. The visible and
the hidden part of a cell each have to refuse them on their own, by an assertion and not by a
TypeError: a student sees the assertion's sentence.
"""

import ast
import contextlib
import io
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labs.grading.lab import Lab
from tools.build_labs import names, path_of
from vizhelpers.exercises import calls, plain

HIDDEN = re.compile(r"^ *### BEGIN HIDDEN TESTS\n(.*?)^ *### END HIDDEN TESTS", re.M | re.S)
ACCEPTED = "accepted"
Change = Callable[[Any], Any]  # of a right answer in plain values

ANYTHING: dict[str, Change] = {
    "None": lambda right: None,
    "a text": lambda right: "right",
    "a text of the answer": str,
    "an empty list": lambda right: [],
    "an empty dict": lambda right: {},
    "an empty array": lambda right: np.zeros(0),
    "one not-a-number": lambda right: np.nan,
    "a huge number": lambda right: 10**30,
    "nested lists of different lengths": lambda right: [[1.0], [1.0, 2.0]],
    "a list of None": lambda right: [None, None],
    "an array with another dimension": lambda right: np.zeros((1, 1, 1, 1, 1)),
    "an array of texts": lambda right: np.array(["a", "b"]),
}
ARRAYS: dict[str, Change] = {
    "a dimension of one before": lambda right: right[None],
    "a dimension of one behind": lambda right: right[..., None],
    "no pictures": lambda right: right[:0],
    "empty in its last dimension": lambda right: right[..., :0],
    "all zero": np.zeros_like,
    "its mean only": lambda right: float(right.mean()),
    "its mean everywhere": lambda right: np.full_like(right, right.mean()),
    "not-a-number everywhere": lambda right: np.full_like(right, np.nan),
    "one not-a-number": lambda right: np.where(
        np.arange(right.size).reshape(right.shape) == right.size - 1, np.nan, right
    ),
    "infinite": lambda right: np.full_like(right, np.inf),
    "complex": lambda right: right * (1 + 1j),
    "complex without an imaginary part": lambda right: right.astype(complex),
    "another sign": lambda right: -right,
    "a tenth more": lambda right: 1.1 * right,
    "in another order": lambda right: np.flip(right).copy(),
}
NUMBERS: dict[str, Change] = {
    "not-a-number": lambda right: np.nan,
    "infinite": lambda right: np.inf,
    "minus infinite": lambda right: -np.inf,
    "complex": complex,
    "a list of it": lambda right: [right],
    "another sign": lambda right: -right,
    "one more": lambda right: right + 1,
    "a tenth more": lambda right: 1.1 * right,
}
LISTS: dict[str, Change] = {
    "one part more": lambda right: [*right, right[-1]],
    "one part less": lambda right: right[:-1],
    "parts in another order": lambda right: right[::-1],
    "None in place of the last part": lambda right: [*right[:-1], None],
    "not-a-number in place of the last part": lambda right: [*right[:-1], np.nan],
    "text in place of the last part": lambda right: [*right[:-1], "x"],
}
DICTS: dict[str, Change] = {
    "one part less": lambda right: dict(list(right.items())[:-1]),
    "one part more": lambda right: right | {"more": 0},
    "None in every place": dict.fromkeys,
    "not-a-number in every place": lambda right: dict.fromkeys(right, np.nan),
    "None for zero": lambda right: {k: v or None for k, v in right.items()},
}
ANY_ORDER = ("lab6_flashtorch", "test_answer_3")  # names of networks
BY_KIND = {np.ndarray: ARRAYS, int: NUMBERS, float: NUMBERS, list: LISTS, dict: DICTS}
CELLS = [(lab, cell.name) for lab in names() for cell in Lab.read(path_of(lab)).tests]


@cache
def solved(name: str) -> tuple[Lab, dict[str, Any]]:
    """Return a lab, and what its setup and its solutions define; the tests' cells are not run."""
    lab, namespace = Lab.read(path_of(name)), {"__name__": "__main__"}
    for source in lab.setup[1:]:  # the first finds vizhelpers
        execute(source, namespace)
    for cell in lab.cells:
        if cell.answer:
            execute(cell.source, namespace)
    return lab, namespace


def execute(source: str | ast.Module, namespace: dict[str, Any]) -> None:
    torch.manual_seed(0)  # the same numbers each time
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(source, "<cell>", "exec"), namespace)


class Recorded:
    """A function that keeps its answers: a cell asks for the same ones in the same order again."""

    def __init__(self, function: Any) -> None:
        self.function, self.answers = function, []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            self.answers.append(plain(self.function(*args, **kwargs)))
        except Exception as e:
            self.answers.append(e)
            raise
        return self.answers[-1]


class Replayed:
    """What a function answered, changed; it neither calls anything nor looks at its arguments."""

    def __init__(self, answers: list[Any], change: Change) -> None:
        self.answers, self.change = iter(answers), change

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return self.change(answer)


def changes() -> Iterator[tuple[str, Change]]:
    """Yield each change; a right answer of a kind that it is not for stays as it is."""

    def only(kind: type, change: Change) -> Change:
        def changed(right: Any) -> Any:
            empty = isinstance(right, np.ndarray | list | dict) and len(right) == 0
            return change(right) if isinstance(right, kind) and not empty else right

        return changed

    def in_each_part(change: Change) -> Change:
        return lambda right: [only(np.ndarray, change)(one) for one in right]

    yield from ANYTHING.items()
    for kind, table in BY_KIND.items():
        for title, change in table.items():
            yield f"{kind.__name__}: {title}", only(kind, change)
    for title, change in ARRAYS.items():
        if title == "another sign":  # of a column and a row: their product is the same
            continue
        yield f"each array of a list: {title}", only(list, in_each_part(change))


def refusals(lab: str, cell: str) -> Iterator[str]:
    """Yield what is not refused, or not by a sentence."""
    found, namespace = solved(lab)
    (source,) = [one.source for one in found.tests if one.name == cell]
    visible, hidden = HIDDEN.sub("", source), "".join(HIDDEN.findall(source))
    used = sorted(set(re.findall(r"\w+", source)) & (found.functions | found.answers))
    for name in used:
        if name in found.answers:  # the hidden part reads what the visible one fetched
            for title, told in refused(name, source, namespace):
                if (lab, cell) == ANY_ORDER and title == "list: parts in another order":
                    continue
                yield f"{name}, {title}: {told}"
            continue
        after = dict(namespace)
        for part, text in (("visible", visible), ("hidden", hidden)):
            # Of the visible part, whose sentences a student sees at once, a third is enough.
            for title, told in refused(name, text, after, step=3 if part == "visible" else 1):
                if (part, told) != ("visible", ACCEPTED):  # then the hidden part must refuse it
                    yield f"{part}: {name}, {title}: {told}"
            execute(text, after)


def refused(
    name: str, source: str, namespace: dict[str, Any], step: int = 1
) -> Iterator[tuple[str, str]]:
    """Yield each change of one function or answer that a cell does not refuse as it should."""
    before, rest = split(source, name)
    namespace = dict(namespace)
    execute(before, namespace)
    right = namespace[name]
    recorded = Recorded(right)
    execute(rest, namespace | {name: recorded if callable(right) else right})
    answers = recorded.answers if callable(right) else [plain(right)]
    values = [one for one in answers if not isinstance(one, Exception)]
    for title, change in [("as it is", lambda right: right), *list(changes())[::step]]:
        with np.errstate(all="ignore"):
            differs = any(repr(change(one)) != repr(one) for one in values)
        if differs or (title == "as it is" and values):
            given = Replayed(answers, change)
            told = refusal(rest, namespace | {name: given if callable(right) else given()})
            if told and differs:
                yield title, told
            elif not differs and told != ACCEPTED:
                yield title, f"the cell refuses right answers ({told})"


def split(source: str, name: str) -> tuple[ast.Module, ast.Module]:
    """Return what a cell does before it uses a name or random numbers, and the rest."""
    body = ast.parse(source).body
    for i, statement in enumerate(body):
        if re.search(rf"\b({name}|rand\w*|manual_seed)\b", ast.unparse(statement)):
            return ast.Module(body[:i], []), ast.Module(body[i:], [])
    return ast.Module(body, []), ast.Module([], [])


def refusal(source: ast.Module, namespace: dict[str, Any]) -> str:
    """Return what is wrong with the way that a cell refuses an answer, "" if nothing is."""
    try:
        execute(source, namespace)
    except AssertionError as e:
        return "" if e.args and isinstance(e.args[0], str) else "no sentence"
    except TypeError as e:
        # ``plain`` refuses before the test does, as it does in a worker.
        return "" if "Give numbers, texts" in f"{e}" else f"TypeError {e}"
    except Exception as e:
        return f"{type(e).__name__} {e}"
    return ACCEPTED


@pytest.mark.parametrize("lab, cell", CELLS)
def test_answers_of_a_wrong_kind_are_refused_with_a_sentence(lab: str, cell: str) -> None:
    assert list(refusals(lab, cell)) == []


X = torch.arange(12.0).reshape(3, 4)


@pytest.mark.parametrize(
    "function, operations, called",
    [
        (lambda x: F.conv2d(x[None, None], x[None, None]), ".*conv.*", True),
        (lambda x: nn.Conv2d(1, 1, 2)(x[None, None]), ".*conv.*", True),
        (lambda x: x.unfold(0, 2, 1), "im2col|unfold", True),
        (lambda x: sum(x[i, j] * x[j, i] for i in range(3) for j in range(3)), ".*conv.*", False),
        (lambda x: x.clone().requires_grad_().sum().backward(), "run_backward", True),
        (lambda x: x.softmax(dim=0), "run_backward|_make_dual", False),
    ],
)
def test_calls_tells_whether_a_forbidden_operation_ran(
    function: Callable[..., Any], operations: str, called: bool
) -> None:
    assert calls(function, operations, X) is called


def test_calls_asks_the_process_in_which_a_graded_function_runs() -> None:
    there = mock.Mock(calls=lambda operations, *args: operations == "unfold" and args == (X,))
    assert calls(there, "unfold", X) is True
    assert calls(there, "conv", X) is False
    assert not there.called, "the function itself runs there, not here"
    there.calls = lambda *args: "yes"  # whatever else came back is not a True
    assert calls(there, "unfold", X) is False
