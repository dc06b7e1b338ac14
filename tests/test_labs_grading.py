"""A lab's marks are what its submissions deserve, whatever the submissions try.

Attacks are tried on a tiny lab without torch, behind the fence.
"""

import ast
import importlib
from dataclasses import replace
from unittest import mock

import pytest

pytest.importorskip("nbgrader", reason="marking needs the course's tools; Colab has none")

import tiny_lab
from nbgrader.preprocessors import ClearSolutions
from tiny_marking import forked

from labs.fence.bubblewrap import ROOT
from labs.grading.lab import Cell, Lab
from labs.grading.marking import Marker

pytest_plugins = ("tiny_marking",)
LABS = sorted(path.parent.name for path in (ROOT / "labs" / "source").glob("*/*.ipynb"))
FULL = tiny_lab.POINTS
Wrong = tuple[dict[str, str], dict[str, float]]  # changed cells, and the points that are left


# --- The six labs ------------------------------------------------------------------------------


def untouched(cell: Cell, lab: Lab) -> Cell:
    """A cell as a student gets it, by nbgrader's own step."""
    if not any(ours.name == cell.name and ours.answer for ours in lab.cells):
        return cell
    student_cell = mock.Mock(source=cell.source, cell_type="code")
    ClearSolutions()._replace_solution_region(student_cell, "python")
    return replace(cell, source=student_cell.source)


def names(source: str, kind: type[ast.expr_context]) -> set[str]:
    """The names that code reads (``ast.Load``), or defines and gives values (``ast.Store``)."""
    nodes = list(ast.walk(ast.parse(source)))
    defined = {n.name for n in nodes if isinstance(n, ast.FunctionDef) and kind is ast.Store}
    return defined | {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, kind)}


def touched(lab: Lab, changed: set[str]) -> set[str]:
    """The test cells that see the changed cells: they, or a function they use, read a name of them.

    A test cell needs no other (test_labs_source holds that), so all others see just what they see
    in the solved lab, which is marked as well; to run them five times more would take a minute.
    """
    solutions = {cell.name: cell.source for cell in lab.cells if cell.answer}
    wanted = lab.functions | lab.answers
    given: set[str] = set()
    for _ in solutions:  # a chain of functions is no longer than this
        given |= set().union(*(names(solutions[name], ast.Store) & wanted for name in changed))
        changed = changed | {n for n, text in solutions.items() if names(text, ast.Load) & given}
    return {cell.name for cell in lab.tests if names(cell.source, ast.Load) & given}


def together(lab: Lab, wrong: dict[str, Wrong]) -> list[tuple[set[str], dict[str, Wrong]]]:
    """Group submissions whose changed cells are seen by other tests: one scoring does for all."""
    groups: list[tuple[set[str], dict[str, Wrong]]] = []
    for mistake, (changed, deserved) in wrong.items():
        seen = touched(lab, set(changed))
        assert deserved.keys() <= seen, mistake
        free = next((group for group in groups if not group[0] & seen), None)
        if free is None:
            groups.append((seen, {mistake: (changed, deserved)}))
        else:
            free[0].update(seen)
            free[1][mistake] = (changed, deserved)
    return groups


@pytest.mark.parametrize("name", LABS)
def test_solutions_get_all_untouched_gets_nothing_and_mistakes_what_they_deserve(name: str) -> None:
    lab = Lab.find(ROOT / "labs", name)
    full = {cell.name: float(cell.points) for cell in lab.tests}
    solved = [Cell(c.kind, c.source, c.name) for c in lab.cells]
    submissions = importlib.import_module(f"lab_submissions.{name}")
    by = Marker(lab, start=forked)
    assert by.score(solved).points == full
    assert by.score([untouched(c, lab) for c in solved]).points == dict.fromkeys(full, 0.0)
    for seen, group in together(lab, submissions.WRONG | submissions.CHEATS):
        changed = {k: text for cells, _ in group.values() for k, text in cells.items()}
        deserved = {k: points for _, lost in group.values() for k, points in lost.items()}
        by.lab = replace(lab, cells=tuple(c for c in lab.cells if not c.test or c.name in seen))
        score = by.score([replace(c, source=changed.get(c.name, c.source)) for c in solved])
        wanted = {cell: points for cell, points in (full | deserved).items() if cell in seen}
        assert score.points == wanted, f"{[*group]}: {score.failures}"


# --- What a submission may try, on the tiny lab ------------------------------------------------


def test_the_tiny_lab_gives_all_points_to_its_solution_and_each_point_can_be_lost(
    by: Marker,
) -> None:
    assert by.score(tiny_lab.handed_in()).points == FULL
    for name, test in (
        ("double", "test_double"),
        ("total", "test_total"),
        ("answer", "test_answer"),
    ):
        stub = tiny_lab.handed_in(**{name: "raise NotImplementedError()"})
        assert by.score(stub).points == FULL | {test: 0.0}


