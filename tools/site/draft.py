"""A page while it is being written: its headings and pictures so far."""

import re
from dataclasses import dataclass, field
from pathlib import Path

PICTURES = "pictures"  # folder within the site


@dataclass(frozen=True)
class Heading:
    """A heading of a page: what a link to it needs."""

    level: int
    id: str
    text: str


@dataclass(frozen=True)
class Shown:
    """A picture that a page shows: its address in the site, its words, and its heading."""

    source: str
    alt: str
    place: str


@dataclass
class Draft:
    """What is known of a page while its cells are turned into HTML, one after the other.

    Attributes:
        name: the notebook's name; the page is ``name``.html.
        base: the folder that pictures named in Markdown are relative to.
        title: plain text.
        question: HTML of the one question that the notebook answers, or "".
        minutes: how long it takes, as the notebook says; None where it does not.
        body: HTML of all cells.
        headings: those so far; the last one says where we are.
        pictures: path within the site -> bytes of the file.
        shown: those of them that are outputs, in order.
    """

    name: str
    base: Path
    title: str = ""
    question: str = ""
    minutes: int | None = None
    body: str = ""
    headings: list[Heading] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    shown: list[Shown] = field(default_factory=list)

    def add_heading(self, level: int, text: str) -> str:
        """Remember a heading and return its id, which no other one on this page has."""
        stem = re.sub(r"\W+", "-", text.lower()).strip("-") or "section"
        # "main" and "contents" are the page's own.
        taken = {"main", "contents", *(heading.id for heading in self.headings)}
        id_, number = stem, 2
        while id_ in taken:
            id_, number = f"{stem}-{number}", number + 1
        self.headings.append(Heading(level, id_, text))
        return id_

    def add_picture(self, content: bytes, suffix: str = ".png") -> str:
        """Keep a picture; return its address within the site."""
        address = f"{PICTURES}/{self.name}-{len(self.pictures) + 1}{suffix}"
        self.pictures[address] = content
        return address

    @property
    def place(self) -> str:
        """The text of the heading under which we are."""
        return self.headings[-1].text if self.headings else self.title
