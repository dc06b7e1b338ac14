"""Imports and uses vizhelpers in many orders, and checks each public name after each.

Run as a script, in a process of its own, since it forgets and imports vizhelpers once for each
order; the libraries stay loaded. The exit status is 0 where every name stayed what the stub says.
"""

import ast
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[1]
Use = Callable[[Any], object]


def submodules(package: str = "vizhelpers") -> list[str]:
    """Return the full names of all modules below a package, found on disk."""
    folder = ROOT / Path(*package.split("."))
    names = [module.name for module in pkgutil.walk_packages([str(folder)], f"{package}.")]
    return [name for name in names if not name.endswith("__main__")]


def sources() -> dict[str, str]:
    """Return public name -> the module that holds it, as `__init__.pyi` says; "" for a module."""
    stub = ast.parse((ROOT / "vizhelpers" / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module or "" for node in imports for alias in node.names}


def imported(*modules: str) -> Use:
    return lambda viz: [importlib.import_module(name) for name in modules]


def panel(name: str) -> Use:
    return lambda viz: getattr(viz, name)(viz.load_model())


def sweep(viz: Any) -> None:
    model = viz.load_model()
    viz.cam_sweep(model, viz.prepare(model, "cat"), layers=["features.12"], targets=[281])


def stack(viz: Any) -> None:
    model = viz.load_model()
    viz.feature_maps(model, viz.prepare(model, "cat"), "features.0").explore()


def orders() -> Iterator[tuple[str, Use]]:
    """Yield what is done before the public names are checked, with its description."""
    yield "at first", imported()
    yield "after importing every module", imported(*submodules())
    yield "after importing every module, last first", imported(*reversed(submodules()))
    for source in sorted({f"vizhelpers.{source or name}" for name, source in sources().items()}):
        yield f"after importing {source}", imported(source)
    for name in sources():
        if name.startswith("explore_"):
            yield f"after viz.{name}(…)", panel(name)
    yield "after viz.cam_sweep(…)", sweep
    yield "after stack.explore()", stack


def fresh() -> ModuleType:
    """Import vizhelpers as if for the first time."""
    for name in [name for name in sys.modules if name.split(".")[0] == "vizhelpers"]:
        del sys.modules[name]
    return importlib.import_module("vizhelpers")


def expected(name: str, source: str) -> object:
    """Return what the stub says that a public name is."""
    if not source:
        return importlib.import_module(f"vizhelpers.{name}")
    return getattr(importlib.import_module(f"vizhelpers.{source}"), name)


def main() -> None:
    sys.path.insert(0, str(ROOT))
    names = sources()
    for description, use in orders():
        viz = fresh()
        use(viz)
        first = {name: getattr(viz, name) for name in names}
        truth = {name: expected(name, source) for name, source in names.items()}
        again = {name: getattr(viz, name) for name in names}  # every module is imported by now
        wrong = [x for x in names if not (first[x] is truth[x] is again[x])]
        if wrong:
            sys.exit(f"{description}, these names are something else: {wrong}")


if __name__ == "__main__":
    main()
