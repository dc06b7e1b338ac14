"""The list of Colab's packages: complete for the core, and compared with what is installed."""

import tomllib
from importlib.metadata import Distribution, requires
from pathlib import Path

from colab_pins import canonical, differences, pins
from packaging.requirements import Requirement

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
CORE = [
    Requirement(line)
    for line in tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
]
# Colab does not have these; `pip install` fetches them with vizhelpers, in their newest versions.
FETCHED = {"flashtorch", "grad-cam", "importlib-resources", "jedi", "torchinfo", "ttach"}
# IPython 9 and ipywidgets 8 need these; Colab's IPython 7.34 and ipywidgets 7.7.1 do not.
NEWER_JUPYTER = {
    "asttokens",
    "comm",
    "executing",
    "ipython-pygments-lexers",
    "pure-eval",
    "stack-data",
}
# Parts of PyPI's CUDA build of torch; Colab's CPU runtime has torch's CPU build.
CUDA = ("cuda-", "nvidia-", "triton")


def tree(requirements: list[Requirement]) -> set[str]:
    """Return the canonical names of requirements and of all that they require in turn, here."""
    found: set[tuple[str, str]] = set()
    waiting = [(req.name, extra) for req in requirements for extra in ("", *req.extras)]
    while waiting:
        name, extra = waiting.pop()
        if (canonical(name), extra) in found:
            continue
        found.add((canonical(name), extra))
        for line in requires(name) or []:
            req = Requirement(line)
            if req.marker is None or req.marker.evaluate({"extra": extra}):
                waiting += [(req.name, more) for more in ("", *req.extras)]
    return {name for name, _ in found}


def test_the_list_has_a_pin_for_the_cores_whole_dependency_tree() -> None:
    names = {name for name in tree(CORE) if not name.startswith(CUDA)}
    assert {"torch", "numpy", "kiwisolver", "traitlets"} <= names  # direct and indirect ones
    assert names - FETCHED - NEWER_JUPYTER - set(pins()) == set()


def test_no_exception_is_made_for_a_package_that_the_list_pins() -> None:
    assert (FETCHED | NEWER_JUPYTER) & set(pins()) == set()


def test_the_cores_bounds_leave_what_colab_has_preinstalled() -> None:
    listed = pins()
    refused = [
        f"{req} refuses {listed[canonical(req.name)]}"
        for req in CORE
        if canonical(req.name) in listed and listed[canonical(req.name)] not in req.specifier
    ]
    assert refused == []


def package(folder: Path, name: str, version: str) -> Distribution:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    return Distribution.at(info)


def test_an_installed_version_that_is_not_colabs_is_named(tmp_path: Path) -> None:
    torch, yaml = pins()["torch"], pins()["pyyaml"]
    same = [package(tmp_path, "torch", f"{torch}+cpu"), package(tmp_path, "PyYAML", yaml)]
    unlisted = package(tmp_path, "vizhelpers", "0.1.0")
    newer = package(tmp_path, "Lazy_Loader", "0.6")
    assert differences([*same, unlisted]) == []
    assert differences([*same, newer]) == ["Lazy_Loader 0.6, in Colab 0.5"]
