"""The course's files come to a student, and the student's work is never overwritten."""

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from labs.hub.start import LIST, copy_material


def files(folder: Path) -> dict[str, str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != LIST)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


@pytest.fixture
def course(tmp_path: Path) -> SimpleNamespace:
    """Material with two files, and a student who has been given them."""
    material, student = tmp_path / "material", tmp_path / "student"
    (material / "labs").mkdir(parents=True)
    (material / "one.ipynb").write_text("one, 1")
    (material / "labs/two.ipynb").write_text("two, 1")
    for path in (material / "one.ipynb", material / "labs/two.ipynb"):
        path.chmod(0o444)
    done = copy_material(material, student)
    assert done.new == ["labs/two.ipynb", "one.ipynb"]

    def change(name: str, text: str) -> None:
        (material / name).unlink(missing_ok=True)
        (material / name).write_text(text)

    return SimpleNamespace(material=material, student=student, change=change)


def test_new_files_come_and_can_be_written(course: SimpleNamespace) -> None:
    assert files(course.student) == {"one.ipynb": "one, 1", "labs/two.ipynb": "two, 1"}
    assert os.stat(course.student / "one.ipynb").st_mode & stat.S_IWUSR
    course.change("three.ipynb", "three, 1")
    assert copy_material(course.material, course.student).new == ["three.ipynb"]
    assert (
        copy_material(course.material, course.student)
        == type(copy_material(course.material, course.student))()
    )


def test_what_the_student_did_not_touch_follows_the_course(course: SimpleNamespace) -> None:
    for version in ("one, 2", "one, 3"):
        course.change("one.ipynb", version)
        assert copy_material(course.material, course.student).updated == ["one.ipynb"]
        assert files(course.student)["one.ipynb"] == version


def test_the_students_work_stays_and_each_new_version_is_put_beside_it_once(
    course: SimpleNamespace,
) -> None:
    (course.student / "one.ipynb").write_text("my work")
    (course.student / "mine.txt").write_text("my own")
    assert copy_material(course.material, course.student).beside == []
    course.change("one.ipynb", "one, 2")
    assert copy_material(course.material, course.student).beside == ["one.new.ipynb"]
    (course.student / "one.new.ipynb").write_text("my work on the new one")
    assert copy_material(course.material, course.student).beside == []
    course.change("one.ipynb", "one, 3")
    assert copy_material(course.material, course.student).beside == ["one.new-2.ipynb"]
    kept = files(course.student)
    assert kept["one.ipynb"] == "my work" and kept["mine.txt"] == "my own"
    assert kept["one.new.ipynb"] == "my work on the new one"
    assert kept["one.new-2.ipynb"] == "one, 3"


def test_a_deleted_file_comes_again_and_a_withdrawn_one_stays(course: SimpleNamespace) -> None:
    (course.student / "one.ipynb").unlink()
    (course.material / "labs/two.ipynb").unlink()
    assert copy_material(course.material, course.student).new == ["one.ipynb"]
    assert files(course.student)["labs/two.ipynb"] == "two, 1"


@pytest.mark.parametrize("lost", ["", "not json", "[]"])
def test_nothing_is_overwritten_when_the_list_is_lost(lost: str, course: SimpleNamespace) -> None:
    (course.student / "one.ipynb").write_text("my work")
    (course.student / LIST).write_text(lost)
    course.change("one.ipynb", "one, 2")
    copy_material(course.material, course.student)
    assert files(course.student)["one.ipynb"] == "my work"
    assert files(course.student)["one.new.ipynb"] == "one, 2"


def test_a_link_or_a_folder_in_the_way_is_left_alone(
    course: SimpleNamespace, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("not the course's")
    (course.student / "one.ipynb").unlink()
    (course.student / "one.ipynb").symlink_to(elsewhere)
    (course.student / "labs/two.ipynb").unlink()
    (course.student / "labs/two.ipynb").mkdir()
    course.change("one.ipynb", "one, 2")
    course.change("labs/two.ipynb", "two, 2")
    done = copy_material(course.material, course.student)
    assert elsewhere.read_text() == "not the course's"
    assert (course.student / "labs/two.ipynb").is_dir()
    assert done.beside == ["labs/two.new.ipynb", "one.new.ipynb"]


def test_a_file_in_the_place_of_a_folder_is_reported_and_the_rest_is_copied(
    course: SimpleNamespace,
) -> None:
    (course.student / "labs/two.ipynb").unlink()
    (course.student / "labs").rmdir()
    (course.student / "labs").write_text("my own")
    course.change("one.ipynb", "one, 2")
    done = copy_material(course.material, course.student)
    assert done.updated == ["one.ipynb"] and len(done.skipped) == 1
    assert files(course.student)["labs"] == "my own"
