"""The versions that Google Colab has preinstalled, from `colab-constraints.txt`.

Run as a script in Colab's environment: the exit status is 0 where every installed package that the
list names has the version of the list.
"""

import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

LIST = Path(__file__).with_name("colab-constraints.txt")


def canonical(name: str) -> str:
    """Return a package's name as PyPI compares it: `Ruamel_YAML` is `ruamel-yaml`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    """Return canonical name -> version of every line of the list."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line.strip() and not line.startswith("#")]
    return {canonical(name): version for name, version in pairs}


def differences(installed: Iterable[Distribution]) -> list[str]:
    """Return a line for each package whose version is not Colab's; `+cpu` is not compared."""
    listed = pins()
    return [
        f"{package.name} {package.version}, in Colab {listed[canonical(package.name)]}"
        for package in installed
        if canonical(package.name) in listed
        and package.version.split("+")[0] != listed[canonical(package.name)]
    ]


if __name__ == "__main__":
    wrong = differences(distributions())
    sys.exit("\n".join(["These are not Colab's versions:", *wrong]) if wrong else 0)
