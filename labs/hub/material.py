"""Gather what a course hands out: ``python -m labs.hub.material FOLDER``.

The notebooks without their outputs, and the labs that ``nbgrader generate_assignment`` has
released, if any.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from labs.hub.settings import ROOT

RELEASED = ROOT / "labs" / "release"


def gather(folder: Path) -> None:
    """Write the course's files into a folder, which holds nothing else afterwards."""
    parts = [(folder / "notebooks", None), (folder / "labs", RELEASED)]
    for target, source in parts:
        shutil.rmtree(target, ignore_errors=True)
        if source is None:
            command = [sys.executable, "-m", "tools.student_notebooks", str(target.resolve())]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        elif source.is_dir():
            shutil.copytree(source, target)


def main() -> None:
    """Write them where the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    gather(parser.parse_args().folder)


if __name__ == "__main__":
    main()
