"""A lab's marks are what its submissions deserve, whatever the submissions try.

What students' code may do is tried on a tiny lab without torch. The fence is the one that this
machine gives: as root another user, otherwise namespaces of one's own; where there are none, tests
that need them are skipped and say so.
"""
# ruff: noqa: E402

import ast
import base64
import importlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

pytest.importorskip("nbgrader", reason="marking needs the course's tools; Colab has none")
sys.modules.setdefault("rfc3987_syntax", None)  # see labs/grade: three seconds

import nbformat
import tiny_lab
from nbgrader.api import Gradebook
from nbgrader.converters import GenerateAssignment, GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import ClearSolutions

from labs.grading import frames, landing
from labs.grading.assignment import Assignment
from labs.grading.command import main
from labs.grading.course import Course
from labs.grading.fence import Limits
from labs.grading.lab import Lab
from labs.grading.marking import Marker
from labs.grading.rerun import PRELOAD
from labs.grading.submission import BadSubmission, Cell, read
from labs.grading.submission import cells as read_cells
from labs.grading.table import Row, write_csv
from labs.grading.zygote import ROOT, Zygote

LABS = sorted(path.parent.name for path in (ROOT / "labs" / "source").glob("*/*.ipynb"))
FULL = tiny_lab.POINTS


# --- The six labs -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_torch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Torch is started once, for all six labs."""
    home = tmp_path_factory.mktemp("home")
    with Zygote.start(home, ("torch", "torchvision", "vizhelpers.exercises")) as zygote:
        yield zygote


def untouched(cell: Cell, lab: Lab) -> Cell:
    """A cell as a student gets it, by nbgrader's own step."""
    if not any(ours.name == cell.name and ours.answer for ours in lab.cells):
        return cell
    made = mock.Mock(source=cell.source, cell_type="code")
    ClearSolutions()._replace_solution_region(made, "python")
    return replace(cell, source=made.source)


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


@pytest.mark.parametrize("name", LABS)
def test_solutions_get_all_untouched_gets_nothing_and_mistakes_what_they_deserve(
    name: str, with_torch: Zygote
) -> None:
    lab = Lab.find(ROOT / "labs", name)
    full = {cell.name: float(cell.points) for cell in lab.tests}
    solved = [Cell(c.kind, c.source, c.name) for c in lab.cells]
    wrong = importlib.import_module(f"lab_submissions.{name}").WRONG
    with Marker(lab, base=with_torch) as by:
        assert by.score(solved).points == full
        assert by.score([untouched(c, lab) for c in solved]).points == dict.fromkeys(full, 0.0)
        for mistake, (changed, deserved) in wrong.items():
            seen = touched(lab, set(changed))
            assert deserved.keys() <= seen, mistake
            by.lab = replace(lab, cells=tuple(c for c in lab.cells if not c.test or c.name in seen))
            score = by.score([replace(c, source=changed.get(c.name, c.source)) for c in solved])
            wanted = {cell: points for cell, points in (full | deserved).items() if cell in seen}
            assert score.points == wanted, f"{mistake}: {score.failures}"


# --- What a submission may try, on the tiny lab -----------------------------------------------


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    course = tmp_path_factory.mktemp("course")
    (course / "gradebook.db").write_text(tiny_lab.SECRET)
    return Lab.read(tiny_lab.write_source(course))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with Zygote.start(tmp_path_factory.mktemp("home"), PRELOAD) as zygote:
        yield zygote


@pytest.fixture(scope="module")
def by(lab: Lab, base: Zygote) -> Iterator[Marker]:
    limits = Limits(memory=500 << 20, processes=24, file_size=8 << 20, disk=16 << 20)
    with Marker(lab, base=base, seconds=1, limits=limits) as marker:
        yield marker


@pytest.fixture
def fenced(by: Marker) -> None:
    """For what only a whole fence can hold."""
    if not by.means.namespaces:
        pytest.skip(f"no namespaces on this machine: {by.means.missing}")


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


