import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision import transforms

import vizhelpers as viz
from vizhelpers.inputs.models import card


def test_bundled_model_is_a_plain_torchvision_model(model: nn.Module) -> None:
    assert type(model) is torchvision.models.SqueezeNet and not model.training
    assert all(p.requires_grad and p.dtype is torch.float32 for p in model.parameters())
    assert card(model).trained


def test_bundled_model_knows_the_cat(model: nn.Module, cat: viz.Sample) -> None:
    top = viz.predict(model, cat, k=3)
    assert [p.label for p in top] == ["tiger cat", "Egyptian cat", "tabby"]
    np.testing.assert_allclose([p.probability for p in top], [0.387, 0.310, 0.288], atol=0.02)


def test_reading_the_weights_needs_no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pickle.Unpickler", None)
    monkeypatch.setattr("torch.load", None)
    viz.load_model()


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18"])
def test_random_weights_are_seeded_and_leave_the_global_state(name: str) -> None:
    before = torch.get_rng_state()
    a, b, c = (viz.load_model(name, weights=None, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    first = [next(m.parameters()) for m in (a, b, c)]
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
    assert not card(a).trained and not a.training


SOURCES = [(), ("squeezenet1_1", None), ("efficientnet_lite0",), ("efficientnet_lite0", None)]


@pytest.mark.parametrize("arguments", [*SOURCES, ("squeezenet1_1", "file")])
def test_models_are_on_the_cpu_whatever_the_default_device_is(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    if "file" in arguments:
        path = tmp_path / "mine.pth"
        torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)
        arguments = ("squeezenet1_1", str(path))
    expected = viz.load_model(*arguments).state_dict()
    with torch.device("meta"):  # stands for "cuda"
        state = viz.load_model(*arguments).state_dict()
    assert {value.device.type for value in state.values()} == {"cpu"}
    assert all(torch.equal(value, expected[name]) for name, value in state.items())


@pytest.mark.parametrize("arguments", SOURCES)
def test_loading_a_model_leaves_the_random_states_of_accelerators_alone(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    viz.load_model(*arguments)
    assert not seeded


def test_unknown_model_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="'resnet18'"):
        viz.load_model("resnet-18")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def no_network(*args: object, **kwargs: object) -> None:
    raise OSError("no route to host")


def test_no_network_says_where_a_file_could_be_put(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    with pytest.raises(viz.WeightsUnavailable, match="no route to host") as caught:
        viz.load_model("vgg11")
    assert str(cache) in str(caught.value) and "vgg11-8a719046.pth" in str(caught.value)
    assert "viz.load_model() is bundled" in str(caught.value)


def test_default_weights_come_from_torchs_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    net = torchvision.models.squeezenet1_1(weights=None)
    saved = cache / "saved"
    torch.save(net.state_dict(), saved)
    digest = hashlib.sha256(saved.read_bytes()).hexdigest()[:8]
    entry = torchvision.models.SqueezeNet1_1_Weights.DEFAULT
    url = f"https://example.org/squeezenet1_1-{digest}.pth"
    monkeypatch.setattr(type(entry), "url", property(lambda self: url))
    shutil.move(saved, cache / f"squeezenet1_1-{digest}.pth")
    loaded = viz.load_model("squeezenet1_1")
    assert torch.equal(loaded.state_dict()["features.0.bias"], net.state_dict()["features.0.bias"])


def test_damaged_file_in_the_cache_is_named(cache: Path) -> None:
    (cache / "vgg11-8a719046.pth").write_bytes(b"cut off")
    with pytest.raises(viz.WeightsUnavailable, match=r"vgg11-8a719046.pth is damaged.*Delete it"):
        viz.load_model("vgg11")


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_weights_from_a_file(tmp_path: Path, kind: str) -> None:
    net = torchvision.models.squeezenet1_1(weights=None)
    path = tmp_path / f"mine.{kind}"
    if kind == "pth":
        torch.save(net.state_dict(), path)
    else:
        save_file(net.state_dict(), path)
    loaded = viz.load_model("squeezenet1_1", weights=path)
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.parameters(), net.parameters(), strict=True)
    )


def test_state_dict_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "resnet.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    with pytest.raises(viz.WeightsUnavailable, match="not a state dict for 'squeezenet1_1'"):
        viz.load_model("squeezenet1_1", weights=path)


def test_a_pickled_model_is_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "whole.pth"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(viz.WeightsUnavailable, match="state_dict"):
        viz.load_model("squeezenet1_1", weights=path)


def test_missing_or_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(viz.WeightsUnavailable, match="no file"):
        viz.load_model("vgg11", weights=tmp_path / "nowhere.pth")
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(viz.WeightsUnavailable, match="not a safetensors file"):
        viz.load_model("vgg11", weights=tmp_path / "x.safetensors")


def test_prepare_equals_the_weights_own_transform_and_keeps_the_crop(model: nn.Module) -> None:
    image = viz.load_image("cat")
    preset = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms()
    sample = viz.prepare(model, image)
    torch.testing.assert_close(sample.x[0], preset(image))
    crop = transforms.CenterCrop(224)(transforms.Resize(256)(image))
    assert sample.view.dtype == np.uint8
    np.testing.assert_array_equal(sample.view, np.asarray(crop))


def test_prepare_for_a_model_of_ones_own(tiny: nn.Module) -> None:
    with pytest.raises(ValueError, match="transform="):
        viz.prepare(tiny, "cat")
    steps = [transforms.Resize((12, 12)), transforms.ToTensor()]
    normal = transforms.Normalize([0.5] * 3, [0.25] * 3)
    plain = viz.prepare(tiny, "cat", transform=transforms.Compose(steps))
    shifted = viz.prepare(tiny, "cat", transform=transforms.Compose([*steps, normal]))
    assert not torch.equal(plain.x, shifted.x)
    np.testing.assert_array_equal(plain.view, shifted.view)
    with pytest.raises(ValueError, match="must return a tensor"):
        viz.prepare(tiny, "cat", transform=lambda image: np.asarray(image))


def test_predict_with_and_without_labels(tiny: nn.Module, noise: torch.Tensor) -> None:
    expected = tiny(noise).softmax(1)[0]
    top = viz.predict(tiny, noise, k=9)
    assert [p.index for p in top] == expected.argsort(descending=True).tolist()
    assert top[0].label == str(top[0].index)
    assert viz.predict(tiny, noise, labels=list("abcde"))[0].label == "abcde"[top[0].index]
    with pytest.raises(ValueError, match="one photograph"):
        viz.predict(tiny, noise.repeat(2, 1, 1, 1))
    with pytest.raises(ValueError, match="k=0"):
        viz.predict(tiny, noise, k=0)


def test_class_index(model: nn.Module, tiny: nn.Module) -> None:
    assert viz.class_index(model, "tabby") == viz.class_index(model, " Tabby") == 281
    assert viz.class_index(model, np.int64(3)) == 3
    with pytest.raises(TypeError, match="float"):
        viz.class_index(model, 1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="labels="):
        viz.class_index(tiny, "tabby")


def test_samples_are_frozen(cat: viz.Sample) -> None:
    with pytest.raises(AttributeError):
        cat.x = torch.zeros(1)  # type: ignore[misc]


def test_a_phone_photograph_runs_through(model: nn.Module) -> None:
    wide = Image.new("RGB", (1200, 300), "orange")
    assert len(viz.predict(model, viz.prepare(model, wide))) == 5
