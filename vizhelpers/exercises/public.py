"""``check``, ``hint``, ``solution`` and ``progress``: the exercises' public functions."""

import inspect
import re
from functools import wraps
from types import FunctionType
from typing import Any

import torch

from vizhelpers.exercises import progress_file
from vizhelpers.exercises.exercise import Exercise, is_open
from vizhelpers.exercises.runner import Fault, Runner, text_of
from vizhelpers.exercises.surroundings import defined
from vizhelpers.exercises.verdict import Note, Verdict
from vizhelpers.inputs.errors import unknown

HINTS = 3
VIZ = "import vizhelpers as viz"


def check(key: str, *answers: Any) -> Verdict:
    """Return whether an answer is right; if it is wrong, name the kind of mistake.

    The truth is computed from the model and the photograph during the call, and other inputs than
    the visible one are tried. Code of yours that raises, prints, or runs for more than ten seconds
    in total gives a verdict and never an exception.

    Args:
        key: the exercise, such as ``"03.2"``.
        answers: what the exercise asks for: one function; or a number and a function; or what you
            built. ``...`` stands for an answer that is still open.

    Returns:
        A ``Verdict``, true if the answer is right; a notebook shows it as a line.

    Raises:
        ValueError: there is no such exercise, or it takes another number of answers.

    Example:
        >>> viz.check("04.1", 15, cell_sees)
    """
    exercise = _find(key)
    if len(answers) != len(exercise.parts):
        raise ValueError(
            f"Exercise {key} takes {len(exercise.parts)} answer(s): "
            f"viz.check({key!r}, {', '.join(exercise.parts)}); {len(answers)} were given."
        )
    parts = zip(exercise.parts, answers, strict=True)
    missing = [part for part, answer in parts if is_open(answer)]
    if missing:
        some = len(missing) < len(answers)
        what = f"the {missing[0]} is still open" if some else "no answer yet"
        return Verdict(key, "open", f"{what}. viz.hint({key!r}) helps.")
    verdict = _judge(exercise, answers)
    progress_file.change(key, lambda row: _count(row, verdict))
    return verdict


def _judge(exercise: Exercise, answers: tuple[Any, ...]) -> Verdict:
    run = Runner()
    try:
        with defined():
            exercise.judge(run, *(_by_position(answer, exercise) for answer in answers))
    except Fault as fault:
        return Verdict(exercise.key, "wrong", fault.explanation, fault.name)
    except Exception as error:  # an answer can be an object that raises wherever it is looked at
        text = f"The answer cannot be examined: {type(error).__name__}: {text_of(error)}"
        return Verdict(exercise.key, "wrong", text, "raised")
    printed = " (What your code printed is not shown here.)" if run.printed else ""
    others = "" if exercise.kind == "break" else " Other inputs were tried as well."
    return Verdict(exercise.key, "right", f"it holds.{others}{printed}")


def _by_position(answer: Any, exercise: Exercise) -> Any:
    """Return a function that takes the exercise's arguments by position, also after a ``*``."""
    names = list(inspect.signature(exercise.solution).parameters)
    parameters = inspect.signature(answer).parameters if type(answer) is FunctionType else {}
    named = {n for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    if not named & set(names):
        return answer

    @wraps(answer)
    def by_position(*args: Any) -> Any:
        pairs = list(zip(names, args, strict=True))
        positional = [value for name, value in pairs if name not in named]
        return answer(*positional, **{name: value for name, value in pairs if name in named})

    return by_position


def _count(row: progress_file.Row, verdict: Verdict) -> None:
    row["tries"] = _number(row["tries"]) + 1
    row["solved"] = bool(row["solved"]) or bool(verdict)


def hint(key: str) -> Note:
    """Return the hints shown so far and the next one, up to three.

    Args:
        key: the exercise, such as ``"03.2"``.

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
    """Return a count from the progress file, 0 for anything else that a reader wrote there."""
    return value if type(value) is int and value >= 0 else 0


def solution(key: str) -> Note:
    """Return the worked answer and what to learn from it.

    Args:
        key: the exercise, such as ``"03.2"``.

    Raises:
        ValueError: there is no such exercise.
    """
    exercise = _find(key)
    progress_file.change(key, lambda row: row.update(solution=True))
    return Note(f"```python\n{_as_cell(exercise)}\n```\n\n{exercise.why}")


def _as_cell(exercise: Exercise) -> str:
    """Return the worked answer as a notebook cell: imports, the answer, and its check."""
    code = inspect.getsource(exercise.solution).strip()
    module = inspect.getmodule(exercise.solution)
    lines = inspect.getsource(module).splitlines() if module else []
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    used = [line for line in imports if line != VIZ and re.search(rf"\b{line.split()[-1]}\b", code)]
    name = exercise.solution.__name__
    if exercise.kind == "break":
        answers = [f"{'*' if len(exercise.parts) > 1 else ''}{name}()"]
    else:
        answers = [name]
    if exercise.paper is not None:
        with torch.random.fork_rng(devices=[]):
            answers.insert(0, str(exercise.paper()))
    call = f'viz.check("{exercise.key}", {", ".join(answers)})'
    return "\n".join([*used, VIZ, "", code, "", call])


def progress() -> Note:
    """Return a table of all exercises: solved, number of tries and hints, solution shown or not.

    Progress is kept in ``vizhelpers-progress.json`` beside the notebook; in Colab, and where the
    folder is read-only, in memory. It is never sent anywhere.
    """
    rows, exercises = progress_file.read(), _exercises()
    lines = ["| exercise | kind | task | solved | tries | hints | solution |", "|-|-|-|-|-|-|-|"]
    for key, exercise in exercises.items():
        row = rows.get(key, {})
        cells = [
            key,
            exercise.kind,
            exercise.task,
            "✔" if row.get("solved") is True else "·",
            str(_number(row.get("tries"))),
            str(_number(row.get("hints"))),
            "shown" if row.get("solution") is True else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    solved = sum(rows.get(key, {}).get("solved") is True for key in exercises)
    return Note("\n".join([*lines, "", f"{solved} of {len(exercises)} solved."]))


def _exercises() -> dict[str, Exercise]:
    from vizhelpers.exercises.catalogue import EXERCISES  # imports all methods and torchinfo

    return EXERCISES


def _find(key: str) -> Exercise:
    exercises = _exercises()
    if not isinstance(key, str) or key not in exercises:
        raise unknown("exercise", key, exercises, "viz.progress() lists them all.")
    return exercises[key]
