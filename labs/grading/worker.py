"""The untrusted side: holds a student's functions and answers, calls them, sends plain values back.

Nothing in this process is believed. It need not defend itself from the student's code, which may do
here what it likes: it knows no truth, no test and no mark, and can only answer.
"""

import ast
import builtins
import contextlib
import os
import pickle
import re
import sys
import traceback
from multiprocessing.connection import Connection
from types import CodeType, ModuleType
from typing import Any

from labs.fence.frames import pack, receive, send

LONGEST_TEXT = 500
_KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
_MAGIC = re.compile(r"^(\s*)([%!?].*|.*=\s*[%!].*|.*\?)$", re.MULTILINE)
_FILE = "<your cell {}>"


def work(pipe: Connection) -> None:
    """Run the lab's setup and the student's cells, then answer until the pipe is closed."""
    job = receive(pipe, trusted=True)[0]
    namespace: dict[str, Any] = {"__name__": "__main__"}
    builtins.display = lambda *args, **kwargs: None  # type: ignore[attr-defined]
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        for source in job["setup"]:
            exec(compile(source, "<setup>", "exec"), namespace)
    send(pipe, {"ready": True})
    stops, wanted, whole = dict(job["stops"]), set(job["wanted"]), job["whole"]
    troubles, left_out = [], []
    for number, (kind, source) in enumerate(job["cells"]):
        try:
            taken, skipped = _statements(number, source, wanted, whole or kind == "course")
            left_out += [[number, line] for line in skipped]
            for at, (must, statement) in enumerate(taken):
                send(pipe, {"at": [number, at]})
                if at == stops.get(number):
                    break
                with contextlib.suppress(*() if must else (BaseException,)):
                    exec(statement, namespace)
        except BaseException as e:
            troubles.append([number, f"{type(e).__name__}: {_text(e)}"])
    send(pipe, {"loaded": troubles, "left_out": left_out})
    while True:
        head, body = receive(pipe, trusted=True)
        send(pipe, *_answer(head, body, namespace))


def _statements(
    number: int, source: str, wanted: set[str], whole: bool
) -> tuple[list[tuple[bool, CodeType]], list[int]]:
    """Return a cell's statements, compiled, and the lines of those that are left out.

    A cell that is the course's, or that gives one of the wanted names a value, runs as it does in
    the notebook: until it raises. Of any other only what a function may need is taken: imports,
    definitions, assignments; not its pictures and long loops. Each statement says whether the cell
    ends where it raises.
    """
    try:
        body = ast.parse(source).body
    except SyntaxError:  # perhaps %matplotlib or !pip, which only a notebook understands
        body = ast.parse(_MAGIC.sub(r"\1pass", source)).body
    whole = whole or bool(wanted & set(_bound(body)))
    taken = [one for one in body if whole or isinstance(one, _KEPT)]
    name = _FILE.format(number)
    code = [(whole, compile(ast.Module([one], []), name, "exec")) for one in taken]
    harmless = (ast.Expr, ast.Pass, ast.Raise, ast.Assert)
    return code, [s.lineno for s in body if s not in taken and not isinstance(s, harmless)]


def _bound(body: list[ast.stmt]) -> list[str]:
    """Return the names that a cell's statements give a value, at its top level or in if and for."""
    found = []
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append(statement.name)
        else:
            names = (n for n in ast.walk(statement) if isinstance(n, ast.Name))
            found += [n.id for n in names if isinstance(n.ctx, ast.Store)]
    return found


def _answer(head: dict[str, Any], body: bytes, namespace: dict[str, Any]) -> tuple[dict, bytes]:
    """Do what is asked: "get" a value, "call" a function, or one of the exercises' with it."""
    number, name, what = head["number"], head["name"], head["do"]
    try:
        if name not in namespace:
            raise NameError(f"{name} is not defined")
        value = namespace[name]
        args, kwargs = pickle.loads(body)  # the scorer's, which is trusted
        if what == "call":
            value = value(*args, **kwargs)
        elif what != "get":
            value = getattr(_exercises(), what)(value, *args, **kwargs)
        if "torch" in sys.modules:  # else there are no tensors, and no need to wait for torch
            value = _exercises().plain(value)
        packed, arrays = pack(value)
        return {"number": number, "value": packed}, arrays
    except BaseException as e:
        told = {"number": number, "raised": type(e).__name__, "words": _text(e)}
        return told | {"at": _place(e)}, b""


def _exercises() -> ModuleType:
    from vizhelpers import exercises

    return exercises


def _place(error: BaseException) -> list[int]:
    """Return the cell and the line of the student's that raised, or nothing."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if found := re.fullmatch(_FILE.format(r"(\d+)"), frame.filename):
            return [int(found[1]), frame.lineno or 0]
    return []


def _text(error: BaseException) -> str:
    try:
        return f"{error}"[:LONGEST_TEXT]
    except Exception:  # a __str__ of the student's own
        return ""


if __name__ == "__main__":
    work(Connection(int(sys.argv[1])))
