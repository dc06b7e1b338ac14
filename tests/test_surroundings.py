"""Threads, default device, autocast and random states around a call."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from networks import SIZE, SMALL, Net
from snapshots import difference, snapshot
from torch import Tensor, nn

import vizhelpers as viz

pytestmark = pytest.mark.usefixtures("no_figures_left")


class Dropping(nn.Module):
    """In train mode every pass differs, and BatchNorm changes its statistics."""

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
        answers = list(pool.map(lambda i: calls[i % 4](), range(48)))
    assert answers == pytest.approx(alone * 12)
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

    def kernels(net: Net) -> np.ndarray:
        viz.summary(net, SIZE)
        return viz.kernels(net, "first", random_seed=1).frames

    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(frames, expected) for frames in pool.map(kernels, nets))
    assert settings() == before


def every_call(model: Net, x: Tensor) -> dict[str, Callable[[], Any]]:
    ascent = viz.flash.GradientAscent(model, img_size=16)
    calls: dict[str, Callable[[], Any]] = {
        "prepare": lambda: viz.prepare(model, "cat", transform=SMALL).x.numpy(),
        "capture": lambda: viz.capture(model, x, "second")["second"].numpy(),
        "feature_maps": lambda: viz.feature_maps(model, x, "second").frames,
        "kernels": lambda: viz.kernels(model, "first", random_seed=2).frames,
        "predict": lambda: [p.probability for p in viz.predict(model, x)],
        "summary": lambda: viz.summary(model, SIZE).mult_adds,
        "Backprop": lambda: viz.flash.Backprop(model).calculate_gradients(x).numpy(),
        "Backprop.visualize": lambda: (
            viz.flash.Backprop(model).visualize(x, None, guided=True, return_output=True)[0].numpy()
        ),
        "optimize": lambda: ascent.optimize(model.second, 1, num_iter=2)[-1].numpy(),
        "deepdream": lambda: ascent.deepdream(
            "cat", model.second, 1, num_iter=2, return_output=True
        )[-1].numpy(),
        "visualize": lambda: ascent.visualize(model.second, [1, 3], num_iter=2, return_output=True)[
            0
        ][-1].numpy(),
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


@pytest.mark.parametrize(
    "around",
    [lambda: torch.device("meta"), lambda: torch.autocast("cpu", dtype=torch.bfloat16)],
    ids=["another default device", "autocast"],
)
def test_the_default_device_and_autocast_make_no_difference(
    around: Callable[[], AbstractContextManager[object]], x: Tensor
) -> None:
    model = Net()
    expected = {name: call() for name, call in every_call(model, x).items()}
    with around():
        assert torch.ones(1).is_meta or model(x).dtype == torch.bfloat16
        for name, call in every_call(model, x).items():
            np.testing.assert_array_equal(call(), expected[name], err_msg=name)
        assert torch.ones(1).is_meta or torch.is_autocast_enabled("cpu")


def test_cuda_is_never_seeded(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    model, state = Net(), torch.get_rng_state()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: False)
    for call in every_call(model, x).values():
        call()
    viz.load_model("squeezenet1_1", weights=None, seed=3)
    panel = viz.explore_kernels(model)
    panel.requests["weights"].value = 0
    assert panel.wait(20)
    panel.close()
    assert seeds == [] and torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    torch.set_rng_state(state)
    assert seeds == [5], "a seed of CUDA would be in the list"
