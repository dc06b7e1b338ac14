"""Memory after many calls is what it was after few, and ascent keeps no step's graph."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle, islice

import matplotlib.pyplot as plt
import psutil
import pytest
import torch
from networks import TINY
from public_calls import CALLS
from torch import Tensor, nn

import vizhelpers as viz
from vizhelpers.view.live.progress import watching

CALLS_MADE = 300
GROWTH = 8 * 2**20  # bytes of RSS, 28 KB for each call


def live_tensors() -> int:
    """Return how many tensors Python can reach."""
    gc.collect()
    # type() and not isinstance(): some lazy modules answer __class__ by importing something.
    return sum(issubclass(type(found), Tensor) for found in gc.get_objects())


def make_calls(model: nn.Module, x: Tensor, count: int) -> None:
    """Call one public function after another; a refusal is a call too."""
    for call in islice(cycle(CALLS.values()), count):
        with suppress(ValueError):
            call(model, x, "4", TINY["plain"])
        plt.close("all")  # FlashTorch's figures, of which pyplot holds up to 20, 1 MB each


def rss() -> int:
    """Return the process's resident bytes, without what the allocator holds back for later."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss


@pytest.mark.filterwarnings("ignore:The model predicts class")
def test_many_calls_take_no_more_memory_than_few() -> None:
    model, x = TINY["plain"].built(), TINY["plain"].x()
    make_calls(model, x, CALLS_MADE)  # libraries load, caches fill, the allocator finds its level
    growth = []
    for _ in range(3):  # a leak grows each time; what the allocator keeps, once
        memory = rss()
        make_calls(model, x, CALLS_MADE)
        growth.append(rss() - memory)
        if growth[-1] < GROWTH:
            return
    pytest.fail(f"each round took more memory: {growth}")


def test_memory_that_is_kept_would_be_seen() -> None:
    before = rss()
    kept = torch.ones(2 * GROWTH, dtype=torch.uint8)
    assert rss() - before > GROWTH
    assert len(kept)


def test_the_count_of_tensors_sees_one_that_is_kept() -> None:
    before = live_tensors()
    kept = [torch.zeros(1)]
    assert live_tensors() - before == 1
    assert kept


class Saved:
    """A tensor that a graph keeps for its way back; counts bytes as long as the graph lives."""

    alive = 0

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.bytes = tensor, tensor.numel() * tensor.element_size()
        Saved.alive += self.bytes

    def __del__(self) -> None:
        Saved.alive -= self.bytes


@contextmanager
def counting_graphs() -> Iterator[list[int]]:
    """Fill a list, at each step of a watched loop, with the bytes that living graphs hold."""
    at_each_step: list[int] = []

    def report(what: str, done: int, total: int) -> bool:
        at_each_step.append(Saved.alive)
        return True

    Saved.alive = 0
    hooks = torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor)
    with hooks, watching(report):
        yield at_each_step


def test_ascent_keeps_no_graph_from_step_to_step() -> None:
    model = TINY["plain"].built()
    # The first pass runs whole: it has nodes that save their own output, which ``Saved`` makes
    # a circle.
    viz.activation_maximization(model, "4", channels=[0, 3], steps=1, size=24)
    with counting_graphs() as at_each_step:
        viz.activation_maximization(model, "4", channels=[0, 3], steps=12, size=24)
    assert len(at_each_step) >= 12
    assert set(at_each_step) == {0}


def test_ascent_as_flashtorch_does_it_would_be_seen() -> None:
    model, at_each_step = TINY["plain"].built(), []
    x = torch.randn(1, 3, 24, 24, requires_grad=True)
    with counting_graphs():
        for _ in range(4):
            activation = model[:5](x)[:, 0].mean()
            (gradient,) = torch.autograd.grad(activation, x, retain_graph=True)
            x = x + gradient  # with its history: each step's graph holds on to the last one's
            at_each_step.append(Saved.alive)
    assert 0 < at_each_step[0] < at_each_step[1] < at_each_step[2] < at_each_step[3]


def test_at_the_last_step_there_are_no_more_tensors_than_at_the_second() -> None:
    model, alive = TINY["plain"].built(), {}

    def report(what: str, done: int, total: int) -> bool:
        if done in (1, total - 1):
            alive[done] = live_tensors()
        return True

    before = live_tensors()
    with watching(report):
        viz.activation_maximization(model, "4", channels=[1], steps=100, size=16)
    assert list(alive) == [1, 100]
    assert before < alive[1] == alive[100]
    assert live_tensors() == before
