"""Tiny networks of every kind that users bring, and random weights that carry a signal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
import torchvision.transforms as T
from torch import Tensor, nn


@dataclass(frozen=True)
class Tiny:
    """A network of a few hundred numbers: how to build it, what it takes, where its maps are.

    Attributes:
        build: makes it, from whatever the global random state is; use ``built``.
        shape: of its input, (1, C, H, W).
        layers: layers with maps that run once.
        convolution: dotted name of one.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, int, int, int]
    layers: tuple[str, ...]
    convolution: str

    def built(self, seed: int = 0) -> nn.Module:
        """Return the network with unit-variance weights; the global random state stays."""
        with seeded(seed):
            return unit_variance(self.build(), torch.randn(self.shape))

    def x(self, seed: int = 1) -> Tensor:
        """Return an input, (1, C, H, W)."""
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(seed))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw random numbers from this seed, and put the global state back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def plain() -> nn.Module:
    """Convolution, BatchNorm, in-place ReLU, dropout: everything that train mode changes."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


class Residual(nn.Module):
    """A residual sum, and one in-place ReLU that runs twice, as in torchvision's ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.relu = nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        x = self.relu(self.norm(self.second(x)) + x)
        return self.head(x.mean((2, 3)))


def depthwise() -> nn.Module:
    """A depthwise and a pointwise convolution, with other non-linearities than ReLU."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.Hardswish(inplace=True),
        nn.Conv2d(4, 4, 3, groups=4, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU6(inplace=True),
        nn.Conv2d(4, 6, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


class Functional(nn.Module):
    """ReLU and pooling as functions, as most tutorials write them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3)
        self.fc = nn.Linear(6, 5)
        self.register_buffer("scale", torch.tensor([1.0]))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = torch.relu_(self.conv2(x)) * self.scale
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Attention(nn.Module):
    """Patches, a class token, LayerNorm and self-attention: a Vision Transformer of one block."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.class_token = nn.Parameter(torch.randn(1, 1, 8))
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)
        inside = self.norm1(x)
        x = x + self.attention(inside, inside, inside, need_weights=False)[0]
        x = x + self.mlp(self.norm2(x))
        return self.head(x[:, 0])


def grey() -> nn.Module:
    """One input channel, as for MNIST."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    )


TINY: dict[str, Tiny] = {
    "plain": Tiny(plain, (1, 3, 10, 10), ("0", "1", "4"), "0"),
    "residual": Tiny(Residual, (1, 3, 10, 12), ("first", "second", "norm"), "second"),
    "depthwise": Tiny(depthwise, (1, 3, 11, 11), ("0", "2", "5"), "2"),
    "functional": Tiny(Functional, (1, 3, 12, 9), ("conv1", "conv2"), "conv1"),
    "attention": Tiny(Attention, (1, 3, 16, 16), ("patches",), "patches"),
    "grey": Tiny(grey, (1, 1, 10, 10), ("0", "1"), "0"),
}


# Attention uses its last linear layer as a function, so that no hook of that layer's own is called.
_LAST = {
    "MultiheadAttention": "out_proj",
    "ShiftedWindowAttention": "proj",
    "ShiftedWindowAttentionV2": "proj",
}


def unit_variance(model: nn.Module, x: Tensor) -> nn.Module:
    """Scale a random network so that each layer's output has variance 1 on ``x``, heads included.

    As it is initialised, a deep random network has gradients of 1e-15, and torchvision's ViT a
    head of zeros: "equal" would then mean "equally nothing" (Mishkin and Matas 2015, "All you need
    is a good init").

    Args:
        model: changed in place; convolutions, linear layers and attention, biases are set to 0.
        x: one input, (1, C, H, W).

    Returns:
        The model, in eval mode.
    """

    def scale(module: nn.Module, args: tuple, kwargs: dict, output: object) -> object:
        last = getattr(module, _LAST.get(type(module).__name__, ""), module)
        if not last.weight.any():
            nn.init.normal_(last.weight)
        if last.bias is not None:
            last.bias.zero_()
        found = module.forward(*args, **kwargs)
        spread = (found[0] if isinstance(found, tuple) else found).std()
        if spread.isfinite() and spread > 0:
            last.weight.div_(spread)
        return module.forward(*args, **kwargs)  # what follows must see it scaled

    handles = [
        module.register_forward_hook(scale, with_kwargs=True)
        for module in model.eval().modules()
        if isinstance(module, (nn.Conv2d, nn.Linear)) or type(module).__name__ in _LAST
    ]
    for name, parameter in model.named_parameters():
        if name.endswith(("layer_scale", "gamma")):  # ConvNeXt's branches begin at 1e-6
            nn.init.ones_(parameter)
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return model


SIZE = (1, 3, 12, 12)  # of an input of Net, and the transform that makes one
SMALL = T.Compose([T.Resize((12, 12)), T.ToTensor()])


class Net(nn.Module):
    """Two convolutions, a mean over places, one linear layer; ``between`` runs after the first."""

    def __init__(self, between: Callable[["Net", Tensor], Tensor] = lambda net, x: x) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3)
            self.last, self.fc = nn.ReLU(), nn.Linear(6, 5)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(self, self.first(x)).relu()
        return self.fc(self.last(self.second(x)).mean((2, 3)))


class Cifar(nn.Module):
    """As in PyTorch's own tutorial: ReLUs as functions, and a linear layer that fixes the size."""

    def __init__(self, channels: int = 3, side: int = 32) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 5)
        self.fc = nn.Linear(4 * ((side - 4) // 2) ** 2, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.max_pool2d(F.relu(self.conv(x)), 2).flatten(1))


def closure_over(factor: Tensor | nn.Module) -> Callable[[Net, Tensor], Tensor]:
    """Return a ``between`` that multiplies by a tensor, or calls a module, outside of the model."""
    return lambda net, x: factor(x) if isinstance(factor, nn.Module) else x * factor


_PASSES: WeakKeyDictionary[nn.Module, list[int]] = WeakKeyDictionary()


class Counter(nn.Module):
    """Counts the passes through it, outside of its attributes: models that change run whole."""

    forwards = property(lambda self: _PASSES.get(self, [0, 0])[0])
    backwards = property(lambda self: _PASSES.get(self, [0, 0])[1])

    def forward(self, x: Tensor) -> Tensor:
        self.count(0)
        x = x.clone()
        if x.requires_grad:
            x.register_hook(lambda gradient: self.count(1))
        return x

    def count(self, way: int) -> None:
        _PASSES.setdefault(self, [0, 0])[way] += 1


def network_of(channels: int) -> nn.Sequential:
    """Return a network of two convolutions for any number of input channels."""
    generator = torch.Generator().manual_seed(channels)
    network = nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.AdaptiveAvgPool2d(1)
    )
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return network.append(nn.Flatten())
