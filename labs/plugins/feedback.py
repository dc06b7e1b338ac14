"""What a student gets back of a marked notebook. Nothing here needs nbgrader but ``AllRead``."""

import ast
import copy
import os
from html import escape
from pathlib import Path
from typing import Any

import bleach
from nbconvert.exporters import HTMLExporter
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_output
from pygments.formatters import HtmlFormatter
from traitlets import Bool

from labs.plugins.safe import TAGS, coloured

BEGIN, END = "BEGIN HIDDEN TESTS", "END HIDDEN TESTS"
NO_SENTENCE = "A test in this cell failed."

# Nothing is loaded from elsewhere, and no script runs.
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
{colours}
body {{ max-width: 60em; margin: 1em auto; padding: 0 1em; font: 16px/1.5 sans-serif }}
pre {{ overflow-x: auto; padding: .5em; margin: .5em 0; font-size: 14px; line-height: 1.3 }}
.input_area pre {{ background: #f6f6f6 }} .output_stderr pre {{ background: #fdecea }}
.prompt, .anchor-link {{ display: none }} img {{ max-width: 100% }}
table {{ border-collapse: collapse }} td, th {{ border: 1px solid #ccc; padding: .2em .6em }}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""


def for_student(notebook: NotebookNode) -> NotebookNode:
    """Return a copy of a marked notebook without hidden tests.

    A test cell shows one sentence where it failed, and nothing that ran in it put out: a student's
    function can print what a hidden test passes to it. The sentence is
    ``cell.metadata["vizhelpers"]["told"]``, or else, where the error's text is one that the test
    itself holds, that text.
    """
    page = copy.deepcopy(notebook)
    # Only code: a line less in a student's Markdown can make a link of what was a block of text.
    for cell in (cell for cell in page.cells if cell.cell_type == "code"):
        marks = cell.metadata.get("nbgrader", {})
        if marks.get("grade") and not marks.get("solution"):
            sentence = _sentence(cell)
            cell.outputs = []
            if sentence:
                cell.metadata["vizhelpers"] = {"told": sentence}
                cell.outputs = [new_output("stream", name="stderr", text=sentence)]
        cell.source = without_hidden(cell.source)
    return page


def without_hidden(source: str) -> str:
    """Return a cell's text without hidden tests; those that nothing ends reach to its end."""
    kept, depth = [], 0
    for line in source.splitlines():
        begins, ends = line.count(BEGIN), line.count(END)
        depth += begins
        if not depth and not ends:
            kept.append(line)
        depth = max(0, depth - ends)
    return "\n".join(kept).rstrip()


def _sentence(cell: NotebookNode) -> str:
    told = cell.metadata.get("vizhelpers", {}).get("told")
    errors = [one for one in cell.outputs if one.output_type == "error"]
    if told or not errors:
        return str(told or "")
    # A student's function can raise an error whose text is what it was called with.
    said = errors[0].get("evalue", "")
    return said if said in _texts(cell.source) else NO_SENTENCE


def _texts(source: str) -> set[str]:
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError):
        return set()
    asserts = [node.msg for node in nodes if isinstance(node, ast.Assert)]
    return {one.value for one in asserts if isinstance(one, ast.Constant)}


def page(notebook: NotebookNode, title: str) -> str:
    """Return the student's page of a marked notebook as HTML that can be read offline."""
    filters = {"highlight_code": coloured, "clean_html": _clean}
    exporter = HTMLExporter(template_name="basic", sanitize_html=True, filters=filters)
    body, _ = exporter.from_notebook_node(for_student(notebook))
    colours = HtmlFormatter().get_style_defs(".highlight")
    return PAGE.format(title=escape(title), colours=colours, body=body)


def _clean(html: str) -> str:
    """Let pass what Markdown makes; nbconvert's own filter shows the tags of headings as text."""
    attributes = {"*": ["class", "id"], "a": ["href", "title"], "ol": ["start"]}
    return bleach.clean(str(html), tags={*TAGS, "pre", "span"}, attributes=attributes)


class ForStudent(Preprocessor):  # type: ignore[misc]
    """The step of ``nbgrader generate_feedback`` that leaves hidden tests out.

    It also removes the files that nbgrader copied from autograded/: they are the student's own.
    """

    enabled = Bool(True).tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict]:
        """Return the notebook for the student."""
        converter = getattr(self.parent, "parent", None)
        if converter is not None:
            place, names = converter.coursedir, resources["nbgrader"]
            who = names["student"], names["assignment"]
            marked = Path(place.format_path(place.autograded_directory, *who))
            returned = Path(place.format_path(place.feedback_directory, *who))
            for folder, _, files in os.walk(marked):
                for name in set(files) - {"timestamp.txt"}:
                    (returned / Path(folder, name).relative_to(marked)).unlink(missing_ok=True)
        return for_student(nb), resources


class AllRead(Preprocessor):  # type: ignore[misc]
    """The step of ``nbgrader generate_feedback`` that refuses while a written answer is unread.

    Give points to the answer in formgrader, or add ``--AllRead.enabled=False`` to the command.
    """

    enabled = Bool(True).tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict]:
        """Return the notebook as it is, or raise an NbGraderException."""
        from nbgrader.api import Gradebook
        from nbgrader.converters.base import NbGraderException

        names = resources["nbgrader"]
        student, lab = names["student"], names["assignment"]
        with Gradebook(names["db_url"]) as book:
            marked = book.find_submission_notebook(names["notebook"], lab, student)
            unread = [grade.name for grade in marked.grades if grade.needs_manual_grade]
        if unread:
            words = (
                f"No feedback for {student}: {', '.join(unread)} in {lab} has not been read. Give "
                "it points in formgrader, or make the page without them: "
                f"../.uv/bin/uv run nbgrader generate_feedback {lab} --student {student} "
                "--AllRead.enabled=False"
            )
            self.log.error(words)
            raise NbGraderException(words)
        return nb, resources
