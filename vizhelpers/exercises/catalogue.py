"""``EXERCISES``: all exercises by key, in the order of the notebooks."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from vizhelpers.exercises import definitions, solutions
from vizhelpers.exercises.exercise import Exercise


def collect(definitions: ModuleType, solutions: ModuleType) -> dict[str, Exercise]:
    """Return key -> exercise of all files ``n??_*.py`` in a package, sorted by file name.

    Args:
        definitions: the package whose files hold ``EXERCISES``.
        solutions: the package that holds a file of worked answers under each of these names.

    Raises:
        ImportError: a file has no ``EXERCISES``, no file of worked answers, or another notebook's
            key; the message names the file.
    """
    files = sorted(Path(definitions.__path__[0]).glob("n[0-9][0-9]_*.py"))
    return {e.key: e for file in files for e in _exercises_of(file, definitions, solutions)}


def _exercises_of(
    file: Path, definitions: ModuleType, solutions: ModuleType
) -> tuple[Exercise, ...]:
    worked = Path(solutions.__path__[0]) / file.name
    if not worked.exists():
        raise ImportError(f"{file} needs a file of worked answers, which is missing: {worked}")
    found = getattr(import_module(f"{definitions.__name__}.{file.stem}"), "EXERCISES", None)
    if found is None:
        raise ImportError(f"{file} defines no EXERCISES, the tuple of its exercises.")
    for exercise in found:
        if not exercise.key.startswith(f"{file.stem[1:3]}."):
            raise ImportError(f"{file}: the key {exercise.key!r} belongs to another notebook.")
    return tuple(found)


EXERCISES: dict[str, Exercise] = collect(definitions, solutions)