ALWAYS_EQUAL = """
class Same(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __reduce__(self): return (int, (42,))
    def __bool__(self): return True
"""
FORGE = """
import json, os, struct
def forge():
    heads = [{"number": n, "value": 42} for n in range(9)] + [
        {"cell": "test_answer", "failure": None}, {"end": True, "troubles": []}, {"loaded": []}]
    for head in heads:
        text = json.dumps(head).encode()
        for fd in range(3, 40):
            try: os.write(fd, struct.pack(">II", len(text), 0) + text)
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


# --- What the fence holds ---------------------------------------------------------------------


def told(by: Marker, code: str, **changed: str) -> str:
    """What a student's function says when it looks around: the words of the error it raises."""
    body = "".join(f"    {line}\n" for line in code.splitlines())
    looks = f"def double(x):\n{body}    raise ValueError(found)"
    score = by.score(tiny_lab.handed_in(double=looks, **changed))
    assert score.points == FULL | {"test_double": 0.0}
    kind, words, _ = score.failures["test_double"]
    assert kind == "ValueError", words
    return words.removeprefix("double: ")


SEARCH = """
import gc, glob, os, sys
found = "nothing"
secret = " ".join(["only", "the", "source", "knows", "this"])  # or it would find itself
for place in (PLACES, *sys.path, "/tmp", "/room/course", "/room/student", "/proc/1/root/tmp"):
    for path in (place, *glob.glob(place + "/*.ipynb"), *glob.glob(place + "/gradebook.db")):
        try:
            text = open(path, errors="replace").read()
        except OSError:
            continue
        if secret in text:
            found = path
for one in gc.get_objects():
    values = one.values() if type(one) is dict else one if type(one) in (list, tuple) else ()
    if any(type(value) is str and secret in value for value in list(values)):
        found = "memory"
"""


def test_neither_solution_nor_hidden_test_nor_gradebook_can_be_found(
    by: Marker, fenced: None
) -> None:
    course = by.lab.path.parents[2]
    places = [
        str(path) for path in (by.lab.path, by.lab.path.parent, course, course / "gradebook.db")
    ]
    assert all(os.path.exists(place) for place in places)  # from here, they can
    assert told(by, SEARCH.replace("PLACES", ", ".join(map(repr, places)))) == "nothing"


def test_the_search_above_finds_a_secret_that_is_there(by: Marker) -> None:
    holds = f"here = ['{tiny_lab.SECRET}']\nanswer = 42"
    assert told(by, SEARCH.replace("PLACES", "'/nowhere'"), answer=holds) == "memory"


def test_a_worker_is_another_user_with_no_rights_and_no_way_to_more(
    by: Marker, fenced: None
) -> None:
    look = """
lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
kinds = ("Uid", "NoNewPrivs", "Pid", "CapPrm", "CapEff", "CapBnd", "CapAmb")
found = " ".join(lines[kind].split()[0] for kind in kinds)
"""
    user, no_new_privileges, process, *capabilities = told(by, look).split()
    assert int(user) != os.getuid()
    assert no_new_privileges == "1"
    assert process == "1"  # the first of its own processes, which are all it sees
    assert [int(one, 16) for one in capabilities] == [0] * 4


def test_a_worker_reaches_no_network_not_even_this_machine(by: Marker, fenced: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=lambda: server.accept(), daemon=True).start()
        with socket.create_connection(("127.0.0.1", port), 5):  # it listens
            pass
        look = f"""
import socket
found = ""
for address in (("127.0.0.1", {port}), ("192.0.2.1", 80)):
    try:
        socket.create_connection(address, 1)
        found += "connected "
    except OSError as e:
        found += e.__class__.__name__ + " "
"""
        assert "connected" not in told(by, look)


def test_a_worker_writes_nowhere_but_into_its_room_which_is_small_and_goes(
    by: Marker, fenced: None, tmp_path: Path
) -> None:
    look = f"""
import os, sys, tempfile, vizhelpers
found, package = "", os.path.dirname(vizhelpers.__file__)
for place in ({str(tmp_path)!r}, {str(ROOT)!r}, sys.prefix, package, "/usr"):
    try:
        open(place + "/left-behind", "w")
        found += place
    except OSError:
        pass
written = 0
try:
    for n in range(1000):
        with open(f"{{tempfile.gettempdir()}}/{{n}}", "wb") as f:
            written += f.write(bytes(1 << 20))
except OSError:
    pass
found += f"; {{written >> 20}}"
"""
    where, megabytes = told(by, look).split("; ")
    assert where == "" and 12 <= int(megabytes) <= 16  # of 16
    assert told(by, "import os, tempfile\nfound = str(os.listdir(tempfile.gettempdir()))") == "[]"


