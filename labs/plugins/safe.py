"""Text that a student wrote, with nothing active in it.

nbgrader's pages show a notebook's text as it stands (``sanitize_html`` does not reach their
templates). A script in it, or behind a link in it, would run in the teacher's browser with the
teacher's right to change marks.
"""

import re
import struct
from html import escape

from bs4 import BeautifulSoup, NavigableString, Tag
from nbconvert.filters import Highlight2HTML, strip_files_prefix
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

# The time to render a text grows with the square of its markup characters: within these limits
# the slowest text found takes a tenth of a second.
LONGEST, MOST_MARKUP, LONGEST_LITERAL = 10_000, 1_000, 20_000
MOST_PIXELS = 50_000_000
LONGEST_LINE = 300  # the time to colour code grows with the square of a line's length
MARKUP = re.compile(r"[\\$\[\]()<>*_`~|!&#:=\-\"]|\n *\d")

# What nbconvert's renderer makes of Markdown without HTML and pictures.
TAGS = re.findall(
    r"\w+",
    """a blockquote br code dd del div dl dt em h1 h2 h3 h4 h5 h6 hr input li ol p pre span strong
    table tbody td th thead tr ul""",
)
LANGUAGES = {"", "bash", "ipython3", "py", "python", "python3", "text", "txt"}
ATTRIBUTES = {  # those with any value that the renderer gives them have the pattern ".*"
    "href": r"(?i:https?://|mailto:)[!-\[\]-~]+|#[!-~]*",
    "title": ".*",
    "class": r"[a-z0-9 -]*",
    "start": r"\d+",
    "style": r"text-align: ?(left|right|center)",
    "type": "checkbox",
    "checked": ".*",
    "disabled": ".*",
    # formgrader finds the fields of marks by their ids, which are names like test_answer.
    "id": r"(?!(cell-)?[a-z0-9_.]+(-comment)?$).*",
}

ENVIRONMENTS = {"equation", "align", "gather", "aligned", "gathered", "split", "array", "cases"}
ENVIRONMENTS |= {"matrix", "pmatrix", "bmatrix", "vmatrix", "Vmatrix", "Bmatrix", "smallmatrix"}
COMMANDS = set(
    re.findall(
        r"\w+",
        """
    begin end left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr
    frac dfrac tfrac cfrac binom dbinom tbinom sqrt sum prod int iint iiint oint coprod
    text textbf textit textrm texttt mathrm mathbf mathit mathsf mathtt mathbb mathcal mathfrak
    mathscr boldsymbol bm operatorname rm bf it mbox limits nolimits displaystyle textstyle
    hat widehat bar overline underline tilde widetilde vec dot ddot check breve acute grave
    overbrace underbrace overset underset stackrel substack overrightarrow overleftarrow
    quad qquad hline hfill nonumber notag tag label ref eqref not mod bmod pmod cr
    alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi
    pi varpi rho varrho sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta
    Lambda Xi Pi Sigma Upsilon Phi Psi Omega
    times cdot div pm mp ast star circ bullet oplus ominus otimes oslash odot dagger ddagger
    wedge land vee lor cap cup setminus backslash neg lnot bigcap bigcup bigoplus bigotimes
    bigodot bigvee bigwedge
    le leq leqslant ge geq geqslant ll gg ne neq equiv sim simeq approx cong propto doteq lt gt
    in notin ni subset subseteq supset supseteq mid nmid parallel perp models vdash
    to gets mapsto rightarrow leftarrow leftrightarrow Rightarrow Leftarrow Leftrightarrow
    longrightarrow longleftarrow Longrightarrow Longleftarrow implies impliedby iff
    longmapsto hookrightarrow uparrow downarrow Uparrow Downarrow nearrow searrow
    langle rangle lfloor rfloor lceil rceil lbrace rbrace lbrack rbrack lvert rvert lVert rVert
    vert Vert colon ldots cdots vdots ddots dots dotsc dotsb
    infty partial nabla forall exists nexists emptyset varnothing ell hbar imath jmath Re Im wp
    aleph prime angle triangle square Box blacksquare checkmark top bot
    sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh coth exp log ln lg max min sup inf
    lim limsup liminf arg det dim ker gcd deg Pr hom therefore because
    """,
    )
)
FORMULA = re.compile(r"\$|\\[(\[]|\\begin")


class Unsafe(ValueError):
    """A text would do something in a browser, or takes long to render; says what it holds."""


