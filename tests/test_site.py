"""The static site: what a page says, what it must not load, and that its explorers come along."""

import base64
import io
import re
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

pytest.importorskip("latex2mathml", reason="the dev group is not installed")

from tools import build_site
from tools.build_notebooks import read_source
from tools.site.draft import Draft
from tools.site.pages import COVERS, fill, page

ROOT = Path(__file__).parents[1]
BADGE = "https://badges.invalid/colab.svg"
OPENING = f"""# 09 · A *tiny* page

[![Open in Colab]({BADGE})](https://colab.invalid/open)

**The question of this notebook: is `x` more than
*nothing*?**

About 7 minutes."""
PROSE = r"""## A heading

A height $H$ becomes $\frac{H - k}{s} + 1$, and that costs $5 or $6.

| left | right |
|:---|---:|
| a | `b` |

**Predict.** Will it? See [the next one](10_next.ipynb#there) and [a paper](https://papers.invalid).

<details><summary>Answers</summary>

1. It *will*.

</details>

```python
def inside(fence): ...
```

![A remote picture](https://pictures.invalid/a.png)

## A heading"""
CODE = 'if x > 0:  # why\n    print("<b>")'


def png(width: int = 8, height: int = 5) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def outputs() -> list[NotebookNode]:
    words = {"image/png": {"alt": 'Kernels; "one" & two'}}
    return [
        new_output("stream", name="stdout", text="10 %\r50 %\r100"),
        new_output("stream", name="stdout", text=" %\n\x1b[31m<script>alert(1)</script>\x1b[0m\n"),
        new_output("display_data", {"image/png": png(), "text/plain": "<Figure>"}, metadata=words),
        new_output("display_data", {"image/png": png(3, 4), "text/plain": "<Image>"}),
        new_output("execute_result", {"text/plain": "tensor([1])"}),
    ]


def tiny(code: str = CODE, shown: list[NotebookNode] | None = None) -> NotebookNode:
    setup = new_code_cell("import vizhelpers as viz", metadata={"tags": ["setup"]})
    cells = [new_markdown_cell(OPENING), setup, new_markdown_cell(PROSE)]
    return new_notebook(cells=[*cells, new_code_cell(code, outputs=shown or [])])


def drafted(notebook: NotebookNode) -> Draft:
    return fill(Draft("09_tiny", ROOT / "notebooks"), notebook)


@pytest.fixture(scope="module")
def draft() -> Draft:
    return drafted(tiny(shown=outputs()))


@pytest.fixture(scope="module")
def text(draft: Draft) -> str:
    return page(draft, None, Draft("10_next", ROOT, title="Next & last"))


# ---------------------------------------------------------------- prose


def test_title_question_and_minutes_are_read_from_the_opening(draft: Draft) -> None:
    assert (draft.title, draft.minutes) == ("09 · A tiny page", 7)
    assert draft.question == "Is <code>x</code> more than\n<em>nothing</em>?"


def test_a_formula_is_mathml_and_money_is_not(text: str) -> None:
    assert re.search(r"<math[^>]* display=\"inline\"><mrow><mi>H</mi></mrow></math>", text)
    assert "<mfrac>" in text and "frac{" not in re.sub(r'alttext="[^"]*"', "", text)
    assert "costs $5 or $6." in text


def test_a_formula_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ValueError, match=r"\\left\( x"):
        drafted(new_notebook(cells=[new_markdown_cell(r"So $\left( x$.")]))


def test_a_table_keeps_its_alignment_without_a_style_attribute(text: str) -> None:
    assert '<td class="right"><code>b</code></td>' in text
    assert "style=" not in text


def test_answers_stay_folded_with_markdown_inside(text: str) -> None:
    folded = re.search(r"<details><summary>Answers</summary>(.*?)</details>", text, re.DOTALL)
    assert folded and "<li>It <em>will</em>.</li>" in folded[1]


def test_a_link_to_a_notebook_leads_to_its_page_and_others_stay(text: str) -> None:
    assert '<a href="10_next.html#there">the next one</a>' in text
    assert '<a href="https://papers.invalid">a paper</a>' in text


def test_remote_pictures_become_links(text: str) -> None:
    assert '<a href="https://colab.invalid/open">Open in Colab</a>' in text
    assert '<a href="https://pictures.invalid/a.png">A remote picture</a>' in text
    assert BADGE not in text