def test_memory_ends_the_function_and_not_the_machine(by: Marker) -> None:
    grab = "def double(x):\n    return len([bytearray(1 << 20) for _ in range(2000)])"
    score = by.score(tiny_lab.handed_in(double=grab))
    assert score.points == FULL | {"test_double": 0.0}
    assert score.failures["test_double"][0] == "MemoryError"


def test_children_cannot_share_out_the_memory_or_become_too_many(by: Marker, fenced: None) -> None:
    bomb = """
import os, time
def double(x):
    for _ in range(200):
        try:
            if not os.fork():
                time.sleep(60)
        except OSError:  # the limit of this user; root of a user's own namespace has none
            raise ValueError("started more than 24 processes")
    time.sleep(60)
"""
    share = """
import os, time
def double(x):
    for _ in range(8):
        if not os.fork():
            held = bytearray(150 << 20)
            time.sleep(60)
    time.sleep(60)
"""
    by.seconds, usual = 20, by.seconds
    try:
        for attack, words in ((bomb, "more than 24 processes"), (share, "MB of memory")):
            score = by.score(tiny_lab.handed_in(double=attack))
            assert words in score.failures["test_double"][1]
            assert score.points == FULL | {"test_double": 0.0}
    finally:
        by.seconds = usual


def test_a_worker_cannot_make_namespaces_or_look_into_other_processes(
    by: Marker, fenced: None
) -> None:
    if os.uname().machine not in ("x86_64", "aarch64"):
        pytest.skip("calls are closed on two kinds of machine only")
    look = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
found = str([libc.unshare(0x10000000), libc.ptrace(0, 0, 0, 0), libc.memfd_create(b"m", 0)])
"""
    assert told(by, look) == "[-1, -1, -1]"


# --- What comes over the pipe -----------------------------------------------------------------


def test_plain_values_come_back_as_they_were() -> None:
    value = {
        "a": [None, True, 3, -2.5, "ö"],
        2: {"inner": np.arange(6, dtype=np.float32).reshape(2, 3)},
        "flags": np.array([True, False]),
        "words": np.array(["a", "bcd"]),
        "none": np.zeros((0, 4)),
        "one": np.array(1 + 2j),
    }
    head, body = frames.pack(value)
    found = frames.unpack(json.loads(json.dumps(head)), body)
    assert found.keys() == value.keys() and found["a"] == value["a"]
    for ours, theirs in [(found[2]["inner"], value[2]["inner"])] + [
        (found[key], value[key]) for key in ("flags", "words", "none", "one")
    ]:
        assert type(ours) is np.ndarray and ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape and (ours == theirs).all()


@pytest.mark.parametrize(
    "value",
    [
        object(),
        b"bytes",
        {1, 2},
        np.array([object()]),
        np.float64(1),
        len,
        type("I", (int,), {})(1),
    ],
)
def test_anything_else_is_refused_before_it_is_sent(value: object) -> None:
    with pytest.raises(TypeError):
        frames.pack(value)


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ({"dtype": "|O", "shape": [1]}, b"12345678"),
        ({"dtype": "<f8", "shape": [10**12]}, b""),
        ({"dtype": "<f8", "shape": [-1]}, b"12345678"),
        ({"dtype": "<f8", "shape": [0, 10**30]}, b""),
        ({"dtype": "<f8", "shape": [True]}, b"12345678"),
        ({"dtype": "<U999999", "shape": [1]}, b"1234"),
        ({"dtype": "<f4", "shape": [1]}, b"12345678"),
        ({"dtype": ["<f4"], "shape": [1]}, b"1234"),
        ({"pairs": [[[1], 2]]}, b""),
        ({"pairs": 3}, b""),
        ({"pairs": [[1]]}, b""),
        ({"something": "else"}, b""),
        (json.loads("[" * 200 + "]" * 200), b""),
    ],
)
def test_forged_answers_are_refused_without_making_room_for_them(head: object, body: bytes) -> None:
    with pytest.raises(frames.Broken):
        frames.unpack(head, body)


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff\xff\xff\xff\x00\x00\x00\x00",
        b"\x00\x00\x00\x02\x00\x00\x00\x00[]",
        b"\x00\x00\x00\x02\x00\x00\x00\x00{]",
        b"\x00\x00\x00\x09\x00",
        b"\x00\x01\x86\xa0\x00\x00\x00\x00" + b"[" * 100_000,
    ],
)
def test_what_is_no_frame_breaks_the_pipe_and_nothing_else(sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(sent)
        theirs.close()
        with pytest.raises(frames.Broken):
            frames.receive(ours, 5)


def test_who_does_not_read_is_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(frames.TooLate):
        frames.send(ours, {}, bytes(10 << 20), seconds=0.2)


# --- What is handed in is data ----------------------------------------------------------------


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """submitted/eve/tiny: a folder whose notebook a test puts there."""
    folder = tmp_path / "submitted" / "eve" / tiny_lab.NAME
    folder.mkdir(parents=True)
    return folder


def refusal(inbox: Path) -> str:
    """Why eve's notebook is refused."""
    with pytest.raises(BadSubmission) as raised:
        read_cells(read(inbox.parents[1], "eve", tiny_lab.NAME, "tiny.ipynb"))
    return str(raised.value)


