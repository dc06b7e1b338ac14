"""The graded labs as text: well-formed, the same as their sources, and solutions are not revealed.

What a submission deserves is tested in test_labs_grading.py.
"""

import ast
import builtins
import importlib
import re
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from nbformat import NotebookNode

from tools import build_labs
from tools.build_notebooks import ROOT, setup_source

LABS = build_labs.names()
CONFIG = build_labs.LABS / "nbgrader_config.py"
SOLUTION = re.compile(r"^ *### BEGIN SOLUTION\n(.*?)^ *### END SOLUTION", re.M | re.S)
HIDDEN = re.compile(r"^ *### BEGIN HIDDEN TESTS\n(.*?)^ *### END HIDDEN TESTS", re.M | re.S)
EVERY_CLASS = ("def __init__(self):", "super().__init__()")
each_lab = pytest.mark.parametrize("name", LABS)


@cache
def source(name: str) -> NotebookNode:
    return build_labs.read_source(name)


def marks(cell: NotebookNode) -> dict[str, Any]:
    return cell.metadata.get("nbgrader", {})


def graded(name: str, kind: str) -> list[NotebookNode]:
    return [c for c in source(name).cells if c.cell_type == kind and marks(c).get("grade")]


def solutions(name: str) -> list[NotebookNode]:
    return [c for c in source(name).cells if c.cell_type == "code" and marks(c).get("solution")]


@each_lab
def test_the_notebook_is_what_its_source_says(name: str) -> None:
    assert build_labs.differences(name) == []


def test_there_are_six_labs_and_no_notebook_without_a_source() -> None:
    built = sorted(path.stem for path in build_labs.LABS.glob("source/*/*.ipynb"))
    assert built == LABS
    assert [name[:4] for name in LABS] == [f"lab{i}" for i in range(1, 7)]


@each_lab
def test_the_first_code_is_locked_and_finds_vizhelpers_as_the_notebooks_do(name: str) -> None:
    code = [cell for cell in source(name).cells if cell.cell_type == "code"]
    assert code[0].source == setup_source()
    assert marks(code[1])["grade_id"] == "setup"
    for cell in code[:2]:
        assert marks(cell)["locked"] and not marks(cell)["grade"] and not marks(cell)["solution"]


@each_lab
def test_every_mark_is_complete_and_every_grade_id_stands_once(name: str) -> None:
    ids = Counter()
    for cell in filter(marks, source(name).cells):
        mark = marks(cell)
        ids[mark["grade_id"]] += 1
        wanted = {"grade", "grade_id", "locked", "schema_version", "solution", "task"}
        assert set(mark) == wanted | ({"points"} if mark["grade"] else set()), mark["grade_id"]
        assert mark["schema_version"] == 3 and mark["task"] is False
        assert mark["locked"] is not mark["solution"], "what a student fills in cannot be locked"
    assert set(ids.values()) == {1}, ids.most_common(2)


@each_lab
def test_points_sum_to_twenty_with_one_written_question(name: str) -> None:
    tests, written = graded(name, "code"), graded(name, "markdown")
    assert len(tests) >= 5 and len(written) == 1
    assert marks(written[0])["points"] in (3, 4)
    assert sum(marks(cell)["points"] for cell in tests + written) == 20


@each_lab
def test_each_heading_says_the_points_of_its_part(name: str) -> None:
    said: dict[str, float] = {}
    given: Counter[str] = Counter()
    part = ""
    for cell in source(name).cells:
        for heading, points in re.findall(r"^## (.*) \((\d+) points?\)$", cell.source, re.M):
            part, said[heading] = heading, int(points)
        given[part] += marks(cell).get("points", 0)
    assert said == {heading: points for heading, points in given.items() if points}


@each_lab
def test_the_top_says_question_minutes_and_points(name: str) -> None:
    top = source(name).cells[0].source
    assert re.match(r"# Lab \d · .+\n\n\*\*The question of this lab: ", top)
    minutes = int(re.search(r"About (\d+) minutes, 20 points\.", top)[1])
    assert 30 <= minutes <= 60
    assert sum(map(int, re.findall(r"\| *(\d+) \|$", top, re.M))) == 20


