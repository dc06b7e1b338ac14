"""What a reader calls: ``check``, ``hint``, ``solution`` and ``progress``."""

import inspect
import re
from typing import Any

import torch

from vizhelpers.exercises import progress_file
from vizhelpers.exercises.exercise import Exercise, is_open
from vizhelpers.exercises.runner import Fault, Runner
from vizhelpers.exercises.verdict import Note, Verdict
from vizhelpers.inputs.errors import unknown

HINTS = 3
VIZ = "import vizhelpers as viz"


def check(key: str, *answers: Any) -> Verdict:
    """Say whether an answer holds, and if not, what kind of mistake it is.

    The truth is computed now, from the model and the photograph, and other inputs than the visible
    one are tried as well. Code of yours that raises, prints, or runs for more than ten seconds in
    all ends in a verdict, never in an exception.

    Args:
        key: the exercise, such as ``"03.2"``.
        answers: what the exercise asks for: one function; or a number and a function; or what you
            built. ``...`` stands for one that is still open.

    Returns:
        A ``Verdict``; a notebook shows it as a line.

    Raises:
        ValueError: there is no such exercise, or it takes another number of answers.
    """
    exercise = _find(key)
    if len(answers) != len(exercise.parts):
        raise ValueError(
            f"Exercise {key} takes {len(exercise.parts)} answer(s): "
            f"viz.check({key!r}, {', '.join(exercise.parts)}); {len(answers)} were given."
        )
    still = [part for part, answer in zip(exercise.parts, answers, strict=True) if is_open(answer)]
    if still:
        return Verdict(key, "open", _how_to_begin(key, still, len(answers)))
    verdict = _judge(exercise, answers)
    progress_file.change(key, lambda row: _count(row, verdict))
    return verdict


def _judge(exercise: Exercise, answers: tuple[Any, ...]) -> Verdict:
    run = Runner()
    try:
        with torch.random.fork_rng(devices=[]):  # the inputs that are tried are drawn with seeds
            exercise.judge(run, *answers)
    except Fault as fault:
        return Verdict(exercise.key, "wrong", fault.words, fault.name)
    aside = " (What your code printed is not shown here.)" if run.printed else ""
    more = "" if exercise.kind == "break" else " Other inputs were tried as well."
    return Verdict(exercise.key, "right", f"it holds.{more}{aside}")


def _how_to_begin(key: str, still: list[str], asked: int) -> str:
    what = "no answer yet" if len(still) == asked else f"the {still[0]} is still open"
    return f"{what}. viz.hint({key!r}) helps."


def _count(row: progress_file.Row, verdict: Verdict) -> None:
    # Whatever stands in the file: a student may have edited it.
    tries = row.get("tries")
    row["tries"] = (tries if isinstance(tries, int) else 0) + 1
    row["solved"] = bool(row.get("solved")) or bool(verdict)


def hint(key: str) -> Note:
    """Return the hints so far and one more, up to three.

    Raises:
        ValueError: there is no such exercise.
    """
    exercise = _find(key)
    count = min(_number(progress_file.read().get(key, {}).get("hints")) + 1, HINTS)
    progress_file.change(key, lambda row: row.update(hints=count))
    lines = [f"**Hint {i + 1} of {HINTS}.** {exercise.hints[i]}" for i in range(count)]
    if count == HINTS:
        lines.append(f"There are no more. `viz.solution({key!r})` shows the worked answer.")
    return Note("\n\n".join(lines))


def _number(value: Any) -> int:
    return value if type(value) is int and value >= 0 else 0


def solution(key: str) -> Note:
    """Return the worked answer and its why. The tests of this course hold it to ``check``.

    Raises:
        ValueError: there is no such exercise.
    """
    exercise = _find(key)
    progress_file.change(key, lambda row: row.update(solution=True))
    return Note(f"```python\n{_worked(exercise)}\n```\n\n{exercise.why}")


def _worked(exercise: Exercise) -> str:
    """Return the worked answer as a cell: imports, the answer, and its check."""
    code = inspect.getsource(exercise.solution).strip()
    module = inspect.getmodule(exercise.solution)
    lines = inspect.getsource(module).splitlines() if module else []
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    used = [line for line in imports if line != VIZ and re.search(rf"\b{line.split()[-1]}\b", code)]
    name = exercise.solution.__name__
    answers = [name] if exercise.kind != "break" else [f"{'*' * _several(exercise)}{name}()"]
    if exercise.paper is not None:
        with torch.random.fork_rng(devices=[]):
            answers.insert(0, str(exercise.paper()))
    call = f'viz.check("{exercise.key}", {", ".join(answers)})'
    return "\n".join([*used, VIZ, "", code, "", call])


def _several(exercise: Exercise) -> bool:
    return len(exercise.parts) > 1


def progress() -> Note:
    """Return a table of all exercises: solved, tries, hints used, solution seen.

    It is kept in ``vizhelpers-progress.json`` beside the notebook, or in memory in Colab and where
    the folder cannot be written to, and sent nowhere.
    """
    rows = progress_file.read()
    lines = ["| exercise | kind | task | solved | tries | hints | solution |", "|-|-|-|-|-|-|-|"]
    for key, one in _book().items():
        row = rows.get(key, {})
        lines.append(
            f"| {key} | {one.kind} | {one.task} | {'✔' if row.get('solved') is True else '·'} | "
            f"{_number(row.get('tries'))} | {_number(row.get('hints'))} | "
            f"{'seen' if row.get('solution') is True else ''} |"
        )
    solved = sum(rows.get(key, {}).get("solved") is True for key in _book())
    return Note("\n".join([*lines, "", f"{solved} of {len(_book())} solved."]))


def _book() -> dict[str, Exercise]:
    from vizhelpers.exercises.catalogue import (
        EXERCISES,  # imports torchinfo and more: only when asked
    )

    return EXERCISES


def _find(key: str) -> Exercise:
    book = _book()
    if not isinstance(key, str) or key not in book:
        raise unknown("exercise", key, book, "viz.progress() lists them all.")
    return book[key]
