"""What a student hands in does nothing in the teacher's browser: formgrader, and feedback pages."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import nbformat
import pytest

pytest.importorskip("nbgrader", reason="formgrader is part of the course's tools; Colab has none")

import tiny_lab
from nbgrader.api import Gradebook

from tools import browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[1]
if browser.chromium() is None and not browser.REQUIRED:
    pytest.skip("needs Chromium", allow_module_level=True)

# Where it runs, it says so in a dialogue, gives every cell of the submission full points, and
# writes a file by way of the Jupyter server.
SCRIPT = """alert(1); (async () => {
    const headers = {'X-XSRFToken': document.cookie.match(/_xsrf=([^;]+)/)[1]};
    const send = (at, body) => fetch(at, {method: 'PUT', headers, body: JSON.stringify(body)});
    const list = await fetch(base_url + '/api/grades?submission_id=' + submission_id);
    for (const grade of await list.json())
        await send(base_url + '/api/grade/' + grade.id, {manual_score: grade.max_score});
    await send('/api/contents/owned.txt', {type: 'file', format: 'text', content: 'x'});
})()"""
CODE = quote(SCRIPT, safe="")
LINK = f"javascript:{CODE}"

ATTACKS = {
    "inline": f"[my drawing]({LINK})",
    "upper case": f"[x](JavaScript:{CODE})",
    "entity": f"[x](java&#115;cript:{CODE})",
    "named entities": f"[x](java&Tab;script&colon;{CODE})",
    "reference": f"[x][y]\n\n[y]: {LINK}",
    "autolink": f"<{LINK}>",
    "prefix that nbconvert removes": f"[x](files/{LINK})",
    "in a heading": f"# [x]({LINK})",
    "in a table": f"| a |\n|---|\n| [x]({LINK}) |",
    "in a list in a quotation": f"> - [x]({LINK})",
    "after a formula": f"$x$ [x]({LINK})",
    "element": '<img src="x" onerror="alert(1)">',
    "element in a line": 'a <b onclick="alert(1)">b</b>',
    "drawing": '<svg onload="alert(1)"><a xlink:href="javascript:alert(1)"></a></svg>',
    "script": "<script>alert(1)</script>",
    "frame": '<iframe srcdoc="<script>parent.alert(1)</script>"></iframe>',
    "comment that ends early": "<!--> <img src=x onerror=alert(1)> -->",
    "end of the page's own boxes": "</div></div></div><img src=x onerror=alert(1)>",
    "diagram": "```mermaid\n<img src=x onerror=alert(1)>\n```",
    "picture": '![x](x "y\\" onerror=alert(1)")',
    "picture of another server": "![x](http://127.0.0.2:9/seen.png)",
    "page of data": "[x](data:text/html,<script>alert(1)</script>)",
}
RAW = "<img src=x onerror=alert(1)> $\\href{javascript:alert(1)}{x}$"
LONG = f"# {'a.' * 200}"
HUGE = "\\begin{a}" * 100_000  # nbconvert's renderer needs hours
PROGRAM = """
from pathlib import Path
from IPython.display import HTML, Javascript, Markdown, display
tag = "<img src=x onerror=alert(1)>"
print(tag, f"\\x1b[31m{tag}\\x1b[0m")
display(HTML(tag), Javascript("alert(1)"), Markdown("[x](javascript:alert(1))"))
for kind in ("image/png", "image/svg+xml", "text/html", "text/latex", "text/plain", "text/x"):
    display({kind: "PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+", "text/plain": tag}, raw=True)
    display({kind: tag}, raw=True)
try:
    Path(MARK).write_text("a student's code ran here")
except OSError:
    pass
def double(x):
    raise type(tag, (Exception,), {})(tag)