@each_lab
def test_the_written_question_has_a_rubric_whose_points_are_all_given_out(name: str) -> None:
    (written,) = graded(name, "markdown")
    rubric = SOLUTION.search(written.source)[1]
    given = sum(map(int, re.findall(r"^- (\d)(?: points?)?: ", rubric, re.M)))
    assert given == marks(written)["points"]


# What a student gets


def config() -> Any:
    loader = pytest.importorskip("traitlets.config.loader")
    return loader.PyFileConfigLoader(CONFIG.name, str(CONFIG.parent)).load_config()


@cache
def released(name: str) -> NotebookNode:
    """The student's version, by nbgrader's own steps; without its database, which is not needed."""
    pytest.importorskip("nbgrader", reason="Colab has no nbgrader")
    from nbgrader.converters.generate_assignment import GenerateAssignment

    notebook, resources = build_labs.read_source(name), {}
    for step in GenerateAssignment.preprocessors.default():
        if step.__name__ != "SaveCells":
            notebook, resources = step(config=config()).preprocess(notebook, resources)
    return notebook


def test_no_folder_of_the_course_is_absolute_and_the_stub_raises() -> None:
    loaded = config()
    folders = [v for k, v in loaded.CourseDirectory.items() if k.endswith("_directory")]
    assert len(folders) == 5 and not any(str(folder).startswith("/") for folder in folders)
    with pytest.raises(NotImplementedError):
        exec(loaded.ClearSolutions.code_stub["python"])


@each_lab
def test_the_students_version_is_the_source_with_solutions_and_hidden_tests_cut_out(
    name: str,
) -> None:
    stub = "# YOUR CODE HERE\nraise NotImplementedError()"
    for ours, theirs in zip(source(name).cells, released(name).cells, strict=True):
        left = HIDDEN.sub("", ours.source)
        if marks(ours).get("solution"):
            assert SOLUTION.search(left), f"{marks(ours)['grade_id']} has no BEGIN SOLUTION"
            left = SOLUTION.sub(stub if ours.cell_type == "code" else "YOUR ANSWER HERE", left)
        # nbgrader indents the stub
        assert theirs.source.replace(" ", "").strip() == left.replace(" ", "").strip()
        assert "BEGIN" not in theirs.source.replace("nbgrader", "")
        assert marks(ours).items() <= marks(theirs).items()


@each_lab
def test_no_line_of_a_solution_or_a_hidden_test_stands_elsewhere_in_the_students_version(
    name: str,
) -> None:
    text = "\n".join(
        line.strip() for cell in released(name).cells for line in cell.source.split("\n")
    )
    for cell in source(name).cells:
        pattern = SOLUTION if marks(cell).get("solution") else HIDDEN
        for region in pattern.findall(cell.source):
            lines = [line.strip() for line in region.splitlines()]
            lines = [line for line in lines if line and line not in EVERY_CLASS]
            assert lines, "an empty solution would be given away by the stub"
            # Two in a row: a single `with torch.no_grad():` gives nothing away.
            for pair in pairwise(lines) if len(lines) > 1 else [lines]:
                assert "\n".join(pair) not in text, (marks(cell)["grade_id"], pair)


@each_lab
def test_every_hidden_test_asks_for_something_that_the_visible_ones_do_not(name: str) -> None:
    hidden = [cell for cell in graded(name, "code") if HIDDEN.search(cell.source)]
    assert len(hidden) >= len(graded(name, "code")) - 1
    for cell in graded(name, "code"):
        assert "assert" in HIDDEN.sub("", cell.source), "the visible part tests nothing"
    for cell in hidden:
        assert "assert" in HIDDEN.search(cell.source)[1], "the hidden part tests nothing"


# What a student sees of a hidden test that failed


