"""Notebooks come from downloads of Moodle and Canvas, and marks go back in tables for them."""

import csv
import io
import json
import logging
import shutil
import stat
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

pytest.importorskip("nbgrader", reason="marking needs the course's tools; Colab has none")

from nbgrader.api import Gradebook
from nbgrader.apps.zipcollectapp import ZipCollectApp

from labs.plugins import collect
from labs.plugins.export import harmless

ROOT = Path(__file__).parents[1]
NOTEBOOK = json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
MONDAY, FRIDAY = (2026, 3, 2, 8, 0, 0), (2026, 3, 6, 8, 0, 0)
SHEET = (
    "\ufeffIdentifier,Full name,Email address,Status,Last modified (submission)\n"
    'Participant 7,Ada Lovelace,ada@uni.example,Submitted,"Tuesday, 3 March 2026, 11:04 PM"\n'
    "Participant 8,Ada Lovelace,ada2@uni.example,Submitted,-\n"
)

Files = dict[str, str]
Collect = Callable[..., tuple[Files, str]]


def pack(path: Path, files: dict[str, str], when: tuple[int, ...] = MONDAY) -> Path:
    """Write a zip archive whose entries hold the given texts."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, when)  # type: ignore[arg-type]
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, text)
    return path


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course with two labs and the settings of this repository."""
    monkeypatch.setattr("nbgrader.api.get_alembic_version", lambda: "none")  # takes five seconds
    shutil.copy(ROOT / "labs" / "nbgrader_config.py", tmp_path)
    for lab in ("lab3", "lab2"):
        (tmp_path / "source" / lab).mkdir(parents=True)
        (tmp_path / "release" / lab).mkdir(parents=True)
        (tmp_path / "release" / lab / f"{lab}.ipynb").write_text(NOTEBOOK)
    (tmp_path / "downloaded" / "lab3" / "archive").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def archive(course: Path) -> Path:
    """The folder for downloads."""
    return course / "downloaded" / "lab3" / "archive"


@pytest.fixture
def collected(
    course: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Collect]:
    """``nbgrader zip_collect lab3 --force``: returns submitted texts by path, and warnings."""

    def run(files: Files | None = None, name: str = "lab3.zip") -> tuple[Files, str]:
        if files is not None:
            pack(archive / name, files)
        monkeypatch.chdir(course)
        caplog.clear()
        app = ZipCollectApp()
        app.initialize(["lab3", "--force"])
        app.log = logging.getLogger("zip_collect")  # traitlets' own logger reaches no other handler
        with caplog.at_level("WARNING", "zip_collect"):
            app.start()
        submitted = course / "submitted"
        texts = {
            p.relative_to(submitted).as_posix(): p.read_text()
            for p in sorted(submitted.rglob("*"))
            if p.is_file()
        }
        return texts, "\n".join(record.getMessage() for record in caplog.records)

    yield run


@pytest.mark.parametrize(
    ("path", "student"),
    [
        ("Ada Lovelace_123456_assignsubmission_file_lab3.ipynb", "Ada Lovelace"),
        ("Ada Lovelace_123456_assignsubmission_file/lab3.ipynb", "Ada Lovelace"),
        ("Ada Lovelace_123456_assignsubmission_file_/lab3.ipynb", "Ada Lovelace"),
        ("CS1-Lab 3-77/Ada Lovelace_123456_assignsubmission_file_/lab3.ipynb", "Ada Lovelace"),
        ("王小明_9_assignsubmission_file/lab3.ipynb", "王小明"),
        ("Jörg Müßig-Öztürk_9_assignsubmission_file_lab3.ipynb", "Jörg Müßig-Öztürk"),
        ("Miles O'Brien_9_assignsubmission_file_my_own_name.ipynb", "Miles O'Brien"),
        ("lovelaceada_12345_67890_lab3.ipynb", "lovelaceada_12345"),
        ("lovelaceada_LATE_12345_67890_lab3-1.ipynb", "lovelaceada_12345"),
        ("小明王_12345_67890_lab3.ipynb", "小明王_12345"),
        ("van_der_berg_12345_67890_lab3.ipynb", "van_der_berg_12345"),
        (f"{'王' * 300}_9_assignsubmission_file/lab3.ipynb", "王" * 60),
        ("anon_a1B2c_67890_lab3.ipynb", "anon_a1B2c"),
        ("LATE_anon_a1B2c_67890_lab3.ipynb", "anon_a1B2c"),
    ],
)
def test_names_of_moodle_and_canvas(collected: Collect, path: str, student: str) -> None:
    texts, words = collected({path: NOTEBOOK})
    assert texts == {f"{student}/lab3/lab3.ipynb": NOTEBOOK}
    assert ("LATE" in path) == ("LATE, says Canvas" in words)
    assert ("my_own_name" in path) == ("is taken for lab3" in words)


