"""Find each student's notebook in what Moodle or Canvas lets a teacher download.

nbgrader's own extractor unpacks all that an archive holds. This one reads archives as data and
writes one notebook for each student, under a name of its own: ``extracted/STUDENT/TIME/LAB.ipynb``.
From there nbgrader's own collector copies it into ``submitted/``.
"""

import csv
import io
import re
import stat
import unicodedata
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dateutil.parser
from nbgrader.api import Gradebook
from nbgrader.plugins import ExtractorPlugin, FileNameCollectorPlugin
from traitlets import default

LARGEST = 20 << 20
MOST_ENTRIES = 20_000

# Moodle removes underscores from a name, so the first number is Moodle's own. It belongs to this
# assignment, not to the person. Folders of older versions end in an underscore.
MOODLE = re.compile(r"([^_/]+)_([0-9]{1,18})_assignsubmission_file(?:_?/|_)([^/]+)")
CANVAS = re.compile(r"([^/]+?)(_LATE)?_([0-9]{1,18})_([0-9]{1,18})_([^/]+)")
CANVAS_ANONYMOUS = re.compile(r"(LATE_)?(anon)_(\w+?)_([0-9]{1,18})_([^/]+)")
# Canvas leaves `_1_2_` in a name if the student wrote `_1 _2 _`: then two readings are possible.
CANVAS_NUMBERS = re.compile(r"(?=_[0-9]+_[0-9]+_)")

UNREADABLE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError)


class Refused(ValueError):
    """A file that is not collected; says why."""


@dataclass(frozen=True)
class Entry:
    """A file of a download: its path there, its time, and how to read it."""

    path: str
    time: float
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Owner:
    """Whose file it is, as its path says."""

    platform: str
    name: str
    number: str
    file: str
    order: int = 0
    late: bool = False


@dataclass(frozen=True)
class Candidate:
    """A notebook that may be a student's submission; the largest ``rank`` is collected."""

    entry: Entry
    owner: Owner
    rank: tuple[bool, float, int, float]


@dataclass
class ClassList:
    """The students of the gradebook, and the rows of Moodle's grading worksheet.

    Attributes:
        students: the ids that an e-mail address, a name or Canvas's number belongs to.
        rows: name, e-mail address and time of the submission by Moodle's participant number.
    """

    students: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    rows: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def add(self, student: object) -> None:
        """Add a student of the gradebook."""
        number, email, first, last = (
            getattr(student, key) or ""
            for key in ("lms_user_id", "email", "first_name", "last_name")
        )
        keys = {f"canvas {number}", f"email {email.casefold()}"}
        keys |= {f"name {letters(first + last)}", f"name {letters(last + first)}"}
        for key in keys - {"canvas ", "email ", "name "}:
            self.students[key].add(student.id)  # type: ignore[attr-defined]

    def find(self, owner: Owner) -> str | None:
        """Return the id of a student in the gradebook; None if there is no such student.

        Raises:
            Refused: several students have this name, and nothing else tells them apart.
        """
        name, email, _ = (
            self.rows.get(owner.number, ("", "", "")) if owner.platform == "moodle" else ("",) * 3
        )
        keys = [f"email {email.casefold()}", f"name {letters(name or owner.name)}"]
        if owner.platform == "canvas":
            keys.insert(0, f"canvas {owner.number}")
        for key in keys:
            ids = self.students.get(key, set())
            if len(ids) > 1:
                raise Refused(f"the class list has {len(ids)} students of this {key.split()[0]}")
            if ids:
                return next(iter(ids))
        return safe_id(email) or None

    def time(self, owner: Owner) -> str:
        """Return when the work was handed in, in UTC, as the worksheet says; "" if it does not.

        Raises:
            Refused: the worksheet's time is not in English.
        """
        text = self.rows.get(owner.number, ("", "", ""))[2] if owner.platform == "moodle" else ""
        if text.strip() in ("", "-"):
            return ""
        try:
            return dateutil.parser.parse(text).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        except (ValueError, OverflowError):
            raise Refused(
                f"the time {text!r} cannot be read; download the worksheet in English"
            ) from None


