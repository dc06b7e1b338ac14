"""Checkpoints as they lie around: each error names the cause, and its lines cure it."""

import argparse
import io
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, SqueezeNet1_1_Weights, VGG11_Weights

import vizhelpers as viz
from vizhelpers.inputs.global_state import drawn_on_cpu
from vizhelpers.inputs.models import card

NAME = "squeezenet1_1"
State = dict[str, Tensor]


def network(**options: Any) -> nn.Module:
    with drawn_on_cpu(5):
        return torchvision.models.get_model(NAME, weights=None, **options)


STATE: State = network().state_dict()


def prefixed(prefix: str, state: State = STATE) -> State:
    return {prefix + name: value for name, value in state.items()}


def text_of(path: Path, architecture: str = NAME) -> str:
    with pytest.raises(viz.WeightsUnavailable) as caught:
        viz.load_model(architecture, weights=path)
    return str(caught.value)


def run_lines(text: str) -> dict[str, Any]:
    """Run the indented lines of an error text, as a reader would paste them."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    names: dict[str, Any] = {}
    exec("\n".join(lines), names)
    return names


OPTIMISER = torch.optim.Adam(nn.Linear(2, 2).parameters()).state_dict()
CURABLE: dict[str, tuple[Any, list[str]]] = {
    "state_dict": ({"epoch": 3, "state_dict": STATE, "optimizer": OPTIMISER}, ["'state_dict'"]),
    "model": ({"model": STATE}, ["'model'"]),
    "net": ({"net": STATE, "acc": 0.9}, ["'net'"]),
    "a key of one's own": ({"student": STATE, "lr": torch.tensor(0.1)}, ["'student'"]),
    "two keys deep": ({"model": {"state_dict": STATE}}, ["'model' > 'state_dict'"]),
    "the fitting one of two": ({"ema": {"decay": torch.zeros(2)}, "model": STATE}, ["'model'"]),
    "DataParallel": (prefixed("module."), ["'module.'", "torch.nn.DataParallel"]),
    "torch.compile": (prefixed("_orig_mod."), ["'_orig_mod.'", "torch.compile"]),
    "both": (prefixed("module._orig_mod."), ["'_orig_mod.'", "'module.'"]),
    "both, the other way round": (prefixed("_orig_mod.module."), ["'_orig_mod.'", "'module.'"]),
    "Lightning": (
        {"state_dict": {**prefixed("model."), "loss.weight": torch.ones(3)}, "epoch": 1},
        ["'state_dict'", "'model.'"],
    ),
    "three keys deep": ({"run": {"model": {"state_dict": STATE}}}, ["'run' > 'model'"]),
    "counters beside the weights": (
        {**STATE, "epoch": 3, "total_ops": torch.zeros(1)},
        ["it also holds 'epoch', 'total_ops'"],
    ),
    "a part in parallel": (
        {name.replace("features.", "features.module."): value for name, value in STATE.items()},
        ["'.module.'", "torch.nn.DataParallel"],
    ),
}


@pytest.mark.parametrize("kind", CURABLE)
def test_the_lines_of_the_error_make_a_file_that_loads(tmp_path: Path, kind: str) -> None:
    saved, causes = CURABLE[kind]
    torch.save(saved, tmp_path / "mine.pth")
    text = text_of(tmp_path / "mine.pth")
    for cause in causes:
        assert cause in text.splitlines()[0]
    run_lines(text)
    model = viz.load_model(NAME, weights=tmp_path / "mine_plain.pth")
    assert all(torch.equal(value, STATE[name]) for name, value in model.state_dict().items())


def test_prefixes_in_a_safetensors_file_are_cured_too(tmp_path: Path) -> None:
    save_file(prefixed("module."), tmp_path / "mine.safetensors")
    run_lines(text_of(tmp_path / "mine.safetensors"))
    viz.load_model(NAME, weights=tmp_path / "mine_plain.pth")


@pytest.mark.parametrize(
    "saved_as", [lambda s: s, lambda s: {"state_dict": prefixed("module.", s)}]
)
def test_another_number_of_classes_names_the_layer_and_both_shapes(
    tmp_path: Path, saved_as: Callable[[State], Any]
) -> None:
    torch.save(saved_as(network(num_classes=7).state_dict()), tmp_path / "seven.pth")
    text = text_of(tmp_path / "seven.pth")
    assert "'classifier.1.weight' is (7, 512, 1, 1) in the file and (1000, 512, 1, 1)" in text
    model = run_lines(text)["model"]
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7) and not model.training


def test_another_architecture_is_shown_by_layers_of_both(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet.pth")
    text = text_of(tmp_path / "resnet.pth")
    assert "'conv1.weight'" in text and "'features.0.weight'" in text
    assert "its layers differ" in text and "architecture that it was saved from" in text


def test_parallel_weights_of_another_architecture_say_both(tmp_path: Path) -> None:
    other = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(prefixed("module.", other), tmp_path / "resnet.pth")
    text = text_of(tmp_path / "resnet.pth")
    assert "'module.'" in text and "its layers differ" in text and "'conv1.weight'" in text


def test_another_head_is_told_from_another_architecture(tmp_path: Path) -> None:
    net = network()
    net.classifier = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(512, 2))
    torch.save(net.state_dict(), tmp_path / "head.pth")
    assert "its part 'classifier' differs" in text_of(tmp_path / "head.pth")


@pytest.mark.parametrize("whole", [network(), nn.DataParallel(network())])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_model_is_named_and_its_lines_save_the_state_dict(
    tmp_path: Path, whole: nn.Module, zipped: bool
) -> None:
    torch.save(whole, tmp_path / "whole.pth", _use_new_zipfile_serialization=zipped)
    text = text_of(tmp_path / "whole.pth")
    assert "a whole pickled model (torch" in text and type(whole).__name__ in text
    run_lines(text)
    if isinstance(whole, nn.DataParallel):
        assert "'module.'" in text_of(tmp_path / "whole_plain.pth")
    else:
        viz.load_model(NAME, weights=tmp_path / "whole_plain.pth")


def test_other_pickles_and_arrays_have_lines_of_their_own(tmp_path: Path) -> None:
    with (tmp_path / "pickled.pkl").open("wb") as file:
        pickle.dump(STATE, file)
    arrays = {name: value.numpy() for name, value in STATE.items()}
    torch.save(arrays, tmp_path / "arrays.pth")
    for name, words in (("pickled.pkl", "torch.save did not write"), ("arrays.pth", "numpy")):
        text = text_of(tmp_path / name)
        assert words in text.splitlines()[0]
        run_lines(text)
        viz.load_model(NAME, weights=(tmp_path / name).with_name(f"{name[:-4]}_plain.pth"))


def test_a_deeper_network_of_the_family_is_another_architecture(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet34(weights=None).state_dict(), tmp_path / "deep.pth")
    assert "its layers differ" in text_of(tmp_path / "deep.pth", "resnet18")


def test_settings_beside_the_weights_are_named(tmp_path: Path) -> None:
    saved = {"args": argparse.Namespace(lr=0.1), "model": STATE}
    torch.save(saved, tmp_path / "mine.pth")
    text = text_of(tmp_path / "mine.pth")
    assert "argparse.Namespace" in text and "whole pickled model" not in text
    run_lines(text)
    viz.load_model(NAME, weights=tmp_path / "mine_plain.pth")


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        (OPTIMISER, "the state of an optimiser"),
        ({"epoch": 3, "optimizer": OPTIMISER}, "the state of an optimiser"),
        ({}, "its keys: none"),
        ({"epoch": 3}, "'epoch'"),
        ([torch.zeros(2)], "a list"),
        (torch.zeros(2), "a Tensor"),
        (None, "a NoneType"),
    ],
)
def test_a_checkpoint_without_weights_says_what_it_holds(
    tmp_path: Path, saved: Any, words: str
) -> None:
    torch.save(saved, tmp_path / "mine.pth")
    text = text_of(tmp_path / "mine.pth")
    assert words in text and "model.state_dict()" in text


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_types_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.save({name: value.to(dtype) for name, value in STATE.items()}, tmp_path / "mine.pth")
    model = viz.load_model(NAME, weights=tmp_path / "mine.pth")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    torch.testing.assert_close(
        model.state_dict()["features.0.bias"], STATE["features.0.bias"], atol=0.01, rtol=0
    )


def torch_file(*, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(STATE, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def array_file() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


NO_CHECKPOINTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty (0 bytes)"),
    "Git-LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "git lfs pull"),
    "web page": (b"<!DOCTYPE html><html><title>404", "a web page"),
    "JSON": (b'{"error": "rate limit"}', "JSON text"),
    "text": (b"Quota exceeded.\n", "a text file"),
    "archive": (
        archive(**{"resnet.pth": b"x"}),
        "an archive that holds resnet.pth. First unpack it",
    ),
    "tar": (b"resnet.pth".ljust(257, b"\0") + b"ustar\0" + b"\0" * 300, "an archive. First"),
    "legacy, cut off": (torch_file(zipped=False)[:5000], "a damaged file of torch.save"),
    "gzip": (b"\x1f\x8b\x08\0" + b"\0" * 30, "an archive. First unpack it"),
    "cut off": (torch_file()[:5000], "its end is missing"),
    "damaged inside": (torch_file().replace(b"features.0.", b"features\xff0."), "damaged"),
    "NumPy": (array_file(), "a NumPy file"),
    "NumPy's archive": (archive(**{"a.npy": array_file()}), "NumPy arrays"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "an HDF5 file, as Keras"),
    "picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG picture"),
    "noise": (bytes(range(1, 250)) * 9, "Fetch the file again"),
}


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("kind", NO_CHECKPOINTS)
def test_a_file_of_another_kind_is_called_what_it_is(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    data, words = NO_CHECKPOINTS[kind]
    path = tmp_path / f"mine.{suffix}"
    path.write_bytes(data)
    text = text_of(path)
    assert words in text and path.name in text
    assert len(text) < 400 and not re.search(r"""b['"]|\\x|weights_only""", text)


def test_a_safetensors_file_that_is_cut_off_is_called_so(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "whole")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole").read_bytes()[:-100])
    assert "a safetensors file that is cut off" in text_of(tmp_path / "cut.safetensors")


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "mine.pth")
    torch.save(STATE, tmp_path / "mine.safetensors")
    for name in ("mine.pth", "mine.safetensors"):
        viz.load_model(NAME, weights=tmp_path / name)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_archives_of_torchscript_and_of_export_are_named_and_cured(tmp_path: Path) -> None:
    net, x = network().eval(), torch.zeros(1, 3, 64, 64)
    torch.jit.save(torch.jit.trace(net, x), tmp_path / "script.pth")
    torch.export.save(torch.export.export(net, (x,)), tmp_path / "export.pth")
    for name, words in (("script", "TorchScript archive"), ("export", "torch.export")):
        text = text_of(tmp_path / f"{name}.pth")
        assert words in text
        run_lines(text)
        viz.load_model(NAME, weights=tmp_path / f"{name}_plain.pth")