def test_newest_work_of_a_student_is_collected(collected: Collect, archive: Path) -> None:
    pack(archive / "a.zip", {"Ada_1_assignsubmission_file/lab3.ipynb": "friday"}, FRIDAY)
    pack(archive / "b.zip", {"Ada_1_assignsubmission_file/lab3 (4).ipynb": "monday"}, MONDAY)
    texts, words = collected(
        {
            "bob_5_90_lab3-2.ipynb": "second",
            "bob_5_100_lab3-3.ipynb": "third",
            "bob_5_110_draft.ipynb": "draft",
            "Eve_2_assignsubmission_file/lab3.ipynb": "first",
            "Eve_2_assignsubmission_file/lab3 (2).ipynb": "second",
        }
    )
    assert texts == {
        "Ada/lab3/lab3.ipynb": "friday",
        "bob_5/lab3/lab3.ipynb": "third",
        "Eve/lab3/lab3.ipynb": "second",
    }
    for name in (
        "lab3 (4).ipynb",
        "lab3-2.ipynb",
        "draft.ipynb",
        "Eve_2_assignsubmission_file/lab3.",
    ):
        assert any(name in line and line.startswith("Left out") for line in words.splitlines())


def test_people_of_one_name(collected: Collect, course: Path, archive: Path) -> None:
    files = {f"Ada Lovelace_{n}_assignsubmission_file/lab3.ipynb": str(n) for n in (7, 8)}
    texts, words = collected(files)
    assert texts == {f"Ada Lovelace_{n}/lab3/lab3.ipynb": str(n) for n in (7, 8)}
    assert "2 people are called Ada Lovelace" in words

    shutil.rmtree(course / "submitted")
    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        book.add_student("s1", first_name="Ada", last_name="Lovelace", email="ada@uni.example")
    texts, words = collected(files)  # the second one may have taken the first one's name
    assert texts == {}
    assert words.count("work of several people leads to s1") == 2

    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        book.add_student("s2", first_name="Ada", last_name="Lovelace", email="ADA2@uni.example")
    assert collected(files)[0] == {}
    (archive / "Grades-lab3.csv").write_text(SHEET, encoding="utf-8")
    texts, _ = collected(files)
    assert texts["s1/lab3/lab3.ipynb"] == "7" and texts["s2/lab3/lab3.ipynb"] == "8"


def test_class_list_names_students(collected: Collect, course: Path) -> None:
    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        book.add_student("s1", first_name="小明", last_name="王", lms_user_id="5")
        book.add_student("s2", first_name="Ada", last_name="Lovelace")
    texts, words = collected(
        {
            "王小明_77_assignsubmission_file/lab3.ipynb": "1",
            "Ada LOVELACE_5_assignsubmission_file/lab3.ipynb": "5 is no number of a person",
            "Eve_9_assignsubmission_file/lab3.ipynb": "3",
        }
    )
    assert set(texts) == {f"{s}/lab3/lab3.ipynb" for s in ("s1", "s2", "Eve")}
    assert "Eve is not in the class list" in words
    shutil.rmtree(course / "submitted")
    texts, _ = collected({"renamed_5_6_lab3.ipynb": "1", "lovelaceada_4_7_lab3.ipynb": "2"})
    assert texts == {"s1/lab3/lab3.ipynb": "1", "s2/lab3/lab3.ipynb": "2"}