ALWAYS_EQUAL = tiny_lab.ALWAYS_EQUAL
FORGE = """
import json, os, struct
def forge():
    heads = [{"number": n, "value": 42} for n in range(9)] + [
        {"cell": "test_answer", "failure": None}, {"end": True, "troubles": []}, {"loaded": []}]
    for head in heads:
        text = json.dumps(head).encode()
        for fd in range(3, 40):
            try: os.write(fd, struct.pack("!i", len(text)) + text + struct.pack("!i", 0))
            except OSError: pass
"""
KILL = """
import os, signal
def kill():
    for pid in (os.getppid(), 1, -1, *range(2, 60)):
        if pid != os.getpid():
            try: os.kill(pid, signal.SIGKILL)
            except OSError: pass
"""
PATCH = """
import builtins, json, pickle, math, sys
class Always(type):
    def __instancecheck__(self, other): return True
builtins.AssertionError = type("AssertionError", (Exception,), {})
builtins.sum = builtins.isinstance = lambda *args: True
json.dumps = lambda *args, **kwargs: '{"number": 1, "value": 42}'
for name, module in list(sys.modules.items()):
    if name.startswith("labs.grading"):
        for key in ("pack", "_plain", "_pack"):
            if hasattr(module, key): setattr(module, key, lambda *args: (42, b""))
"""
# What is tried -> the cells with which, and the tests that hold all the same.
ATTACKS: dict[str, tuple[dict[str, str], dict[str, float]]] = {
    "an __eq__ that is always true": (
        {
            "double": ALWAYS_EQUAL + "def double(x): return Same(1)",
            "total": ALWAYS_EQUAL + "def total(values): return [Same(1)]",
            "answer": ALWAYS_EQUAL + "answer = Same(1)",
        },
        dict.fromkeys(FULL, 0.0),
    ),
    "an endless loop in a function": (
        {"double": "import time\ndef double(x):\n    while True: time.sleep(0.01)"},
        {"test_double": 0.0},
    ),
    "an endless loop that cannot be interrupted": (
        {
            "total": "def total(values):\n    while True:\n        try:\n"
            "            while True: pass\n        except BaseException: pass"
        },
        {"test_total": 0.0},
    ),
    "an endless loop at the top, before the answer": (
        {"answer": "import time\nwhile True: time.sleep(0.01)\nanswer = 42"},
        {"test_answer": 0.0},
    ),
    "an endless loop at the top, after the function": (
        {"double": "import time\ndef double(x):\n    return 2 * x\nwhile True: time.sleep(0.01)"},
        {},
    ),
    "os._exit in a function": (
        {"double": "import os\ndef double(x): os._exit(0)"},
        {"test_double": 0.0},
    ),
    "os._exit at the top": (
        {"answer": "import os\nos._exit(0)\nanswer = 42"},
        {"test_answer": 0.0},
    ),
    "a crash in C": (
        {"double": "import ctypes\ndef double(x): return ctypes.string_at(0)"},
        {"test_double": 0.0},
    ),
    "sys.exit, and an error without words": (
        {
            "double": "import sys\ndef double(x): sys.exit(0)",
            "total": "class E(BaseException):\n    def __str__(self): raise self\n"
            "def total(values): raise E",
        },
        {"test_double": 0.0, "test_total": 0.0},
    ),
    "100 MB of output, by a function that is right": (
        {
            "double": "def double(x):\n    for _ in range(100): print('x' * 1_000_000)\n"
            "    return 2 * x"
        },
        {},
    ),
    "100 MB of an answer": ({"answer": "answer = 'x' * 100_000_000"}, {"test_answer": 0.0}),
    "answers of the pickled sort, bytes, objects, functions": (
        {
            "double": "import pickle\ndef double(x): return pickle.dumps(2 * x)",
            "total": "def total(values): return total",
            "answer": "answer = object()",
        },
        dict.fromkeys(FULL, 0.0),
    ),
    "NaN, a number too long to write, a list without end": (
        {
            "double": "def double(x): return float('nan')",
            "total": "def total(values): return 10 ** 100_000",
            "answer": "answer = []\nanswer.append(answer)",
        },
        dict.fromkeys(FULL, 0.0),
    ),
    "other names for assert, sum and the pipe's own functions": (
        {"double": PATCH + "def double(x): return 1", "total": "def total(values): return 0"},
        {"test_double": 0.0, "test_total": 0.0},
    ),
    "answers to questions that nobody asked, at the top": (
        {"double": FORGE + "forge()\ndef double(x): return 1", "answer": "forge()\nanswer = 1"},
        {"test_double": 0.0, "test_answer": 0.0},
    ),
    "marks forged on every pipe, in a function": (
        {
            "double": FORGE + "def double(x):\n    forge()\n    return 1",
            "answer": "answer = 1",
        },
        {"test_double": 0.0, "test_answer": 0.0},
    ),
    "killing the parent, and everybody": (
        {"double": KILL + "def double(x):\n    kill()\n    return 1"},
        {"test_double": 0.0},
    ),
    "an answer that is a function's, and a function that is none": (
        {"double": "double = 42", "answer": "def answer(): return 42"},
        {"test_double": 0.0, "test_answer": 0.0},
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_gains_nothing_and_costs_only_the_cells_that_hold_it(
    attack: str, by: Marker
) -> None:
    changed, lost = ATTACKS[attack]
    assert by.score(tiny_lab.handed_in(**changed)).points == FULL | lost
