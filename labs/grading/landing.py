"""The notebook that goes to autograded/: built from trusted cells, with what was handed in as data.

What the fenced run sends back is read only for its outputs. Cells, their nbgrader metadata and the
tests come from the assignment itself, so nothing forged arrives in the teacher's course.
"""

import base64
import json
from typing import Any

import nbformat
from nbformat import NotebookNode

from labs.grading.marking import Score
from labs.grading.submission import Cell
from labs.plugins.safe import harmless, is_picture

LONGEST_TEXT = 20_000
LARGEST_PICTURE = 2 << 20
MOST_OUTPUTS = 50


def clean(released: NotebookNode, handed_in: list[Cell]) -> NotebookNode:
    """Return the submission with the released notebook's metadata: what nbgrader may be given.

    A cell counts as the one that its grade_id names; of two with one name the last does, as in
    nbgrader. Cells of the assignment that are missing come back at the end, as they were released.
    """
    ours = {c.metadata.nbgrader.grade_id: c for c in released.cells if "nbgrader" in c.metadata}
    last = {cell.name: number for number, cell in enumerate(handed_in) if cell.name in ours}
    cells = []
    for number, cell in enumerate(handed_in):
        if last.get(cell.name) == number:
            theirs = ours[cell.name].metadata.nbgrader.solution
            cells.append(_like(ours[cell.name], cell.source if theirs else None))
        else:
            cells.append(_new(cell.kind, harmless(cell.kind, cell.source)))
    cells += [_like(one) for name, one in ours.items() if name not in last]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    kernel = {"kernelspec": released.metadata.get("kernelspec", {})}
    return nbformat.v4.new_notebook(cells=cells, metadata=kernel)


def _like(ours: NotebookNode, source: str | None = None) -> NotebookNode:
    kind = ours.cell_type
    cell = _new(kind, ours.source if source is None else harmless(kind, source))
    cell.metadata.nbgrader = dict(ours.metadata.nbgrader)
    return cell


def _new(kind: str, source: str) -> NotebookNode:
    made = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    return made.get(kind, nbformat.v4.new_raw_cell)(source)


def outputs(executed: bytes, notebook: NotebookNode) -> bool:
    """Take over the outputs of an executed notebook; say whether it is ``notebook``, executed."""
    try:
        cells = json.loads(executed)["cells"]
        kinds = [cell["cell_type"] for cell in cells]
    except (ValueError, RecursionError, KeyError, TypeError):
        return False
    if kinds != [cell.cell_type for cell in notebook.cells]:
        return False
    for ours, theirs in zip(notebook.cells, cells, strict=True):
        if ours.cell_type == "code":
            found = theirs.get("outputs")
            some = found[:MOST_OUTPUTS] if isinstance(found, list) else []
            ours.outputs = [one for one in map(_output, some) if one]
    return True


def _output(one: Any) -> NotebookNode | None:
    """Return an output of text or PNG; None for HTML, scripts, widgets and what is no output."""
    new = nbformat.v4.new_output
    try:
        kind = one["output_type"]
        if kind == "stream":
            name = "stderr" if one["name"] == "stderr" else "stdout"
            return new("stream", name=name, text=_text(one["text"]))
        if kind == "error":
            return _error(one["ename"], one["evalue"], one["traceback"][:100])
        data = {"text/plain": _text(one["data"].get("text/plain", ""))}
        picture = one["data"].get("image/png")
        if picture and len(picture) <= LARGEST_PICTURE:
            png = base64.b64decode(_text(picture, LARGEST_PICTURE))
            if is_picture(png):
                data["image/png"] = base64.b64encode(png).decode()
        return new("display_data", data=data)
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def _error(kind: Any, words: Any, lines: list[Any]) -> NotebookNode:
    lines = [_text(line) for line in lines]
    return nbformat.v4.new_output("error", ename=_text(kind), evalue=_text(words), traceback=lines)


def _text(value: Any, longest: int = LONGEST_TEXT) -> str:
    text = "".join(value) if isinstance(value, list) else value
    if not isinstance(text, str):
        raise TypeError("not a text")
    text = text.encode(errors="replace").decode()
    return text if len(text) <= longest else text[:longest] + "\n… cut off …"


def passed(notebook: NotebookNode) -> dict[str, bool]:
    """Return which test cells raised nothing in the notebook run: interesting, but no mark."""
    return {
        cell.metadata.nbgrader.grade_id: not any(one.output_type == "error" for one in cell.outputs)
        for cell in notebook.cells
        if _is_test(cell)
    }


def show_score(notebook: NotebookNode, score: Score) -> None:
    """Let each test cell show what the scoring saw, which is what its mark says."""
    for cell in notebook.cells:
        if _is_test(cell):
            failure = score.failures.get(cell.metadata.nbgrader.grade_id)
            cell.outputs = []
            if failure:
                kind, words, where = failure
                cell.outputs = [_error(kind, words, [where, f"{kind}: {words}"])]


def _is_test(cell: NotebookNode) -> bool:
    words = cell.metadata.get("nbgrader", {})
    return cell.cell_type == "code" and bool(words.get("grade")) and not words.get("solution")
