"""The first cell of every notebook, run as a stranger's Python would run it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.build_notebooks import repository, setup_source

# Stands for a Python without vizhelpers: `-S` leaves out site-packages, so no editable install.
# Its "pip" is a module that notes what it is asked for and installs what the test allows.
PIP = """
import pathlib, sys
here = pathlib.Path(__file__).parent
with open(here / "asked", "a") as log:
    print(sys.argv[-1], file=log)
if not sys.argv[-1].endswith(tuple((here / "works").read_text().split())):
    sys.exit(1)
(here / "vizhelpers.py").write_text("origin = 'pip'")
"""


def run_cell(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    code = setup_source() + "\nprint(getattr(viz, 'origin', viz.__file__))"
    return subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(site), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "pip.py").write_text(PIP)
    (folder / "works").write_text("nothing")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "clone" / "notebooks"
    folder.mkdir(parents=True)
    return folder


def asked(site: Path) -> list[str]:
    log = site / "asked"
    return log.read_text().split() if log.exists() else []


def test_installed_package_is_used_in_silence(site: Path, folder: Path) -> None:
    (site / "vizhelpers.py").write_text("origin = 'installed'")
    assert run_cell(folder, site).stdout == "installed\n"
    assert asked(site) == []


def test_clone_around_the_notebook_is_found_in_silence(site: Path, folder: Path) -> None:
    package = folder.parent / "vizhelpers"
    package.mkdir()
    (package / "__init__.py").write_text("origin = 'clone'")
    assert run_cell(folder, site).stdout == "clone\n"
    assert asked(site) == []


def test_elsewhere_the_repository_is_installed(site: Path, folder: Path) -> None:
    (site / "works").write_text(repository())
    (folder / "vizhelpers-9.whl").write_bytes(b"")
    done = run_cell(folder, site)
    assert done.stdout == f"Installed vizhelpers from git+{repository()}\npip\n"
    assert asked(site) == [f"git+{repository()}"]


def test_without_the_repository_an_uploaded_wheel_is_installed(site: Path, folder: Path) -> None:
    (site / "works").write_text(".whl")
    (folder / "vizhelpers-9.whl").write_bytes(b"")
    done = run_cell(folder, site)
    assert done.stdout.splitlines()[1:] == ["Installed vizhelpers from vizhelpers-9.whl", "pip"]


def test_with_neither_one_sentence_says_what_to_do(site: Path, folder: Path) -> None:
    done = run_cell(folder, site)
    assert done.returncode != 0 and "No module named 'vizhelpers'" in done.stderr
    assert "uv build --wheel" in done.stdout.splitlines()[-1]