def test_a_picture_beside_the_notebooks_comes_along_and_a_missing_one_is_named() -> None:
    cell = new_markdown_cell("![Kernels](../images/kernels.png)")
    draft = drafted(new_notebook(cells=[cell]))
    (address,) = draft.pictures
    assert f'<img src="{address}" alt="Kernels"' in draft.body
    assert draft.pictures[address] == (ROOT / "images/kernels.png").read_bytes()
    with pytest.raises(ValueError, match=r"no picture 'gone.png'"):
        drafted(new_notebook(cells=[new_markdown_cell("![Gone](gone.png)")]))


def test_every_id_is_given_once_and_the_contents_lead_to_them(text: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert '<h2 id="a-heading">' in text and '<h2 id="a-heading-2">' in text
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)
    assert '<li><a href="#a-heading-2">A heading</a></li>' in text


def test_code_is_coloured_in_cells_and_in_fences(text: str) -> None:
    assert '<span class="k">if</span>' in text and '<span class="c1"># why</span>' in text
    assert '<span class="k">def</span>' in text
    assert "&lt;b&gt;" in text


def test_a_setup_cell_is_folded(text: str) -> None:
    assert re.search(r'<details class="setup">.*?<pre class="code">.*?</details>', text, re.DOTALL)


def test_a_page_leads_to_its_neighbours(text: str) -> None:
    assert '<a rel="next" href="10_next.html">Next &amp; last →</a>' in text
    assert 'rel="prev"' not in text
    assert '<a class="skip" href="#main">' in text


# ---------------------------------------------------------------- outputs


def test_text_is_escaped_and_a_bar_that_was_drawn_over_shows_its_end(text: str) -> None:
    assert '<pre class="text">100 %\n&lt;script&gt;alert(1)&lt;/script&gt;</pre>' in text
    assert "<script" not in text


def test_pictures_say_what_they_show_and_how_large_they_are(draft: Draft, text: str) -> None:
    first, second = draft.pictures
    assert f'src="{first}" alt="Kernels; &quot;one&quot; &amp; two" width="8" height="5"' in text
    assert f'src="{second}" alt="Picture under the heading “A heading”" width="3"' in text
    assert "&lt;Figure&gt;" not in text and "tensor([1])" in text
    assert Image.open(io.BytesIO(draft.pictures[first])).getpixel((0, 0)) == (255, 0, 0)


def test_an_error_in_a_notebook_is_no_page() -> None:
    failed = [new_output("error", ename="KeyError", evalue="'x'", traceback=[])]
    with pytest.raises(ValueError, match="09_tiny: KeyError: 'x'"):
        drafted(tiny(shown=failed))


# ---------------------------------------------------------------- what a page must not do


