"""Each start of a student's server updates the course's files and keeps the student's work."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

pytest.importorskip("nbgitpuller", reason="Colab's environment has no hub")

from labs.hub.run import HERE

CELLS = 8


def notebook(**changed: str) -> str:
    """Return a notebook as JSON with numbered cells, some of them changed."""
    cells = [
        new_code_cell(changed.get(f"cell{i}", f"cell {i}"), id=f"cell{i}") for i in range(CELLS)
    ]
    return nbformat.writes(new_notebook(cells=cells))


class Course:
    """A git repository of the teacher's, and a student's home."""

    def __init__(self, folder: Path) -> None:
        self.teacher, self.home = folder / "teacher's course", folder / "home"
        self.student = self.home / "course"
        self.home.mkdir()
        self.git("init", "--quiet", "--initial-branch=main", str(self.teacher), cwd=folder)
        self.publish(**{"one.ipynb": notebook(), "two.txt": "two, 1\n"})

    def git(self, *arguments: str, cwd: Path | None = None) -> None:
        author = ["-c", "user.name=teacher", "-c", "user.email=teacher@localhost"]
        subprocess.run(["git", *author, *arguments], cwd=cwd or self.teacher, check=True)

    def publish(self, **files: str) -> None:
        """Commit files in the teacher's repository."""
        for name, text in files.items():
            (self.teacher / name).write_text(text, encoding="utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=Course")

    def start(self, *command: str, repository: str | None = None) -> SimpleNamespace:
        """Start a server, whose command here prints its arguments."""
        shown = command or (sys.executable, "-c", "import sys; print(sys.argv[1:])", "a b", "c")
        environment = os.environ | {
            "HOME": str(self.home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "COURSE_REPOSITORY": str(self.teacher) if repository is None else repository,
        }
        done = subprocess.run(
            ["sh", str(HERE / "start.sh"), *shown],
            env=environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0 and done.stdout.endswith("['a b', 'c']\n"), done.stderr
        return done

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.student.iterdir() if path.is_file()}

    def sources(self) -> list[str]:
        """Return the student's cells, from a notebook that is valid."""
        read = nbformat.read(self.student / "one.ipynb", as_version=4)
        nbformat.validate(read)
        return [cell.source for cell in read.cells]


@pytest.fixture
def course(tmp_path: Path) -> Course:
    """Return a course that a student has received."""
    course = Course(tmp_path)
    course.start()
    assert course.files() == {"one.ipynb": notebook(), "two.txt": "two, 1\n"}
    return course


def test_an_update_arrives_and_the_students_changes_stay(course: Course) -> None:
    (course.student / "one.ipynb").write_text(notebook(cell1="my answer"))
    (course.student / "mine.txt").write_text("mine")
    course.publish(**{"one.ipynb": notebook(cell6="corrected"), "two.txt": "2\n", "three.txt": "3"})
    course.start()
    assert course.files()["two.txt"] == "2\n" and course.files()["three.txt"] == "3"
    assert course.files()["mine.txt"] == "mine"
    sources = course.sources()
    assert (sources[1], sources[6]) == ("my answer", "corrected")


def test_in_a_conflict_the_students_version_stays(course: Course) -> None:
    work = nbformat.reads(notebook(cell1="my answer"), as_version=4)
    for number, cell in enumerate(work.cells):
        cell.execution_count = number
        cell.outputs = [new_output("stream", text=f"printed {number}\n")]
    nbformat.write(work, course.student / "one.ipynb")
    (course.student / "two.txt").write_text("mine\n")
    for version in range(3):
        changed = {f"cell{i}": f"version {version}, {i}" for i in range(CELLS)}
        course.publish(**{"one.ipynb": notebook(**changed), "two.txt": f"version {version}\n"})
        course.start()
    assert course.files()["two.txt"] == "mine\n"
    # Line by line: what the student changed stays, what only the teacher changed is updated.
    assert course.sources() == ["my answer" if i == 1 else f"version 2, {i}" for i in range(CELLS)]
    read = nbformat.read(course.student / "one.ipynb", as_version=4)
    assert [cell.outputs for cell in read.cells] == [cell.outputs for cell in work.cells]


def test_a_deleted_file_comes_back_in_the_newest_version(course: Course) -> None:
    (course.student / "two.txt").unlink()
    course.publish(**{"two.txt": "two, 2\n"})
    course.start()
    assert course.files()["two.txt"] == "two, 2\n"


def test_an_own_file_of_the_name_of_a_new_one_is_renamed(course: Course) -> None:
    (course.student / "three.txt").write_text("mine")
    course.publish(**{"three.txt": "the course's"})
    course.start()
    files = course.files()
    assert files["three.txt"] == "the course's"
    assert [text for name, text in files.items() if name.startswith("three__")] == ["mine"]


def test_a_changed_file_that_the_course_removes_stays(course: Course) -> None:
    (course.student / "two.txt").write_text("mine\n")
    course.git("rm", "--quiet", "two.txt")
    course.publish(**{"three.txt": "3"})
    course.start()
    assert course.files()["two.txt"] == "mine\n" and course.files()["three.txt"] == "3"


def test_without_its_repository_the_server_starts_with_the_files_that_are_there(
    course: Course, tmp_path: Path
) -> None:
    (course.student / "two.txt").write_text("mine\n")
    for repository in (str(tmp_path / "absent"), "http://127.0.0.1:9/course.git"):
        assert "could not be updated" in course.start(repository=repository).stderr
    assert course.files()["two.txt"] == "mine\n"
    (tmp_path / "teacher's course").rename(tmp_path / "moved")
    assert "could not be updated" in course.start().stderr
    assert course.files()["two.txt"] == "mine\n"


def test_a_student_who_breaks_the_clone_still_gets_a_server(course: Course) -> None:
    (course.student / ".git" / "HEAD").write_text("broken")
    assert "could not be updated" in course.start().stderr
    assert set(course.files()) == {"one.ipynb", "two.txt"}


def test_without_a_repository_nothing_is_pulled(tmp_path: Path) -> None:
    course = Course(tmp_path)
    assert course.start(repository="").stderr == ""
    assert not course.student.exists()


def test_the_notebooks_json_is_what_jupyter_writes(course: Course) -> None:
    """Merging compares lines, so it needs notebooks with one line for each value."""
    assert len(json.loads(notebook())["cells"]) == CELLS < notebook().count("\n")