def letters(text: str) -> str:
    """Return a name without case, blanks and punctuation."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def safe_id(text: str) -> str:
    """Return a text as a name for a folder, with its letters, digits, blanks and ``.-'@``."""
    text = re.sub(r"[^\w .\-'@]", "_", unicodedata.normalize("NFC", text))
    text = re.sub(r"\s+", " ", text).strip(" .-")
    return (
        text.encode()[:180].decode(errors="ignore").strip()
    )  # a folder's name has at most 255 bytes


def shown(text: str) -> str:
    """Return a file's name in one line that does nothing to a terminal."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 150 else text[:149] + "…"


def names(infos: list[zipfile.ZipInfo]) -> list[str]:
    """Return the paths in an archive; those without the UTF-8 flag as UTF-8, GBK or code page 437.

    One program wrote all names of an archive, so one encoding is chosen for all: GBK, if at least
    one name is made of common Chinese characters. Code page 437 holds Western Europe's letters.
    """
    raw = [
        b"" if i.flag_bits & 0x800 else i.orig_filename.encode("cp437", "replace") for i in infos
    ]
    encoding = "cp437"
    if all(_decodes(r, "utf-8") for r in raw):
        encoding = "utf-8"
    elif any(not r.isascii() and _decodes(r, "gb2312") for r in raw):
        encoding = "gb18030"
    return [
        r.decode(encoding, "replace") or i.orig_filename for r, i in zip(raw, infos, strict=True)
    ]


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def owner_of(path: str) -> Owner:
    """Return whose file it is; ``path`` may begin with one folder that the teacher made.

    Raises:
        Refused: the path fits neither platform's names, leads elsewhere, or has two readings.
    """
    parts = path.replace("\\", "/").split("/")
    if path[:1] in ("/", "\\") or re.match("[A-Za-z]:", path) or ".." in parts:
        raise Refused("the path leads out of the archive")
    if not path.isprintable():
        raise Refused("the name has control characters")
    if len(parts) > 1 and not from_student(parts[0]):
        parts = parts[1:]
    below = "/".join(parts)
    if found := MOODLE.fullmatch(below):
        name, number, file = found.groups()
        return Owner("moodle", name, number, file)
    if len(parts) > 1:
        raise Refused(
            "it lies in a folder of the student's own"
            if from_student(parts[0])
            else "nested folders"
        )
    if found := CANVAS_ANONYMOUS.fullmatch(below):
        late, name, number, order, file = found.groups()
        return Owner("canvas", name, number, file, int(order), bool(late))
    if found := CANVAS.fullmatch(below):
        if len(CANVAS_NUMBERS.findall(below)) > 1:
            raise Refused("the name has several numbers, so that it may belong to two people")
        name, late, number, order, file = found.groups()
        return Owner("canvas", name, number, file, int(order), bool(late))
    raise Refused("neither Moodle nor Canvas names files so")


def from_student(name: str) -> bool:
    """Return whether a file or folder of this name was handed in by a student."""
    named = (CANVAS.fullmatch(name), CANVAS_ANONYMOUS.fullmatch(name))
    return "_assignsubmission_" in name or any(named)


def in_archive(path: Path) -> Iterator[Entry | tuple[str, str]]:
    """Yield the files of a zip archive, and (path, reason) of what is refused."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    if len(infos) > MOST_ENTRIES:
        raise Refused(f"it holds {len(infos)} files; {MOST_ENTRIES} are allowed")
    for info, name in zip(infos, names(infos), strict=True):
        kind = stat.S_IFMT(info.external_attr >> 16)
        if name.endswith(("/", "\\")):
            continue
        if kind not in (0, stat.S_IFREG):
            yield name, "it is a link or a device"
        elif info.flag_bits & 1:
            yield name, "it is encrypted"
        elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            yield name, "its compression is unusual"
        elif info.file_size > LARGEST:
            yield name, f"it has {info.file_size >> 20} MB; {LARGEST >> 20} are allowed"
        else:
            yield Entry(name, _time(info), lambda info=info: _read(path, info))  # type: ignore[misc]