def test_links_and_pipes_are_not_followed(inbox: Path, lab: Lab) -> None:
    notebook = inbox / "tiny.ipynb"
    notebook.symlink_to(lab.path)  # the solution, or a neighbour's work
    assert "a link" in refusal(inbox)
    notebook.unlink()
    os.mkfifo(notebook)
    assert "no ordinary file" in refusal(inbox)
    notebook.unlink()
    inbox.rmdir()
    inbox.symlink_to(lab.path.parent)
    assert "a link" in refusal(inbox)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"\x80\x04\x95 pickle", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1, 2]", "no notebook"),
        (b'{"cells": 3}', "no notebook"),
        (b'{"worksheets": []}', "no notebook"),
        (b'{"cells": [{"cell_type": "code", "source": [1]}]}', "no notebook"),
        (json.dumps({"cells": [{}] * 3000}).encode(), "more than 2000 cells"),
        (bytes(21 << 20), "21 MB"),
        (None, "There is no"),
    ],
)
def test_what_is_no_notebook_is_refused_in_words(
    inbox: Path, text: bytes | None, words: str
) -> None:
    if text is not None:
        (inbox / "tiny.ipynb").write_bytes(text)
    assert words in refusal(inbox)


def test_forged_metadata_edited_tests_and_missing_cells_do_not_matter(by: Marker) -> None:
    wrong = {"double": "def double(x): return 1", "total": "def total(values): return 0"}
    forged = tiny_lab.cells(tiny_lab.SOLVED | wrong)
    forged[2]["source"] = "pass  # no test"
    forged[2]["metadata"]["nbgrader"] |= {"points": 100, "locked": False, "solution": True}
    forged[4]["metadata"] = {"nbgrader": "nothing"}
    forged.append(forged[2] | {"source": "assert True"})  # a grade_id twice
    del forged[0]  # the setup
    score = by.score(read_cells(tiny_lab.notebook(forged).encode()))
    assert score.points == {"test_double": 0.0, "test_total": 0.0, "test_answer": 1.0}


def test_a_notebook_from_colab_needs_no_metadata_and_may_have_cells_of_its_own(by: Marker) -> None:
    made = tiny_lab.cells(
        tiny_lab.SOLVED | {"double": "%matplotlib inline\ndef double(x):\n    return add(x, x)"}
    )
    made.insert(
        1, tiny_lab.cell("code", "!pip install x\ndef add(a, b):\n    return a + b", {}, "own")
    )
    made.insert(2, tiny_lab.cell("code", "while True: print('a long experiment')", {}, "loop"))
    stripped = [cell | {"metadata": {}} for cell in made]
    assert by.score(read_cells(tiny_lab.notebook(stripped).encode())).points == FULL


