"""The notebooks as files: cells like their sources, clean outputs, and the series' anatomy.

That they run and give the saved outputs again is nbval's part: pytest collects them as well.
"""

import re
import statistics
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from tools import build_notebooks, student_notebooks
from tools.build_notebooks import LARGEST, NOTEBOOKS, ROOT, SOURCES, WIDGET_VIEW

SERIES = build_notebooks.names()
HEADINGS = ["Where this picture misleads", "Summary", "References"]
# A folder of this or any other machine; a web address and `a/tmp/b` are none.
ABSOLUTE_PATH = re.compile(r"(?<![\w./:-])(/(home|root|Users|tmp|var|usr|opt)/|[A-Za-z]:\\)")
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}")


@pytest.fixture(params=SERIES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def notebook(name: str) -> NotebookNode:
    return build_notebooks.read_built(name)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def lessons(notebook: NotebookNode) -> list[NotebookNode]:
    """All code cells but the setup cell."""
    return [cell for cell in code_cells(notebook) if "setup" not in cell.metadata.get("tags", [])]


def where(name: str, cell: NotebookNode) -> str:
    return f"{name}, cell [{cell.execution_count}]: {cell.source[:80]!r}"


def texts(output: NotebookNode) -> list[str]:
    """Whatever a reader or nbval reads of one output, PNG aside."""
    data = output.get("data", {})
    kinds = [kind for kind in data if not kind.startswith("image/png")]
    return [str(output.get("text", "")), *(str(data[kind]) for kind in kinds)]


def test_notebooks_are_numbered_without_gaps_and_each_has_a_source() -> None:
    assert [name[:3] for name in SERIES] == [f"{i:02d}_" for i in range(1, len(SERIES) + 1)]
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} <= set(SERIES)


def test_readmes_table_has_one_row_for_each_notebook_in_order() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\w+)\]\(notebooks/(\w+)\.ipynb\) \|", readme, re.MULTILINE)
    assert rows == [(name, name) for name in SERIES]


def test_source_and_notebook_have_the_same_cells_badge_and_setup_cell(name: str) -> None:
    assert not build_notebooks.differences(name)


def test_the_comparison_sees_a_changed_word(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = build_notebooks.read_source

    def changed(which: str) -> NotebookNode:
        notebook = read(which)
        notebook.cells[-1].source += " and a word more"
        return notebook

    monkeypatch.setattr(build_notebooks, "read_source", changed)
    assert build_notebooks.differences(name)


def test_badge_and_setup_cell_hold_the_projects_address(name: str, notebook: NotebookNode) -> None:
    address = build_notebooks.repository()
    badge = (
        f"/github/{address.removeprefix('https://github.com/')}/blob/main/notebooks/{name}.ipynb"
    )
    setup = code_cells(notebook)[0]
    assert badge in notebook.cells[0].source, f"{name}: no badge under the title"
    assert setup.metadata.tags == ["setup"], f"{name}: the first code cell is not the setup cell"
    assert f"git+{address}" in setup.source
    assert not setup.outputs, f"{name}: the setup cell prints something"


def test_outputs_come_from_one_run_from_top_to_bottom(name: str, notebook: NotebookNode) -> None:
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1)), f"{name}: {counts}"
    assert any(cell.outputs for cell in lessons(notebook)), f"{name}: no outputs"


def test_outputs_hold_no_error_warning_path_or_address(name: str, notebook: NotebookNode) -> None:
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.output_type != "error", where(name, cell)
            assert output.get("name") != "stderr", f"{where(name, cell)}\n{output.text}"
            for text in texts(output):
                assert not ABSOLUTE_PATH.search(text), f"{where(name, cell)}: a path in {text!r}"
                assert not ADDRESS.search(text), f"{where(name, cell)}: an address in {text!r}"


def test_no_widget_state_and_no_pairing_is_saved(name: str, notebook: NotebookNode) -> None:
    assert set(notebook.metadata) == {"kernelspec", "language_info"}, name
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert WIDGET_VIEW not in output.get("data", {}), where(name, cell)


def test_a_notebook_stays_small(name: str, notebook: NotebookNode) -> None:
    size = (NOTEBOOKS / f"{name}.ipynb").stat().st_size
    assert size <= LARGEST, f"{name}: {size / 1e6:.2f} MB"


def test_code_cells_are_short(name: str, notebook: NotebookNode) -> None:
    lines = sorted(len(cell.source.splitlines()) for cell in lessons(notebook))
    long = [where(name, cell) for cell in lessons(notebook) if len(cell.source.splitlines()) > 10]
    assert statistics.median(lines) <= 5, f"{name}: {lines}"
    assert len(long) <= len(lines) / 10, f"{len(long)} of {len(lines)}: {long}"


def test_code_cells_end_in_a_value_or_in_nothing(name: str, notebook: NotebookNode) -> None:
    for cell in code_cells(notebook):
        assert not cell.source.rstrip().endswith(";"), where(name, cell)
        assert not re.search(r"\b(interact|interactive|Output)\(", cell.source), where(name, cell)


def test_the_notebook_has_its_anatomy(name: str, notebook: NotebookNode) -> None:
    markdown = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    prose = "\n".join(markdown)
    assert markdown[0].startswith("# "), f"{name}: the first line is no title"
    assert "?" in markdown[0], f"{name}: the first cell asks no question"
    assert prose.count("**Predict") >= 3, f"{name}: {prose.count('**Predict')} Predict lines"
    for heading in HEADINGS:
        assert re.search(rf"^##+ .*{heading}", prose, re.MULTILINE), f"{name}: no {heading!r}"


def test_a_panel_is_there_and_shows_its_picture_without_widgets(
    name: str, notebook: NotebookNode
) -> None:
    panels = [cell for cell in code_cells(notebook) if "viz.explore_" in cell.source]
    kinds = {kind for cell in panels for out in cell.outputs for kind in out.get("data", {})}
    assert panels, f"{name}: no viz.explore_…"
    assert {"image/png", "text/plain"} <= kinds, f"{name}: the panel shows {sorted(kinds)}"


def test_a_class_gets_the_notebooks_without_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["student_notebooks", str(tmp_path)])
    student_notebooks.main()
    for name in SERIES:
        empty = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4)
        assert not any(cell.outputs or cell.execution_count for cell in code_cells(empty))
        assert build_notebooks.cells(empty) == build_notebooks.cells(
            build_notebooks.read_built(name)
        )


def test_every_source_is_where_jupytext_looks_for_it() -> None:
    config = (NOTEBOOKS / "jupytext.toml").read_text(encoding="utf-8")
    assert f'formats = "ipynb,{SOURCES.name}//md:myst"' in config
