"""What is handed in, and what comes back over the pipe, is data: it is refused or made plain."""

import base64
import io
import json
import os
import threading
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nbgrader", reason="marking needs the course's tools; Colab has none")

import nbformat
import tiny_lab
from PIL import Image

from labs.fence import frames
from labs.grading import landing
from labs.grading.lab import Cell, Lab, NoMark
from labs.grading.marking import Marker, NoRun
from labs.grading.submission import cells as read_cells
from labs.grading.submission import read

pytest_plugins = ("tiny_marking",)
FULL = tiny_lab.POINTS


# --- What comes over the pipe ------------------------------------------------------------------


def test_plain_values_come_back_as_they_were() -> None:
    value = {
        "a": [None, True, 3, -2.5, "ö"],
        2: {"inner": np.arange(6, dtype=np.float32).reshape(2, 3)},
        "flags": np.array([True, False]),
        "words": np.array(["a", "bcd"]),
        "none": np.zeros((0, 4)),
        "scalar": np.array(1 + 2j),
    }
    head, body = frames.pack(value)
    unpacked = frames.unpack(json.loads(json.dumps(head)), body)
    assert unpacked.keys() == value.keys() and unpacked["a"] == value["a"]
    for ours, theirs in [(unpacked[2]["inner"], value[2]["inner"])] + [
        (unpacked[key], value[key]) for key in ("flags", "words", "none", "scalar")
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
        ({"dtype": "|b1", "shape": [1] * 1_000_000}, b"1"),
        ({"dtype": "<f8", "shape": [0, 10**30]}, b""),
        ({"dtype": "<f8", "shape": [True]}, b"12345678"),
        ({"dtype": "<U999999", "shape": [1]}, b"1234"),
        ({"dtype": "<f4", "shape": [1]}, b"12345678"),
        ({"dtype": ["<f4"], "shape": [1]}, b"1234"),
        ({"pairs": [[[1], 2]]}, b""),
        ({"pairs": 3}, b""),
        ({"pairs": [[((1 << 61) - 1) * n, 0] for n in range(100_000)]}, b""),  # equal hashes
        ({"pairs": [[1]]}, b""),
        ({"something": "else"}, b""),
    ],
)
def test_forged_answers_are_refused_without_making_room_for_them(head: object, body: bytes) -> None:
    with pytest.raises(frames.Broken):
        frames.unpack(head, body)


@pytest.mark.parametrize("head", [b"[]", b"{]", b"[" * 100_000, b" " * (5 << 20), None])
def test_what_is_no_frame_breaks_the_pipe_and_nothing_else(head: bytes | None) -> None:
    ours, theirs = Pipe()
    with ours, theirs:
        if head is not None:
            send = lambda: [theirs.send_bytes(one) for one in (head, b"")]  # noqa: E731
            threading.Thread(target=send, daemon=True).start()
        else:
            theirs.close()
        with pytest.raises(frames.Broken):
            frames.receive(ours)


TRICKLE = """
import os, struct, time
def double(x):
    for n in range(3, 40):
        try:
            os.write(n, struct.pack("!i", 100))  # the length of an answer, that then never comes
        except OSError:
            pass
    while True:
        time.sleep(0.01)
"""


def test_an_answer_that_never_ends_is_not_waited_for(by: Marker) -> None:
    score = by.score(tiny_lab.handed_in(double=TRICKLE))
    assert score.points == FULL | {"test_double": 0.0}
    assert "it took too long" in score.failures["test_double"].words


POSITION = """
import gc
from multiprocessing.connection import Connection
def double(x):
    if x > 3:
        pipe = next(one for one in gc.get_objects() if type(one) is Connection)
        pipe.send_bytes(b" " * (4000 + x) + b"an error in JSON has a place")
        pipe.send_bytes(b"")
    return 2 * x
"""


def test_what_is_said_of_a_forged_answer_tells_nothing_of_hidden_inputs(by: Marker) -> None:
    score = by.score(tiny_lab.handed_in(double=POSITION))
    assert score.points == FULL | {"test_double": 0.0}
    told = score.failures["test_double"].told
    assert told == "A hidden test failed: double gave no answer: what came is no JSON, or too long"


