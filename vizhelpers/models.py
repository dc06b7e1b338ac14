"""Networks with real weights: the bundled SqueezeNet 1.1, torchvision's, and the reader's own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from vizhelpers.errors import unknown
from vizhelpers.gradients import logits
from vizhelpers.images import load_image
from vizhelpers.inputs import HasTensor, bare
from vizhelpers.weights import (
    DATA,
    bundled_weights,
    downloaded_weights,
    random_weights,
    weights_from_file,
)

BUNDLED = "squeezenet1_1_bundled"
_CARD = "_vizhelpers_card"
Transform = Callable[[Image.Image], Tensor]


@dataclass(frozen=True)
class ModelCard:
    """What ``load_model`` knows of a model and writes on it.

    Attributes:
        name: the name it was loaded by.
        source: where its weights come from, in words.
        trained: False for random weights; pictures of such a model say RANDOM in their titles.
        transform: PIL image -> tensor (3, H, W), as the weights were trained.
        labels: one class name for each output.
    """

    name: str
    source: str
    trained: bool
    transform: Transform
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """A photograph made ready for one model.

    Attributes:
        x: network input, (1, 3, H, W), on the model's device and of its dtype (float32 mostly).
        view: the crop that the network sees, (H, W, 3) uint8, to be laid under a map.
    """

    x: Tensor
    view: np.ndarray


@dataclass(frozen=True)
class Prediction:
    """One line of a model's answer: class index, class name, probability between 0 and 1."""

    index: int
    label: str
    probability: float

    def __repr__(self) -> str:
        """Show the name first: that is what a reader looks for."""
        return f"{self.label} ({self.index}) {self.probability:.3f}"


def load_model(
    name: str = BUNDLED, weights: str | Path | None = "DEFAULT", *, seed: int = 0
) -> nn.Module:
    """Return a classifier in eval mode, with its transforms and class names on it.

    Args:
        name: without a name the bundled SqueezeNet 1.1 (Iandola et al. 2016), which needs no
            network. Otherwise a torchvision classification model such as ``"vgg11"``.
        weights: ``"DEFAULT"`` for trained ones: torchvision downloads them once, shows its
            progress, and keeps them where torch caches (``TORCH_HOME``). None for random ones. Or
            the path of a state dict, ``.safetensors`` or a file of ``torch.save``, which is read
            with ``weights_only=True``.
        seed: of the random initialisation where ``weights`` is None. The global random state
            is left as it was.

    Returns:
        The model, on the CPU.

    Raises:
        ValueError: no such model.
        WeightsUnavailable: no network, a damaged file, or a state dict for another model.

    Example:
        >>> load_model()(torch.zeros(1, 3, 224, 224)).shape
        torch.Size([1, 1000])
    """
    if name == BUNDLED and weights == "DEFAULT":
        return _with_card(bundled_weights(), BUNDLED, "bundled ImageNet weights", trained=True)
    architecture = "squeezenet1_1" if name == BUNDLED else name
    known = torchvision.models.list_models(module=torchvision.models)
    if architecture not in known:
        raise unknown("model", name, [BUNDLED, *known], "Without a name it is the bundled one.")
    if weights is None:
        model, source = random_weights(architecture, seed), f"RANDOM weights, seed {seed}"
    elif weights == "DEFAULT":
        model, source = downloaded_weights(architecture), "torchvision's ImageNet weights"
    else:
        path = Path(weights).expanduser()
        model, source = weights_from_file(architecture, path), f"the file {path.name}"
    return _with_card(model, name, source, trained=weights is not None)


def _with_card(model: nn.Module, name: str, source: str, *, trained: bool) -> nn.Module:
    architecture = "squeezenet1_1" if name == BUNDLED else name
    preset = torchvision.models.get_model_weights(architecture).DEFAULT  # type: ignore[attr-defined]
    labels = _bundled_labels() if name == BUNDLED else tuple(preset.meta["categories"])
    setattr(model, _CARD, ModelCard(name, source, trained, preset.transforms(), labels))
    return model.eval()


def card(model: nn.Module) -> ModelCard | None:
    """Return the card that ``load_model`` put on a model, or None for a model of the user's own."""
    found = getattr(bare(model), _CARD, None)
    return found if isinstance(found, ModelCard) else None


def prepare(model: nn.Module, image: Any, *, transform: Transform | None = None) -> Sample:
    """Make a photograph ready for a model, and keep the crop that the network sees.

    Args:
        model: from ``load_model``, or any module.
        image: anything that ``load_image`` takes.
        transform: PIL image -> tensor (3, H, W); for a module of the user's own, or instead of
            the weights' own transforms. Its normalisation is found by its ``mean`` and ``std``
            (also inside a ``Compose``) and undone for ``view``; without any, values 0..1 are
            shown as they are.

    Returns:
        A ``Sample``: ``x`` (1, 3, H, W) as the model wants it, and ``view``.

    Raises:
        ImageError: the picture cannot be read.
        ValueError: a model without a card and no ``transform``, or one that returns no (3, H, W).

    Example:
        >>> prepare(load_model(), "cat").x.shape
        torch.Size([1, 3, 224, 224])
    """
    known = card(model)
    transform = transform or (known.transform if known else None)
    if transform is None:
        raise ValueError(
            f"{type(model).__name__} did not come from viz.load_model, so its preprocessing is "
            "unknown. Pass transform=, such as "
            "torchvision.models.ResNet18_Weights.DEFAULT.transforms()."
        )
    tensor = transform(load_image(image))
    if not isinstance(tensor, Tensor) or tensor.ndim != 3 or tensor.shape[0] not in (1, 3):
        got = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(f"transform must return a tensor (3, H, W), this one returned {got}.")
    weight = next(model.parameters(), None)
    x = tensor.float().unsqueeze(0)
    if weight is not None and weight.is_floating_point():
        x = x.to(dtype=weight.dtype, device=None if weight.is_meta else weight.device)
    return Sample(x, _view(tensor.float(), transform))


