"""Build the notebooks from their sources: ``uv run python -m tools.build_notebooks [NAMES]``.

``notebooks/md/NAME.md`` (MyST Markdown) is the source. This tool writes the setup cell and the
Colab badge into it, executes it in an empty folder, and writes ``notebooks/NAME.ipynb`` with its
outputs: text and PNG, no widget view, no widget state. ``--check`` executes nothing; it only says
whether sources and notebooks have the same cells. ``--addresses`` executes nothing either; it only
renews the setup cells and badges of notebooks that are built.
"""

import argparse
import base64
import hashlib
import io
import os
import re
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from PIL import Image

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
SOURCES = NOTEBOOKS / "md"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
LARGEST = 1_500_000  # bytes
PHOTOGRAPHIC = 120_000  # bytes of PNG above which colours are rounded; maps and text stay below
COARSE = 6  # levels, of 256; the eye does not see it, and the file is half as large
Found = TypeVar("Found")
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


class BuildError(Exception):
    """A notebook cannot be built or read; the message is a sentence for the author."""


def repository() -> str:
    """Return the project's address, which stands once, in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"]


def names() -> list[str]:
    """Return the notebooks' names in order."""
    return sorted(path.stem for path in SOURCES.glob("*.md"))


def setup_source() -> str:
    """Return the setup cell with the repository's address in it."""
    template = (Path(__file__).parent / "setup_cell.txt").read_text(encoding="utf-8")
    return template.replace("@REPOSITORY@", repository()).strip()


def badge(name: str) -> str:
    """Return the line of Markdown that opens a notebook in Colab, which reads from GitHub only."""
    place = repository().removeprefix("https://github.com/")
    if place == repository():
        return ""
    colab = "https://colab.research.google.com"
    return (
        f"[![Open in Colab]({colab}/assets/colab-badge.svg)]"
        f"({colab}/github/{place}/blob/main/notebooks/{name}.ipynb)"
    )


def read_source(name: str) -> NotebookNode:
    """Read a source, with today's setup cell and badge in it.

    Raises:
        BuildError: another cell stands where the title or the setup cell belongs; it would be lost.
    """
    path = SOURCES / f"{name}.md"
    notebook = jupytext.read(path, fmt="md:myst")
    first = notebook.cells[0]
    if first.cell_type != "markdown":
        raise BuildError(f"{path}: the first cell is code; it must be Markdown, with the title.")
    setup = next((cell for cell in notebook.cells if cell.cell_type == "code"), None)
    if setup is None or not is_setup(setup):
        content = "there is none" if setup is None else f"it begins {first_line(setup)!r}"
        raise BuildError(
            f"{path}: the first code cell is reserved for the setup cell, but {content}. "
            "Put an empty code cell before all others; this tool fills it."
        )
    text = re.sub(r"^\[!\[Open in Colab\].*\n+", "", first.source, flags=re.MULTILINE)
    title, _, rest = text.partition("\n")
    first.source = "\n\n".join(filter(None, [title, badge(name), rest.strip()]))
    setup.source = setup_source()
    setup.metadata["tags"] = ["setup"]
    return notebook


def is_setup(cell: NotebookNode) -> bool:
    """Tell whether a code cell is the setup cell, of whatever version, or empty."""
    source = cell.source.strip()
    return "setup" in cell.metadata.get("tags", []) or source in ("", setup_source())


def first_line(cell: NotebookNode) -> str:
    """Return a cell's first line that is not blank."""
    return cell.source.strip().partition("\n")[0]


def write_source(name: str, notebook: NotebookNode) -> None:
    """Write the source back, so that it holds what the notebook holds."""
    copy = nbformat.from_dict(notebook)
    copy.metadata = nbformat.from_dict(
        {
            "kernelspec": KERNEL,
            "jupytext": {
                "text_representation": {"extension": ".md", "format_name": "myst"},
                "notebook_metadata_filter": "-all",
            },
        }
    )
    text = jupytext.writes(copy, fmt="md:myst")
    head = (
        "---\njupytext:\n  text_representation:\n    extension: .md\n    format_name: myst\n"
        "kernelspec:\n  display_name: Python 3\n  language: python\n  name: python3\n---\n"
    )
    body = re.sub(r"\A---\n.*?\n---\n", "", text, count=1, flags=re.DOTALL)
    (SOURCES / f"{name}.md").write_text(f"{head}\n{body.strip()}\n", encoding="utf-8")


