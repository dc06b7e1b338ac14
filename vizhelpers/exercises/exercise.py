"""What an exercise is, and how an answer is compared with the truth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from vizhelpers.exercises.runner import Fault, Runner
from vizhelpers.exercises.values import Plain, plain
from vizhelpers.inputs.samples import prepare

Kind = Literal["derive", "implement", "break"]
TOLERANCE = 1e-3  # of the largest value: other orders of summation stay far below
ROUNDED = 1e-2  # a number on paper has two or three digits
Cases = Callable[[], Sequence[tuple[Any, ...]]]


@dataclass(frozen=True)
class Mistake:
    """One that is foreseen.

    Attributes:
        words: what the reader is told; one or two sentences.
        made: computes what an answer with this mistake gives, from the same arguments. Where a
            mistake cannot be told by what comes back (of ``break`` exercises), None.
    """

    words: str
    made: Callable[..., Any] | None = None


@dataclass(frozen=True)
class Exercise:
    """One exercise; see ``labs.book`` for all of them.

    Attributes:
        key: number of the notebook, a dot, number of the exercise.
        kind: what is asked for.
        task: the exercise in a few words, for the table of progress.
        hints: three, each saying more than the one before.
        solution: the worked answer: its source is shown, and the tests check it.
        why: what to learn from it.
        judge: takes a ``Runner`` and the answers; raises ``Fault`` unless they hold.
        mistakes: all that ``judge`` can recognise by name.
        parts: names of the answers that ``check`` takes, in order.
        paper: works out the number of a ``derive`` exercise; computed, never stored.
    """

    key: str
    kind: Kind
    task: str
    hints: tuple[str, str, str]
    solution: Callable[..., Any]
    why: str
    judge: Callable[..., None]
    mistakes: Mapping[str, Mistake] = field(default_factory=dict)
    parts: tuple[str, ...] = ("function",)
    paper: Callable[[], Any] | None = None


def middle_of(model: nn.Module, photograph: str) -> Tensor:
    """Return the middle of a bundled photograph as input, (1, 3, 112, 112).

    A quarter of the pixels takes a quarter of the time, and a check should feel immediate.
    """
    return prepare(model, photograph).x[:, :, 56:168, 56:168]


def by_cases(
    truth: Callable[..., Any], cases: Cases, mistakes: Mapping[str, Mistake]
) -> Callable[..., None]:
    """Return a judge that compares a function with the truth on every case.

    Args:
        truth: computes what is right from a case's arguments.
        cases: makes the arguments; the first is the one that the reader sees in the notebook.
        mistakes: compared with, where the answer is wrong.
    """

    def judge(run: Runner, function: Any) -> None:
        _compare(run, function, truth, cases(), mistakes)

    return judge


def by_paper_and_cases(
    truth: Callable[..., Any],
    cases: Cases,
    mistakes: Mapping[str, Mistake],
    asked: Callable[[Any], Any] = lambda result: result,
) -> Callable[..., None]:
    """Return a judge of a number or shape on paper, and of a function on every case.

    Args:
        truth: computes what is right from a case's arguments.
        cases: makes the arguments; what is on paper is about the first.
        mistakes: compared with, where an answer is wrong.
        asked: takes out of a result what is asked for on paper.
    """

    def judge(run: Runner, paper: Any, function: Any) -> None:
        made = cases()
        found, right = _as_plain(paper), plain(asked(truth(*made[0])))
        if not same(found, right, ROUNDED):
            on_paper = {k: _only(m, asked) for k, m in mistakes.items()}
            name = _recognise(found, made[0], on_paper, ROUNDED)
            words = mistakes[name].words if name else _difference(found, right)
            raise Fault(name or "paper", f"On paper: {words}")
        _compare(run, function, truth, made, mistakes)

    return judge


def _only(mistake: Mistake, asked: Callable[[Any], Any]) -> Mistake:
    """Return the mistake with that part of its result which is asked for on paper."""
    made = mistake.made
    return Mistake(mistake.words, None if made is None else lambda *case: asked(made(*case)))


def _compare(
    run: Runner,
    function: Any,
    truth: Callable[..., Any],
    cases: Sequence[tuple[Any, ...]],
    mistakes: Mapping[str, Mistake],
) -> None:
    for i, case in enumerate(cases):
        right = plain(truth(*case))
        found = run(function, *case)
        if not same(found, right):
            name = _recognise(found, case, mistakes)
            words = mistakes[name].words if name else _difference(found, right)
            other = "Right for the first input, not for another one. " if i else ""
            raise Fault(name or ("another input" if i else "value"), other + words)


def _as_plain(number: Any) -> Plain:
    try:
        return plain(number)
    except TypeError as error:
        raise Fault("not plain", str(error)) from None


def _recognise(
    found: Plain,
    case: tuple[Any, ...],
    mistakes: Mapping[str, Mistake],
    tolerance: float = TOLERANCE,
) -> str | None:
    """Return the name of the mistake that gives the same, if there is one."""
    for name, mistake in mistakes.items():
        if mistake.made is not None and same(found, plain(mistake.made(*case)), tolerance):
            return name
    return None


def same(found: Plain, right: Plain, tolerance: float = TOLERANCE) -> bool:
    """Compare plain values: shapes, texts and whole numbers exactly, others within a tolerance."""
    if isinstance(right, dict):
        if not isinstance(found, dict) or found.keys() != right.keys():
            return False
        return all(same(found[key], right[key], tolerance) for key in right)
    if isinstance(right, list) and not _numbers(right):
        if not isinstance(found, list) or len(found) != len(right):
            return False
        return all(same(a, b, tolerance) for a, b in zip(found, right, strict=True))
    if isinstance(right, (str, bool)) or right is None:
        return type(found) is type(right) and found == right
    return _same_numbers(found, right, tolerance)


def _numbers(value: Plain) -> bool:
    kinds = (int, float, bool)
    return isinstance(value, list) and all(type(one) in kinds for one in value)


def _same_numbers(found: Plain, right: Plain, tolerance: float) -> bool:
    a_number = type(found) in (int, float) or isinstance(found, np.ndarray)
    if not (a_number or _numbers(found)):
        return False
    ours, theirs = np.asarray(found), np.asarray(right)
    if ours.dtype.kind not in "biuf" or ours.shape != theirs.shape:
        return False
    if np.ndim(theirs) == 0 and isinstance(right, int):
        return bool(ours == theirs)  # counts and sizes are exact
    if theirs.dtype.kind in "biu":
        return bool(np.array_equal(ours, theirs))
    largest = float(np.abs(theirs).max(initial=0))
    return bool(np.allclose(ours, theirs, rtol=0, atol=tolerance * largest))


def _difference(found: Plain, right: Plain) -> str:
    """Say what does not fit, without giving the answer away."""
    ours, theirs = (_shape(value) for value in (found, right))
    if ours != theirs:
        return f"It has {ours}, and should have {theirs}."
    return "The value is not right."


def _shape(value: Plain) -> str:
    if isinstance(value, dict):
        return f"the keys {', '.join(map(str, value)) or '(none)'}"
    if isinstance(value, str):
        return "the form of a text"
    if isinstance(value, list) and not _numbers(value):
        return f"{len(value)} parts ({', '.join(_shape(one) for one in value[:4])})"
    shape = np.shape(value)  # type: ignore[arg-type]
    return f"shape {shape}" if shape else "the form of one number"


def is_open(answer: Any) -> bool:
    """Tell whether an answer was not begun: ``...``, None, or a function that holds only that."""
    if answer is None or answer is ...:
        return True
    if not isinstance(answer, FunctionType):
        return False
    code = answer.__code__
    empty = (_empty.__code__, _empty_with_a_text.__code__)
    return code.co_code in {one.co_code for one in empty} and set(code.co_consts) <= {
        None,
        answer.__doc__,
    }


def _empty() -> None: ...


def _empty_with_a_text() -> None:
    """Serve as the other pattern: a text in front moves None to another place."""
