"""Judges: run an answer on several inputs and compare each result with the truth."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from vizhelpers.exercises.comparison import TOLERANCE, TOLERANCE_ON_PAPER, difference, same
from vizhelpers.exercises.exercise import Mistake
from vizhelpers.exercises.runner import Fault, Runner
from vizhelpers.exercises.values import Plain, plain
from vizhelpers.inputs.samples import prepare

Arguments = tuple[Any, ...]
Cases = Callable[[], Sequence[Arguments]]
Judge = Callable[..., None]


def by_cases(truth: Callable[..., Any], cases: Cases, mistakes: Mapping[str, Mistake]) -> Judge:
    """Return a judge that compares a function with the truth on every case.

    Args:
        truth: computes the right result from a case's arguments.
        cases: returns the arguments of all cases; the reader sees the first in the notebook.
        mistakes: name -> mistake; a wrong result is compared with each of them.
    """

    def judge(run: Runner, function: Any) -> None:
        _compare(run, function, truth, cases(), mistakes)

    return judge


def by_paper_and_cases(
    truth: Callable[..., Any],
    cases: Cases,
    mistakes: Mapping[str, Mistake],
    part: Callable[[Any], Any] = lambda result: result,
    tolerance: float = TOLERANCE_ON_PAPER,
) -> Judge:
    """Return a judge of a number or shape on paper, and of a function on every case.

    Args:
        truth: computes the right result from a case's arguments.
        cases: returns the arguments of all cases; the answer on paper belongs to the first.
        mistakes: name -> mistake; a wrong result is compared with each of them.
        part: selects from a result the part that the reader derives on paper.
        tolerance: of the number on paper, as a share of it.
    """

    def part_of(mistake: Mistake) -> Mistake:
        compute = mistake.compute
        return Mistake(mistake.explanation, compute and (lambda *case: part(compute(*case))))

    def judge(run: Runner, paper: Any, function: Any) -> None:
        arguments = cases()
        value, right = _plain_answer(paper), plain(part(truth(*arguments[0])))
        if not same(value, right, tolerance):
            on_paper = {name: part_of(mistake) for name, mistake in mistakes.items()}
            name = _recognised(value, arguments[0], on_paper, tolerance)
            explanation = mistakes[name].explanation if name else difference(value, right)
            raise Fault(name or "paper", f"On paper: {explanation}")
        _compare(run, function, truth, arguments, mistakes)

    return judge


def fault(mistakes: Mapping[str, Mistake], name: str) -> Fault:
    """Return the fault, not raised, of the mistake ``name``."""
    return Fault(name, mistakes[name].explanation)


def _compare(
    run: Runner,
    function: Any,
    truth: Callable[..., Any],
    cases: Sequence[Arguments],
    mistakes: Mapping[str, Mistake],
) -> None:
    for i, case in enumerate(cases):
        right = plain(truth(*case))
        value = run(function, *case)
        if not same(value, right):
            name = _recognised(value, case, mistakes)
            explanation = mistakes[name].explanation if name else difference(value, right)
            first_was_right = "Right for the first input, not for another one. " if i else ""
            other = "another input" if i else "value"
            raise Fault(name or other, first_was_right + explanation)
    # After the values, since a wrong value says more to the reader; and with one input, since
    # watching makes a loop over single pixels ten times slower.
    run.forbidden = {n: mistake.forbids for n, mistake in mistakes.items() if mistake.forbids}
    if run.forbidden:
        run(function, *cases[-1])
        for name in run.called:
            raise fault(mistakes, name)


def _plain_answer(number: Any) -> Plain:
    try:
        return plain(number)
    except TypeError as error:
        raise Fault("not plain", str(error)) from None


def _recognised(
    value: Plain, case: Arguments, mistakes: Mapping[str, Mistake], tolerance: float = TOLERANCE
) -> str | None:
    """Return the name of the mistake that gives the same value, or None."""
    for name, mistake in mistakes.items():
        compute = mistake.compute
        if compute is not None and same(value, plain(compute(*case)), tolerance):
            return name
    return None


def central_crop(model: nn.Module, photograph: str) -> Tensor:
    """Return the centre of a bundled photograph as an input, (1, 3, 112, 112).

    A quarter of the pixels needs a quarter of the time, and a check should feel immediate.
    """
    return prepare(model, photograph).x[:, :, 56:168, 56:168]
