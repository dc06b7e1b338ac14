"""Small notebooks with the panel of a real one, for the browser to open."""

from collections.abc import Callable
from pathlib import Path

import nbformat

from tools.browser import Notebook, Panel

Opened = Callable[[str], tuple[Notebook, Panel]]
FOLDER = Path(__file__).parents[2] / "notebooks"
# 07 has the panel of 05, for a network that its cells load from a file.
NAMES = sorted({path.stem for path in FOLDER.glob("*.ipynb")} - {"07_your_model"})
PRELUDE = """import torch, torchvision
model = viz.load_model()
with torch.device("meta"):
    vgg13 = sketch = torchvision.models.vgg13()"""
SLEEP = "import time\nprint('asleep', flush=True)\ntime.sleep(8)"
COUNT = "import ipywidgets\nlen(ipywidgets.Widget.get_manager_state()['state'])"
PROCESS = "import os\nos.getpid()"
SETUP, PREPARE, EXPLORE, BUSY, LIVE, PROCESS_ID = range(6)


def cells_of(name: str) -> list[str]:
    """Return the cells of a small notebook: the setup and the panel of a real one, and others."""
    cells = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    (explore,) = [source for source in code if "viz.explore_" in source]
    return [code[0], PRELUDE, explore, SLEEP, COUNT, PROCESS]
