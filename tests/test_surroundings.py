"""Threads, default device, autocast and random states around a call."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from networks import SIZE, SMALL, Net
from snapshots import difference, snapshot
from torch import Tensor, nn

import vizhelpers as viz


class Dropping(nn.Module):
    """In train mode every pass is another one, and BatchNorm moves."""

    def __init__(self, shared: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = shared or nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        threading.Event().wait(0.002)
        return self.fc(self.drop(self.stem(x)).mean((2, 3)))


def test_threads_that_share_a_model_or_a_part_of_one_get_the_same_answers(x: Tensor) -> None:
    model = Dropping().train()
    other = Dropping(model.stem).train()
    calls: list[Callable[[], Any]] = [
        lambda: viz.predict(model, x)[0].probability,
        lambda: viz.predict(other, x)[0].probability,
        lambda: viz.capture(model.stem, x, "1")["1"].sum().item(),
        lambda: float(viz.cam(model, x, "stem").frames.sum()),
    ]
    alone, before = [call() for call in calls], snapshot(model, x)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: (i % 4, calls[i % 4]()), range(48)))
    assert all(value == pytest.approx(alone[i]) for i, value in found)
    assert difference(before, snapshot(model, x)) == []


def test_threads_leave_the_settings_of_the_process_as_they_were() -> None:
    def settings() -> tuple[Any, ...]:
        kernels = torch.backends.cuda
        return (
            torch.backends.mha.get_fastpath_enabled(),
            kernels.flash_sdp_enabled(),
            kernels.mem_efficient_sdp_enabled(),
            torch.get_rng_state().tolist(),
        )

    nets = [Net() for _ in range(24)]  # their constructor draws
    before = settings()
    expected = viz.kernels(nets[0], "first", random_seed=1).frames
    wrong: list[int] = []

    def work(i: int) -> None:
        viz.summary(nets[i], SIZE)
        found = viz.kernels(nets[i], "first", random_seed=1).frames
        wrong.extend([i] * (not np.array_equal(found, expected)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(24)))
    assert settings() == before and wrong == []


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """The default device is another one than the CPU, as on a machine with a GPU."""
    with torch.device("meta"):  # torch.set_default_device does the same, and is hard to undo
        yield


def _every_call(model: nn.Module, x: Tensor) -> dict[str, Callable[[], Any]]:
    calls: dict[str, Callable[[], Any]] = {
        "prepare": lambda: viz.prepare(model, "cat", transform=SMALL).x.numpy(),
        "capture": lambda: viz.capture(model, x, "second")["second"].numpy(),
        "feature_maps": lambda: viz.feature_maps(model, x, "second").frames,
        "kernels": lambda: viz.kernels(model, "first", random_seed=2).frames,
        "predict": lambda: [p.probability for p in viz.predict(model, x)],
        "summary": lambda: viz.summary(model, SIZE).mult_adds,
        "Backprop": lambda: viz.flash.Backprop(model).calculate_gradients(x).numpy(),
    }
    for method in viz.CAM_METHODS:
        calls[f"cam {method}"] = lambda m=method: viz.cam(model, x, "last", method=m).frames
    for method in ("vanilla", "guided", "smoothgrad", "integrated_gradients"):
        calls[method] = lambda m=method: (
            viz.saliency(model, x, method=m, passes=2, of="probability").frames
        )
    for mode in ("pixels", "fourier"):
        calls[mode] = lambda m=mode: (
            viz.activation_maximization(
                model, "second", channels=[1], steps=2, size=16, mode=m
            ).values
        )
    return calls


def test_the_default_device_makes_no_difference(x: Tensor, request: Any) -> None:
    model = Net()
    expected = {name: call() for name, call in _every_call(model, x).items()}
    request.getfixturevalue("elsewhere")
    for name, call in _every_call(model, x).items():
        np.testing.assert_array_equal(call(), expected[name], err_msg=name)


def test_autocast_around_a_call_makes_no_difference(x: Tensor) -> None:
    model = Net()
    expected = {name: call() for name, call in _every_call(model, x).items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(x).dtype == torch.bfloat16
        for name, call in _every_call(model, x).items():
            np.testing.assert_array_equal(call(), expected[name], err_msg=name)
        assert torch.is_autocast_enabled("cpu")


def test_cuda_is_never_seeded(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    model, state = Net(), torch.get_rng_state()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: False)
    for call in _every_call(model, x).values():
        call()
    viz.load_model("squeezenet1_1", weights=None, seed=3)
    panel = viz.explore_kernels(model)
    panel.requests["weights"].value = 0
    assert panel.wait(20)
    panel.close()
    assert seeds == [] and torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    torch.set_rng_state(state)
    assert seeds == [5], "a seed of CUDA would have been seen"
