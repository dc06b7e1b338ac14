"""Small notebooks with the panel of a real one, for the browser to open."""

import ast
import builtins
import re
from collections.abc import Callable
from pathlib import Path

import nbformat

from tools.browser import Notebook, Panel

Opened = Callable[[str], tuple[Notebook, Panel]]
FOLDER = Path(__file__).parents[2] / "notebooks"
PRELUDE = """import torch, torchvision
model = viz.load_model()
with torch.device("meta"):
    vgg13 = sketch = torchvision.models.vgg13()"""
DEFINED = {"viz", "torch", "torchvision", "model", "vgg13", "sketch"}
SLEEP = "import time\nprint('asleep', flush=True)\ntime.sleep(8)"
COUNT = "import ipywidgets\nlen(ipywidgets.Widget.get_manager_state()['state'])"
PROCESS = "import os\nos.getpid()"
SETUP, PREPARE, EXPLORE, BUSY, LIVE, PROCESS_ID = range(6)


def code_of(name: str) -> list[str]:
    cells = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells
    return [cell.source for cell in cells if cell.cell_type == "code"]


def panel_cell(name: str) -> str:
    """Return the cell of a notebook's first panel, or "" if it has none."""
    return next((source for source in code_of(name) if "viz.explore_" in source), "")


def panel_of(cell: str) -> str:
    """Return the name of the function that makes the cell's panel: ``"explore_cam"``."""
    (panel,) = re.findall(r"\bviz\.(explore_\w+)", cell)
    return panel


def stands_alone(cell: str) -> bool:
    """Tell whether a cell needs no names but those of ``PRELUDE``; 07's needs a file of its own."""
    names = [node for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Name)]
    stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    return {node.id for node in names} <= DEFINED | stored | set(dir(builtins))


def cells_of(name: str) -> list[str]:
    """Return the cells of a small notebook: the setup and the panel of a real one, and others."""
    return [code_of(name)[0], PRELUDE, panel_cell(name), SLEEP, COUNT, PROCESS]


PANELS = {path.stem: panel_cell(path.stem) for path in sorted(FOLDER.glob("*.ipynb"))}
NAMES = [name for name, cell in PANELS.items() if cell and stands_alone(cell)]
