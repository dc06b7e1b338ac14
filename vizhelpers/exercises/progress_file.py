"""Store progress in a small file beside the notebook; in memory where no file can be written."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE = "vizhelpers-progress.json"
Row = dict[str, Any]
_in_memory: dict[str, Row] = {}  # of this process: Colab's disk is deleted with the machine anyway


def path() -> Path | None:
    """Return the path of the progress file; None where progress stays in memory.

    That is in Colab, and in a folder that has been deleted.
    """
    if "google.colab" in sys.modules:
        return None
    try:
        return Path.cwd() / FILE
    except OSError:
        return None


def read() -> dict[str, Row]:
    """Return ``{key: {"solved", "tries", "hints", "solution"}}`` of the exercises begun.

    An unreadable file is not overwritten: it is renamed, and stays in the folder.
    """
    file = path()
    if file is None or not file.exists():
        return {key: dict(row) for key, row in _in_memory.items()}
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
            raise ValueError("not a table")
    except (OSError, ValueError):
        _rename(file)
        return {key: dict(row) for key, row in _in_memory.items()}
    return {**_in_memory, **rows}


def change(key: str, edit: Callable[[Row], None]) -> None:
    """Read the progress, edit one exercise's row, and write it back."""
    rows = read()
    row = {"solved": False, "tries": 0, "hints": 0, "solution": False} | rows.get(key, {})
    edit(row)
    _in_memory[key] = row
    file = path()
    if file is not None:
        _write(file, rows | {key: row})


def _write(file: Path, rows: dict[str, Row]) -> None:
    """Write the whole file or none of it; a read-only folder raises no error."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(file)
    except OSError:
        temporary.unlink(missing_ok=True)


def _rename(file: Path) -> None:
    number = 1
    while (target := file.with_name(f"{file.stem}-unreadable-{number}.json")).exists():
        number += 1
    try:
        file.replace(target)
    except OSError:
        return
