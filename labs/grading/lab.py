"""A lab as its source notebook says it: what runs first, what is asked for, what is tested."""

import ast
import json
from dataclasses import dataclass
from pathlib import Path

HIDDEN = ("BEGIN HIDDEN TESTS", "END HIDDEN TESTS")


class CannotStart(ValueError):
    """Nobody can be marked; says why, and the way on."""


class NoMark(ValueError):
    """One submission gets no mark; says why."""


@dataclass(frozen=True)
class Cell:
    """A cell's text, and what nbgrader's metadata says about it; ``name`` is the grade_id."""

    kind: str
    source: str
    name: str = ""
    grade: bool = False
    solution: bool = False
    locked: bool = False
    points: float = 0

    @property
    def test(self) -> bool:
        """Whether it is scored by running it."""
        return self.kind == "code" and self.grade and not self.solution

    @property
    def answer(self) -> bool:
        """Whether the student writes code here."""
        return self.kind == "code" and self.solution and not self.grade


@dataclass
class Lab:
    """All cells of a lab, and what follows from them.

    Attributes:
        setup: sources of all code cells before the first that a student fills in.
        tests: cells that are scored by running them; ``most`` is the sum of their points.
        script: what the scorer runs: the tests, and the course's locked cells between them.
        written: questions that a person marks.
        functions: names of the functions that a solution defines.
        answers: names that a solution assigns a plain answer to.
    """

    name: str
    path: Path
    cells: tuple[Cell, ...]

    def __post_init__(self) -> None:
        """Work out the attributes above."""
        code = [cell for cell in self.cells if cell.kind == "code"]
        first = next((i for i, cell in enumerate(code) if cell.solution), len(code))
        self.setup = [cell.source for cell in code[:first]]
        self.tests = [cell for cell in code if cell.test]
        self.most = sum(cell.points for cell in self.tests)
        self.script = [cell for cell in code[first:] if cell.test or cell.locked]
        self.written = [cell for cell in self.cells if cell.grade and cell.solution]
        solved = [one for cell in code if cell.answer for one in ast.parse(cell.source).body]
        self.functions = {one.name for one in solved if isinstance(one, ast.FunctionDef)}
        targets = [t for one in solved if isinstance(one, ast.Assign) for t in one.targets]
        self.answers = {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}

    @classmethod
    def find(cls, course: Path, name: str, folder: str = "source") -> "Lab":
        """Read ``course/source/NAME/NAME.ipynb``; a CannotStart names those that are there."""
        path = course / folder / name / f"{name}.ipynb"
        if Path(name).name != name or not path.is_file():
            known = ", ".join(sorted(p.parent.name for p in (course / folder).glob("*/*.ipynb")))
            there = f"There are: {known}." if known else "There is none; --course names another."
            raise CannotStart(f"No lab {name!r} in {course / folder}. {there}")
        return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> "Lab":
        """Read a source notebook. It is the teacher's, so it is trusted."""
        cells = []
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            words = cell["metadata"].get("nbgrader", {})
            kept = {k: words[k] for k in ("grade", "solution", "locked", "points") if k in words}
            text = "".join(cell["source"])
            cells.append(Cell(cell["cell_type"], text, words.get("grade_id", ""), **kept))
        lab = cls(path.stem, path, tuple(cells))
        if not lab.tests or not lab.functions | lab.answers:
            raise CannotStart(f"{path} has no solution cell, or no cell that tests one.")
        return lab


def hidden_lines(source: str) -> set[int]:
    """Return the numbers of the lines that only the course's own tests have, with their marks."""
    found, hidden = set(), False
    for number, line in enumerate(source.splitlines(), start=1):
        hidden = hidden or HIDDEN[0] in line
        if hidden:
            found.add(number)
        hidden = hidden and HIDDEN[1] not in line
    return found


def visible(source: str) -> str:
    """Return a cell's text without hidden tests and outer blanks."""
    hidden = hidden_lines(source)
    lines = enumerate(source.splitlines(), start=1)
    return "\n".join(line.rstrip() for number, line in lines if number not in hidden).strip()
