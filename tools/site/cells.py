"""Code cells and their outputs as HTML."""

import base64
import html
import io
import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from nbformat import NotebookNode
from PIL import Image

from tools.build_notebooks import clean_output
from tools.site.draft import Draft, Shown
from tools.site.markdown import coloured

# Said under every explorer, since the questions above it may ask for more.
_LIMITS = "It offers what was computed beforehand; run the notebook for everything else."
_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # colours and cursor moves
# The pages allow no style but their own.
_STYLE = re.compile(r' style="[^"]*"')


def code_html(cell: NotebookNode, draft: Draft) -> str:
    """Return a code cell and what it put out; a setup cell is folded.

    Raises:
        ValueError: an output is an error: this is not for a course's page.
    """
    source = coloured(cell.source)
    if "setup" in cell.metadata.get("tags", []):
        summary = "Setup cell: finds or installs <code>vizhelpers</code>"
        source = f'<details class="setup"><summary>{summary}</summary>\n{source}</details>\n'
    shown = "".join(_outputs(cell.get("outputs", []), draft))
    return source + (f'<div class="output">\n{shown}</div>\n' if shown else "")


def _outputs(outputs: Sequence[NotebookNode], draft: Draft) -> Iterator[str]:
    """Yield outputs in order; a stream that came in several pieces is one."""
    for kind, group in groupby(outputs, key=lambda output: output.output_type):
        if kind == "stream":
            yield _text("".join(output.text for output in group))
            continue
        for output in group:
            if kind == "error":
                raise ValueError(f"{draft.name}: {output.ename}: {output.evalue}")
            yield _rich(output, draft)


def _rich(output: NotebookNode, draft: Draft) -> str:
    """Return the richest form that a page without scripts can show."""
    about, data = dict(output.metadata), output.data
    clean_output(output)  # a smaller PNG
    page = about.get("text/html", {}).get("page")
    png = base64.b64decode(data["image/png"]) if "image/png" in data else b""
    alt = about.get("image/png", {}).get("alt") or f"Picture under the heading “{draft.place}”"
    if page:
        return _explorer(data["text/html"], page, png, alt, draft)
    if "text/html" in data:
        return f'<div class="html">{_STYLE.sub("", data["text/html"])}</div>\n'
    if png:
        return _picture(png, alt, draft)
    return _text(data.get("text/plain", ""))


def _explorer(frame: str, page: str, png: bytes, alt: str, draft: Draft) -> str:
    """Return a frame for the screen, and its picture for paper."""
    still = _picture(png, alt, draft, kind="still") if png else ""
    link = f'<a href="{html.escape(page)}">Open this explorer on a page of its own</a>'
    return (
        f'<div class="explorer">\n<div class="frame">{frame}</div>\n'
        f'<p class="alone">{link}. {_LIMITS}</p>\n{still}</div>\n'
    )


def _picture(png: bytes, alt: str, draft: Draft, kind: str = "figure") -> str:
    width, height = Image.open(io.BytesIO(png)).size
    address = draft.add_picture(png)
    draft.shown.append(Shown(address, alt, draft.place))
    size = f'width="{width}" height="{height}"'
    return f'<img class="{kind}" src="{address}" alt="{html.escape(alt)}" {size}>\n'


def _text(text: str) -> str:
    """Return text as a terminal would leave it: a bar that was drawn over shows its last state."""
    lines = _TERMINAL.sub("", text).rstrip("\n").split("\n")
    last = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)
    return f'<pre class="text">{html.escape(last)}</pre>\n' if last else ""