def test_what_lands_in_the_course_has_the_courses_cells_and_no_active_page() -> None:
    nb = nbformat.v4
    kernel = {"name": "python3", "display_name": "Python 3"}
    released = nb.new_notebook(metadata={"kernelspec": kernel})
    for one in tiny_lab.cells(tiny_lab.SOLVED):
        make = nb.new_code_cell if one["cell_type"] == "code" else nb.new_markdown_cell
        released.cells.append(make(one["source"], metadata=one["metadata"]))
    handed_in = [
        Cell("raw", "<script>alert(1)</script>", ""),
        Cell("markdown", "pass", "test_double"),
        Cell("code", "double = 1", "double"),
        Cell("code", "double = 2", "double"),
        Cell("markdown", "a < b, <script>alert(1)</script>", "written"),
    ]
    clean = landing.clean(released, handed_in)
    by_name = {c.metadata.nbgrader.grade_id: c for c in clean.cells if "nbgrader" in c.metadata}
    assert len([c for c in clean.cells if "nbgrader" in c.metadata]) == len(by_name) == 8
    assert by_name["test_double"].cell_type == "code"
    assert by_name["test_double"].source == tiny_lab.TESTS["test_double"]
    assert by_name["double"].source == "double = 2"
    assert by_name["written"].source.startswith("a < b, ")
    assert not any("<script" in cell.source for cell in clean.cells)

    ran = json.loads(nbformat.writes(clean))
    outputs = [
        {"output_type": "display_data", "data": {"text/html": "<script>", "text/plain": "a table"}},
        {"output_type": "display_data", "data": {"image/svg+xml": "<svg onload='alert(1)'/>"}},
        {"output_type": "display_data", "data": {"image/png": "no picture'><script>"}},
        {"output_type": "stream", "name": "stdout", "text": "x" * 100_000},
        {"output_type": "stream", "name": "stdout", "text": {"no": "text"}},
        "no output",
    ]
    dot = base64.b64encode(b"\x89PNG").decode()
    outputs.append({"output_type": "execute_result", "data": {"image/png": dot}})
    ran["cells"][2]["outputs"] = outputs
    assert landing.outputs(json.dumps(ran).encode(), clean)
    shown = json.dumps(clean.cells[2].outputs)
    assert "a table" in shown and "cut off" in shown and len(shown) < 30_000
    assert dot in shown
    assert "<s" not in shown and "html" not in shown and "svg" not in shown
    del ran["cells"][3]
    assert not landing.outputs(json.dumps(ran).encode(), clean)


# --- A class, with nbgrader -------------------------------------------------------------------

WITHOUT_ALEMBIC = ("nbgrader.api.get_alembic_version", "none")  # a program of five seconds
EVE = (
    ALWAYS_EQUAL
    + """
import os
from IPython import get_ipython
for path in (GRADEBOOK, SOURCE, "/etc/passwd"):
    try:
        os.remove(path)
    except OSError as e:
        print(path, e)
get_ipython().input_transformers_post.append(lambda lines: ["pass\\n"])
def double(x): return Same(1)
"""
)


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course in which three handed in: one who is right, one with a mistake, one who attacks."""
    root = tmp_path_factory.mktemp("class")
    source = tiny_lab.write_source(root)
    with mock.patch(WITHOUT_ALEMBIC[0], return_value=WITHOUT_ALEMBIC[1]):
        place = CourseDirectory(root=str(root), assignment_id=tiny_lab.NAME)
        GenerateAssignment(coursedir=place).start()
    released = json.loads((root / "release" / "tiny" / "tiny.ipynb").read_text())["cells"]
    eve = EVE.replace("GRADEBOOK", repr(f"{root}/gradebook.db")).replace(
        "SOURCE", repr(f"{source}")
    )
    for student, answers in {
        "ada": {**tiny_lab.SOLVED, "written": "I multiplied."},
        "bob": {"double": "def double(x): return x + 3", "total": tiny_lab.SOLVED["total"]},
        "eve": {"double": eve, "answer": "answer = Same()", "written": "<script>alert(1)</script>"},
    }.items():
        cells = [dict(cell) for cell in released]
        for cell in cells:
            name = cell["metadata"]["nbgrader"]["grade_id"]
            cell["source"] = answers.get(name, cell["source"])
        if student == "eve":
            cells[2]["metadata"]["nbgrader"] |= {"points": 100}
            cells.append(cells[4] | {"source": "assert True", "id": "again"})
        folder = root / "submitted" / student / "tiny"
        folder.mkdir(parents=True)
        (folder / "tiny.ipynb").write_text(tiny_lab.notebook(cells))
        (folder / "timestamp.txt").write_text("2026-01-02 03:04:05 UTC")
    return root


def held(course: Path) -> dict[str, dict[str, tuple[float | None, float | None, float, bool]]]:
    """All that the gradebook holds: of each student's cells the marks, and what they are worth."""
    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        return {
            student.id: {
                grade.name: (
                    grade.auto_score,
                    grade.manual_score,
                    grade.max_score,
                    grade.needs_manual_grade,
                )
                for submission in student.submissions
                for notebook in submission.notebooks
                for grade in notebook.grades
            }
            for student in book.students
        }