@pytest.mark.parametrize(
    "element",
    [
        '<script src="https://cdn.invalid/a.js"></script>',
        '<link rel="stylesheet" href="//cdn.invalid/a.css">',
        "<IMG SRC='http://cdn.invalid/a.png'>",
        '<img srcset="a.png 1x, https://cdn.invalid/b.png 2x">',
        '<iframe src="https://cdn.invalid"></iframe>',
        '<svg><use href="https://cdn.invalid/a.svg#b"/></svg>',
    ],
)
def test_an_element_that_loads_from_a_network_is_found(element: str, tmp_path: Path) -> None:
    assert len(build_site.network_loads(element)) == 1
    (tmp_path / "a.html").write_text(f"<p>{element}</p>", encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.html would load .*cdn\.invalid"):
        build_site.check(tmp_path, build_site.LARGEST)


def test_a_link_that_a_reader_follows_is_no_load() -> None:
    assert build_site.network_loads('<a href="https://papers.invalid">x</a>') == []
    assert build_site.network_loads('<img src="data:image/png;base64,//8="> <img src="a">') == []


def test_too_large_a_site_says_which_files_are_heavy(draft: Draft, tmp_path: Path) -> None:
    build_site.write([draft], tmp_path)
    (tmp_path / "heavy.png").write_bytes(bytes(60_000))
    build_site.check(tmp_path, 100_000)
    with pytest.raises(ValueError, match=r"more than 0\.05 MB.*files: heavy\.png 0\.06 MB"):
        build_site.check(tmp_path, 50_000)


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>my own page</p>", encoding="utf-8")
    with pytest.raises(ValueError, match="holds no earlier site"):
        build_site.build(tmp_path)
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == "<p>my own page</p>"


def test_an_unknown_notebook_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'07_nothing'; there are 01_print,"):
        build_site.build(tmp_path / "out", ["07_nothing"])
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- the look


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_every_text_colour_can_be_read_in_light_and_in_dark() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    style = (ROOT / "tools/site/site.css").read_text(encoding="utf-8")
    for scheme in re.findall(r":root \{(.*?--.*?)\}", style, re.DOTALL):
        colours = dict(re.findall(r"--(\w+): (#\w{6});", scheme))
        texts = colours.keys() - {"paper", "panel", "line"}
        assert len(texts) >= 9
        for ground in ("paper", "panel"):
            weak = {n for n in texts if contrast(colours[n], colours[ground]) < 4.5}
            assert not weak, f"on {ground} {colours[ground]}"
    assert len(re.findall(r":root \{[^}]*--ink", style)) == 2


def test_the_style_sheet_loads_nothing() -> None:
    style = (ROOT / "tools/site/site.css").read_text(encoding="utf-8")
    assert "url(" not in style and "@import" not in style


def test_the_headings_of_the_covers_are_in_the_notebooks() -> None:
    for name, heading in COVERS.items():
        cells = read_source(name).cells
        assert any(f"## {heading}\n" in f"{cell.source}\n" for cell in cells), heading


# ---------------------------------------------------------------- a whole site

STACK = """import numpy as np
stack = viz.ImageStack(np.arange(48.0).reshape(3, 4, 4), {"row": [1, 2, 3]}, name="Three & more")
stack.plot()"""
EXPLORE = "stack.explore()"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of one notebook with a figure and an explorer, executed once."""
    notebook = tiny(STACK)
    notebook.cells.append(new_code_cell(EXPLORE))
    out = tmp_path_factory.mktemp("site") / "deep" / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_site, "all_names", lambda: ["09_tiny"])
        patch.setattr(build_site, "source", lambda name: notebook)
        pages = build_site.build(out)
    assert pages == [out / "index.html", out / "09_tiny.html"]
    return out


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_an_explorer_becomes_a_file_and_a_frame(site: Path) -> None:
    text = read(site / "09_tiny.html")
    (frame,) = re.findall(r"<iframe [^>]*>", text)
    assert 'title="Three &amp; more: one frame at a time" loading="lazy"' in frame
    (address,) = re.findall(r'src="([^"]+)"', frame)
    explorer = read(site / address)
    assert "Content-Security-Policy" in explorer and "mount(" in explorer
    assert f'<a href="{address}">Open this explorer' in text


def test_on_paper_an_explorer_is_a_picture(site: Path) -> None:
    text = read(site / "09_tiny.html")
    (still,) = re.findall(r'<img class="still" src="([^"]+)" alt="Three &amp; more: one', text)
    assert Image.open(site / still).size[0] > 50
    paper = read(site / "site.css").partition("@media print")[2]
    assert ".still { display: block; }" in paper and ".frame" in paper.partition("none")[0]


def test_a_figure_is_described_by_its_own_titles(site: Path) -> None:
    (alt,) = re.findall(r'class="figure" src="[^"]+" alt="([^"]*)"', read(site / "09_tiny.html"))
    assert alt == "Three &amp; more"  # and not the numbers of its tiles


def test_the_cell_that_collects_is_not_in_the_site(site: Path) -> None:
    text = read(site / "09_tiny.html")
    assert "_collect" not in text
    assert text.count('<pre class="code">') == 4  # setup, a fence, two cells


def test_the_index_leads_to_the_page_with_its_picture(site: Path) -> None:
    text = read(site / "index.html")
    assert '<a href="09_tiny.html">09 · A tiny page</a>' in text
    assert "About 7 minutes" in text and "more than\n<em>nothing</em>?" in text
    (cover,) = re.findall(r'<div class="cover"><img src="([^"]+)" alt="Three', text)
    assert (site / cover).is_file()
    assert "CC-BY-SA-4.0" in text and "Arturo de Frias Marques" in text


def test_no_file_loads_from_a_network_and_every_page_says_so_to_the_browser(site: Path) -> None:
    loading = r"<(?:script|img|link|iframe|source|video|object)\b[^>]*(?:https?:)?//"
    for path in site.rglob("*.html"):
        text = re.sub(r"data:[^\"]*", "", read(path))
        assert re.findall(loading, re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)) == []
        assert "default-src 'none'" in read(path)
        assert str(ROOT) not in text
    for name in ("index", "09_tiny"):
        assert "<script" not in read(site / f"{name}.html")
        assert "<style" not in read(site / f"{name}.html")


def test_a_site_may_be_built_over_an_earlier_one(site: Path) -> None:
    build_site.check_replaceable(site)