double(1)
"""


def command(course: Path, *words: str) -> str:
    """Run a command in the course, as a teacher does; return what it says."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    run = subprocess.run(
        [sys.executable, *words], cwd=course, env=environment, capture_output=True, text=True
    )
    return f"{run.returncode}: {run.stdout}{run.stderr}"


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with the settings of this one, in which Eve handed in all attacks."""
    root = tmp_path_factory.mktemp("course")
    settings = f"load_subconfig('nbgrader_config.py', path={str(ROOT / 'labs')!r})\n"
    (root / "nbgrader_config.py").write_text(settings)
    tiny_lab.write_source(root)
    assert command(root, "-m", "nbgrader", "generate_assignment", "tiny").startswith("0:")
    released = root / "release" / "tiny" / "tiny.ipynb"
    cells = json.loads(released.read_text())["cells"]
    for cell in cells:
        name = cell["metadata"]["nbgrader"]["grade_id"]
        cell["source"] = {
            "double": PROGRAM.replace("MARK", repr(str(root / "ran"))),
            "written": ATTACKS["inline"],
        }.get(name, cell["source"])
    for number, text in enumerate([*ATTACKS.values(), HUGE]):
        cells.append(tiny_lab.cell("markdown", text, {}, f"attack-{number}"))
    cells.append(tiny_lab.cell("raw", RAW, {}, "raw"))
    cells.append(tiny_lab.cell("code", LONG, {}, "slow to colour"))
    folder = root / "submitted" / "eve" / "tiny"
    folder.mkdir(parents=True)
    (folder / "tiny.ipynb").write_text(tiny_lab.notebook(cells))
    (folder / "timestamp.txt").write_text("2026-01-02 03:04:05 UTC")
    (folder / "nbgrader_config.py").write_text(f"open({str(root / 'ran')!r}, 'w')")
    marked = command(root, str(ROOT / "labs" / "grade"), "tiny")
    assert "0 / 6" in marked, marked
    return root


@pytest.fixture(scope="module")
def server(course: Path) -> Iterator[str]:
    with browser.served(course, browser.LAB) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    with browser.launched() as started:
        yield started


# A link to another page is noted and not followed, so that the next one can be clicked.
CLICK = """async () => {
    const left = [];
    const here = location.href.split('#')[0];
    navigation.addEventListener('navigate', event => {
        if (event.destination.url.split('#')[0] === here) return;
        left.push(event.destination.url);
        event.preventDefault();
    });
    for (const element of document.querySelectorAll('#notebook *:not(.highlight *)')) {
        element.dispatchEvent(new MouseEvent('click', {bubbles: false, cancelable: true}));
        await new Promise(done => setTimeout(done, 15));
    }
    return left;
}"""


class Reader:
    """A teacher who opens a page and clicks on everything."""

    def __init__(self, page: "Page") -> None:
        self.page, self.happened = page, []
        page.on("dialog", self._dialogue)
        page.on("request", self._request)

    def _dialogue(self, dialogue: object) -> None:
        self.happened.append("a dialogue")
        dialogue.dismiss()  # type: ignore[attr-defined]

    def _request(self, request: object) -> None:
        if request.method == "PUT" or "127.0.0.2" in request.url:  # type: ignore[attr-defined]
            self.happened.append(f"a request: {request.url}")  # type: ignore[attr-defined]

    def click_everything(self, address: str) -> list[str]:
        """Return what happened."""
        self.page.goto(address)
        self.page.wait_for_selector("#notebook")
        self.page.wait_for_timeout(500)
        left = self.page.evaluate(CLICK)
        self.happened += [f"another page: {to}" for to in left]
        self.page.wait_for_timeout(1000)
        return self.happened


@pytest.fixture
def reader(chromium: "Browser") -> Iterator[Reader]:
    page = chromium.new_page()
    yield Reader(page)
    page.close()


def marks(course: Path) -> dict[str, tuple[str, float]]:
    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        notebook = book.find_submission_notebook("tiny", "tiny", "eve")
        return {"id": notebook.id} | {grade.name: grade.score for grade in notebook.grades}


def feedback(course: Path) -> str:
    """Make Eve's feedback page; return its address."""
    words = ("generate_feedback", "tiny", "--force", "--AllRead.enabled=False")
    said = command(course, "-m", "nbgrader", *words)
    assert said.startswith("0:"), said
    return (course / "feedback" / "eve" / "tiny" / "tiny.html").as_uri()