def test_a_class_is_marked_and_an_attacker_gains_nothing_and_harms_nobody(
    course: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, fenced: None
) -> None:
    table = tmp_path / "marks.csv"
    assert main(["tiny", "--course", str(course), "--csv", str(table)]) == 1
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["ada"] == "6 / 6  written: waits"
    assert rows["bob"] == "3 / 6  written: 0  lost: test_double, test_answer"
    assert rows["eve"].startswith("0 / 6  written: waits  LOOK: the notebook run said ")

    def marks(double: float, total: float, answer: float, written: tuple) -> dict:
        tests = zip(FULL, (double, total, answer), FULL.values(), strict=True)
        return {name: (got, None, most, False) for name, got, most in tests} | {"written": written}

    waits = (None, None, 4.0, True)
    expected = {
        "ada": marks(2, 3, 1, waits),
        "bob": marks(0, 3, 0, (0.0, None, 4.0, False)),  # nothing written: nothing to read
        "eve": marks(0, 0, 0, waits),
    }
    assert held(course) == expected
    heading, ada, *_ = table.read_text().splitlines()
    assert heading.startswith("student,points (6),test_double (2),test_total (3),test_answer (1)")
    assert ada == "ada,6,2,3,1,written: waits,"

    # A teacher reads ada's answer; eve hands in again. Whatever eve does, ada's marks stay.
    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        grade = book.find_grade("written", "tiny", "tiny", "ada")
        grade.manual_score, grade.needs_manual_grade = 3.5, False
        book.db.commit()
    before = held(course)
    assert main(["tiny", "--course", str(course), "--student", "eve", "--no-run"]) == 0
    assert held(course) == before
    assert main(["tiny", "--course", str(course), "--student", "ada", "--no-run"]) == 0
    assert held(course)["ada"]["written"][:3] == (None, 3.5, 4.0)

    # What the teacher returns.
    place = CourseDirectory(root=str(course), assignment_id="tiny")
    GenerateFeedback(coursedir=place).start()
    pages = {s: (course / "feedback" / s / "tiny" / "tiny.html").read_text() for s in held(course)}
    assert "9.5 / 10.0" in pages["ada"] and "3.0 / 10.0" in pages["bob"]
    assert "twice three is six" in pages["bob"]  # why the point was lost
    assert "alert(1)" in pages["eve"] and "<script>alert" not in pages["eve"]


RERUNS = {
    "an endless loop at the top": ("import time\nwhile True: time.sleep(1)", "stopped after 4 s"),
    "the throw-away gradebook deleted, then os._exit": (
        "import os\nos.remove('/room/course/gradebook.db')\nos._exit(0)",
        "the notebook run",
    ),
    "100 MB of output": ("for _ in range(100): print('x' * 1_000_000)", "the notebook run"),
}


