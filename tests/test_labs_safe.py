"""What a student wrote keeps its formatting, or is shown as typed: nothing in it is active."""

import base64
import io
import time

import pytest

pytest.importorskip("nbconvert")

from bs4 import BeautifulSoup
from nbconvert.filters.markdown_mistune import markdown2html_mistune
from PIL import Image

from labs.plugins import safe
from labs.plugins.safe import harmless, is_picture

LITERAL = ["p", "strong", "pre", "code"]


def tags(markdown: str) -> list[str]:
    """Return the elements that nbgrader's pages make of a text."""
    return [tag.name for tag in BeautifulSoup(markdown2html_mistune(markdown), "html.parser")(True)]


@pytest.mark.parametrize(
    "text",
    [
        "The *sum* is **larger** than `a < b`, ~~not~~ smaller; a < b and b<c.",
        "# My answer\n\n- one\n- two\n  1. three\n\n> quoted\n\n---\n- [x] done",
        "| a | b |\n|:--|--:|\n| 1 | 2 |",
        "[Grad-CAM](https://arxiv.org/abs/1610.02391 'a paper'), <https://arxiv.org>, www.x.org",
        "[mail](mailto:ada@example.org) <ada@example.org> [above](#My-answer)",
        "https://zh.wikipedia.org/wiki/卷积 und Größe α ≤ β",
        "```python\nprint('a\\n')\n```\n\n    indented",
        r"$x^2$ and $a < b$, $$\frac{1}{n} \sum_{i=1}^n x_i \text{ if } a < b$$",
        r"\\(a\\) \\[b\\] \$5",
        r"C:\temp\new",
        "\\begin{align*}\nL &= \\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}\n\\end{align*}",
        r"$\operatorname{ReLU}\left(\sum_k \alpha_k^c A^k\right) \in \mathbb{R}^{h \times w}$",
        "",
    ],
)
def test_an_honest_answer_stays_as_it_is(text: str) -> None:
    assert harmless("markdown", text) == text


# Each is shown as it was typed.
LINKS = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java&#115;cript:alert(1)",
    "java&Tab;script:alert(1)",
    "java&NewLine;script:alert(1)",
    "&#1;javascript:alert(1)",
    "javascript&colon;alert(1)",
    "%6aavascript:alert(1)",
    "vbscript:msgbox(1)",
    "data:text/html;base64,AAAA",
    "blob:https://x",
    "file:///etc/passwd",
    "view-source:javascript:alert(1)",
    "//evil.example",
    "evil.html",
    "/formgrader?path=/x",
    "files/javascript:alert(1)",  # nbconvert removes "files/"
    "https:\\\\evil.example",
    "ftp://x",
]
COMMANDS = ["href", "require", "def", "let", "newcommand", "newenvironment", "style", "class"]
COMMANDS += ["cssId", "unicode", "bbox", "html", "url", "toggle", "texttip", "mmlToken", "enclose"]
FORMULAS = {
    "inline": "${}$",
    "displayed": "$${}$$",
    "parentheses": r"\\({}\\)",
    "brackets": r"\\[{}\\]",
    "environment": r"\begin{{align}}{}\end{{align}}",
    "in a text": r"$\text{{{}}}$",
    "dollars as entities": "&#36;{}&#36;",
    "dollars that are escaped": r"\$ $$ {} $$ \$",
    "in code for Markdown, a formula for JupyterLab": r"`\begin{{align}}{}\end{{align}}`",
}
OTHERS = {
    "a picture": "![x](https://evil.example/x.png)",
    "a picture that is missing": "![x](attachment:y)",
    "a diagram": "```mermaid\n<img src=x onerror=alert(1)>\n```",
    "a language whose colouring may take hours": "```perl\nx\n```",
    "an unknown environment": r"\begin{foo}x\end{foo}",
    "an id of formgrader's": "# test_double",
    "another id of formgrader's": "test_double-comment\n===",
}


@pytest.mark.parametrize("address", LINKS)
@pytest.mark.parametrize("link", ["[x]({})", "[x](<{}>)", "[x][y]\n\n[y]: {}", "# A [x]({})"])
def test_a_link_leads_to_web_pages_and_mail_only(address: str, link: str) -> None:
    assert tags(harmless("markdown", link.format(address))) == LITERAL


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_formula_holds_commands_that_only_draw(command: str, formula: str) -> None:
    text = FORMULAS[formula].format(f"\\{command}{{javascript:alert(1)}}{{x}}")
    shown = harmless("markdown", text)
    assert tags(shown) == LITERAL and f"\\{command}" not in shown


@pytest.mark.parametrize("other", OTHERS)
def test_other_active_parts_are_shown_as_typed(other: str) -> None:
    assert tags(harmless("markdown", OTHERS[other])) == LITERAL


@pytest.mark.parametrize(
    "html",
    ["<img src=x onerror=alert(1)>", "<!--> <img src=x> -->", "<![CDATA[<svg>]]>", "</div><p>"],
)
def test_html_is_text_whose_formatting_stays(html: str) -> None:
    assert set(tags(harmless("markdown", f"**bold** {html}"))) == {"p", "strong"}


def test_a_raw_cell_is_text_and_code_stays() -> None:
    assert harmless("raw", "<b>\\href</b>") == "<pre>&lt;b&gt;\\href&lt;/b&gt;</pre>"
    assert harmless("code", "<b> $\\href{}$") == "<b> $\\href{}$"


@pytest.mark.parametrize("text", ["```\n</code><img>\n```\n[x](evil)", "`" * 500 + " `\n[x](evil)"])
def test_nothing_ends_the_block_in_which_a_text_is_shown_as_typed(text: str) -> None:
    shown = harmless("markdown", text)
    assert tags(shown) == LITERAL
    block = BeautifulSoup(markdown2html_mistune(shown), "html.parser").code
    assert block is not None and block.text.strip() == text


SLOW = [
    "\\begin{a}",
    "[",
    "![",
    "$$",
    "\\\\[",
    "> ",
    "- ",
    "_a\n=\n",
    "|a",
    "<a ",
    "[[a]",
    "```a\n",
]


@pytest.mark.parametrize("piece", SLOW)
def test_a_text_made_to_be_slow_costs_seconds_at_most(piece: str) -> None:
    longest = piece * (safe.LONGEST // len(piece))
    most = piece * (safe.MOST_MARKUP // max(1, len(safe.MARKUP.findall(piece))))
    for text in (piece * 100_000, longest, most[: safe.LONGEST]):
        start = time.process_time()
        markdown2html_mistune(harmless("markdown", text))
        assert time.process_time() - start < 5


@pytest.mark.parametrize("code", ["a." * 50_000, "*" * 100_000, "%%perl\n" + "'\\" * 50_000])
def test_code_that_is_slow_to_colour_is_shown_without_colours(code: str) -> None:
    start = time.process_time()
    shown = BeautifulSoup(safe.coloured(code), "html.parser")
    assert time.process_time() - start < 2 and shown.pre is not None
    assert shown.pre.text == code and not shown("span")
    assert 'class="kn"' in safe.coloured("import torch  # <b>") and "<b>" not in safe.coloured(
        "<b>"
    )


def test_a_picture_is_a_png_of_a_size_that_can_be_shown() -> None:
    file = io.BytesIO()
    Image.new("L", (3, 2)).save(file, "PNG")
    png = file.getvalue()
    assert is_picture(png)
    assert not is_picture(b"<svg onload='alert(1)'/>") and not is_picture(png[:20])
    assert not is_picture(png[:16] + b"\xff" * 8 + png[24:])
    assert not is_picture(base64.b64encode(png))
