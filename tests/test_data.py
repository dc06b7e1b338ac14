"""The committed data is what the tools say they made."""

import hashlib
import io
import json
import os
import pickle
import struct
import zlib
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import vizhelpers as viz
from tools.build_weights import ArrayUnpickler, fold_caffe
from tools.qt_resources import read_resources

DATA = Path(viz.__file__).parent / "data"
PHOTOGRAPHS = DATA / "photographs"
ENTRIES = json.loads((PHOTOGRAPHS / "photographs.json").read_text(encoding="utf-8"))


def test_weights_are_the_file_whose_hash_is_committed() -> None:
    digest, name = (DATA / "squeezenet1_1.sha256").read_text().split()
    assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == digest


def test_weights_are_float16_and_fit_torchvision() -> None:
    state = load_file(DATA / "squeezenet1_1.safetensors")
    expected = torchvision.models.squeezenet1_1(weights=None).state_dict()
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in expected.items()}
    assert {v.dtype for v in state.values()} == {torch.float16}


def test_labels_are_torchvisions() -> None:
    labels = (DATA / "imagenet_labels.txt").read_text(encoding="utf-8").splitlines()
    assert labels == torchvision.models.SqueezeNet1_1_Weights.DEFAULT.meta["categories"]


def test_folding_caffes_preprocessing_changes_no_output() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 3, 3, 3, generator=generator)
    bias = torch.randn(4, generator=generator)
    rgb = torch.rand(1, 3, 9, 9, generator=generator)
    caffe = 255 * rgb.flip(1) - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    x = torchvision.transforms.functional.normalize(
        rgb, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    expected = nn.functional.conv2d(caffe, weight, bias)
    torch.testing.assert_close(
        nn.functional.conv2d(x, *fold_caffe(weight, bias)), expected, rtol=1e-4, atol=1e-2
    )
    assert not torch.allclose(nn.functional.conv2d(x, weight, bias), expected, atol=1.0)


def test_the_unpickler_refuses_everything_but_arrays() -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("true",)

    with pytest.raises(pickle.UnpicklingError, match=r"system; refused"):
        ArrayUnpickler(io.BytesIO(pickle.dumps(Evil()))).load()


def test_photographs_and_table_agree() -> None:
    files = {path.name for path in PHOTOGRAPHS.glob("*.jpg")}
    assert {row["file"] for row in ENTRIES.values()} == files
    assert sum(path.stat().st_size for path in PHOTOGRAPHS.glob("*.jpg")) <= 1_000_000
    table = (PHOTOGRAPHS / "README.md").read_text(encoding="utf-8")
    for name, row in ENTRIES.items():
        assert row["licence"] and row["author"] and row["source"], name
        assert row["author"] in table and f"| {name} |" in table


@pytest.mark.parametrize("name", ENTRIES)
def test_photograph_is_small_and_carries_no_metadata(name: str) -> None:
    with Image.open(PHOTOGRAPHS / ENTRIES[name]["file"]) as image:
        assert image.format == "JPEG" and min(image.size) <= 320 and not image.getexif()


@pytest.mark.parametrize("name", [name for name, row in ENTRIES.items() if row["label"]])
def test_the_bundled_model_knows_the_photograph(model: nn.Module, name: str) -> None:
    row = ENTRIES[name]
    found = viz.predict(model, viz.prepare(model, name), k=row["rank"])[-1]
    assert found.label == row["label"]
    assert found.probability == pytest.approx(row["probability"], abs=0.01)


def test_qt_resources_are_read() -> None:
    """A container built by hand: a root folder with one stored and one compressed file."""

    def name(text: str) -> bytes:
        return struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")

    names = name("a.txt") + name("b.txt")
    stored, packed = b"stored", struct.pack(">I", 6) + zlib.compress(b"packed")
    contents = b"".join(struct.pack(">I", len(body)) + body for body in (stored, packed))
    tree = struct.pack(">IHIIQ", 0, 2, 2, 1, 0)
    tree += struct.pack(">IHHHIQ", 0, 0, 0, 0, 0, 0)
    tree += struct.pack(">IHHHIQ", len(name("a.txt")), 1, 0, 0, 4 + len(stored), 0)
    start = 20
    head = b"qres" + struct.pack(
        ">IIII", 3, start, start + len(tree), start + len(tree) + len(contents)
    )
    found = dict(read_resources(head + tree + contents + names))
    assert found == {"a.txt": b"stored", "b.txt": b"packed"}
    with pytest.raises(ValueError, match="Not a Qt resource container"):
        list(read_resources(b"PK.."))