def test_time_comes_from_the_worksheet_only(
    collected: Collect, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download's own times are those of the download, and a student can write any file."""
    files = {
        "Ada Lovelace_7_assignsubmission_file/lab3.ipynb": NOTEBOOK,
        "Ada Lovelace_7_assignsubmission_file/timestamp.txt": "1999-01-01 00:00:00 UTC",
        "Ada Lovelace_8_assignsubmission_file/lab3.ipynb": NOTEBOOK,
        "timestamp.txt": "1999-01-01 00:00:00 UTC",
        "Eve_9_assignsubmission_file/Grades.csv": SHEET.replace("2026", "1999"),
    }
    assert not any(path.endswith("timestamp.txt") for path in collected(files)[0])
    (archive / "Eve_9_assignsubmission_file_Grades.csv").write_text(SHEET.replace("2026", "1999"))
    assert not any(path.endswith("timestamp.txt") for path in collected(files)[0])
    (archive / "Grades-lab3.csv").write_text(SHEET, encoding="utf-8")
    texts, _ = collected(files)
    stamps = {path: text for path, text in texts.items() if path.endswith("timestamp.txt")}
    local = datetime(2026, 3, 3, 23, 4).astimezone()
    written = datetime.fromisoformat(stamps.pop("ada@uni.example/lab3/timestamp.txt") + "+00:00")
    assert written == local and not stamps
    (archive / "Grades-lab3.csv").write_text(SHEET.replace("Tuesday, 3 March", "mardi 3 mars"))
    assert "download the worksheet in English" in collected(files)[1]


def recoded(path: Path, encoding: str) -> None:
    """Rewrite an archive's names in another encoding and clear their UTF-8 flags, like Windows."""
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    made = io.BytesIO()

    class Raw(zipfile.ZipInfo):
        def _encodeFilenameFlags(self) -> tuple[bytes, int]:
            return self.filename.encode(encoding), self.flag_bits & ~0x800

    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        for info in infos:
            new.writestr(Raw(info.filename, info.date_time), old.read(info))
    path.write_bytes(made.getvalue())


@pytest.mark.parametrize(
    ("encoding", "people"),
    [
        ("gbk", ["王小明", "张喆", "Ada"]),
        ("gbk", ["欧阳娜娜", "堃"]),
        ("utf-8", ["王小明", "Jörg Süß"]),
        ("cp437", ["Jörg Süß", "José Muñoz", "Ada"]),
    ],
)
def test_names_that_windows_wrote(
    collected: Collect, archive: Path, encoding: str, people: list[str]
) -> None:
    files = {f"{name}_{n}_assignsubmission_file_lab3.ipynb": name for n, name in enumerate(people)}
    recoded(pack(archive / "lab3.zip", files), encoding)
    assert collected()[0] == {f"{name}/lab3/lab3.ipynb": name for name in people}


ADA = {"Ada_1_assignsubmission_file/lab3.ipynb": NOTEBOOK}
HOSTILE = {
    "../../x_1_assignsubmission_file/lab3.ipynb": "leads out",
    "..\\..\\x_1_assignsubmission_file\\lab3.ipynb": "leads out",
    "/etc/x_1_assignsubmission_file/lab3.ipynb": "leads out",
    "C:/x_1_assignsubmission_file/lab3.ipynb": "leads out",
    "Eve_2_assignsubmission_file/../Ada_1_assignsubmission_file/lab3.ipynb": "leads out",
    # Somebody else's folder inside one's own, and somebody else's name inside a file's name.
    "Eve_2_assignsubmission_file/Bob_3_assignsubmission_file/lab3.ipynb": "student's own",
    "eve_2_4_Bob_3_assignsubmission_file/lab3.ipynb": "student's own",
    "bob_3_4_lab3ipynb_2_5_lab3.ipynb": "two people",
    "Course/Bob/Eve_2_assignsubmission_file/lab3.ipynb": "nested",
    "Eve_2_assignsubmission_file/sub/lab3.ipynb": "student's own",
    "Eve_2_assignsubmission_file/lab3.zip": "not a notebook",
    "Eve_2_assignsubmission_file/lab2.ipynb": "another lab",
    "Eve\x1b[31m_2_assignsubmission_file/lab3.ipynb": "control",
    "Eve\u202eadA_2_assignsubmission_file/lab3.ipynb": "control",
    "..._2_assignsubmission_file/lab3.ipynb": "nobody",
    "lab3.ipynb": "neither Moodle nor Canvas",
    f"eve_1_{'9' * 5000}_lab3.ipynb": "neither Moodle nor Canvas",
    "bob_١٢_4_lab3.ipynb": "neither Moodle nor Canvas",
    "essay.pdf": "neither Moodle nor Canvas",
}


def test_hostile_names_are_refused_alone(collected: Collect, course: Path) -> None:
    before = {p for p in course.parent.rglob("*") if course not in p.parents}
    texts, words = collected(ADA | dict.fromkeys(HOSTILE, "hostile"))
    assert texts == {"Ada/lab3/lab3.ipynb": NOTEBOOK}
    lines = [line for line in words.splitlines() if line.startswith("Left out")]
    assert len(lines) == len(HOSTILE)
    assert all(line.isprintable() for line in lines)
    for path, why in HOSTILE.items():
        assert any(collect.shown(path) in line and why in line for line in lines), (path, lines)
    assert {p for p in course.parent.rglob("*") if course not in p.parents} == before


def entry(name: str, **words: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, MONDAY)
    for key, value in words.items():
        setattr(info, key, value)
    return info


EVE = "Eve_2_assignsubmission_file/lab3.ipynb"


def test_hostile_entries_are_refused_alone(collected: Collect, archive: Path) -> None:
    bomb = b"0" * (collect.LARGEST + 1)
    with zipfile.ZipFile(archive / "lab3.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(entry(next(iter(ADA))), NOTEBOOK)
        made.writestr(entry(EVE, external_attr=(stat.S_IFLNK | 0o777) << 16), "/etc/passwd")
        made.writestr(entry(EVE, external_attr=(stat.S_IFIFO | 0o777) << 16), "")
        made.writestr(entry(EVE, compress_type=zipfile.ZIP_LZMA), "x")
        made.writestr(entry(EVE, compress_type=zipfile.ZIP_DEFLATED), bomb)
    content = bytearray((archive / "lab3.zip").read_bytes())
    texts, words = collected()
    assert texts == {"Ada/lab3/lab3.ipynb": NOTEBOOK}
    for why in ("link", "device", "compression", "20 MB; 20 are allowed"):
        assert why in words
    # The directory says that the bomb is small: its checksum is then wrong.
    size = struct.pack("<L", len(bomb))
    assert content.count(size) >= 1
    (archive / "lab3.zip").write_bytes(content.replace(size, struct.pack("<L", 10)))
    assert collected()[0] == {"Ada/lab3/lab3.ipynb": NOTEBOOK}


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "encrypted", "crowd", "content"])
def test_damaged_archive_does_not_stop_the_others(
    collected: Collect, archive: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(archive / "a.zip", {EVE: NOTEBOOK * 50})
    content = path.read_bytes()
    if damage == "crowd":
        monkeypatch.setattr(collect, "MOST_ENTRIES", 1)
        pack(path, {EVE: NOTEBOOK, EVE + "x": NOTEBOOK})
    else:
        flags = content.index(b"PK\x01\x02") + 8
        middle = content.index(EVE.encode()) + len(EVE) + 5
        path.write_bytes(
            {
                "empty": b"",
                "text": b"an essay",
                "cut": content[:-40],
                "encrypted": content[:flags] + b"\x01" + content[flags + 1 :],
                "content": content[:middle] + b"\xff\xff\xff" + content[middle + 3 :],
            }[damage]
        )
    texts, words = collected(ADA)
    assert texts == {"Ada/lab3/lab3.ipynb": NOTEBOOK}
    assert words.count("Left out: ") == 1 and ("a.zip" in words or EVE in words)


def test_student_zip_in_the_folder_is_not_opened(collected: Collect, archive: Path) -> None:
    """Downloads that the teacher unpacked may lie there too."""
    forged = {"Bob_3_assignsubmission_file/lab3.ipynb": "forged"}
    for name in (
        "Eve_2_assignsubmission_file_a.zip",
        "eve_2_4_a.zip",
        "Group_assignsubmission_file_a.zip",
    ):
        pack(archive / name, forged)
    (archive / "Eve_2_assignsubmission_file").mkdir()
    pack(archive / "Eve_2_assignsubmission_file" / "a.zip", forged)
    (archive / "Eve_2_assignsubmission_file" / "lab3.ipynb").symlink_to("/etc/passwd")
    (archive / "Ada_1_assignsubmission_file").mkdir()
    (archive / "Ada_1_assignsubmission_file" / "lab3.ipynb").write_text("loose")
    texts, words = collected()
    assert texts == {"Ada/lab3/lab3.ipynb": "loose"}
    assert words.count("a.zip: it is not a notebook") >= 3 and "it is a link" in words


def test_harmless_cells() -> None:
    for text in ("=cmd()", "+1", "-1", "@x", " =1", "\t=1", "＝1", "a;=1", "a\n=1", "a; @x"):
        assert harmless(text) != text and harmless(harmless(text)) == harmless(text)
    for text in ("Ada", "O'Brien-Müller", "ada@uni.example", "a = b", "17.5", ""):
        assert harmless(text) == text


def nbgrader(course: Path, *words: str) -> str:
    """Run nbgrader as a teacher does; return what it says."""
    start = "from nbgrader.apps import NbGraderApp; NbGraderApp.launch_instance()"
    done = subprocess.run(
        [sys.executable, "-c", start, *words],
        cwd=course,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def table(path: Path) -> list[list[str]]:
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    with path.open(encoding="utf-8-sig", newline="") as f:
        return list(csv.reader(f))


def test_tables_for_moodle_and_canvas(course: Path, archive: Path) -> None:
    """The commands as typed, from the download to the tables."""
    pack(archive / "lab3.zip", {"lovelaceada_12345_6_lab3.ipynb": NOTEBOOK})
    nbgrader(course, "zip_collect", "lab3")
    assert (course / "submitted/lovelaceada_12345/lab3/lab3.ipynb").read_text() == NOTEBOOK
    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        for lab, cells in (("lab3", {"test": 6.0, "written": 4.0}), ("lab2", {"test": 1.0})):
            book.add_assignment(lab)
            book.add_notebook(lab, lab)
            for name, most in cells.items():
                kind = "markdown" if name == "written" else "code"
                book.add_grade_cell(name, lab, lab, max_score=most, cell_type=kind)
                book.add_solution_cell(name, lab, lab)
                book.add_source_cell(name, lab, lab, cell_type=kind)
        book.add_student("lovelaceada_12345")
        book.add_student("s2", first_name="王", last_name="=cmd()", email="w@uni.example")
        book.add_student("s3", first_name="Eve", last_name="O", lms_user_id="77")
        book.add_student("s4", first_name="Bob", last_name="P", lms_user_id="B-4")
        for student, test, written in (
            ("lovelaceada_12345", 5.5, 3.25),
            ("s2", 6.0, None),
            ("s4", 0.0, 0.0),
        ):
            work = book.add_submission("lab3", student)
            for name, points in (("test", test), ("written", written)):
                grade = book.find_grade(name, "lab3", "lab3", student)
                grade.auto_score, grade.manual_score = (
                    (points, None) if name == "test" else (None, points)
                )
                grade.needs_manual_grade = points is None
            work.notebooks[0].late_submission_penalty = 2.0
            book.find_comment("written", "lab3", "lab3", student).manual_comment = "Why\nso?"
            book.find_comment("test", "lab3", "lab3", student).auto_comment = "No response."
            book.db.commit()

    said = nbgrader(course, "export", "--exporter=labs.plugins.export.Moodle", "--to=m.csv")
    assert "unread, marks left empty: s2 lab3" in said
    zero = "tests 0 of 6; written answer 0 of 4; late: 2 less; Why so?"
    late = "tests 5.5 of 6; written answer 3.25 of 4; late: 2 less; Why so?"
    assert table(course / "m.csv") == [
        [
            "First name",
            "Last name",
            "Username",
            "ID number",
            "Email address",
            "lab3",
            "lab3 feedback",
        ],
        ["", "", "lovelaceada_12345", "", "", "6.75", late],
        ["王", "'=cmd()", "s2", "", "w@uni.example", "", ""],
        ["Eve", "O", "s3", "77", "", "", ""],
        ["Bob", "P", "s4", "B-4", "", "0", zero],
    ]
    (course / "nbgrader_config.py").open("a").write('c.Canvas.columns = {"lab3": "Lab 3 (4711)"}\n')
    nbgrader(
        course,
        "export",
        "--exporter=labs.plugins.export.Canvas",
        "--to=c.csv",
        "--Canvas.unread=True",
    )
    assert table(course / "c.csv") == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Lab 3 (4711)"],
        ["    Points Possible", "", "", "", "", "10"],
        ["lovelaceada_12345", "12345", "", "", "", "6.75"],
        ["'=cmd(), 王", "", "", "s2", "", "4"],
        ["O, Eve", "77", "", "s3", "", ""],
        ["P, Bob", "", "B-4", "s4", "", "0"],
    ]
