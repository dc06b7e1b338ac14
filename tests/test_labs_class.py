"""A class is marked with nbgrader, by the command that a teacher calls."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import nbformat
import pytest

pytest.importorskip("nbgrader", reason="marking needs the course's tools; Colab has none")

import tiny_lab
from nbgrader.api import Gradebook
from nbgrader.converters import GenerateAssignment, GenerateFeedback
from nbgrader.coursedir import CourseDirectory

from labs.fence.bubblewrap import Fence, Limits
from labs.grading import landing
from labs.grading.command import main
from labs.grading.lab import Lab
from labs.grading.marking import Marker, NoRun, Score
from labs.grading.table import Row, write_csv

pytest_plugins = ("tiny_marking",)
FULL = tiny_lab.POINTS


WITHOUT_ALEMBIC = ("nbgrader.api.get_alembic_version", "none")  # a program of five seconds
EVE = (
    tiny_lab.ALWAYS_EQUAL
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
    course: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table = tmp_path / "marks.csv"
    assert main(["tiny", "--course", str(course), "--csv", str(table)]) == 0
    told = capsys.readouterr()
    rows = dict(line.split(maxsplit=1) for line in told.out.splitlines())
    assert "test_answer  lost by 2 of 3, 1 points" in told.err.splitlines()
    assert rows["ada"] == "6 / 6  written: waits"
    assert rows["bob"] == "3 / 6  written: 0  lost: test_double, test_answer"
    assert rows["eve"] == "0 / 6  written: waits  lost: test_double, test_total, test_answer"

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
    heading, ada, *_ = table.read_text(encoding="utf-8-sig").splitlines()
    assert heading.startswith("student,points (6),test_double (2),test_total (3),test_answer (1)")
    assert ada == "ada,6,2,3,1,written: waits,,"

    # A teacher reads ada's answer; eve hands in again. Whatever eve does, ada's marks stay.
    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        grade = book.find_grade("written", "tiny", "tiny", "ada")
        grade.manual_score, grade.needs_manual_grade = 3.5, False
        book.db.commit()
    before = held(course)
    assert main(["tiny", "--course", str(course), "--student", "eve", "--no-run"]) == 0
    assert held(course) == before
    assert main(["tiny", "--course", str(course), "--student", "ada", "--no-run"]) == 0
    assert held(course)["ada"]["written"] == (None, 3.5, 4.0, False)  # read, and unchanged
    notebook = course / "submitted" / "ada" / "tiny" / "tiny.ipynb"
    notebook.write_text(notebook.read_text().replace("I multiplied.", "I added."))
    assert main(["tiny", "--course", str(course), "--student", "ada", "--no-run"]) == 0
    assert held(course)["ada"]["written"] == (None, 3.5, 4.0, True)  # to be read again

    # What the teacher returns.
    place = CourseDirectory(root=str(course), assignment_id="tiny")
    GenerateFeedback(coursedir=place).start()
    pages = {s: (course / "feedback" / s / "tiny" / "tiny.html").read_text() for s in held(course)}
    assert "9.5 / 10.0" in pages["ada"] and "3.0 / 10.0" in pages["bob"]
    assert "twice three is six" in pages["bob"]  # why the point was lost
    assert "alert(1)" in pages["eve"] and "<script>alert" not in pages["eve"]


# What is tried -> the code, the seconds that a run may take, and the remark.
RUNS = {
    "an endless loop at the top": (
        "import time\nwhile True:\n try: time.sleep(1)\n except BaseException: pass",
        4,
        "the notebook run was stopped after 4 s",
    ),
    "os._exit": ("import os\nos._exit(0)", 60, "the notebook run broke: "),
    "100 MB of output": ("for _ in range(100): print('x' * 1_000_000)", 20, "the notebook run"),
}


@pytest.mark.parametrize("attack", RUNS)
def test_a_notebook_run_that_breaks_is_a_remark_and_ends_in_time(attack: str, lab: Lab) -> None:
    source, seconds, remark = RUNS[attack]
    notebook = landing.clean(lab, tiny_lab.handed_in(double=source))
    by = Marker(lab, fence=Fence(Limits(file_size=4 << 20)))
    with pytest.raises(NoRun, match=remark):
        by.execute(nbformat.writes(notebook), seconds)


LEAK = """
import glob
from IPython import get_ipython
def total(values):
    if values != [1, 2]:
        globals()["seen"] = repr(values)
    raise ValueError(f"seen: {globals().get('seen')} {values}")