def _time(info: zipfile.ZipInfo) -> float:
    try:
        return datetime(*info.date_time, tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _read(path: Path, info: zipfile.ZipInfo) -> bytes:
    with zipfile.ZipFile(path) as archive, archive.open(info) as f:
        return f.read(LARGEST + 1)


class Collector(FileNameCollectorPlugin):
    """nbgrader's collector of what ``Extractor`` wrote."""

    @default("named_regexp")
    def _named_regexp(self) -> str:
        return (
            r".*[\\/](?P<student_id>[^\\/]+)[\\/](?:at (?P<timestamp>\w+)|untimed)"
            r"[\\/](?P<file_id>[^\\/]+)$"
        )


class Extractor(ExtractorPlugin):
    """Extract one notebook for each student from the downloads of Moodle or Canvas."""

    def extract(self, archive_path: str, extracted_path: str) -> None:
        """Write ``STUDENT/TIME/LAB.ipynb`` into ``extracted_path``; log what is left out."""
        lab = self.parent.coursedir.assignment_id
        self._left_out = 0
        people = self._class_list(Path(archive_path))
        choices: dict[str, list[Candidate]] = defaultdict(list)
        for student, candidate in self._students(people, self._candidates(Path(archive_path), lab)):
            choices[student].append(candidate)
        count = 0
        for student, candidates in sorted(choices.items()):
            count += self._save(Path(extracted_path), lab, student, candidates, people)
        self.log.warning(f"{lab}: {count} students, {self._left_out} files left out")

    def _leave(self, path: str, why: object) -> None:
        self._left_out += 1
        self.log.warning(f"Left out: {shown(path)}: {why}")

    def _class_list(self, folder: Path) -> ClassList:
        people = ClassList()
        database = self.parent.coursedir.db_url
        file = database.removeprefix("sqlite:///")
        if file == database or Path(file).is_file():  # Gradebook would make a new one
            with Gradebook(database, self.parent.coursedir.course_id) as book:
                for student in book.students:
                    people.add(student)
        for path in sorted(folder.glob("*.csv")):
            if not from_student(path.name) and not path.is_symlink():
                try:
                    people.rows |= worksheet(path.read_bytes())
                except csv.Error as e:
                    self._leave(path.name, e)
        if not people.students and not people.rows:
            self.log.warning("No class list: students are named as the files are.")
        return people

    def _entries(self, folder: Path) -> Iterator[Entry]:
        """Yield the files of the downloads; each has its download's time."""
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink():
                self._leave(name, "it is a link")
                continue
            ours = path.parent == folder and not from_student(path.name)
            if not path.is_file() or (ours and path.suffix == ".csv"):
                continue
            if ours and path.suffix.lower() == ".zip":
                try:
                    found = list(in_archive(path))
                except (*UNREADABLE, NotImplementedError) as e:
                    self._leave(name, str(e) or "it cannot be read")
                    continue
                for refused in (one for one in found if isinstance(one, tuple)):
                    self._leave(f"{name}: {refused[0]}", refused[1])
                files = [one for one in found if isinstance(one, Entry)]
                newest = max((entry.time for entry in files), default=0.0)
                yield from (Entry(entry.path, newest, entry.read) for entry in files)
            elif path.stat().st_size > LARGEST:
                self._leave(name, "it is too large")
            else:
                yield Entry(name, path.stat().st_mtime, path.read_bytes)

    def _candidates(self, folder: Path, lab: str) -> Iterator[Candidate]:
        source = Path(self.parent.coursedir.root, self.parent.coursedir.source_directory)
        labs = {path.name for path in source.glob("*/")} | {lab}
        for entry in self._entries(folder):
            parts = entry.path.split("/")
            if parts[0] == "__MACOSX" or parts[-1].startswith("._") or parts[-1] == ".DS_Store":
                continue
            try:
                owner = owner_of(entry.path)
                stem, dot, suffix = owner.file.rpartition(".")
                if (dot + suffix).lower() != ".ipynb":
                    raise Refused("it is not a notebook")
                copies = {
                    name: re.fullmatch(rf"{re.escape(name)}[-_ ]?\(?([0-9]{{0,6}})\)?", stem)
                    for name in labs
                }
                if not copies[lab] and any(copies.values()):
                    raise Refused("it is another lab")
            except Refused as e:
                self._leave(entry.path, e)
                continue
            number = int(copies[lab][1] or 0) if copies[lab] else 0  # type: ignore[index]
            yield Candidate(
                entry, owner, (bool(copies[lab]), entry.time, owner.order or number, number)
            )

    def _students(
        self, people: ClassList, found: Iterable[Candidate]
    ) -> Iterator[tuple[str, Candidate]]:
        """Yield the student's id for each candidate."""
        candidates = list(found)
        owners = {(c.owner.platform, safe_id(c.owner.name), c.owner.number) for c in candidates}
        # Some file systems take ADA and Ada for one folder.
        namesakes = Counter(n.casefold() for platform, n, _ in owners if platform == "moodle")
        students: dict[str, list[Candidate]] = defaultdict(list)
        for candidate in candidates:
            owner = candidate.owner
            name = safe_id(owner.name)
            try:
                student = people.find(owner)
                if not student and not letters(name):
                    raise Refused("it names nobody")
            except Refused as e:
                self._leave(candidate.entry.path, e)
                continue
            if not student:
                numbered = owner.platform == "canvas" or namesakes[name.casefold()] > 1
                student = f"{name}_{owner.number}" if numbered else name
                if people.students:
                    self.log.warning(f"{shown(student)} is not in the class list")
            students[student].append(candidate)
        for name in sorted({safe_id(c.owner.name) for c in candidates}):
            if namesakes[name.casefold()] > 1:
                self.log.warning(f"{namesakes[name.casefold()]} people are called {shown(name)}")
        for student, theirs in students.items():
            if len({(c.owner.platform, c.owner.number) for c in theirs}) == 1:
                yield from ((student, candidate) for candidate in theirs)
                continue
            for candidate in theirs:
                self._leave(
                    candidate.entry.path, f"work of several people leads to {shown(student)}"
                )

    def _save(
        self, folder: Path, lab: str, student: str, candidates: list[Candidate], people: ClassList
    ) -> bool:
        """Write a student's newest notebook that can be read; say whether there is one."""
        collected = ""
        for candidate in sorted(candidates, key=lambda c: c.rank, reverse=True):
            path, owner = candidate.entry.path, candidate.owner
            if collected:
                self._leave(path, f"{shown(collected)} is newer or has the lab's name")
                continue
            try:
                content = candidate.entry.read()
                if len(content) > LARGEST:
                    raise Refused("it is too large")
            except (*UNREADABLE, NotImplementedError) as e:
                self._leave(path, str(e) or "it cannot be read")
                continue
            time = ""
            try:
                time = people.time(owner)
            except Refused as e:
                self.log.warning(f"{shown(student)}: {e}")
            if not candidate.rank[0]:
                self.log.warning(f"{shown(student)}: {shown(owner.file)} is taken for {lab}")
            if owner.late:
                self.log.warning(f"{shown(student)}: LATE, says Canvas")
            target = folder / student / (f"at {time}" if time else "untimed")
            target.mkdir(parents=True)
            (target / f"{lab}.ipynb").write_bytes(content)
            collected = path
        return bool(collected)


def worksheet(content: bytes) -> dict[str, tuple[str, str, str]]:
    """Return name, e-mail address and time by participant number; {} if it is another table."""
    table = list(csv.reader(io.StringIO(content.decode("utf-8-sig", "replace"))))
    head = table[0] if table else []
    columns = [
        head.index(c) if c in head else None
        for c in ("Full name", "Email address", "Last modified (submission)")
    ]
    rows = {}
    for row in table[1:] if head[:1] == ["Identifier"] else []:
        if number := re.search(r"([0-9]+)$", row[0] if row else ""):
            values = [row[c].strip() if c is not None and c < len(row) else "" for c in columns]
            rows[number[1]] = (values[0], values[1], values[2])
    return rows