# --- What is handed in -------------------------------------------------------------------------


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """submitted/eve/tiny: a folder whose notebook a test puts there."""
    folder = tmp_path / "submitted" / "eve" / tiny_lab.NAME
    folder.mkdir(parents=True)
    return folder


def refusal(inbox: Path) -> str:
    """Why eve's notebook is refused."""
    with pytest.raises(NoMark) as raised:
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
        (json.dumps({"cells": [{}] * 3000}).encode(), "more than 400 cells"),
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
    cells = tiny_lab.cells(
        tiny_lab.SOLVED | {"double": "%matplotlib inline\ndef double(x):\n    return add(x, x)"}
    )
    cells.insert(
        1, tiny_lab.cell("code", "!pip install x\ndef add(a, b):\n    return a + b", {}, "own")
    )
    cells.insert(2, tiny_lab.cell("code", "while True: print('a long experiment')", {}, "loop"))
    stripped = [cell | {"metadata": {}} for cell in cells]
    handed_in = read_cells(tiny_lab.notebook(stripped).encode())
    assert by.score(handed_in).points == FULL
    ran = landing.clean(by.lab, handed_in)
    names = [c.metadata.nbgrader.grade_id for c in ran.cells if "nbgrader" in c.metadata]
    assert names == ["setup", *FULL]  # known by their text, where they stood
    assert len(ran.cells) == len(handed_in)


def test_an_answer_from_a_loop_in_an_extra_cell_counts_and_is_remarked(by: Marker) -> None:
    cells = tiny_lab.cells(tiny_lab.SOLVED | {"answer": "answer = sum(found)"})
    extra = "found = []\nfor n in (40, 2):\n    found.append(n)"
    cells.insert(5, tiny_lab.cell("code", extra, {}, "own"))
    score = by.score(read_cells(tiny_lab.notebook(cells).encode()))
    assert score.points == FULL and score.whole
    cells = tiny_lab.cells(tiny_lab.SOLVED | {"answer": "answer = sum(found) + 1"})
    cells.insert(5, tiny_lab.cell("code", extra, {}, "own"))
    score = by.score(read_cells(tiny_lab.notebook(cells).encode()))
    assert score.points == FULL | {"test_answer": 0.0}
    assert score.left_out == ["for n in (40, 2):"]


def test_what_lands_in_the_course_has_the_courses_cells_and_no_active_page(lab: Lab) -> None:
    handed_in = [
        Cell("raw", "<script>alert(1)</script>", ""),
        Cell("markdown", "pass", "test_double"),
        Cell("code", "double = 1", "double"),
        Cell("code", "double = 2", "double"),
        Cell("markdown", "a < b, <script>alert(1)</script>", "written"),
    ]
    clean = landing.clean(lab, handed_in)
    by_name = {c.metadata.nbgrader.grade_id: c for c in clean.cells if "nbgrader" in c.metadata}
    assert len([c for c in clean.cells if "nbgrader" in c.metadata]) == len(by_name) == 8
    assert by_name["test_double"].cell_type == "code"
    assert by_name["test_double"].source == "assert double(3) == 6, 'twice three is six'"
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
    picture = io.BytesIO()
    Image.new("RGB", (1, 1)).save(picture, "png")
    dot = base64.b64encode(picture.getvalue()).decode()
    outputs.append({"output_type": "execute_result", "data": {"image/png": dot}})
    ran["cells"][2]["outputs"] = outputs
    landing.outputs(json.dumps(ran).encode(), clean)
    shown = json.dumps(clean.cells[2].outputs)
    assert "a table" in shown and "cut off" in shown and len(shown) < 30_000
    assert dot in shown
    assert "<s" not in shown and "html" not in shown and "svg" not in shown
    del ran["cells"][3]
    with pytest.raises(NoRun, match="another notebook"):
        landing.outputs(json.dumps(ran).encode(), clean)
