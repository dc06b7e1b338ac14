"""A network of three layers with which tests see where a pass ended.

Calls of layers are counted in a list outside of the model, since a counter on the model would make
each pass another one.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

CALLS: list[str] = []
SWITCH: list[str] = []  # a global variable that a forward reads

Between = Callable[["Net", Tensor], Tensor]


class Layer(nn.Module):
    """A convolution that says when it runs."""

    def __init__(self, name: str, inputs: int) -> None:
        super().__init__()
        self.name, self.conv = name, nn.Conv2d(inputs, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        CALLS.append(self.name)
        return self.conv(x)


class Net(nn.Module):
    """Three layers, with a function of the test's between the first and the second."""

    def __init__(self, between: Between = lambda net, x: x) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first, self.second, self.third = (
                Layer(name, inputs) for name, inputs in (("first", 3), ("second", 4), ("third", 4))
            )
            self.head = nn.Linear(4, 5)
        type(self).between = between

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(self.first(x))
        return self.head(self.third(self.second(x)).mean((2, 3)))


def net(between: Between = lambda net, x: x) -> Net:
    """Return a network of a class of its own, so that its modules hold plain data only."""
    return type("Own", (Net,), {})(between).eval()


def called(call: Callable[[], object]) -> list[str]:
    """Return the names of the layers that ran in a call."""
    CALLS.clear()
    call()
    return CALLS.copy()


def by_hook(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    """Return a copy of a layer's output, made in the hook, of a whole pass."""
    outputs: list[Tensor] = []
    hook = model.get_submodule(layer).register_forward_hook(
        lambda module, args, output: outputs.append(output.clone())
    )
    with torch.no_grad():
        model(x)
    hook.remove()
    return outputs[0]
