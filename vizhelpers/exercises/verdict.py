"""What a reader is told: a coloured line that can also be read without colour."""

import html
from dataclasses import dataclass
from typing import Literal

Standing = Literal["right", "wrong", "open"]

# Dark enough on white, light enough on a dark theme; the word says the same as the colour.
_COLOURS = {"right": "#0a7d4f", "wrong": "#c2410c", "open": "#64748b"}
_WORDS = {"right": "✔ Right", "wrong": "✘ Not yet", "open": "○ Open"}


@dataclass(frozen=True)
class Verdict:
    """Whether an answer holds.

    Attributes:
        key: the exercise, such as ``"03.2"``.
        standing: ``"right"``, ``"wrong"``, or ``"open"``: nothing was answered yet.
        text: what is right or wrong with it, in a sentence or two.
        mistake: short name of the mistake that was recognised, or None.
    """

    key: str
    standing: Standing
    text: str
    mistake: str | None = None

    def __bool__(self) -> bool:
        """Tell whether the answer is right."""
        return self.standing == "right"

    def __repr__(self) -> str:
        """Return the line as plain text."""
        return f"{_WORDS[self.standing]} · {self.key}: {self.text}"

    def _repr_html_(self) -> str:
        return (
            f'<p style="border-left: 4px solid {_COLOURS[self.standing]}; padding: 2px 10px; '
            f'margin: 4px 0"><strong style="color: {_COLOURS[self.standing]}">'
            f"{_WORDS[self.standing]}</strong> · {self.key}: {html.escape(self.text)}</p>"
        )


@dataclass(frozen=True)
class Note:
    """A text in Markdown: shown as such in a notebook, as it is elsewhere."""

    text: str

    def __repr__(self) -> str:
        """Return the Markdown itself, which reads as plain text."""
        return self.text

    def _repr_markdown_(self) -> str:
        return self.text