@pytest.mark.parametrize("attack", RERUNS)
def test_a_notebook_run_that_breaks_is_a_remark_and_ends_in_time(
    attack: str, base: Zygote, fenced: None, assignment: Assignment
) -> None:
    source, words = RERUNS[attack]
    notebook = landing.clean(assignment.released, tiny_lab.handed_in(double=source))
    small = Limits(file_size=4 << 20)
    with (
        Marker(assignment.lab, base=base, limits=small) as by,
        assignment.course_of_one(notebook, {}) as alone,
    ):
        assert words in by.rerun(alone, 4, 60).trouble


@pytest.fixture(scope="module")
def assignment(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Assignment:
    there = Course(course)
    return Assignment.make(there, there.lab("tiny"), tmp_path_factory.mktemp("once"))


# --- The command ------------------------------------------------------------------------------


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*arguments: object) -> str:
        assert main([str(one) for one in arguments]) == 2
        return capsys.readouterr().err

    return run


def test_bad_arguments_name_what_was_given_what_there_is_and_the_way_on(
    refused: Callable[..., str], course: Path, tmp_path: Path
) -> None:
    words = refused("tinny", "--course", course)
    assert "'tinny'" in words and "There are: tiny" in words
    words = refused("tiny", "--course", course, "--student", "adam")
    assert "adam" in words and "ada, bob, eve" in words
    words = refused("tiny", "--course", tmp_path)
    assert "--course" in words
    tiny_lab.write_source(tmp_path)
    assert "nbgrader generate_assignment tiny" in refused("tiny", "--course", tmp_path)
    assert "--files" in refused(
        "tiny", "--course", course, "--files", "a.ipynb", "--student", "ada"
    )


def test_files_are_marked_one_by_one_and_a_broken_one_stops_nobody(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], fenced: None
) -> None:
    course = lab.path.parents[2]
    for name, answers in (("ada", {}), ("bob", {"answer": "answer = 41"})):
        made = tiny_lab.cells(tiny_lab.SOLVED | answers)
        (tmp_path / f"{name}.ipynb").write_text(tiny_lab.notebook(made))
    (tmp_path / "carl.ipynb").write_text("an essay")
    files = [str(tmp_path / f"{name}.ipynb") for name in ("ada", "carl", "bob")]
    assert main(["tiny", "--course", str(course), "--verbose", "--files", *files]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ada       6 / 6  written: to read"
    assert lines[1].startswith("carl      – / 6  LOOK: no mark: The file is no notebook")
    assert lines[2].startswith("bob       5 / 6  written: to read  lost: test_answer")
    assert lines[3].startswith("    test_answer: AssertionError")


BARE = """
import os, sys
sys.path.insert(0, {root!r})
from labs.grading import calls, linux
from pathlib import Path
if os.geteuid() == 0:  # then also without the right to become another user
    linux.unshare(linux.NEW_USERS)
    Path("/proc/self/uid_map").write_text("0 0 1")
linux.no_new_privileges()
calls.close_calls()
from labs.grading.command import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is so anyway")
def test_without_a_fence_nothing_is_marked_unless_the_teacher_says_so(
    lab: Lab, tmp_path: Path
) -> None:
    made = tiny_lab.cells(tiny_lab.SOLVED | {"double": "import time\ndef double(x): time.sleep(9)"})
    (tmp_path / "ada.ipynb").write_text(tiny_lab.notebook(made))
    command = [sys.executable, "-c", BARE.format(root=str(ROOT)), "tiny", "--seconds", "1"]
    command += ["--course", str(lab.path.parents[2]), "--files", str(tmp_path / "ada.ipynb")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 2 and run.stdout == ""
    assert "no network" in run.stderr and "--allow-network" in run.stderr
    run = subprocess.run([*command, "--allow-network"], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr + run.stdout
    assert run.stdout == "ada      4 / 6  written: to read  lost: test_double\n"
    assert "WARNING, the fence lacks" in run.stderr


def test_a_table_can_be_opened_in_a_spreadsheet_and_on_a_terminal(tmp_path: Path) -> None:
    row = Row("=1+1", 2.0, {"a": 2.0}, troubles=["\x1b[2J", "half a character: \ud800"])
    write_csv(tmp_path / "m.csv", [row], {"a": 2.0})
    written = (tmp_path / "m.csv").read_text()
    assert "'=1+1" in written and "\x1b" not in written
