"""Imports within the package go one way: no file imports, through others, one that imports it."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vizhelpers"
MOST_ENTRIES = 16

BELOW_METHODS = ["view", "inputs", "stack", "passes"]
# Folder, or file of the package -> the parts of other folders that it may import. "" is the package
# itself, ``import vizhelpers as viz``, as readers import it.
MAY_IMPORT = {
    "view": [],
    "inputs": [],
    "stack": ["view", "inputs"],
    "passes": ["view.live.progress", "inputs"],
    "methods": BELOW_METHODS,
    "flash": [*BELOW_METHODS, "methods"],
    "explore": [*BELOW_METHODS, "methods"],
    "exercises": ["", *BELOW_METHODS, "methods"],
    "labs": [""],
    "__main__": [""],
    "": [],
}


def modules() -> dict[str, ast.Module]:
    """Return module name, without "vizhelpers." -> its syntax tree."""
    trees = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        trees[name] = ast.parse(path.read_text(encoding="utf-8"))
    return trees


def imported(name: str, tree: ast.Module, known: Mapping[str, ast.Module]) -> set[str]:
    """Return the modules of the package that a module imports: at its top, lazily, or for types."""
    names = set(_imported(name, tree, known))
    return {target for target in names if target in known and target != name}


def _imported(name: str, tree: ast.Module, known: Mapping[str, ast.Module]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "vizhelpers":
                    yield alias.name.removeprefix("vizhelpers").lstrip(".")
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            if node.module and node.module.split(".")[0] == "vizhelpers":
                module = node.module.removeprefix("vizhelpers").lstrip(".")
                for alias in node.names:
                    inner = f"{module}.{alias.name}".lstrip(".")
                    yield inner if inner in known else module


def first_cycle(graph: Mapping[str, set[str]]) -> Sequence[str]:
    """Return the nodes of a cycle, its first node again at the end; [] if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def forbidden(name: str, target: str) -> bool:
    """Return whether a module may not import another one, by the table."""
    room, of = name.split(".")[0], target.split(".")[0]
    allowed = [*MAY_IMPORT[room], room]
    return of not in allowed and not any(target.startswith(part) for part in allowed if part)


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    trees = modules()
    return {name: imported(name, tree, trees) for name, tree in trees.items()}


def test_no_file_imports_itself_through_others(graph: dict[str, set[str]]) -> None:
    assert len(graph) > 80 and sum(map(len, graph.values())) > 200
    assert first_cycle(graph) == []


def test_a_cycle_is_seen() -> None:
    assert first_cycle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert sorted(set(first_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}))) == ["b", "c"]


def test_an_import_is_seen_wherever_it_stands() -> None:
    source = """
import numpy as np
import vizhelpers.view.bar
from vizhelpers.view import canvas
if TYPE_CHECKING:
    from vizhelpers.stack import ImageStack
def lazily():
    from vizhelpers.methods.cam import cam
"""
    known = {name: ast.Module([], []) for name in ("view", "view.bar", "view.canvas", "stack")}
    known["methods.cam"] = ast.Module([], [])
    expected = {"view.bar", "view.canvas", "stack", "methods.cam"}
    assert imported("new", ast.parse(source), known) == expected


def test_each_folder_imports_only_those_before_it(graph: dict[str, set[str]]) -> None:
    assert {name.split(".")[0] for name in graph} == set(MAY_IMPORT)
    wrong = [f"{n} imports {t}" for n in graph for t in graph[n] if forbidden(n, t)]
    assert wrong == []


def test_an_import_in_the_other_direction_is_forbidden() -> None:
    assert forbidden("view.live.panel", "explore.identity")
    assert forbidden("passes.hooks", "view.bar") and not forbidden("passes.x", "view.live.progress")
    assert forbidden("methods.cam", "") and not forbidden("exercises.solutions", "")


def test_the_package_has_few_entries() -> None:
    assert len([path for path in PACKAGE.iterdir() if path.name != "__pycache__"]) <= MOST_ENTRIES


LIGHT = """
import sys
import numpy as np
from vizhelpers.stack import ImageStack

stack = ImageStack(np.zeros((2, 3, 3)), {"channel": range(2)}, name="zeros")
stack.plot().canvas.draw()
stack.save_html(sys.argv[1])
stack.explore().close()
heavy = ("torch", "vizhelpers.methods", "vizhelpers.explore", "vizhelpers.passes")
print(*sorted(name for name in sys.modules if name.startswith(heavy)))
"""


def test_a_stack_is_shown_without_torch_and_without_the_methods(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIGHT, str(tmp_path / "page.html")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
    assert (tmp_path / "page.html").exists()
