"""Load networks: the bundled SqueezeNet 1.1, and torchvision's with any weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms
from torchvision.models import WeightsEnum

from vizhelpers.inputs.arguments import seed_of
from vizhelpers.inputs.errors import repr_of, unknown
from vizhelpers.inputs.weights.sources import (
    DATA,
    bundled_weights,
    downloaded_weights,
    efficientnet_lite0,
    preset_of,
    random_weights,
    weights_from_file,
)

BUNDLED = "squeezenet1_1_bundled"
SECOND = "efficientnet_lite0"
_CARD = "_vizhelpers_card"
Transform = Callable[[Image.Image], Tensor]


@dataclass(frozen=True)
class ModelCard:
    """Description of a model, which ``load_model`` stores in an attribute of it.

    Attributes:
        name: the argument of ``load_model``.
        source: where its weights come from, in words.
        trained: False for random weights; titles then begin with RANDOM.
        transform: PIL image -> tensor (3, H, W), as the weights were trained; None if unknown.
        labels: one class name for each output; empty if unknown.
    """

    name: str
    source: str
    trained: bool
    transform: Transform | None
    labels: tuple[str, ...]


def load_model(
    name: str = BUNDLED, weights: str | Path | WeightsEnum | None = "DEFAULT", *, seed: int = 0
) -> nn.Module:
    """Return a classifier in eval mode, on the CPU, with its transform and class names.

    Args:
        name: by default the bundled SqueezeNet 1.1 (Iandola et al. 2016). Or
            ``"efficientnet_lite0"`` (after Tan and Le 2019), which has BatchNorm, residual sums and
            depthwise convolutions, and requires the extra ``vizhelpers[models]``. These two need no
            internet connection. Or a torchvision classification model, such as ``"vgg11"``.
        weights: ``"DEFAULT"`` loads trained weights, which torchvision downloads once and torch
            caches (``TORCH_HOME``). A member of the model's weights enum in torchvision, or its
            name (``"IMAGENET1K_V1"``), selects others. None draws random weights. A path loads a
            state dict, from ``.safetensors`` or ``torch.save``, with ``weights_only=True`` and
            converted to float32; EfficientNet-Lite0 accepts no path.
        seed: of random weights; the global random state does not change.

    Returns:
        The model, on the CPU, whatever the default device is.

    Raises:
        TypeError: ``name``, ``weights`` or ``seed`` of another type.
        ValueError: no such model, or weights of another torchvision model.
        WeightsUnavailable: no internet connection, a missing package, a damaged file, or a state
            dict for another model.

    Example:
        >>> import torch
        >>> load_model()(torch.zeros(1, 3, 224, 224)).shape
        torch.Size([1, 1000])
    """
    if not isinstance(name, str):
        raise TypeError(f"name={repr_of(name)}: expected the name of a model, a string.")
    if isinstance(weights, Mapping):
        raise TypeError(
            "weights= accepts no state dict. Build the model with weights=None, then call "
            "model.load_state_dict(state_dict)."
        )
    if weights is not None and not isinstance(weights, (str, Path, WeightsEnum)):
        raise TypeError(
            f"weights={repr_of(weights)}: expected 'DEFAULT' for trained ones, None for random "
            "ones, or the path of a state dict."
        )
    seed = seed_of("seed", seed)
    if name == BUNDLED and weights == "DEFAULT":
        return _with_card(bundled_weights(), BUNDLED, "bundled ImageNet weights", trained=True)
    if name == SECOND:
        return _second(weights, seed)
    architecture = "squeezenet1_1" if name == BUNDLED else name
    known = torchvision.models.list_models(module=torchvision.models)
    if architecture not in known:
        raise unknown(
            "model", name, [BUNDLED, SECOND, *known], "Without a name it is the bundled one."
        )
    preset = preset_of(architecture, weights)
    if weights is None:
        model, source = random_weights(architecture, seed), f"RANDOM weights, seed {seed}"
    elif preset:
        model, source = downloaded_weights(architecture, preset), "torchvision's ImageNet weights"
    else:
        path = Path(str(weights))
        model, source = weights_from_file(architecture, path), f"the file {path.name}"
    return _with_card(model, name, source, preset, trained=weights is not None)


def _with_card(
    model: nn.Module, name: str, source: str, preset: WeightsEnum | None = None, *, trained: bool
) -> nn.Module:
    preset = preset or preset_of("squeezenet1_1" if name == BUNDLED else name, "DEFAULT")
    assert preset is not None  # every classifier of torchvision has it
    labels = _bundled_labels() if name == BUNDLED else tuple(preset.meta["categories"])
    setattr(model, _CARD, ModelCard(name, source, trained, preset.transforms(), labels))
    return model.eval()


def _second(weights: str | Path | WeightsEnum | None, seed: int) -> nn.Module:
    """Return EfficientNet-Lite0, whose definition and weights come from two packages."""
    if weights not in ("DEFAULT", None):
        raise ValueError(f"weights={str(weights)!r}: {SECOND!r} takes 'DEFAULT' or None.")
    model = efficientnet_lite0(None if weights else seed)
    source = "Google's ImageNet weights" if weights else f"RANDOM weights, seed {seed}"
    # (pixel - 127) / 128, as it was trained.
    shift, scale = [127 / 255] * 3, [128 / 255] * 3
    transform = transforms.Compose(
        [
            transforms.Resize(256, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(shift, scale),
        ]
    )
    model_card = ModelCard(SECOND, source, weights is not None, transform, _bundled_labels())
    setattr(model, _CARD, model_card)
    return model.eval()


def card(model: nn.Module) -> ModelCard | None:
    """Return the ``ModelCard`` of a model; None if ``load_model`` did not load it.

    Args:
        model: the module inside its wrappers.
    """
    known = getattr(model, _CARD, None)
    return known if isinstance(known, ModelCard) else None


@cache
def _bundled_labels() -> tuple[str, ...]:
    return tuple((DATA / "imagenet_labels.txt").read_text(encoding="utf-8").splitlines())


def title_warning(model: nn.Module) -> str:
    """Return "RANDOM weights · " for titles of a model that is known to be untrained, else ""."""
    known = card(model)
    return "RANDOM weights · " if known and not known.trained else ""
