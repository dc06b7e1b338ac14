"""The tool that builds notebooks: it loses no author's cell, and says which cell failed."""

import re
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tools import build_notebooks
from tools.build_notebooks import ROOT

NAME = "99_new"
TITLE = "# 99 · New\n\n+++\n"
SETUP = "\n```{code-cell}\n:tags: [setup]\n\n```\n"


def cell(code: str) -> str:
    return f"\n```{{code-cell}}\n{code}\n```\n"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a source in a folder that is the tool's own."""
    (tmp_path / "md").mkdir()
    monkeypatch.setattr(build_notebooks, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(build_notebooks, "SOURCES", tmp_path / "md")
    return tmp_path / "md" / f"{NAME}.md"


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """Run the tool, and return what it prints as it ends."""
    monkeypatch.setattr("sys.argv", ["build_notebooks", NAME, *arguments])
    with pytest.raises(SystemExit) as ended:
        build_notebooks.main()
    return str(ended.value.code)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TITLE + cell("mine = 1\nprint(mine)"), "first code cell .* begins 'mine = 1'"),
        (cell("mine = 1"), "first cell is code"),
        (TITLE, "first code cell .* there is none"),
    ],
)
def test_a_cell_that_would_be_lost_stops_the_tool_before_it_writes(
    source: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    source.write_text(text, encoding="utf-8")
    for arguments in ([], ["--check"]):
        printed = command(monkeypatch, *arguments)
        assert printed.startswith(f"{source}: ") and "\n" not in printed
        assert re.search(message, printed), printed
    assert source.read_text(encoding="utf-8") == text
    assert list(source.parents[1].glob("*.ipynb")) == []


@pytest.mark.parametrize("first", [SETUP, cell(""), cell(build_notebooks.setup_source())])
def test_an_empty_cell_or_an_earlier_setup_cell_becomes_the_setup_cell(
    source: Path, first: str
) -> None:
    source.write_text(TITLE + first + cell("mine = 1"), encoding="utf-8")
    kinds = [cell for cell in build_notebooks.read_source(NAME).cells if cell.cell_type == "code"]
    assert [cell.source for cell in kinds] == [build_notebooks.setup_source(), "mine = 1"]


def test_a_cell_that_fails_is_named_with_its_number_first_line_and_error(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = "wrong = [3]\nraise ValueError(f'first\\n{wrong} is wrong')"
    source.write_text(TITLE + SETUP + cell("1 + 1") + cell(failing), encoding="utf-8")
    printed = command(monkeypatch)
    assert printed == f"{NAME}, cell [3], which begins 'wrong = [3]': ValueError: [3] is wrong"
    assert "not built yet: run `uv run python -m tools" in command(monkeypatch, "--check")


def test_the_kernel_has_this_clones_package_before_another_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vizhelpers").mkdir()
    (tmp_path / "vizhelpers" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    notebook = new_notebook(cells=[new_code_cell("import vizhelpers\nvizhelpers.__file__")])
    build_notebooks.execute(notebook)
    (output,) = notebook.cells[0].outputs
    assert output.data["text/plain"] == repr(str(ROOT / "vizhelpers" / "__init__.py"))
    assert "without encryption" not in "".join(capfd.readouterr())
