"""The notebook that goes to autograded/: built from trusted cells, with what was handed in as data.

What the fenced run sends back is read only for its outputs. Cells, their nbgrader metadata and the
tests come from the lab itself, so nothing forged arrives in the teacher's course.
"""

import base64
import json
import re
from typing import Any

import nbformat
from nbformat import NotebookNode

from labs.grading.lab import Cell, Lab, visible
from labs.grading.marking import NoRun, Score
from labs.plugins.safe import harmless, is_picture

LONGEST_TEXT, LONGEST_CELL = 20_000, 100_000
LARGEST_PICTURE = 2 << 20
MOST_OUTPUTS = 50


def clean(lab: Lab, handed_in: list[Cell]) -> NotebookNode:
    """Return the submission with the lab's own metadata, tests and locked cells: what may be run.

    A cell counts as the one that its grade_id names; of two with one name the last does, as in
    nbgrader. Cells of the lab that are missing come back at the end. No hidden test is in it.
    """
    ours = {cell.name: cell for cell in lab.cells if cell.name}
    by_text = {visible(cell.source): cell.name for cell in ours.values() if not cell.solution}
    named = [cell.name or by_text.get(visible(cell.source), "") for cell in handed_in]
    last = {name: number for number, name in enumerate(named) if name in ours}
    cells = []
    for number, (cell, name) in enumerate(zip(handed_in, named, strict=True)):
        if last.get(name) == number:
            cells.append(_like(ours[name], cell.source if ours[name].solution else None))
        else:
            cells.append(_new(cell.kind, harmless(cell.kind, cell.source)))
    nameless = not any(cell.name in ours for cell in handed_in)  # from Colab, say
    missing = [one for name, one in ours.items() if name not in last]
    cells += [_like(one) for one in missing if not (nameless and one.solution)]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def _like(ours: Cell, source: str | None = None) -> NotebookNode:
    text = visible(ours.source)
    if ours.solution:
        missing = 'raise NotImplementedError("not handed in")' if ours.answer else "(not handed in)"
        text = missing if source is None else harmless(ours.kind, source)
    cell = _new(ours.kind, text)
    marks = {"grade_id": ours.name, "schema_version": 3, "task": False, "grade": ours.grade}
    marks |= {"solution": ours.solution, "locked": ours.locked}
    cell.metadata.nbgrader = marks | ({"points": ours.points} if ours.grade else {})
    return cell


def _new(kind: str, source: str) -> NotebookNode:
    made = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    if len(source) > LONGEST_CELL:
        source = source[:LONGEST_CELL] + "\n# … cut off …"
    return made.get(kind, nbformat.v4.new_raw_cell)(source)


def outputs(executed: bytes, notebook: NotebookNode) -> None:
    """Take over the outputs of an executed notebook; a NoRun if it is not ``notebook``."""
    try:
        cells = json.loads(executed)["cells"]
        kinds = [cell["cell_type"] for cell in cells]
    except (ValueError, RecursionError, KeyError, TypeError):
        kinds = []
    if kinds != [cell.cell_type for cell in notebook.cells]:
        raise NoRun("the notebook run sent back another notebook")
    for ours, theirs in zip(notebook.cells, cells, strict=True):
        if ours.cell_type == "code":
            found = theirs.get("outputs")
            some = found[:MOST_OUTPUTS] if isinstance(found, list) else []
            ours.outputs = [one for one in map(_output, some) if one]


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


def show_score(notebook: NotebookNode, score: Score) -> list[str]:
    """Let each test cell show what the scoring saw, which is what its mark says.

    ``metadata.vizhelpers.told`` holds what the student may read of it, with what the notebook run
    said, which never saw a hidden test.

    Returns:
        The tests that passed in the scoring, and failed in the notebook run.
    """
    other = []
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        if name not in score.points:
            continue
        failure = score.failures.get(name)
        seen = [_raised(one) for one in cell.outputs if one.output_type == "error"]
        cell.outputs = []
        if failure:
            told = "\n".join([failure.told, *seen])
            cell.metadata.vizhelpers = {"told": told}
            said = f"{failure.kind}: {failure.words}"
            cell.outputs = [_error(failure.kind, failure.words, [failure.line, said])]
        elif seen:
            other.append(name)
    return other


def _raised(error: NotebookNode) -> str:
    """Return what a cell raised in the notebook run, with the last line of the student's."""
    text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))
    cells = [
        part for part in re.split(r"\n(?=\S*(?:Cell In|File ))", text) if part.startswith("Cell In")
    ]
    found = [re.findall(r"^-+> *\d+ (.*)", part, re.MULTILINE) for part in cells[1:]]
    line = next((f", in your line: {lines[-1].strip()}" for lines in found[::-1] if lines), "")
    return f"In your notebook: {error.ename}: {error.evalue}{line}"
