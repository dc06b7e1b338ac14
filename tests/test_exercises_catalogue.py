"""A notebook's exercises are found by the names of their two files; a gap names the file."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from vizhelpers.exercises import definitions
from vizhelpers.exercises.catalogue import EXERCISES, collect

DEFINITION = """from types import SimpleNamespace
EXERCISES = (SimpleNamespace(key="{0}.1"), SimpleNamespace(key="{0}.2"))
"""


def collected(
    folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], *, solved: bool = True
) -> list[str]:
    """Write two packages with these definitions, and return the keys of their exercises."""
    package = folder / f"package_{folder.name}"
    for name in ("definitions", "solutions"):
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").touch()
    for name, text in files.items():
        (package / "definitions" / f"{name}.py").write_text(text)
        if solved:
            (package / "solutions" / f"{name}.py").touch()
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    modules = [import_module(f"{package.name}.{name}") for name in ("definitions", "solutions")]
    return list(collect(*modules))


def test_the_catalogue_has_the_exercises_of_every_file() -> None:
    files = Path(definitions.__path__[0]).glob("n*.py")
    assert {key[:2] for key in EXERCISES} == {file.stem[1:3] for file in files}


def test_a_new_file_is_found_and_files_come_in_the_order_of_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"n02_b": DEFINITION.format("02"), "n01_a": DEFINITION.format("01"), "helper": "1 / 0"}
    assert collected(tmp_path, monkeypatch, files) == ["01.1", "01.2", "02.1", "02.2"]


@pytest.mark.parametrize(
    ("text", "solved", "message"),
    [
        ("", True, r"n08_x\.py defines no EXERCISES"),
        (DEFINITION.format("08"), False, r"n08_x\.py needs .*missing: .*solutions.n08_x\.py"),
        (DEFINITION.format("01"), True, r"n08_x\.py: the key '01\.1' belongs to another"),
    ],
)
def test_a_gap_is_an_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, solved: bool, message: str
) -> None:
    with pytest.raises(ImportError, match=message):
        collected(tmp_path, monkeypatch, {"n08_x": text}, solved=solved)
