"""Build the series as a static site: ``uv run python -m tools.build_site OUT [NAMES]``.

Each notebook is executed once, in an empty folder, and becomes a page: prose, formulas, code,
figures, and explorers whose controls work. There is no server, no script from elsewhere, and no
network: the folder can be put on a course's page, or opened from a disk.
"""

import argparse
import inspect
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from tools.build_notebooks import NOTEBOOKS, ROOT, execute, read_source, repository
from tools.build_notebooks import names as all_names
from tools.site import collect
from tools.site.draft import PICTURES, Draft
from tools.site.markdown import REMOTE
from tools.site.pages import GENERATOR, fill, index, page

LARGEST = 25_000_000  # bytes, of the whole site
LARGEST_EXPLORER = 5_000_000  # bytes of frames in one explorer; base64 makes a third more of them
EXPLORERS = "explorers"  # folder within the site
_LOADING = {"src", "srcset", "poster", "data", "background"}  # attributes that fetch something


def build(out: Path, names: Sequence[str] | None = None, *, largest: int = LARGEST) -> list[Path]:
    """Execute notebooks and write the site.

    Args:
        out: a folder that is not there, is empty, or holds an earlier site, which is replaced.
        names: the notebooks'; all where None. The index lists these and no others.
        largest: bytes that the site may have.

    Returns:
        The pages: the index, then one for each notebook, in their order.

    Raises:
        ValueError: ``out`` holds something else, a name is unknown, a cell failed, a page would
            load something from a network, or the site is larger than ``largest``.
    """
    out = Path(out)
    check_replaceable(out)
    wanted = known(all_names() if names is None else names)
    with tempfile.TemporaryDirectory() as folder:
        # Not the temporary folder itself, which no web server may read.
        site = Path(folder) / "site"
        (site / EXPLORERS).mkdir(parents=True)
        drafts = [draft(name, source(name), site) for name in wanted]
        pages = write(drafts, site)
        check(site, largest)
        if out.exists():
            shutil.rmtree(out)
        shutil.copytree(site, out)
    return [out / path.name for path in pages]


def known(chosen: Sequence[str]) -> list[str]:
    """Return the names in the notebooks' order; raise where one is not among them."""
    there = all_names()
    if strange := sorted(set(chosen) - set(there)):
        raise ValueError(f"No notebook is called {strange[0]!r}; there are {', '.join(there)}.")
    return [name for name in there if name in chosen]


def check_replaceable(out: Path) -> None:
    """Raise where a folder holds anything but a site of this tool's."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    first = out / "index.html"
    if not first.is_file() or GENERATOR not in first.read_text(encoding="utf-8"):
        raise ValueError(f"{out} is not empty and holds no earlier site; name another folder.")


def source(name: str) -> NotebookNode:
    """Read a notebook; its badge leads nowhere before the project has an address."""
    notebook = read_source(name)
    if "YOUR-" in repository():
        first = notebook.cells[0]
        first.source = re.sub(r"^\[!\[Open in Colab\].*\n+", "", first.source, flags=re.MULTILINE)
    return notebook


def draft(name: str, notebook: NotebookNode, site: Path) -> Draft:
    """Execute a notebook, write its explorers into the site, and return its page's draft."""
    start = time.perf_counter()
    execute_collecting(notebook, name, site / EXPLORERS)
    done = fill(Draft(name, NOTEBOOKS), notebook)
    print(f"{name}: {time.perf_counter() - start:.1f} s", flush=True)
    return done


def execute_collecting(notebook: NotebookNode, name: str, folder: Path) -> None:
    """Execute a notebook; the explorers that it shows become files in a folder."""
    call = f"_collect({str(folder.resolve())!r}, {name!r}, {LARGEST_EXPLORER})\ndel _collect"
    # The path is for an environment in which vizhelpers is not installed, such as conda's.
    path = f"import sys\nsys.path.append({str(ROOT)!r})\ndel sys"
    hidden = new_code_cell("\n\n".join([inspect.getsource(collect), path, call]))
    notebook.cells.insert(0, hidden)
    execute(notebook)
    notebook.cells.pop(0)


def write(drafts: Sequence[Draft], site: Path) -> list[Path]:
    """Write pages, pictures and the style sheet; return the pages, the index first."""
    (site / PICTURES).mkdir(exist_ok=True)
    style = (files("tools.site") / "site.css").read_text(encoding="utf-8")
    (site / "site.css").write_text(style, encoding="utf-8")
    texts = {"index": index(drafts)}
    neighbours = [None, *drafts, None]
    for before, one, after in zip(neighbours, drafts, neighbours[2:], strict=False):
        texts[one.name] = page(one, before, after)
        for address, content in one.pictures.items():
            (site / address).write_bytes(content)
    for name, text in texts.items():
        (site / f"{name}.html").write_text(text, encoding="utf-8")
    return [site / f"{name}.html" for name in texts]


def check(site: Path, largest: int) -> None:
    """Raise where a page would load something from a network, or where the site is too large."""
    for path in sorted(site.rglob("*.html")):
        if loads := network_loads(path.read_text(encoding="utf-8")):
            raise ValueError(f"{path.name} would load {loads[0]} from a network.")
    sizes = {path: path.stat().st_size for path in site.rglob("*") if path.is_file()}
    if (total := sum(sizes.values())) > largest:
        heavy = sorted(sizes, key=sizes.__getitem__, reverse=True)[:5]
        listed = ", ".join(f"{path.name} {sizes[path] / 1e6:.2f} MB" for path in heavy)
        raise ValueError(
            f"The site has {total / 1e6:.2f} MB, more than {largest / 1e6:g} MB. Its largest "
            f"files: {listed}. Leave out a notebook, or lower LARGEST_EXPLORER."
        )


class _Loads(HTMLParser):
    """Collects the addresses from which a page would load something by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element's attributes; a link's ``href`` is followed by hand only."""
        loading = _LOADING if tag in ("a", "area") else _LOADING | {"href"}
        for name, value in attrs:
            addresses = (value or "").split(",") if name == "srcset" else [value or ""]
            self.found += [one for one in addresses if name in loading and REMOTE.match(one)]


def network_loads(text: str) -> list[str]:
    """Return what a page would fetch from elsewhere: scripts, styles, pictures, frames."""
    parser = _Loads()
    parser.feed(text)
    return parser.found


def main() -> None:
    """Build the site of the notebooks that are named, or of all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("names", nargs="*", help="such as 03_kernels; all where none is named")
    chosen = parser.parse_args()
    try:
        pages = build(chosen.out, chosen.names or None)
    except ValueError as error:
        sys.exit(str(error))
    size = sum(path.stat().st_size for path in chosen.out.rglob("*") if path.is_file())
    print(f"{pages[0]}: {len(pages)} pages, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