def test_nothing_that_a_student_wrote_runs_in_formgrader_or_in_a_feedback_page(
    course: Path, server: str, reader: Reader
) -> None:
    before = marks(course)
    assert reader.click_everything(f"{server}/formgrader/submissions/{before['id']}/") == []
    shown = reader.page.locator("#notebook").first.inner_text()
    assert "my drawing" in shown and "onerror=alert(1)" in shown  # it is there, as text
    assert tiny_lab.SECRET in shown  # the teacher sees hidden tests
    assert f"<pre>{LONG}</pre>" in reader.page.content()  # without colours: quick
    assert reader.click_everything(feedback(course)) == []
    page = reader.page.content()
    assert tiny_lab.SECRET not in page and f"<pre>{LONG}</pre>" in page
    assert marks(course) == before and not (course / "owned.txt").exists()


@pytest.fixture
def as_typed(course: Path) -> Iterator[None]:
    """Let the marked notebook hold the student's texts as they were, as nbgrader alone does."""
    path = course / "autograded" / "eve" / "tiny" / "tiny.ipynb"
    safe = path.read_bytes()
    marked = nbformat.read(path, as_version=4)
    handed_in = nbformat.read(course / "submitted" / "eve" / "tiny" / "tiny.ipynb", as_version=4)
    for cell, theirs in zip(marked.cells, handed_in.cells, strict=True):
        if cell.cell_type != "code" and theirs.source != HUGE:
            cell.source = theirs.source
    path.chmod(0o644)
    nbformat.write(marked, path)
    yield
    path.write_bytes(safe)
    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        for grade in book.find_submission_notebook("tiny", "tiny", "eve").grades:
            grade.manual_score, grade.needs_manual_grade = None, grade.name == "written"
        book.db.commit()


def test_the_same_texts_as_typed_change_marks_and_write_a_file(
    course: Path, server: str, reader: Reader, as_typed: None
) -> None:
    before = marks(course)
    happened = reader.click_everything(f"{server}/formgrader/submissions/{before['id']}/")
    assert happened.count("a dialogue") > len(ATTACKS) / 2
    assert marks(course)["test_double"] == 2 and (course / "owned.txt").exists()
    reader.happened.clear()
    assert "a dialogue" in reader.click_everything(feedback(course))


BUTTONS = {
    "autograde": ("run instead: ../.uv/bin/uv run ./grade tiny", "Nothing was run"),
    "generate-feedback": ("No feedback for eve: written in tiny", "--AllRead.enabled=False"),
}


@pytest.mark.parametrize("button", BUTTONS)
def test_formgraders_buttons_refuse_and_say_what_to_do(
    course: Path, server: str, reader: Reader, button: str
) -> None:
    marked = course / "autograded" / "eve" / "tiny" / "tiny.ipynb"
    before, notebook = marks(course), marked.read_bytes()
    reader.page.goto(f"{server}/formgrader/manage_submissions/tiny")
    reader.page.locator(f"td.{button} a").click()
    log = reader.page.locator(".modal.in")
    log.get_by_text(BUTTONS[button][0]).first.wait_for()
    assert BUTTONS[button][1] in log.inner_text()
    assert not (course / "ran").exists()
    assert marks(course) == before and marked.read_bytes() == notebook


def test_a_link_cannot_make_formgrader_run_a_file_that_was_handed_in(
    course: Path, server: str, reader: Reader
) -> None:
    for folder in ("submitted/eve/tiny", "autograded/eve/tiny"):
        answer = reader.page.goto(f"{server}/formgrader?path={folder}")
        assert answer is not None and answer.status == 403
    assert reader.page.goto(f"{server}/formgrader?path={course}").ok  # type: ignore[union-attr]
    assert not (course / "ran").exists()


@pytest.mark.parametrize("kind", ["a pipe", "a link", "no time", "bytes"])
def test_a_strange_timestamp_neither_stops_formgrader_nor_hides_the_others(
    course: Path, server: str, reader: Reader, kind: str
) -> None:
    path = course / "submitted" / "eve" / "tiny" / "timestamp.txt"
    before = path.read_bytes()
    path.unlink()
    try:
        if kind == "a pipe":
            os.mkfifo(path)
        elif kind == "a link":
            path.symlink_to("/dev/zero")
        else:
            path.write_bytes(b"yesterday" if kind == "no time" else b"\xff" * 200)
        reader.page.goto(f"{server}/formgrader/manage_submissions/tiny")
        reader.page.locator("td.autograde a").wait_for(timeout=10_000)
    finally:
        path.unlink()
        path.write_bytes(before)
