"""``Exercise``: a task, its hints, its worked answer and the judge of a reader's answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Literal

from vizhelpers.exercises.forbidden import Calls

Kind = Literal["derive", "implement", "break"]


@dataclass(frozen=True)
class Mistake:
    """A foreseen mistake: its explanation, and how it is recognised.

    Attributes:
        explanation: one or two sentences for the reader.
        compute: returns what an answer with this mistake returns for the same arguments. None
            where the returned value does not show the mistake, as in ``break`` exercises.
        forbids: calls that the task forbids; ``judges.by_cases`` refuses an answer that makes one.
    """

    explanation: str
    compute: Callable[..., Any] | None = None
    forbids: Calls | None = None


@dataclass(frozen=True)
class Exercise:
    """One exercise; ``exercises.catalogue`` lists all of them.

    Attributes:
        key: the notebook's number, a dot, the exercise's number: ``"03.2"``.
        kind: ``"derive"`` a number, ``"implement"`` a function, ``"break"`` a picture.
        task: the exercise in a few words, for the table of progress.
        hints: three; each says more than the one before.
        solution: the worked answer. ``viz.solution`` shows its source, and the tests check it.
        why: what to learn from the exercise.
        judge: takes a ``Runner`` and the answers; raises ``Fault`` if an answer is wrong.
        mistakes: name -> mistake, of all that ``judge`` can recognise.
        parts: names of the answers that ``check`` takes, in order.
        paper: computes the number on paper of a ``derive`` exercise.
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


def is_open(answer: Any) -> bool:
    """Tell whether an answer is not begun: ``...``, None, or a function without statements."""
    if answer is None or answer is ...:
        return True
    if type(answer) is not FunctionType:  # isinstance would ask the answer for its class
        return False
    code = answer.__code__
    empty = (_empty.__code__.co_code, _only_a_docstring.__code__.co_code)
    return code.co_code in empty and set(code.co_consts) <= {None, answer.__doc__}


def _empty() -> None: ...


def _only_a_docstring() -> None:
    """Give the second bytecode of an empty function: a docstring moves None among the constants."""
