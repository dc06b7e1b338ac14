"""What may not stand in anything that is published: solutions, hidden tests, this machine's paths.

Everything is searched: notebooks, pages, code, and the members of wheels and sdists.
"""

import html
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

# nbgrader's own marks; a line that holds one is a border.
REGIONS = re.compile(r"(BEGIN|END) (SOLUTION|HIDDEN TESTS|MARK SCHEME)")
# Lines that say nothing of a solution, since every class has them.
EVERY_CLASS = ("def __init__(self):", "super().__init__()")
FORBIDDEN = re.compile(
    r"(^|/)(\.git|\.ipynb_checkpoints|__pycache__|lab_submissions|grading|labs/(md|source|grade|fence)|tests"
    r"|gradebook[^/]*|submitted|autograded|feedback)(/|$)|\.(pyc|db)$"
)
PLACEHOLDERS = (
    "YOUR-ORGANISATION",
    "YOUR-REPOSITORY",
    "@REPOSITORY@",
    "@FOLDER@",
    "@LABS@",
    "@COLAB@",
)
# Characters, without spaces, of consecutive lines that are no longer an idiom that any program has.
LONG = 48


def plain(text: str) -> str:
    """Return a text without spaces, quotes, comment marks and escapes: indentation, JSON and a
    commented-out copy make no difference.
    """
    return re.sub(r"\\n|[\s\\\"'#]+", "", text)


class Secrets:
    """What students may not see of the labs in a folder ``source``: plain text -> its lines.

    Attributes:
        anywhere: consecutive lines of a solution or a hidden test that are long enough to be no
            mere idiom, and whole regions, however short.
        in_lab: name of a lab -> any two neighbouring lines of its solutions and hidden tests.
    """

    def __init__(self, source: Path) -> None:
        """Read the teacher's notebooks in a folder."""
        self.anywhere: dict[str, str] = {}
        self.in_lab: dict[str, dict[str, str]] = {}
        for path in sorted(source.rglob("*.ipynb")):
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            split = [regions(cell) for cell in cells]
            shown = plain("\n".join(line for lines, _ in split for line in lines))
            pairs = self.in_lab[path.stem] = {}
            for region in (region for _, regions_ in split for region in regions_):
                lines = [line for line in region if plain(line) and line not in EVERY_CLASS]
                self.anywhere |= unseen(["\n".join(lines), *windows(lines)], shown)
                pairs |= unseen(["\n".join(pair) for pair in pairwise(lines)], shown)

    def within(self, name: str) -> dict[str, str]:
        """Return what may not stand in a file, which may be one of a lab."""
        texts = dict(self.anywhere)
        for lab, pairs in self.in_lab.items():
            texts |= pairs if lab in name else {}
        return texts


def unseen(texts: Iterable[str], shown: str) -> dict[str, str]:
    """Return plain text -> text, of those that students do not see elsewhere in the same lab."""
    return {plain(text): text for text in texts if plain(text) not in shown}


def windows(lines: list[str]) -> Iterator[str]:
    """Yield the shortest run of at least ``LONG`` characters that begins with each line."""
    for i in range(len(lines)):
        for j in range(i + 1, len(lines) + 1):
            text = "\n".join(lines[i:j])
            if len(plain(text)) >= LONG:
                yield text
                break


def regions(cell: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return a cell's lines that students see, and the regions that nbgrader cuts out."""
    public: list[str] = []
    hidden: list[list[str]] = []
    inside = False
    for line in "".join(cell["source"]).splitlines():
        if mark := REGIONS.search(line):
            inside = mark[1] == "BEGIN"
            hidden += [[]] if inside else []
        elif inside:
            hidden[-1].append(line.strip())
        else:
            public.append(line.strip())
    if cell["metadata"].get("nbgrader", {}).get("solution") and not hidden:
        return [], [public]  # nbgrader replaces all of it
    return public, hidden


def complaints(folder: Path, secret: Secrets, addresses: set[str], places: set[str]) -> list[str]:
    """Return a line for each thing in a folder that may not be published, with its file.

    Args:
        folder: what is about to be published.
        secret: what no student may see.
        addresses: addresses that must have been replaced.
        places: paths of this machine.
    """
    links = [path.relative_to(folder) for path in folder.rglob("*") if path.is_symlink()]
    found = [f"{link}: this is a link, and leads elsewhere" for link in links]
    searched: dict[bytes, list[str]] = {}
    for name, content in files(folder):
        if FORBIDDEN.search(name):
            found.append(f"{name}: this file belongs to the teacher")
        if content not in searched:
            searched[content] = in_content(
                name, content, secret, {*addresses, *PLACEHOLDERS}, places
            )
        found += [f"{name}: {line}" for line in searched[content]]
    return found


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every file, and of every member of an archive."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            continue
        content = path.read_bytes()
        if path.suffix == ".whl":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                yield from ((f"{name}/{one}", archive.read(one)) for one in archive.namelist())
        elif path.name.endswith(".tar.gz"):
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                for member in archive:
                    if part := archive.extractfile(member):
                        yield f"{name}/{member.name}", part.read()
        else:
            yield name, content


def in_content(
    name: str, content: bytes, secret: Secrets, addresses: set[str], places: set[str]
) -> list[str]:
    """Return what may not stand in one file."""
    text = content.decode("utf-8", errors="ignore")
    if name.endswith((".ipynb", ".json")):
        text = "\n".join(strings(json.loads(text)))
    if name.endswith(".html"):
        text = html.unescape(re.sub(r"</?[a-zA-Z][^<>]*>", "", text)) + text
    found = [
        f"an address that was to be replaced: {one}" for one in sorted(addresses) if one in text
    ]
    found += [f"a path of this machine: {one}" for one in sorted(places) if one in text]
    if "BEGIN SOLUTION" in text or "BEGIN HIDDEN TESTS" in text:
        found.append("a mark of nbgrader's that only a teacher's notebook has")
    # Pictures and frames as base64 are most of a page, and no text.
    bare = plain(re.sub(r"[A-Za-z0-9+/=]{200,}", "", text))
    lines = secret.within(name)
    found += [f"of a solution or a hidden test: {lines[one]!r}" for one in lines if one in bare]
    return found


def strings(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value, keys included; the lines of a cell as one text."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        yield "".join(value)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from strings(one)
