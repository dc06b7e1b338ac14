"""Load state dicts from checkpoint files; for any other file, raise an error that names it."""

import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from vizhelpers.inputs.errors import WeightsUnavailable
from vizhelpers.inputs.filetypes import is_safetensors, kind_of, without_bytes
from vizhelpers.inputs.weights.mismatch import explained, plain_name, with_lines

_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d\.)")
_USUAL_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
# Files of torch before 1.6 begin with this magic number; three pickles precede the object.
_LEGACY, _LEGACY_PICKLES = b"\x80\x02\x8a\nl\xfc\x9cF", 3


def load_checkpoint(model: nn.Module, path: Path, architecture: str) -> None:
    """Load a file's state dict into a model, converted to the model's floating-point type.

    Args:
        model: its weights are overwritten.
        path: of a file written by ``torch.save`` or safetensors.
        architecture: the model's name, for error texts.

    Raises:
        WeightsUnavailable: the file is not a state dict of this model; the text says what it is,
            and gives the lines of code that convert it, if possible.
    """
    saved = read_checkpoint(path)
    if architecture.startswith("densenet") and isinstance(saved, dict):
        # torchvision's own files have names that Python modules cannot have, and it renames them.
        saved = {_DENSENET.sub(r"\1\2", str(key)): value for key, value in saved.items()}
    try:
        model.load_state_dict(saved)
    except (RuntimeError, TypeError, AttributeError) as error:
        words = explained(saved, model.state_dict(), path, architecture) or without_bytes(error)
        raise WeightsUnavailable(
            f"{path.name} is not a state dict for {architecture!r}: {words}"
        ) from error


def read_checkpoint(path: Path) -> Any:
    """Return the content of a ``torch.save`` or safetensors file, on the CPU, without running code.

    Raises:
        WeightsUnavailable: another kind of file, a damaged file, or Python objects in it.
    """
    try:
        if is_safetensors(path):
            return load_file(path)
        with path.open("rb") as file, warnings.catch_warnings():
            # Given a path, torch.load decides by its suffix. Its warnings precede errors below.
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds of error for other files
        raise WeightsUnavailable(_what_it_is(path, error)) from error


def _what_it_is(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        start = file.read(1000)
    name, kind = path.name, kind_of(start)
    if not start:
        return f"{name} is empty (0 bytes): its download or copy failed. Fetch the file again."
    if start.startswith(b"PK") and zipfile.is_zipfile(path):
        return _what_archive(path, error)
    if start.startswith(b"PK\x03\x04"):
        return f"{name} is cut off or damaged: its end is missing. Fetch the file again."
    if "Unsupported global" in str(error):
        return _pickled_objects(path, error)
    if is_safetensors(path):
        words = f"a safetensors file that is cut off or damaged: {without_bytes(error)}"
        return f"{name} is {words}. Fetch the file again."
    expected = "safetensors file" if path.suffix == ".safetensors" else "checkpoint"
    if start.startswith(_LEGACY):
        return f"{name} is a damaged file of torch.save. Fetch the file again."
    if kind and kind.what == "a pickle":
        return with_lines(
            f"{name} is a pickle that torch.save did not write. If you trust its source and it "
            "holds a state dict, save that once:",
            f"saved = pickle.load(open({str(path)!r}, 'rb'))",
            f"torch.save(saved, {plain_name(path)!r})",
        )
    if kind:
        return f"{name} is not a {expected} but {kind.what}. {kind.remedy}"
    return f"{name} is not a {expected}, or it is damaged. Fetch the file again."


def _what_archive(path: Path, error: Exception) -> str:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    inner = {name.partition("/")[2] for name in names}
    file, plain = str(path), plain_name(path)
    if "constants.pkl" in inner:
        return with_lines(
            f"{path.name} is a TorchScript archive, from torch.jit.save. Save its state dict:",
            f"saved = torch.jit.load({file!r}, map_location='cpu').state_dict()",
            f"torch.save(saved, {plain!r})",
        )
    if "archive_format" in inner or "serialized_exported_program.json" in names:
        return with_lines(
            f"{path.name} is an archive from torch.export.save. Save its state dict:",
            f"saved = torch.export.load({file!r}).state_dict",
            f"torch.save(dict(saved), {plain!r})",
        )
    if "data.pkl" in inner and "Unsupported global" in str(error):
        return _pickled_objects(path, error)
    if "data.pkl" in inner:
        return f"{path.name} is a damaged file of torch.save. Fetch the file again."
    if all(name.endswith(".npy") for name in names):
        return f"{path.name} is not a checkpoint but NumPy arrays. np.load(path) reads them."
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"{path.name} is an archive that holds {shown}. First unpack it."


def _pickled_objects(path: Path, error: Exception) -> str:
    """Return the error text for a torch.save file with Python objects, such as a whole model."""
    match = re.search(r"GLOBAL ([\w.]+)", str(error))
    holds = match.group(1) if match else "another class"
    file, plain = str(path), plain_name(path)
    first, texts = _start_of_pickle(path)
    saved = f"saved = torch.load({file!r}, map_location='cpu', weights_only=False)"
    if first == holds:
        return with_lines(
            f"{path.name} is a whole pickled model ({holds}), not a state dict, and unpickling can "
            "run any code. If you trust its source, save its state_dict():",
            saved,
            f"torch.save(saved.state_dict(), {plain!r})",
        )
    words = f"{path.name} holds more than tensors ({holds}), and unpickling that can run any code."
    key = next((key for key in _USUAL_KEYS if key in texts), None)
    if key is None and holds.startswith("numpy."):
        lines = ["saved = {key: torch.as_tensor(value) for key, value in saved.items()}"]
    else:
        lines = [
            f"saved = saved[{key or 'the key of the weights'!r}]",
            "saved = saved.state_dict() if hasattr(saved, 'state_dict') else saved",
        ]
    return with_lines(
        f"{words} If you trust its source, save the weights alone:",
        saved,
        "print(saved.keys())",
        *lines,
        f"torch.save(saved, {plain!r})",
    )


def _start_of_pickle(path: Path) -> tuple[str, set[str]]:
    """Return the class that a pickle begins with, or "", and its strings, without unpickling."""
    with path.open("rb") as file:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                operations = list(pickletools.genops(archive.read(name)))
        else:
            for _ in range(_LEGACY_PICKLES):
                list(pickletools.genops(file))
            operations = list(pickletools.genops(file))
    starts = ("GLOBAL", "EMPTY_DICT", "EMPTY_LIST")
    text = next((arg for code, arg, _ in operations if code.name in starts), None)
    first = str(text or "").replace(" ", ".")
    return first, {arg for _, arg, _ in operations if isinstance(arg, str)}
