"""Progress: a small file beside the notebook, never sent anywhere; in memory where that fails."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE = "vizhelpers-progress.json"
Row = dict[str, Any]
_in_memory: dict[str, Row] = {}  # of this process: Colab's disk is gone with the machine anyway


def path() -> Path | None:
    """Return where progress is kept; None where memory is the place."""
    if "google.colab" in sys.modules:
        return None
    return Path.cwd() / FILE


def read() -> dict[str, Row]:
    """Return ``{key: {"solved", "tries", "hints", "solution"}}`` of the exercises begun.

    A file that cannot be read as such is not overwritten: it is set aside under another name.
    """
    file = path()
    if file is None or not file.exists():
        return {key: dict(row) for key, row in _in_memory.items()}
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
            raise ValueError("not a table")
    except (OSError, ValueError):
        _set_aside(file)
        return {key: dict(row) for key, row in _in_memory.items()}
    return {**_in_memory, **rows}


def change(key: str, how: Callable[[Row], None]) -> Row:
    """Read, change one row, write; return the row."""
    rows = read()
    row = {"solved": False, "tries": 0, "hints": 0, "solution": False} | rows.get(key, {})
    how(row)
    _in_memory[key] = row
    file = path()
    if file is not None:
        _write(file, rows | {key: row})
    return row


def _write(file: Path, rows: dict[str, Row]) -> None:
    """Write whole or not at all. A folder that takes no file (read-only material) is no error."""
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        beside.replace(file)
    except OSError:
        beside.unlink(missing_ok=True)


def _set_aside(file: Path) -> None:
    number = 1
    while (other := file.with_name(f"{file.stem}-unreadable-{number}.json")).exists():
        number += 1
    try:
        file.replace(other)
    except OSError:
        return