def test_a_folder_is_called_a_folder(tmp_path: Path) -> None:
    assert "is a folder" in text_of(tmp_path)


# ------------------------------------------------------------ weights by name


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Record which weights torchvision is asked for, and give a random network."""
    asked: list[object] = []
    real = torchvision.models.get_model

    def get_model(name: str, weights: object = None, **options: object) -> nn.Module:
        asked.append(weights)
        options.pop("progress", None)
        return real(name, weights=None, **options)

    monkeypatch.setattr(torchvision.models, "get_model", get_model)
    return asked


@pytest.mark.parametrize(
    "weights",
    [SqueezeNet1_1_Weights.DEFAULT, "DEFAULT", "IMAGENET1K_V1", "SqueezeNet1_1_Weights.DEFAULT"],
)
def test_members_of_torchvisions_weights_are_taken_and_their_names(
    downloads: list[object], weights: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model = viz.load_model(NAME, weights=weights)
    assert downloads == [SqueezeNet1_1_Weights.IMAGENET1K_V1] and card(model).trained


def test_transforms_and_classes_are_those_of_the_weights_that_were_named(
    downloads: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for version, size in (("IMAGENET1K_V1", 256), ("IMAGENET1K_V2", 232)):
        model = viz.load_model("mobilenet_v2", weights=version)
        assert card(model).transform.resize_size == [size]


def test_weights_of_another_model_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"another model's.*'resnet18'.*'IMAGENET1K_V1'"):
        viz.load_model("resnet18", weights=VGG11_Weights.DEFAULT)
    with pytest.raises(ValueError, match="'resnet18', one of 'DEFAULT', 'IMAGENET1K_V1'"):
        viz.load_model("resnet18", weights="IMAGENET1K_V2")
    assert ResNet18_Weights.DEFAULT.name == "IMAGENET1K_V1"  # so V2 does not exist


@pytest.mark.parametrize("wrong", [True, False, 3, STATE])
def test_weights_of_another_type_are_refused_with_what_is_possible(wrong: Any) -> None:
    possible = "'DEFAULT' for trained ones, None for random ones"
    way_on = r"model\.load_state_dict" if isinstance(wrong, dict) else possible
    with pytest.raises(TypeError, match=way_on):
        viz.load_model(NAME, weights=wrong)


def test_torchvisions_own_files_are_read_by_path_as_torchvision_reads_them(tmp_path: Path) -> None:
    dense = viz.load_model("densenet121", weights=None)
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value
        for key, value in dense.state_dict().items()
    }
    assert old.keys() != dense.state_dict().keys()
    torch.save(old, tmp_path / "densenet121.pth")
    read = viz.load_model("densenet121", weights=tmp_path / "densenet121.pth")
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(read(x), dense(x))
    google = torchvision.models.googlenet(weights=None, init_weights=False)
    name = torchvision.models.GoogLeNet_Weights.DEFAULT.url.rpartition("/")[2]
    for file, changed in ((name, True), ("mine.pth", False)):
        torch.save(google.state_dict(), tmp_path / file)
        loaded = viz.load_model("googlenet", weights=tmp_path / file)
        assert loaded.transform_input is changed
