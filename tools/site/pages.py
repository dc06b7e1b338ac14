"""Whole pages: one for each notebook, and the index."""

import html
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from nbformat import NotebookNode

from tools.build_photographs import LICENCES
from tools.site.cells import code_html
from tools.site.draft import Draft, Shown
from tools.site.markdown import as_html, inline_html, plain_text
from vizhelpers.inputs.photographs.images import SampleImage, sample_images

GENERATOR = "vizhelpers, tools.build_site"
SERIES = "Look inside a convolutional network"
# Under which heading stands the picture that tells most about a notebook; elsewhere the first one.
COVERS = {
    "01_print": "Explore",
    "04_hooks": "Explore",
    "05_cam": "Does the map go to the right thing?",
}
# No script at all, and nothing from anywhere else. "file:" is for browsers in which a page that
# was opened from a disk is not its own "self".
POLICY = "; ".join(
    [
        "default-src 'none'",
        "style-src 'self' file:",
        "img-src 'self' file: data:",
        "frame-src 'self' file:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
)


def fill(draft: Draft, notebook: NotebookNode) -> Draft:
    """Write a notebook, executed, into its draft; returns the draft."""
    opening = notebook.cells[0].source
    title = re.search(r"^# (.+)$", opening, re.MULTILINE)
    question = re.search(r"\*\*The question of this notebook: (.+?)\*\*\s*$", opening, re.M | re.S)
    minutes = re.search(r"\bAbout (\d+) minutes\b", opening)
    draft.title = plain_text(title[1]) if title else draft.name
    draft.question = inline_html(question[1][0].upper() + question[1][1:]) if question else ""
    draft.minutes = int(minutes[1]) if minutes else None
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            draft.body += as_html(cell.source, draft)
        elif cell.cell_type == "code":
            draft.body += code_html(cell, draft)
    return draft


def page(draft: Draft, before: Draft | None, after: Draft | None) -> str:
    """Return a notebook's page, with links to its neighbours."""
    head, rest = _split_after_title(draft.body)
    return _whole(
        title=f"{draft.title} – {SERIES}",
        top=_neighbours("Notebooks", before, after),
        kind="notebook",
        body=head + _contents(draft) + rest,
        bottom=_neighbours("Notebooks, again", before, after),
    )


def _split_after_title(body: str) -> tuple[str, str]:
    head, found, rest = body.partition("</h1>\n")
    return (head + found, rest) if found else ("", body)


def _neighbours(label: str, before: Draft | None, after: Draft | None) -> str:
    home = '<a href="index.html">All notebooks</a>'
    links = [_link(before, "prev", "← {}"), home, _link(after, "next", "{} →")]
    inner = "\n".join(link for link in links if link)
    return f'<nav class="pages" aria-label="{label}">\n{inner}\n</nav>'


def _link(draft: Draft | None, kind: str, text: str) -> str:
    if draft is None:
        return ""
    label = text.format(html.escape(draft.title))
    return f'<a rel="{kind}" href="{draft.name}.html">{label}</a>'


def _contents(draft: Draft) -> str:
    links = [
        f'<li><a href="#{heading.id}">{html.escape(heading.text)}</a></li>'
        for heading in draft.headings
        if heading.level == 2
    ]
    if not links:
        return ""
    items = "\n".join(links)
    summary = "<summary>On this page</summary>"
    return f'<details class="contents" id="contents">{summary}\n<ul>\n{items}\n</ul></details>\n'


def index(drafts: Sequence[Draft]) -> str:
    """Return the page that leads to all others."""
    total = sum(draft.minutes or 0 for draft in drafts)
    count = "One notebook" if len(drafts) == 1 else f"{len(drafts)} notebooks"
    time = f", about {_hours(total)} in all" if total else ""
    cards = "\n".join(_card(draft) for draft in drafts)
    body = (
        f"<h1>{SERIES}</h1>\n"
        f"<p>{count}{time}. Each asks one question of a real, trained network, works it out by "
        "hand, and has an explorer whose controls move the picture right there, on its page. "
        "Nothing is installed, and no server is asked.</p>\n"
        f'<ol class="cards">\n{cards}\n</ol>\n'
    )
    return _whole(title=SERIES, top="", kind="index", body=body, bottom=_credits())


def _hours(minutes: int) -> str:
    return f"{minutes} minutes" if minutes < 100 else f"{minutes / 60:.0f} hours"


def _card(draft: Draft) -> str:
    cover = ""
    if picked := _cover(draft):
        picture = f'<img src="{picked.source}" alt="{html.escape(picked.alt)}">'
        cover = f'<div class="cover">{picture}</div>\n'
    facts = f'<p class="facts">About {draft.minutes} minutes</p>' if draft.minutes else ""
    link = f'<a href="{draft.name}.html">{html.escape(draft.title)}</a>'
    return f"<li>\n{cover}<h2>{link}</h2>\n<p>{draft.question}</p>\n{facts}\n</li>"


def _cover(draft: Draft) -> Shown | None:
    """Return the picture that stands for a page in the index."""
    wanted = [one for one in draft.shown if one.place == COVERS.get(draft.name)]
    return next(iter([*wanted, *draft.shown]), None)


def _credits() -> str:
    """Return whose photographs and weights the pictures are made of, as their licences ask."""
    rows = "\n".join(f"<li>{line}</li>" for line in _credit_lines())
    return (
        '<section class="credits">\n<h2>Sources and licences</h2>\n'
        "<p>Text and code: MIT. Network and weights: SqueezeNet 1.1 by its authors "
        "(Iandola et al.), BSD-2-Clause. Photographs, scaled down, cropped and overlaid with "
        "maps; such changed pictures keep the licence of their photograph:</p>\n"
        f"<ul>\n{rows}\n</ul>\n</section>"
    )


def _credit_lines() -> Iterator[str]:
    for photo in sample_images().values():
        licence = html.escape(photo.licence)
        if photo.licence in LICENCES:
            licence = f'<a rel="license" href="{LICENCES[photo.licence]}">{licence}</a>'
        yield f"{_titled(photo)}: {html.escape(photo.author)}, {licence}"


def _titled(photo: SampleImage) -> str:
    title, address = html.escape(photo.title), photo.source.partition(" ")[0]
    if not address.startswith("https://"):
        return f"{title} ({html.escape(photo.source.partition(',')[0])})"
    return f'<a href="{html.escape(address)}">{title}</a>'


def _whole(**parts: Any) -> str:
    template = Template((files("tools.site") / "page.html").read_text(encoding="utf-8"))
    parts["title"] = html.escape(parts["title"])
    return template.substitute(policy=POLICY, generator=GENERATOR, **parts)
