"""What a class runs: the course's notebooks, the document's code, and the same pictures by ours.

Nothing here imports torch: the pages that students share must not be shared with the driver.
"""

import ast
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).parents[2]
LAYER, INDEX = "features.3.expand3x3", 3  # 64 x 16 kernels; 128 maps, of which 100 are drawn
FIGURES = 2  # of the document's 64; all of them would take the class an hour

IMPORTS = "import torch, torchvision, vizhelpers as viz; viz.load_model"


@dataclass(frozen=True)
class Notebook:
    """A notebook's path in the material, its code cells, and how long it is read."""

    path: str
    cells: tuple[str, ...]
    minutes: int = 0


@dataclass(frozen=True)
class Lesson:
    """Notebooks that a class runs one after the other."""

    name: str
    notebooks: tuple[Notebook, ...]

    def write(self, material: Path) -> None:
        """Write its notebooks into a folder of material, without outputs."""
        for notebook in self.notebooks:
            path = material / notebook.path
            path.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(content(notebook), path)


def content(notebook: Notebook) -> nbformat.NotebookNode:
    """Return a notebook of its cells; what is saved and compared."""
    cells = [new_code_cell(cell, id=f"cell-{n}") for n, cell in enumerate(notebook.cells)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def course(names: tuple[str, ...]) -> Lesson:
    """Return the course's own notebooks, every code cell of them."""
    found = []
    for name in names:
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        cells = tuple(cell.source for cell in notebook.cells if cell.cell_type == "code")
        found.append(Notebook(f"notebooks/{name}.ipynb", cells, reading_minutes(name)))
    return Lesson("course", tuple(found))


def reading_minutes(name: str) -> int:
    """Return how long README says that a notebook takes."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^\| \[{name}\].*\| (\d+) \|$", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"README's table does not say how long {name} takes.")
    return int(found[1])


def _functions(*names: str) -> list[str]:
    """Return functions and classes of ``benchmarks.pictures`` as text: the document's code."""
    text = (ROOT / "benchmarks" / "pictures.py").read_text(encoding="utf-8")
    bodies = {node.name: node for node in ast.parse(text).body if hasattr(node, "name")}
    return [ast.get_source_segment(text, bodies[name]) or "" for name in names]


def document(weights: Path) -> Lesson:
    """Return the document's sections 3.1 and 3.2 on the bundled weights and the bundled cat.

    Args:
        weights: a file of ``torch.save``, as the document's code wants them.
    """
    photograph = ROOT / "vizhelpers" / "data" / "photographs" / "cat.jpg"
    first = f"""
        from typing import Any
        import torch, torchvision
        import matplotlib.pyplot as plt
        from PIL import Image
        from torch import Tensor, nn
        from torchvision import transforms
        SHOWN = 100
        def shown(figure):
            plt.show()
        model = torchvision.models.squeezenet1_1()
        model.load_state_dict(torch.load({str(weights)!r}))
        model = model.eval()
        prepare = transforms.Compose([
            transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ])
        x = prepare(Image.open({str(photograph)!r}).convert("RGB"))[None]"""
    kernels, hook, maps = _functions("documents_kernels", "Hook", "documents_maps")
    cells = [
        textwrap.dedent(first).strip(),
        f"{kernels}\n\ndocuments_kernels(model.get_submodule({LAYER!r}), {FIGURES})",
        f"{hook}\n\n{maps}\n\ndocuments_maps(model, {INDEX}, x)",
    ]
    return Lesson("document", (Notebook("document.ipynb", tuple(cells)),))


def same_pictures() -> Lesson:
    """Return the document's pictures as vizhelpers draws them: all 1,024 kernels, 100 maps."""
    cells = [
        'import vizhelpers as viz\nmodel = viz.load_model()\ncat = viz.prepare(model, "cat")',
        f'viz.kernels(model, "{LAYER}").plot(limit=1024, columns=64, width=12)',
        f'viz.feature_maps(model, cat, "features.{INDEX}").plot(limit=100, columns=10)',
    ]
    return Lesson("vizhelpers", (Notebook("vizhelpers.ipynb", tuple(cells)),))


def write_weights(path: Path) -> None:
    """Write the bundled weights as the document's code wants them, in a process of its own."""
    code = "import sys, torch, vizhelpers as viz\n"
    code += "torch.save(viz.load_model().state_dict(), sys.argv[1])"
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=ROOT)