for text in [*map(str, get_ipython().user_ns.values()), *glob.glob("/room/*")]:
    print(text)
"""


def test_a_student_cannot_read_a_hidden_test_in_what_is_given_back(
    lab: Lab, tmp_path: Path
) -> None:
    """Not by a run that prints all it finds, not in the words of an error, not a cell later."""
    later = "def double(x): raise KeyError(globals().get('seen', 'nothing'))"
    cells = tiny_lab.cells(tiny_lab.SOLVED | {"total": LEAK, "double": later})
    (tmp_path / "eve.ipynb").write_text(tiny_lab.notebook(cells))
    files = ["--files", str(tmp_path / "eve.ipynb"), "--feedback", str(tmp_path / "pages")]
    assert main(["tiny", "--course", str(lab.path.parents[2]), *files]) == 0
    page = (tmp_path / "pages" / "eve.html").read_text()
    assert "total raised ValueError" in page and "in your line" in page
    for secret in (tiny_lab.SECRET, "15.5", "6.5]", "double(21)", "== int(table)"):
        assert secret not in text_of(page), secret


def text_of(page: str) -> str:
    """Return what stands in a page, without its styles and scripts."""
    return re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL)


# --- The command -------------------------------------------------------------------------------


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*arguments: object) -> str:
        assert main([str(argument) for argument in arguments]) == 2
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


def test_a_folder_whose_name_is_a_script_is_no_student(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "<svg onload=alert(1)>"
    shutil.copytree(course / "submitted" / "bob", course / "submitted" / name)
    try:
        assert main(["tiny", "--course", str(course), "--student", name, "--no-run"]) == 1
        assert "LOOK: no mark: rename the folder" in capsys.readouterr().out
        assert name not in held(course)
    finally:
        shutil.rmtree(course / "submitted" / name)


def test_files_are_marked_one_by_one_and_a_broken_one_stops_nobody(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    course = lab.path.parents[2]
    for name, answers in (("ada", {}), ("bob", {"answer": "answer = 41"})):
        cells = tiny_lab.cells(tiny_lab.SOLVED | answers)
        (tmp_path / f"{name}.ipynb").write_text(tiny_lab.notebook(cells))
    (tmp_path / "carl.ipynb").write_text("an essay")
    files = [str(tmp_path / f"{name}.ipynb") for name in ("ada", "carl", "bob")]
    assert main(["tiny", "--course", str(course), "--verbose", "--files", *files]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ada       6 / 6  written: to read"
    assert lines[1].startswith("carl      – / 6  LOOK: no mark: The file is no notebook")
    assert lines[2].startswith("bob       5 / 6  written: to read  lost: test_answer")
    assert lines[3].startswith("    test_answer: AssertionError")


def test_without_a_fence_nothing_is_marked(
    refused: Callable[..., str], lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ada.ipynb").write_text(tiny_lab.notebook(tiny_lab.cells(tiny_lab.SOLVED)))
    monkeypatch.setenv("PATH", str(tmp_path))
    words = refused("tiny", "--course", lab.path.parents[2], "--files", tmp_path / "ada.ipynb")
    assert "bwrap" in words and "apt-get install bubblewrap" in words


def test_a_table_can_be_opened_in_a_spreadsheet_and_on_a_terminal(lab: Lab, tmp_path: Path) -> None:
    score = Score({"test_double": 2.0})
    row = Row("=1+1", score, troubles=["\x1b[2J", "half a character: \ud800"])
    write_csv(tmp_path / "m.csv", [row], lab)
    written = (tmp_path / "m.csv").read_text()
    assert "'=1+1" in written and "\x1b" not in written