def sentences(hidden: str) -> list[str | None]:
    """Return the message of each assertion; None for one that is not constant.

    A constant message is a text, or a name that a loop over a literal gives constant texts only. A
    message must not hold the student's answer either: it could be a copy of the hidden arguments.
    """
    tree = ast.parse(hidden)
    constant: dict[str, list[str | None]] = {}
    for loop in [node for node in ast.walk(tree) if isinstance(node, ast.For)]:
        targets = loop.target.elts if isinstance(loop.target, ast.Tuple) else [loop.target]
        for place, target in enumerate(targets):
            if isinstance(target, ast.Name):
                rows = getattr(loop.iter, "elts", [None])
                constant.setdefault(target.id, []).extend(text(row, place) for row in rows)
    found: list[str | None] = []
    for node in ast.walk(tree):
        message = node.msg if isinstance(node, ast.Assert) else None
        if isinstance(node, ast.Raise) and "AssertionError" in ast.unparse(node):
            message = node.exc.args[0] if isinstance(node.exc, ast.Call) else None
        elif not isinstance(node, ast.Assert):
            continue
        if isinstance(message, ast.Name):
            found += constant.get(message.id, [None])
        else:
            found.append(message.value if isinstance(message, ast.Constant) else None)
    return found


def text(row: ast.expr | None, place: int) -> str | None:
    """Return the text in one place of a loop's row, also of rows made by a comprehension."""
    if isinstance(row, ast.Starred) and isinstance(row.value, ast.GeneratorExp):
        row = row.value.elt
    parts = getattr(row, "elts", [])
    value = getattr(parts[place], "value", None) if place < len(parts) else None
    return value if isinstance(value, str) else None


@each_lab
def test_every_hidden_assertion_has_a_constant_sentence_without_a_number(name: str) -> None:
    for cell in graded(name, "code"):
        for hidden in HIDDEN.findall(cell.source):
            for sentence in sentences(hidden):
                where = (marks(cell)["grade_id"], sentence)
                assert sentence is not None, where
                assert re.fullmatch(r"[A-Z].{20,}[.?]", sentence), where
                # Layers and small networks have names with digits; nothing else needs one.
                assert not re.search(r"\d", re.sub(r"features\.\d+|MobileNetV2", "", sentence)), (
                    where
                )


@pytest.mark.parametrize(
    "hidden, found",
    [
        ("assert a == 1, 'It is wrong.'", ["It is wrong."]),
        ("assert a == 1", [None]),
        ("assert a == 1, f'You have {a}.'", [None]),
        ("assert a == 1, str(a)", [None]),
        ("for why, a in [('One.', 1), ('Two.', 2)]:\n    assert a, why", ["One.", "Two."]),
        ("for why, a in [(f'{a}', 1)]:\n    assert a, why", [None]),
        ("for why in other:\n    assert why, why", [None]),
        ("for why, a in [*(('One.', b) for b in c)]:\n    assert a, why", ["One."]),
        ("why = f'{a}'\nassert a, why", [None]),
        ("raise AssertionError(f'{a}')", [None]),
    ],
)
def test_the_check_above_can_tell_what_is_constant(hidden: str, found: list[str | None]) -> None:
    assert sentences(hidden) == found


# What tests may touch


def defined(cells: list[NotebookNode]) -> set[str]:
    """The functions and plain answers at the top level of cells."""
    names = set()
    for statement in [statement for cell in cells for statement in ast.parse(cell.source).body]:
        if isinstance(statement, ast.FunctionDef):
            names.add(statement.name)
        elif isinstance(statement, ast.Assign):
            names |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return names


