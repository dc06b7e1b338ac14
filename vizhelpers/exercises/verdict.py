"""``Verdict`` and ``Note``: what ``check`` and ``hint`` return, shown in a notebook as text."""

import html
from dataclasses import dataclass
from typing import Literal

Standing = Literal["right", "wrong", "open"]

# Readable on white and on a dark theme; the word has the same meaning as the colour.
_COLOURS = {"right": "#0a7d4f", "wrong": "#c2410c", "open": "#64748b"}
_WORDS = {"right": "✔ Right", "wrong": "✘ Not yet", "open": "○ Open"}


@dataclass(frozen=True)
class Verdict:
    """The result of a check; true if the answer is right.

    Attributes:
        key: the exercise, such as ``"03.2"``.
        standing: ``"right"``, ``"wrong"``, or ``"open"`` (not answered yet).
        text: one or two sentences about the answer.
        mistake: short name of the recognised mistake, or None.
    """

    key: str
    standing: Standing
    text: str
    mistake: str | None = None

    def __bool__(self) -> bool:
        """Tell whether the answer is right."""
        return self.standing == "right"

    def __repr__(self) -> str:
        """Return the verdict as one line of plain text."""
        return f"{_WORDS[self.standing]} · {self.key}: {self.text}"

    def _repr_html_(self) -> str:
        return (
            f'<p style="border-left: 4px solid {_COLOURS[self.standing]}; padding: 2px 10px; '
            f'margin: 4px 0"><strong style="color: {_COLOURS[self.standing]}">'
            f"{_WORDS[self.standing]}</strong> · {self.key}: {html.escape(self.text)}</p>"
        )


@dataclass(frozen=True)
class Note:
    """A text in Markdown, which a notebook renders."""

    text: str

    def __repr__(self) -> str:
        """Return the Markdown source."""
        return self.text

    def _repr_markdown_(self) -> str:
        return self.text
