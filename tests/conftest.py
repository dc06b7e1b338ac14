"""What most tests look at: the bundled model, the cat, and a tiny network that takes no time."""

import copy
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

import vizhelpers as viz

matplotlib.use("Agg")


@pytest.fixture(scope="session")
def model() -> nn.Module:
    return viz.load_model()


@pytest.fixture(scope="session")
def second() -> nn.Module:
    """EfficientNet-Lite0: BatchNorm, residual sums, depthwise convolutions, a pooled head."""
    return viz.load_model("efficientnet_lite0")


@pytest.fixture(scope="session")
def clean_model(model: nn.Module) -> nn.Module:
    """The bundled model without in-place operations, which captum's guided hooks cannot bear."""
    clean = copy.deepcopy(model)
    for module in clean.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return clean


@pytest.fixture(scope="session")
def cat(model: nn.Module) -> viz.Sample:
    return viz.prepare(model, "cat")


@pytest.fixture
def tiny() -> nn.Module:
    """A seeded classifier of (1, 3, 12, 12) into 5 classes, with an in-place ReLU."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 6, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 5),
        ).eval()


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def x() -> torch.Tensor:
    """Return an input of ``networks.Net``, (1, 3, 12, 12)."""
    return torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def no_figures_left() -> Iterator[None]:
    """Close what a test leaves in pyplot."""
    yield
    plt.close("all")


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test in an empty folder, without exercises' progress in memory."""
    from vizhelpers.exercises import progress_file

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress_file, "_in_memory", {})
