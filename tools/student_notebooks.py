"""Write the notebooks without outputs: ``uv run python -m tools.student_notebooks OUT``."""

import argparse
from pathlib import Path

import nbformat

from tools.build_notebooks import names, read_built


def main() -> None:
    """Copy every notebook into a folder, without outputs and without execution counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write to; made if it is not there")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name in names():
        notebook = read_built(name)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, out / f"{name}.ipynb")
        print(out / f"{name}.ipynb")


if __name__ == "__main__":
    main()
