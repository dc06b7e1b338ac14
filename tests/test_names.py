"""Each public name means one thing, whatever was imported or used before.

An import of a submodule sets an attribute of its package. With lazy-loader 0.4 and 0.5 (the latter
is Colab's) that replaced a public function of the same name.
"""

import importlib
import subprocess
import sys

import pytest
from orders import ROOT, sources, submodules

PACKAGES = ["vizhelpers"] + [
    name for name in submodules() if (ROOT / name.replace(".", "/")).is_dir()
]


def public_names(package: str) -> set[str]:
    """Return the names that a package exports, without those of its modules."""
    exported = set(getattr(importlib.import_module(package), "__all__", ()))
    if package == "vizhelpers":
        return exported - {name for name, source in sources().items() if not source}
    return exported


def test_the_packages_that_export_functions_are_among_those_tested() -> None:
    assert {package for package in PACKAGES if public_names(package)} >= {
        "vizhelpers",
        "vizhelpers.flash",
        "vizhelpers.flash.utils",
        "vizhelpers.labs",
    }


def test_the_stub_has_a_source_for_every_public_name() -> None:
    assert set(sources()) == set(importlib.import_module("vizhelpers").__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_function_or_class_is_named_like_a_module_of_its_package(package: str) -> None:
    modules = {name.removeprefix(f"{package}.") for name in submodules(package)}
    assert public_names(package) & modules == set()


def test_every_public_name_stays_what_the_stub_says_in_every_order() -> None:
    command = [sys.executable, str(ROOT / "tests" / "orders.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
