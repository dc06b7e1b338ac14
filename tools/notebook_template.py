"""What all six notebooks begin with: the "Open in Colab" badge and the setup cell."""

import re
import tomllib
from pathlib import Path
from string import Template

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "notebooks" / "md"
NOTEBOOKS = ROOT / "notebooks"

# Students read this first, so it is short; tests/test_setup_cell.py goes through its branches.
_SETUP = Template('''\
# Finds vizhelpers installed, or in the clone around this notebook; else (Colab) installs it.
import importlib.util, subprocess, sys
from pathlib import Path

if not importlib.util.find_spec("vizhelpers"):
    here = Path.cwd()
    clones = [str(p) for p in (here, *here.parents) if (p / "vizhelpers/__init__.py").exists()]
    sys.path += clones[:1]
if not importlib.util.find_spec("vizhelpers"):
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    sources = ["git+$url", *map(str, here.glob("vizhelpers-*.whl"))]
    found = [s for s in sources if subprocess.run([*pip, s], capture_output=True).returncode == 0]
''')


def repository() -> str:
    """Return the project's public address: ``project.urls.Repository`` of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"].removesuffix("/").removesuffix(".git")
