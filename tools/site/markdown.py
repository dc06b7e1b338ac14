"""Markdown as HTML: formulas as MathML, code coloured, links within the site, nothing from afar."""

import html
import re
from collections.abc import Iterator
from typing import Any

import latex2mathml.converter
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from tools.site.draft import Draft

REMOTE = re.compile(r"\s*([a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)


def coloured(code: str, language: str = "python") -> str:
    """Return code as a <pre> whose words have Pygments' classes; text where it knows no lexer."""
    try:
        lexer = get_lexer_by_name(language or "text")
    except ClassNotFound:
        lexer = get_lexer_by_name("text")
    inner = highlight(code, lexer, HtmlFormatter(nowrap=True)).rstrip("\n")
    return f'<pre class="code"><code>{inner}</code></pre>\n'


def formula(tex: str, options: dict[str, Any]) -> str:
    """Return a formula as MathML, which browsers draw without a script.

    Raises:
        ValueError: the formula cannot be read.
    """
    display = "block" if options["display_mode"] else "inline"
    try:
        math = latex2mathml.converter.convert(tex, display=display)
    except Exception as error:  # its own errors have no common class
        raise ValueError(f"The formula ${tex}$ cannot be read: {error!r}") from error
    return math.replace("<math ", f'<math alttext="{html.escape(tex)}" ', 1)


def _parser() -> MarkdownIt:
    code = {"html": True, "highlight": lambda text, language, _: coloured(text, language)}
    parser = MarkdownIt("commonmark", code).enable(["table", "strikethrough"])
    # As JupyterLab reads it: "$5 and $6" is money.
    parser.use(
        dollarmath_plugin,
        allow_labels=False,
        allow_space=False,
        allow_digits=False,
        double_inline=True,
        renderer=formula,
    )
    # A frame of its own, so that a wide table scrolls and the page does not.
    parser.add_render_rule("table_open", lambda *_: '<div class="table"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return parser


_MARKDOWN = _parser()


def inline_html(text: str) -> str:
    """Return one line of Markdown as HTML without a paragraph around it."""
    return _MARKDOWN.renderInline(text)


def plain_text(text: str) -> str:
    """Return one line of Markdown as text without its marks."""
    return "".join(_words(token) for token in _MARKDOWN.parseInline(text)).strip()


def as_html(text: str, draft: Draft) -> str:
    """Return a Markdown cell as HTML; headings and pictures are added to ``draft``."""
    tokens = _MARKDOWN.parse(text)
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        _settle(token, following, draft)
    return _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})


def _settle(token: Token, following: Token | None, draft: Draft) -> None:
    """Give one token what the site needs: ids, classes, addresses."""
    if token.type == "heading_open" and following is not None:
        token.attrSet("id", draft.add_heading(int(token.tag[1]), _words(following)))
    if token.type == "paragraph_open" and following is not None:
        first = re.match(r"\*\*(Predict|The question)\b", following.content)
        if first:
            token.attrSet("class", first[1].split()[-1].lower())
    if style := str(token.attrs.pop("style", "")):
        # A style attribute would be against the page's policy; it is a table's alignment.
        token.attrSet("class", style.rpartition(":")[2])
    if token.children:
        token.children = list(_addressed(token.children, draft))


def _words(token: Token) -> str:
    """Return a token's text without its marks."""
    if token.type == "softbreak":
        return " "
    return "".join(map(_words, token.children)) if token.children else token.content


def _addressed(tokens: list[Token], draft: Draft) -> Iterator[Token]:
    """Lead links to other notebooks to their pages, and turn remote pictures into links."""
    linked = False
    for token in tokens:
        if token.type == "link_open":
            target = re.sub(r"^([\w-]+)\.ipynb(?=#|$)", r"\1.html", str(token.attrs["href"]))
            token.attrSet("href", target)
        linked = (linked or token.type == "link_open") and token.type != "link_close"
        if token.type == "image":
            yield from _picture(token, linked, draft)
        else:
            yield token


def _picture(token: Token, linked: bool, draft: Draft) -> Iterator[Token]:
    source = str(token.attrs["src"])
    if REMOTE.match(source):
        text = Token("text", "", 0, content=_words(token) or source)
        opening = Token("link_open", "a", 1, attrs={"href": source})
        yield from [text] if linked else [opening, text, Token("link_close", "a", -1)]
        return
    if not source.startswith("data:"):
        path = draft.base / source
        if not path.is_file():
            raise ValueError(f"{draft.name}: there is no picture {source!r} beside the notebooks.")
        token.attrSet("src", draft.add_picture(path.read_bytes(), path.suffix))
    yield token