def bound(tree: ast.AST) -> set[str]:
    """Every name that code binds anywhere: assigned, imported, defined, or an argument."""
    names = {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def left_behind(tree: ast.AST) -> set[str]:
    """Return the names that a cell leaves behind: not those inside functions and classes."""
    names = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif not isinstance(node, ast.Lambda | ast.comprehension):
            names |= left_behind(node)
    return names


def guarded(tree: ast.AST) -> set[ast.Name]:
    """The names inside a call of ``plain``, or first in a call of ``damage`` or ``calls``."""
    names = set()
    for call in [
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    ]:
        first = call.func.id in ("damage", "calls")
        inside = call.args if call.func.id == "plain" else call.args[:first]
        names |= {n for argument in inside for n in ast.walk(argument) if isinstance(n, ast.Name)}
    return names


@each_lab
def test_solution_cells_hold_functions_and_answers_and_nothing_else(name: str) -> None:
    for cell in solutions(name):
        for statement in ast.parse(cell.source).body:
            assert isinstance(
                statement, ast.FunctionDef | ast.Assign | ast.Import | ast.ImportFrom
            ), f"{marks(cell)['grade_id']}: {ast.unparse(statement)[:60]}"
        assert defined([cell]), marks(cell)["grade_id"]


@each_lab
def test_whatever_a_student_wrote_is_made_plain_before_a_test_looks_at_it(name: str) -> None:
    theirs, used = defined(solutions(name)), set()
    for cell in graded(name, "code"):
        tree = ast.parse(cell.source)
        safe = guarded(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id in theirs:
                assert node in safe, f"{marks(cell)['grade_id']}, line {node.lineno}: {node.id}"
                used.add(node.id)
    assert used == theirs, "asked for, but never tested"


@pytest.mark.parametrize(
    "line, safe",
    [
        ("assert plain(f(x)) == 1", True),
        ("assert damage(f, net, x) == []", True),
        ("assert f(x) == 1", False),
        ("assert damage(net, f, x) == []", False),
        ("assert not calls(f, 'conv2d', x)", True),
        ("assert not calls(g, f, x)", False),
        ("assert other(plain, f(x)) == 1", False),
        ("g = f", False),
    ],
)
def test_the_check_above_can_tell_what_is_guarded(line: str, safe: bool) -> None:
    tree = ast.parse(line)
    (name,) = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == "f"]
    assert (name in guarded(tree)) is safe


@each_lab
def test_a_test_cell_needs_no_other_test_cell_and_overwrites_nothing(name: str) -> None:
    code = [cell for cell in source(name).cells if cell.cell_type == "code"]
    given = set().union(*(bound(ast.parse(cell.source)) for cell in code[:2]))
    setup = set().union(*(left_behind(ast.parse(cell.source)) for cell in code[:2]))
    theirs = defined(solutions(name))
    for cell in graded(name, "code"):
        grade_id = marks(cell)["grade_id"]
        for text in (cell.source, HIDDEN.sub("", cell.source)):  # as marked, and as students run it
            tree = ast.parse(text)
            used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
            assert used - bound(tree) - given - theirs - set(dir(builtins)) == set(), grade_id
        kept = left_behind(ast.parse(cell.source))
        assert kept & theirs == set(), f"{grade_id} overwrites what the student wrote"
        assert kept & setup == set(), f"{grade_id} overwrites what the setup cell gives"


# Wrong submissions, and this machine


@each_lab
def test_five_wrong_submissions_and_the_cheats_name_cells_that_exist_and_lose_points(
    name: str,
) -> None:
    submissions = importlib.import_module(f"lab_submissions.{name}")
    assert len(submissions.WRONG) == 5
    wrong = submissions.WRONG | submissions.CHEATS
    assert len(wrong) == len(submissions.WRONG) + len(submissions.CHEATS)
    cells = {marks(cell)["grade_id"]: cell for cell in solutions(name)}
    full = {marks(cell)["grade_id"]: marks(cell)["points"] for cell in graded(name, "code")}
    for mistake, (swapped, points) in wrong.items():
        assert swapped and swapped.keys() <= cells.keys(), mistake
        assert points and points.keys() <= full.keys(), mistake
        assert all(0 <= left < full[grade_id] for grade_id, left in points.items()), mistake
        for grade_id, text in swapped.items():
            there = [NotebookNode(source=text)]
            assert defined([cells[grade_id]]) <= defined(there), f"{mistake}: {grade_id}"


@pytest.mark.parametrize(
    "path", [CONFIG, *build_labs.SOURCES.glob("*.md")], ids=lambda path: path.name
)
def test_no_path_of_a_machine_is_written_down(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert (
        re.findall(r"(?<![\w.)\]])/(?:home|root|tmp|work|usr|opt|mnt|Users|content)\b", text) == []
    )
    assert re.findall(r"\b[A-Z]:\\", text) == []
