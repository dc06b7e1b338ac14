"""Each public name means one thing, whatever was imported or used before.

An import of a submodule sets an attribute of its package. With lazy-loader 0.4 and 0.5 (the latter
is Colab's) that replaced a public function of the same name.
"""

import importlib
import subprocess
import sys
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from orders import ROOT, sources, submodules

import vizhelpers as viz

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
        "vizhelpers.exercises",
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


def attribute(path: str) -> Any:
    return reduce(getattr, path.split("."), viz)


@pytest.mark.parametrize(("old", "new"), viz.RENAMED.items())
def test_an_old_name_works_and_a_warning_that_readers_see_names_the_new_one(
    old: str, new: str
) -> None:
    with pytest.warns(FutureWarning) as warned:
        found = attribute(old)
    (warning,) = warned
    assert f"vizhelpers.{old} is now vizhelpers.{new}." in str(warning.message)
    assert Path(warning.filename) == Path(__file__), "the line to change"
    importlib.import_module("vizhelpers.exercises")
    assert found is attribute(new)
    assert old not in viz.__all__ and old.split(".")[0] not in dir(viz)


def test_an_old_name_can_be_imported_from_its_old_module() -> None:
    """As in the first cell of a graded lab that was handed out before."""
    with pytest.warns(FutureWarning, match="now vizhelpers.exercises.plain"):
        from vizhelpers.labs import plain
    assert plain is importlib.import_module("vizhelpers.exercises").plain


def test_a_name_that_never_was_is_an_error() -> None:
    for name in ("labs.nothing", "nothing"):
        with pytest.raises(AttributeError, match="nothing"):
            attribute(name)