def execute(notebook: NotebookNode) -> None:
    """Run all cells, top to bottom, in an empty folder, with this clone's ``vizhelpers``.

    One thread each: idle OpenMP threads spin, and would slow down the notebooks beside this one.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=300,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            extra_arguments=["--log-level=ERROR"],  # no warning that TCP is not encrypted
        )
        client.execute(env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path})


def on_all_cores(step: Callable[[str], Found], chosen: Iterable[str]) -> list[Found]:
    """Do something with several notebooks, as many at a time as there are cores.

    What is done with one mostly waits for its kernel, so threads will do. The last come first: they
    take longest, and a long one that begins last would keep one core alone busy.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(step, reversed(list(chosen))))[::-1]


def clean(notebook: NotebookNode) -> None:
    """Leave only what is the same in every run, and small."""
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for i, cell in enumerate(notebook.cells):
        cell["id"] = cell_id(i, cell)
        cell.metadata = nbformat.from_dict(
            {"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {}
        )
        if "outputs" in cell:
            cell.outputs = joined_streams(cell.outputs)
        for output in cell.get("outputs", []):
            clean_output(output)


def cell_id(i: int, cell: NotebookNode) -> str:
    """Return a cell's id, made of its position and its text."""
    return f"{i:02d}-{hashlib.sha1(cell.source.encode()).hexdigest()[:8]}"


def joined_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Return outputs with neighbouring pieces of a stream in one: how it was cut is chance."""
    found: list[NotebookNode] = []
    for output in outputs:
        last = found[-1] if found else None
        if last and "name" in output and last.get("name") == output.name:
            last.text += output.text
        else:
            found.append(output)
    return found


def clean_output(output: NotebookNode) -> None:
    """Drop the widget view beside a picture, and make the PNG small."""
    output.get("metadata", {}).clear()
    data = output.get("data", {})
    data.pop(WIDGET_VIEW, None)
    if "image/png" in data:
        picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB")
        png = as_png(picture)
        if len(png) > PHOTOGRAPHIC:
            png = as_png(picture.point(coarser))
        data["image/png"] = base64.b64encode(png).decode("ascii") + "\n"


def coarser(level: int) -> int:
    """Round one level of a colour, at most ``COARSE / 2`` away; white stays white.

    A palette would be smaller still, but it moves colours of a scale visibly.
    """
    return 255 - round((255 - level) / COARSE) * COARSE if level else 0


def as_png(picture: Image.Image) -> bytes:
    """Return a picture as the bytes of a PNG file, as small as Pillow makes it."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def complaints(notebook: NotebookNode) -> list[str]:
    """Return what must not stand in a committed notebook, with the cell's number."""
    places = {str(ROOT), str(Path.home()), tempfile.gettempdir() + os.sep}
    found = []
    for i, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            text = output_text(output)
            if output.output_type == "error" or output.get("name") == "stderr":
                found.append(f"cell {i}: {output.output_type}: {text[:300]}")
            if any(place in text for place in places):
                found.append(f"cell {i}: a path of this machine in the output: {text[:200]}")
            if re.search(r"\b0x[0-9a-f]{6,}", text):
                found.append(f"cell {i}: an address in the output: {text[:200]}")
    if len(nbformat.writes(notebook)) > LARGEST:
        found.append(f"{len(nbformat.writes(notebook)) / 1e6:.2f} MB, more than {LARGEST / 1e6}")
    return found


def output_text(output: NotebookNode) -> str:
    """Return an output's text, whatever its kind."""
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    return output.get("text", "") or str(output.get("data", {}).get("text/plain", ""))


def build(name: str) -> list[str]:
    """Execute one source, write its notebook, and return what is wrong with it."""
    notebook = read_source(name)
    write_source(name, notebook)
    start = time.perf_counter()
    try:
        execute(notebook)
    except CellExecutionError as error:
        raise BuildError(f"{name}, {failure(notebook, error)}") from error
    clean(notebook)
    path = NOTEBOOKS / f"{name}.ipynb"
    nbformat.write(notebook, path)
    size = path.stat().st_size / 1e6
    print(f"{name}: {time.perf_counter() - start:.1f} s, {size:.2f} MB", flush=True)
    return [f"{name}, {complaint}" for complaint in complaints(notebook)]


def failure(notebook: NotebookNode, error: CellExecutionError) -> str:
    """Return which cell failed, as it is numbered in Jupyter, and the error's last line."""
    run = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    kinds = [[output.output_type for output in cell.outputs] for cell in run]
    i = next(i for i, outputs in enumerate(kinds) if "error" in outputs)
    last = error.evalue.strip().rpartition("\n")[2]
    return f"cell [{i + 1}], which begins {first_line(run[i])!r}: {error.ename}: {last}"


def read_built(name: str) -> NotebookNode:
    """Read a notebook with its outputs.

    Raises:
        BuildError: the source was not built yet; the message has the command.
    """
    path = NOTEBOOKS / f"{name}.ipynb"
    if not path.exists():
        command = f"uv run python -m tools.build_notebooks {name}"
        raise BuildError(f"{name}: not built yet: run `{command}`.")
    return nbformat.read(path, as_version=4)


def cells(notebook: NotebookNode) -> list[tuple[str, str, Any]]:
    """Return what sources and notebooks must share: kind, text and tags of each cell."""
    return [
        (cell.cell_type, cell.source.strip(), cell.metadata.get("tags", []))
        for cell in notebook.cells
    ]


def differences(name: str) -> list[str]:
    """Return in which cells a notebook is not what its source says."""
    ours, theirs = cells(read_source(name)), cells(read_built(name))
    written = cells(jupytext.read(SOURCES / f"{name}.md", fmt="md:myst"))
    found = [f"{name}: {len(ours)} cells in md, {len(theirs)} in ipynb"] * (
        len(ours) != len(theirs)
    )
    for i, (a, b, c) in enumerate(zip(ours, theirs, written, strict=False)):
        if a != b:
            found.append(f"{name}, cell {i}: ipynb has {b[1][:80]!r}, md has {a[1][:80]!r}")
        if a != c:
            found.append(f"{name}, cell {i}: setup cell or badge in md is not today's")
    return found


def readdress(name: str) -> list[str]:
    """Write today's setup cell and badge into a source and its notebook; keep the outputs."""
    source, built = read_source(name), read_built(name)
    for i, (new, cell) in enumerate(zip(source.cells, built.cells, strict=False)):
        if i == 0 or is_setup(new):
            cell.source = new.source
            cell["id"] = cell_id(i, cell)
    write_source(name, source)
    nbformat.write(built, NOTEBOOKS / f"{name}.ipynb")
    return differences(name)


def complaints_of(step: Callable[[str], list[str]], name: str) -> list[str]:
    """Return a step's complaints about a notebook, or the error that ended it."""
    try:
        return step(name)
    except BuildError as error:
        return [str(error)]


def main() -> None:
    """Build, check or readdress the notebooks that are named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="such as 03_kernels; all where none is named")
    parser.add_argument("--check", action="store_true", help="compare only")
    parser.add_argument("--addresses", action="store_true", help="setup cells and badges only")
    chosen = parser.parse_args()
    work = differences if chosen.check else readdress if chosen.addresses else build
    step = partial(complaints_of, work)
    found = on_all_cores(step, chosen.names or names())
    sys.exit("\n".join(chain.from_iterable(found)) or 0)


if __name__ == "__main__":
    main()
