"""What most tests look at: the bundled model, the cat, and a tiny network that takes no time."""

import os
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported; the notebooks' kernels inherit it. A waiting thread of OpenMP keeps its
# core busy, and there is a second process of tests.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

import vizhelpers as viz

matplotlib.use("Agg")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return two processes; none besides pytest's own where one file of tests is named."""
    paths = [Path(argument.partition("::")[0]) for argument in config.args]
    return 0 if len(paths) == 1 and paths[0].is_file() else 2


@pytest.fixture(scope="session")
def model() -> nn.Module:
    return viz.load_model()


@pytest.fixture(scope="session")
def second() -> nn.Module:
    """EfficientNet-Lite0: BatchNorm, residual sums, depthwise convolutions, a pooled head."""
    return viz.load_model("efficientnet_lite0")


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