def _view(tensor: Tensor, transform: Transform) -> np.ndarray:
    mean, std = _normalisation(transform)
    rgb = tensor.cpu() * torch.as_tensor(std).view(-1, 1, 1) + torch.as_tensor(mean).view(-1, 1, 1)
    rgb = rgb.expand(3, -1, -1).clamp(0, 1).mul(255).round()
    return np.ascontiguousarray(rgb.to(torch.uint8).permute(1, 2, 0).numpy())


def _normalisation(transform: Any) -> tuple[Sequence[float], Sequence[float]]:
    for step in (transform, *getattr(transform, "transforms", ())):
        if hasattr(step, "mean") and hasattr(step, "std"):
            return step.mean, step.std
    return [0.0], [1.0]


def predict(
    model: nn.Module, sample: HasTensor | Tensor, k: int = 5, *, labels: Sequence[str] | None = None
) -> list[Prediction]:
    """Return the ``k`` most probable classes of one photograph, most probable first.

    Args:
        model: a classifier.
        sample: a ``Sample``, or a tensor (1, 3, H, W).
        k: how many; all of them if the model has fewer.
        labels: class names, for a module of the user's own; without any, classes are numbers.

    Raises:
        ValueError: more than one photograph, ``k`` below 1, or what ``capture`` refuses.

    Example:
        >>> predict(load_model(), prepare(load_model(), "panda"), k=1)
        [giant panda (388) 1.000]
    """
    if k < 1:
        raise ValueError(f"k={k}: ask for at least one class.")
    scores = logits(model, sample)
    if len(scores) != 1:
        raise ValueError(f"predict takes one photograph, got {len(scores)}; loop over x[i:i + 1].")
    top = scores[0].float().softmax(0).topk(min(k, scores.shape[1]))
    return [
        Prediction(index, class_label(model, index, labels=labels), probability)
        for index, probability in zip(top.indices.tolist(), top.values.tolist(), strict=True)
    ]


def class_label(model: nn.Module, index: int, *, labels: Sequence[str] | None = None) -> str:
    """Return the name of a class, or its number as text where the model has no names."""
    names = _labels(model, labels)
    return names[index] if index < len(names) else str(index)


def class_index(model: nn.Module, target: int | str, *, labels: Sequence[str] | None = None) -> int:
    """Return the index of a class that is given by index or by name.

    Args:
        model: a classifier.
        target: an index, or a class name (upper and lower case are alike).
        labels: class names, for a module of the user's own.

    Raises:
        ValueError: no such class, or a name that two classes share (ImageNet has two cranes).

    Example:
        >>> class_index(load_model(), "tabby")
        281
    """
    names = _labels(model, labels)
    if isinstance(target, str):
        return _index_of_name(target, names)
    if isinstance(target, bool) or not hasattr(target, "__index__"):
        raise TypeError(f"A class is an index or a name, not a {type(target).__name__}.")
    index = target.__index__()
    if index < 0 or (names and index >= len(names)):
        last = f" to {len(names) - 1}" if names else ""
        raise ValueError(f"There is no class {index}. This model's classes go from 0{last}.")
    return index


def _index_of_name(target: str, names: Sequence[str]) -> int:
    if not names:
        raise ValueError(
            f"This model has no class names, so {target!r} says nothing to it. "
            "Give the class index, or pass labels=."
        )
    exact = [i for i, name in enumerate(names) if name == target]
    found = exact or [i for i, name in enumerate(names) if name.lower() == target.lower().strip()]
    if len(found) > 1:
        raise ValueError(f"{len(found)} classes are called {target!r}: {found}. Give the index.")
    if not found:
        raise unknown("class", target, names, "Class names stand in the model's labels.")
    return found[0]


@dataclass(frozen=True)
class Target:
    """The class that is asked for, of one image or of several.

    Attributes:
        indices: a class index for each image.
        name: what it is called in an axis.
        names: what it is called for each image.
    """

    indices: Sequence[int]
    name: str
    names: Sequence[str]

    def title(self, image: int) -> str:
        """Return what stands above one image's picture."""
        return self.name if len(self.names) == 1 else f"image {image} · {self.names[image]}"


def targets_of(
    model: nn.Module,
    x: Tensor,
    target: int | str | None,
    *,
    labels: Sequence[str] | None = None,
) -> Target:
    """Return the class that is asked for, for each image; None is what each is predicted to be.

    Args:
        model: a classifier.
        x: network input (N, C, H, W).
        target: class index, class name, or None.
        labels: class names, for a module of the user's own.

    Raises:
        ValueError: as ``class_index``.
    """
    if target is None:
        indices = logits(model, x).argmax(dim=1).tolist()
    else:
        indices = [class_index(model, target, labels=labels)] * len(x)
    names = [class_label(model, index, labels=labels) for index in indices]
    return Target(indices, names[0] if len(set(names)) == 1 else "predicted", names)


def _labels(model: nn.Module, labels: Sequence[str] | None) -> Sequence[str]:
    if labels is not None:
        return labels
    known = card(model)
    return known.labels if known else ()


@cache
def _bundled_labels() -> tuple[str, ...]:
    return tuple((DATA / "imagenet_labels.txt").read_text(encoding="utf-8").splitlines())


def warning_word(model: nn.Module) -> str:
    """Return "RANDOM weights · " for titles of a model that is known to be untrained, else ""."""
    known = card(model)
    return "RANDOM weights · " if known and not known.trained else ""