class _Renderer(IPythonRenderer):
    """The renderer of the pages, without what passes a student's HTML on."""

    def block_html(self, html: str) -> str:
        raise Unsafe("HTML")

    inline_html = block_mermaidjs = block_html

    def image(self, text: str, url: str, title: str | None = None) -> str:
        raise Unsafe("a picture")

    def block_code(self, code: str, info: str | None = None) -> str:
        if (info or "").strip().lower() not in LANGUAGES:
            raise Unsafe("a block of code in an unusual language")
        return str(super().block_code(code, info))


def harmless(kind: str, source: str) -> str:
    """Return a student's text as it was, or as literal text where a browser would act on it.

    Code is shown, never run, in nbgrader's pages, so it stays as it is.

    Args:
        kind: type of the cell: "code", "markdown", or "raw".
        source: the cell's text.
    """
    if kind == "code":
        return source
    if kind != "markdown":
        return f"<pre>{escape(_cut(source))}</pre>"
    reason = Unsafe("")
    for text in dict.fromkeys((source, re.sub(r"<(?=[A-Za-z/!?])", "< ", source))):
        try:
            check(text)
            return text
        except Unsafe as e:
            reason = e
    return _literal(source, reason)


def coloured(source: str, language: str = "", metadata: object = None) -> str:
    """Return code as HTML, in Python's colours where these do not take long.

    nbconvert calls it as a filter, and names a language that the student chose (``%%perl``).
    """
    lines = source.splitlines()
    if len(source) > LONGEST_LITERAL or any(len(line) > LONGEST_LINE for line in lines):
        return f'<div class="highlight"><pre>{escape(source)}</pre></div>'
    return str(Highlight2HTML(pygments_lexer="ipython3")(source))


def is_picture(png: bytes) -> bool:
    """Tell whether bytes begin as a PNG of at most ``MOST_PIXELS`` pixels does."""
    if not png.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR") or len(png) < 24:
        return False
    width, height = struct.unpack(">II", png[16:24])
    return 0 < width * height <= MOST_PIXELS


def check(text: str) -> None:
    """Raise an Unsafe if Markdown holds more than text, links to web pages, and formulas."""
    if len(text) > LONGEST:
        raise Unsafe(f"more than {LONGEST} characters")
    if sum(1 for _ in MARKUP.finditer(text)) > MOST_MARKUP:
        raise Unsafe(f"more than {MOST_MARKUP} characters of markup")
    try:
        html = MarkdownWithMath(renderer=_Renderer(escape=False)).render(text)
    except Unsafe:
        raise
    except Exception as e:
        raise Unsafe("Markdown that cannot be rendered") from e
    page = BeautifulSoup(strip_files_prefix(html), "html.parser")
    for node in list(page.descendants):
        if isinstance(node, Tag):
            _check_tag(node)
        elif type(node) is not NavigableString:  # a comment, a declaration
            raise Unsafe("HTML")
    for code in page(["code", "pre"]):
        code.decompose()  # MathJax leaves it alone
    # The page's text for nbgrader's pages, the source for JupyterLab, which looks there.
    for read in (page.get_text(" "), text):
        _check_formulas(read)


def _check_tag(tag: Tag) -> None:
    if tag.name not in TAGS:
        raise Unsafe("HTML")
    for name, value in tag.attrs.items():
        words = " ".join(value) if isinstance(value, list) else value
        if not re.fullmatch(ATTRIBUTES.get(name, "(?!)"), words, re.DOTALL):
            what = {"href": "a link to no web page", "id": "a heading like a name of a test"}
            raise Unsafe(what.get(name, "HTML"))


def _check_formulas(text: str) -> None:
    if not FORMULA.search(text):
        return
    for found in re.finditer(r"\\(?:([A-Za-z]+)|.)(?=(?:\{([a-zA-Z]+)\*?\})?)", text, re.DOTALL):
        name, group = found.groups()
        if name and name not in COMMANDS:
            raise Unsafe(f"the command {name} in a formula")
        if name in ("begin", "end") and group not in ENVIRONMENTS:
            raise Unsafe("an unusual environment in a formula")


def _literal(source: str, reason: Unsafe) -> str:
    """Return Markdown that shows its own source."""
    text = re.sub("\r\n?", "\n", _cut(source)).replace("\\", "⧵")  # JupyterLab: also no formulas
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"**Shown as it was typed, since it holds {reason}:**\n\n{fence}\n{text}\n{fence}"


def _cut(source: str) -> str:
    if len(source) <= LONGEST_LITERAL:
        return source
    return source[:LONGEST_LITERAL] + "\n… cut off …"
