"""The untrusted side: holds a student's functions and answers, calls them, sends plain values back.

Nothing in this process is believed. It need not defend itself from the student's code, which may do
here what it likes: it knows no truth, no test and no mark, and can only answer.
"""

import ast
import builtins
import pickle
import re
import socket
import sys
from types import CodeType
from typing import Any

from labs.grading.frames import NO_CAP, pack, receive, send

LONGEST_TEXT = 500
_KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
_MAGIC = re.compile(r"^(\s*)([%!?].*|.*=\s*[%!].*|.*\?)$", re.MULTILINE)


def work(pipe: socket.socket, namespace: dict[str, Any]) -> None:
    """Load the student's cells, then answer until the pipe is closed."""
    job = receive(pipe, longest=NO_CAP)[0]
    builtins.display = lambda *args, **kwargs: None  # type: ignore[attr-defined]
    stops = dict(job["stops"])
    troubles = []
    for number, (kind, source) in enumerate(job["cells"]):
        try:
            for at, statement in enumerate(_statements(kind, source, set(job["wanted"]))):
                send(pipe, {"at": [number, at]})
                if at == stops.get(number):
                    break
                _run(statement, namespace)
        except BaseException as e:
            troubles.append([number, _words(e)])
    send(pipe, {"loaded": troubles})
    while True:
        head, body = receive(pipe, longest=NO_CAP)
        send(pipe, *_answer(head, body, namespace))


def _statements(kind: str, source: str, wanted: set[str]) -> list[tuple[bool, CodeType]]:
    """Return a cell's statements, compiled, and of each whether the cell ends where it raises.

    A cell that is the course's, or that gives one of the wanted names a value, runs as it does in
    the notebook: until it raises. Of any other only what a function may need is taken: imports,
    definitions, assignments; not its pictures and long loops.
    """
    try:
        body = ast.parse(source).body
    except SyntaxError:  # perhaps %matplotlib or !pip, which only a notebook understands
        body = ast.parse(_MAGIC.sub(r"\1pass", source)).body
    whole = kind == "course" or bool(wanted & set(_bound(body)))
    return [
        (whole, compile(ast.Module([one], []), "<your cell>", "exec"))
        for one in body
        if whole or isinstance(one, _KEPT)
    ]


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


def _run(statement: tuple[bool, CodeType], namespace: dict[str, Any]) -> None:
    whole, code = statement
    try:
        exec(code, namespace)
    except BaseException:
        if whole:
            raise


def _answer(head: dict[str, Any], body: bytes, namespace: dict[str, Any]) -> tuple[dict, bytes]:
    number, name = head["number"], head["name"]
    try:
        if name not in namespace:
            raise NameError(f"{name} is not defined")
        value = namespace[name]
        if head["do"] != "get":
            args, kwargs = pickle.loads(body)  # the scorer's, which is trusted
            value = _call(head["do"], value, args, kwargs)
        packed, arrays = pack(_plain(value))
        return {"number": number, "value": packed}, arrays
    except BaseException as e:
        return {"number": number, "raised": type(e).__name__, "words": _text(e)}, b""


def _call(what: str, function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    if what == "damage":
        from vizhelpers.exercises import damage

        return damage(function, *args, **kwargs)
    return function(*args, **kwargs)


def _plain(value: Any) -> Any:
    if "torch" not in sys.modules:  # then there are no tensors, and no need to wait for torch
        return value
    from vizhelpers.exercises import plain

    return plain(value)


def _words(error: BaseException) -> str:
    return ": ".join(part for part in (type(error).__name__, _text(error)) if part)


def _text(error: BaseException) -> str:
    try:
        return f"{error}"[:LONGEST_TEXT]
    except Exception:  # a __str__ of the student's own
        return ""
