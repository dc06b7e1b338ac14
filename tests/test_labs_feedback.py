"""A student's feedback holds no hidden test, and nothing else that is not for students."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_output

pytest.importorskip("nbconvert")

import tiny_lab

from labs.plugins.feedback import NO_SENTENCE, for_student, page, without_hidden
from labs.plugins.safe import harmless

ROOT = Path(__file__).resolve().parents[1]
HIDDEN = "assert double(21) == 42"


def marked(outputs: list[NotebookNode], told: str = "", source: str = "") -> NotebookNode:
    """Return a marked notebook whose cell test_double has these outputs."""
    notebook = nbformat.reads(tiny_lab.notebook(tiny_lab.cells(tiny_lab.SOLVED)), as_version=4)
    test = notebook.cells[2]
    test.outputs, test.source = outputs, source or test.source
    if told:
        test.metadata["vizhelpers"] = {"told": told}
    return notebook


def error(text: str, kind: str = "AssertionError") -> NotebookNode:
    lines = ["Traceback", f"----> 3 {HIDDEN}  # {tiny_lab.SECRET}", f"{kind}: {text}"]
    return new_output("error", ename=kind, evalue=text, traceback=lines)


def shown(notebook: NotebookNode) -> str:
    return "".join(one.text for one in for_student(notebook).cells[2].outputs)


def test_hidden_tests_are_left_out_of_every_cell_and_stay_in_the_teachers_notebook() -> None:
    teachers = marked([error("twice three is six")])
    students = nbformat.writes(for_student(teachers))
    assert tiny_lab.SECRET not in students and "HIDDEN" not in students
    assert "assert double(3) == 6" in students and "Because 6 x 7." in students
    assert nbformat.writes(teachers).count(tiny_lab.SECRET) == 4


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ("a\n### BEGIN HIDDEN TESTS\nb\n### END HIDDEN TESTS\nc", "a\nc"),
        ("a\nif x:\n    # BEGIN HIDDEN TESTS\n    b\n    # END HIDDEN TESTS\nc", "a\nif x:\nc"),
        (
            "BEGIN HIDDEN TESTS\nBEGIN HIDDEN TESTS\nb\nEND HIDDEN TESTS\nb\nEND HIDDEN TESTS\nc",
            "c",
        ),
        ("a\n### BEGIN HIDDEN TESTS\nb", "a"),
        ("a\n### END HIDDEN TESTS\nc", "a\nc"),
        ("a\n### BEGIN HIDDEN TESTS b ### END HIDDEN TESTS\nc", "a\nc"),
        ("a\r\n### BEGIN HIDDEN TESTS\r\nb\r\n### END HIDDEN TESTS\r\nc", "a\nc"),
        ("a\n### BEGIN HIDDEN TESTS\x0cb\n### END HIDDEN TESTS\nc", "a\nc"),
    ],
)
def test_a_hidden_part_ends_where_its_own_end_stands(source: str, left: str) -> None:
    assert without_hidden(source) == left


def test_a_failed_test_is_the_sentence_that_the_marking_left() -> None:
    told = "Twice a number is even.\nYour line 3: return x + 1"
    assert shown(marked([error(HIDDEN)], told)) == told
    assert shown(for_student(marked([error(HIDDEN)], told))) == told  # a second time as well


SAID = {
    "the test's own sentence": (error("twice three is six"), "twice three is six"),
    "a text that the student's function raised": (error("called with 21"), NO_SENTENCE),
    "a guess at the test's line": (error(HIDDEN), NO_SENTENCE),
    "an error of the student's own kind": (error("", f"Error_{HIDDEN}"), NO_SENTENCE),
    "no text": (error(""), NO_SENTENCE),
}


@pytest.mark.parametrize("case", SAID)
def test_a_notebook_marked_elsewhere_shows_no_line_of_a_hidden_test(case: str) -> None:
    output, sentence = SAID[case]
    printed = new_output("stream", name="stdout", text="called with 21")
    assert shown(marked([printed, output])) == sentence
    assert shown(for_student(marked([printed, output]))) == sentence


def test_what_a_students_function_prints_in_a_test_that_passes_is_not_shown() -> None:
    printed = new_output("stream", name="stdout", text="called with 21")
    value = new_output("display_data", data={"text/plain": "21"})
    assert for_student(marked([printed, value])).cells[2].outputs == []


def test_leaving_lines_out_makes_no_link_of_a_students_block_of_text() -> None:
    text = "BEGIN HIDDEN TESTS\n```\nEND HIDDEN TESTS\n[x](javascript:alert(1))"
    assert harmless("markdown", text) == text  # all of it is a block
    notebook = marked([])
    notebook.cells[-1].source = text
    assert for_student(notebook).cells[-1].source == text


def test_the_page_can_be_read_offline_and_nothing_in_it_is_active() -> None:
    notebook = marked([error(HIDDEN)], told="Twice <three> is \x1b[31msix\x1b[0m.")
    notebook.cells[
        -1
    ].source = "<script>alert(1)</script> [x](javascript:alert(1)) ![x](http://elsewhere/x.png)"
    html = page(notebook, "Ada <b>")
    assert "Twice &lt;three&gt; is" in html and "<h1>Ada &lt;b&gt;</h1>" in html
    assert "<script" not in html and 'href="javascript' not in html and "<link" not in html
    assert "default-src 'none'" in html and tiny_lab.SECRET not in html


def test_pages_are_made_without_nbgrader() -> None:
    code = "import sys; sys.modules['nbgrader'] = None; import labs.plugins.feedback"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# --- The command -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nbgrader() -> Callable[..., str]:
    """Run nbgrader in a course folder; return its exit status and what it says."""

    def run(course: Path, *words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        command = [sys.executable, "-m", "nbgrader", *words]
        run = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True)
        return f"{run.returncode}: {run.stdout}{run.stderr}"

    return run


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory, nbgrader: Callable[..., str]) -> Path:
    """A course with this one's settings, in which Bob's work was marked by nbgrader alone."""
    pytest.importorskip("nbgrader")
    root = tmp_path_factory.mktemp("course")
    settings = f"load_subconfig('nbgrader_config.py', path={str(ROOT / 'labs')!r})\n"
    (root / "nbgrader_config.py").write_text(settings)
    tiny_lab.write_source(root)
    assert nbgrader(root, "generate_assignment", "tiny").startswith("0:")
    released = nbformat.read(root / "release" / "tiny" / "tiny.ipynb", as_version=4)
    for cell in released.cells:
        name = cell.metadata.nbgrader.grade_id
        wrong = "def double(x):\n    print('called with', x)\n    return 6"
        cell.source = {"double": wrong, "written": "I guessed."}.get(name, cell.source)
    folder = root / "submitted" / "bob" / "tiny"
    folder.mkdir(parents=True)
    nbformat.write(released, folder / "tiny.ipynb")
    (folder / "torch.py").write_text("raise SystemExit('a file of the student was imported')")
    (folder / "tiny.html").write_text("<script>alert(1)</script>")
    return root


FORCED = "--Autograde.exporter_class=nbconvert.exporters.NotebookExporter"


def test_autograde_refuses_before_it_touches_a_file_and_says_what_to_run(
    course: Path, nbgrader: Callable[..., str]
) -> None:
    for words in (("autograde", "tiny"), ("autograde", "tiny", "--force", "--student=bob")):
        said = nbgrader(course, *words)
        assert said.startswith("1:") and "../.uv/bin/uv run ./grade tiny" in said
    assert not (course / "autograded").exists()


def test_feedback_waits_for_a_reader_and_holds_no_hidden_test_and_no_file_of_the_student(
    course: Path, nbgrader: Callable[..., str]
) -> None:
    assert nbgrader(course, "autograde", "tiny", FORCED).startswith("0:")
    said = nbgrader(course, "generate_feedback", "tiny")
    assert said.startswith("1:") and "No feedback for bob: written in tiny" in said
    assert "--AllRead.enabled=False" in said
    folder = course / "feedback" / "bob" / "tiny"
    assert not folder.exists()

    said = nbgrader(course, "generate_feedback", "tiny", "--AllRead.enabled=False")
    assert said.startswith("0:"), said
    assert [path.name for path in folder.iterdir()] == ["tiny.html"]
    html = (folder / "tiny.html").read_text()
    assert NO_SENTENCE in html and "I guessed." in html and "alert(1)" not in html
    for secret in (tiny_lab.SECRET, "21", "called with"):
        assert secret not in html.split("<body>")[1], secret

    teachers = course / "autograded" / "bob" / "tiny"
    assert tiny_lab.SECRET in (teachers / "tiny.ipynb").read_text()
    assert (teachers / "torch.py").exists()
