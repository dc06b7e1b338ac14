"""``Sample.view`` shows the crop that the network sees in true colours, however one normalises."""

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm.data
import torch
import torchvision.transforms as T
import torchvision.transforms.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

import vizhelpers as viz
from vizhelpers.inputs.models import ModelCard
from vizhelpers.inputs.samples import model_colours

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CROP = [T.Resize(64), T.CenterCrop(56)]
PRE = [*CROP, T.ToTensor()]
NORMAL = T.Normalize(MEAN, STD)
V2 = [v2.Resize(64), v2.CenterCrop(56), v2.ToImage()]
UNIT = v2.ToDtype(torch.float32, scale=True)
LUMA = torch.tensor([0.299, 0.587, 0.114])


def composed(*steps: Any) -> T.Compose:
    return T.Compose([*PRE, *steps])


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return viz.load_image("cat").resize((90, 70))


@pytest.fixture
def crop(photograph: Image.Image) -> np.ndarray:
    return np.asarray(T.Compose(CROP)(photograph))


@pytest.fixture
def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def view_of(net: nn.Module, photograph: Image.Image, transform: Any) -> np.ndarray:
    """Return the view, and fail where it took the photograph's own crop with a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return viz.prepare(net, photograph, transform=transform).view


def off_by(view: np.ndarray, crop: np.ndarray) -> float:
    """Return the mean difference in levels of 255."""
    assert view.shape == crop.shape and view.dtype == np.uint8
    return float(np.abs(view.astype(int) - crop.astype(int)).mean())


class Own:
    """A transform of one's own, with other names for its steps."""

    def __init__(self) -> None:
        self.steps = [*PRE, NORMAL]

    def __call__(self, image: Image.Image) -> Tensor:
        out: Any = image
        for step in self.steps:
            out = step(out)
        return out


class Twice(T.Normalize):
    """A subclass whose ``mean`` and ``std`` do not say what it does."""

    def forward(self, tensor: Tensor) -> Tensor:
        return super().forward(super().forward(tensor))


def like_hugging_face(image: Image.Image) -> Tensor:
    array = np.asarray(T.Compose(CROP)(image)).astype(np.float32) / 255
    return torch.from_numpy(((array - MEAN) / STD).transpose(2, 0, 1))


def padded(image: Image.Image) -> Tensor:
    return F.pad(composed(NORMAL)(image), [4, 4, 4, 4], fill=9.0)


BY_STEPS: dict[str, Any] = {
    "nested Compose": T.Compose([T.Compose(PRE), T.Compose([NORMAL])]),
    "nn.Sequential": T.Compose([*PRE, nn.Sequential(NORMAL)]),
    "two Normalize": composed(T.Normalize([0.2], [0.5]), NORMAL),
    "two Normalize, apart": T.Compose([T.Compose([*PRE, NORMAL]), T.Normalize([1.0], [2.0])]),
    "v2": v2.Compose([*V2, UNIT, v2.Normalize(MEAN, STD)]),
    "v2, nested": v2.Compose([v2.Compose([*V2, UNIT]), v2.Compose([v2.Normalize(MEAN, STD)])]),
    "ToDtype without scale": v2.Compose([*V2, v2.ToDtype(torch.float32)]),
    "ToDtype without scale, Normalize of 0..255": v2.Compose(
        [*V2, v2.ToDtype(torch.float32), v2.Normalize([120.0] * 3, [60.0] * 3)]
    ),
    "PILToTensor": T.Compose([*CROP, T.PILToTensor()]),
    "PILToTensor, converted": T.Compose(
        [*CROP, T.PILToTensor(), T.ConvertImageDtype(torch.float64), NORMAL]
    ),
    "no Normalize": T.Compose(PRE),
    "random steps without Normalize": composed(T.RandomApply([T.GaussianBlur(3)], p=0.0), NORMAL),
}
BY_PROBES: dict[str, Any] = {
    "RandomApply(Normalize)": composed(T.RandomApply([NORMAL], p=1.0)),
    "RandomApply(Normalize), half the time": composed(T.RandomApply([NORMAL], p=0.5)),
    "v2, dtypes by kind": v2.Compose(
        [*V2, v2.ToDtype({torch.Tensor: None, "others": torch.float32}, scale=True)]
    ),
    "lambda": lambda image: composed(NORMAL)(image),
    "functional": lambda image: F.normalize(T.Compose(PRE)(image), MEAN, STD),
    "own class": Own(),
    "Lambda in Compose": composed(T.Lambda(lambda x: x * 2 - 1)),
    "0..255 in a Lambda": composed(T.Lambda(lambda x: x * 255)),
    "Normalize of a subclass": composed(Twice([0.3] * 3, [0.5] * 3)),
    "like Hugging Face": like_hugging_face,
    "blue first, mean image": lambda image: composed()(image).flip(0) * 255 - 110,
    "a mean for each place": lambda image: composed()(image) - torch.linspace(0, 1, 56),
    "mixed channels": lambda image: torch.einsum(
        "cj,jhw->chw", torch.tensor([[1.0, 0.2, 0], [0, 0.5, 0.1], [0.3, 0, 2]]), composed()(image)
    ),
    "with a gradient": lambda image: composed(NORMAL)(image).requires_grad_(),
    "half precision": lambda image: composed(NORMAL)(image).half(),
}


@pytest.mark.parametrize("kind", [*BY_STEPS, *BY_PROBES])
def test_the_view_has_true_colours(
    net: nn.Module, photograph: Image.Image, crop: np.ndarray, kind: str
) -> None:
    transform = {**BY_STEPS, **BY_PROBES}[kind]
    loose = 1.0 if kind == "half precision" else 0.1
    assert off_by(view_of(net, photograph, transform), crop) < loose


@pytest.mark.parametrize("kind", [*BY_STEPS, *BY_PROBES])
def test_x_is_what_the_transform_returned(
    net: nn.Module, photograph: Image.Image, kind: str
) -> None:
    transform = {**BY_STEPS, **BY_PROBES}[kind]
    torch.manual_seed(3)
    expected = transform(photograph).detach().float()
    torch.manual_seed(3)
    torch.testing.assert_close(
        viz.prepare(net, photograph, transform=transform).x[0], expected.as_subclass(Tensor)
    )


@pytest.mark.parametrize("kind", BY_STEPS)
def test_what_torchvisions_steps_say_is_read_and_not_probed(
    net: nn.Module, photograph: Image.Image, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("vizhelpers.inputs.samples.probe_colours", None)
    view_of(net, photograph, BY_STEPS[kind])


def test_timms_own_transform_of_training_and_of_evaluation(
    net: nn.Module, photograph: Image.Image, crop: np.ndarray
) -> None:
    still = timm.data.create_transform(
        (3, 56, 56), crop_pct=56 / 64, interpolation="bilinear", mean=MEAN, std=STD
    )
    assert off_by(view_of(net, photograph, still), crop) < 0.1
    trained = timm.data.create_transform((3, 56, 56), is_training=True, re_prob=0, hflip=1.0)
    assert 60 < view_of(net, photograph, trained).mean() < 160


def test_grey_pictures_are_shown_grey(photograph: Image.Image) -> None:
    grey = nn.Conv2d(1, 2, 3)
    expected = np.asarray(T.Compose([*CROP, T.Grayscale(3)])(photograph))
    steps = [*CROP, T.Grayscale(), T.ToTensor(), T.Normalize([0.13], [0.31])]
    thrice = T.Compose([*CROP, T.Grayscale(3), T.ToTensor(), NORMAL])
    for transform in (T.Compose(steps), lambda image: T.Compose(steps)(image)):
        sample = viz.prepare(grey, photograph, transform=transform)
        assert sample.x.shape == (1, 1, 56, 56) and off_by(sample.view, expected) < 1
    for transform in (thrice, lambda image: thrice(image)):
        assert off_by(view_of(nn.Conv2d(3, 2, 3), photograph, transform), expected) < 1


def test_padding_does_not_disturb_the_colours_inside(
    net: nn.Module, photograph: Image.Image, crop: np.ndarray
) -> None:
    black = composed(T.Pad(4), T.Lambda(lambda x: (x - 0.5) / 0.2))
    view = view_of(net, photograph, black)
    assert off_by(view[4:-4, 4:-4], crop) < 0.1 and not view[:4].any()


def test_random_crops_are_probed_where_they_were_taken(
    net: nn.Module, photograph: Image.Image
) -> None:
    steps = [T.RandomResizedCrop(24, (0.2, 0.4)), T.RandomHorizontalFlip(), T.ToTensor()]
    transform = T.Compose([*steps, T.Lambda(lambda x: (x - 0.4) / 0.2)])
    torch.manual_seed(1)
    expected = np.asarray(F.to_pil_image(T.Compose(steps)(photograph)))
    torch.manual_seed(1)
    assert off_by(view_of(net, photograph, transform), expected) < 0.1


def test_random_states_advance_as_by_one_call(net: nn.Module, photograph: Image.Image) -> None:
    def drawn(image: Image.Image) -> Tensor:
        shift = random.random() + np.random.rand() + torch.rand(1)
        return composed()(image) - shift

    def states() -> tuple[object, ...]:
        return random.random(), np.random.rand(), torch.rand(1).item()

    def seed() -> None:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)

    seed()
    drawn(photograph)
    expected = states()
    seed()
    viz.prepare(net, photograph, transform=drawn)
    assert states() == expected


# ------------------------------------------------------------ what cannot be undone


def standardised(x: Tensor) -> Tensor:
    return (x - x.mean((1, 2), keepdim=True)) / (x.std((1, 2), keepdim=True) + 1e-6)


NOT_UNDONE: dict[str, Callable[[Tensor], Tensor]] = {
    "each picture's own mean and spread": standardised,
    "gamma": lambda x: x**2.2 * 4 - 2,
    "each picture's own mean": lambda x: x - x.mean(),
    "each picture's own range": lambda x: (x - x.min()) / (x.max() - x.min()) * 2 - 1,
    "ranks": lambda x: x.flatten().argsort().argsort().view_as(x) / x.numel() * 9,
    "one channel thrice, another grey": lambda x: x.std(0, keepdim=True).expand(3, -1, -1),
}


@pytest.mark.parametrize("kind", NOT_UNDONE)
def test_colours_that_cannot_be_undone_show_the_untouched_crop_and_say_so(
    net: nn.Module, photograph: Image.Image, crop: np.ndarray, kind: str
) -> None:
    readable = composed(T.Lambda(NOT_UNDONE[kind]))
    with pytest.warns(UserWarning, match=r"Sample\.view is the photograph's own crop") as said:
        sample = viz.prepare(net, photograph, transform=readable)
    assert off_by(sample.view, crop) == 0 and len(said) == 1 and said[0].filename == __file__


def test_of_a_closed_function_the_centre_crop_is_shown(
    net: nn.Module, photograph: Image.Image
) -> None:
    def closed(image: Image.Image) -> Tensor:
        return standardised(T.Compose([T.Resize(56), T.CenterCrop(56), T.ToTensor()])(image))

    expected = np.asarray(T.Compose([T.Resize(56), T.CenterCrop(56)])(photograph))
    with pytest.warns(UserWarning, match="own centre crop; the network may see another part"):
        view = viz.prepare(net, photograph, transform=closed).view
    assert off_by(view, expected) < 4


def test_a_transform_that_refuses_uniform_pictures_still_prepares(
    net: nn.Module, photograph: Image.Image
) -> None:
    def picky(image: Image.Image) -> Tensor:
        if len(image.getcolors(99999) or "many") < 9:
            raise RuntimeError("no picture")
        return composed(NORMAL)(image)

    with pytest.warns(UserWarning, match="own centre crop"):
        viz.prepare(net, photograph, transform=picky)


# ------------------------------------------------------------ what is no picture


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (lambda x: np.asarray(x), r"an array \(3, 56, 56\).*torch.from_numpy"),
        (lambda x: x[None], r"a tensor \(1, 3, 56, 56\).*batch.*\[0\]"),
        (lambda x: (x,), r"a tuple of 1.*\[0\]"),
        (lambda x: [x, 3], r"a list of 2.*\[0\]"),
        (lambda x: x.permute(1, 2, 0), r"a tensor \(56, 56, 3\).*permute\(2, 0, 1\)"),
        (lambda x: x[0], r"a tensor \(56, 56\).*unsqueeze\(0\)"),
        (lambda x: x[:2], r"a tensor \(2, 56, 56\).*3 channels"),
        (lambda x: {"pixel_values": x[None]}, r"'pixel_values'.*return_tensors='pt'.*\[0\]"),
        (lambda x: {"image": x}, r"the keys 'image'.*\['image'\]"),
        (lambda x: F.to_pil_image(x), r"a PIL image.*ToTensor"),
        (lambda x: None, r"returned None.*its return missing"),
        (lambda x: 3, r"returned a int"),
        (lambda x: x.to("meta"), r"no values.*meta"),
        (lambda x: x[:, :0], r"no values"),
    ],
)
def test_what_is_no_picture_is_named_with_the_way_on(
    net: nn.Module, photograph: Image.Image, result: Callable[[Tensor], Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        viz.prepare(net, photograph, transform=lambda image: result(T.Compose(PRE)(image)))


# ------------------------------------------------------------ models, devices, the inverse


def test_a_lazy_first_layer_and_a_model_without_weights_take_a_photograph(
    photograph: Image.Image,
) -> None:
    for model in (nn.Sequential(nn.LazyConv2d(2, 3)), nn.Sequential(nn.Flatten())):
        assert viz.prepare(model, photograph, transform=composed()).x.dtype is torch.float32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of lazy modules
        half = nn.Sequential(nn.LazyConv2d(2, 3)).half()
    assert viz.prepare(half, photograph, transform=composed()).x.dtype is torch.float16


@pytest.mark.parametrize(
    "transform", [BY_STEPS["v2"], BY_STEPS["PILToTensor"], BY_PROBES["functional"], None]
)
def test_another_default_device_changes_nothing(
    net: nn.Module, photograph: Image.Image, transform: Any
) -> None:
    model = net if transform else viz.load_model()
    expected = viz.prepare(model, photograph, transform=transform)
    with torch.device("meta"):
        sample = viz.prepare(model, photograph, transform=transform)
    assert sample.x.device.type == "cpu" and torch.equal(sample.x, expected.x)
    np.testing.assert_array_equal(sample.view, expected.view)


def test_a_model_of_timm_is_prepared_under_another_default_device(
    net: nn.Module, photograph: Image.Image
) -> None:
    net.pretrained_cfg = {"input_size": (3, 56, 56), "mean": MEAN, "std": STD}
    expected = viz.prepare(net, photograph)
    with torch.device("meta"):
        sample = viz.prepare(net, photograph)
        normalised = model_colours(net).apply(sample.x)
    assert torch.equal(sample.x, expected.x) and normalised.device.type == "cpu"
    np.testing.assert_array_equal(sample.view, expected.view)


def _set_transform(model: nn.Module, transform: Any) -> None:
    model._vizhelpers_card = ModelCard("net", "here", True, transform, ())  # type: ignore


@pytest.mark.parametrize(
    "transform",
    [
        BY_STEPS["two Normalize"],
        BY_STEPS["ToDtype without scale"],
        BY_PROBES["own class"],
        BY_PROBES["blue first, mean image"],
    ],
)
def test_model_colours_is_the_models_own_transform(
    net: nn.Module, photograph: Image.Image, crop: np.ndarray, transform: Any
) -> None:
    _set_transform(net, transform)
    rgb = torch.from_numpy(crop / 255).float().permute(2, 0, 1)[None]
    torch.testing.assert_close(
        model_colours(net).apply(rgb), viz.prepare(net, photograph).x, rtol=1e-3, atol=1e-2
    )
    assert model_colours(net).apply(rgb.requires_grad_()).requires_grad


def test_model_colours_of_grey_pictures_takes_the_mean_of_the_channels() -> None:
    grey, rgb = nn.Conv2d(1, 2, 3), torch.rand(2, 1, 5, 5)
    expected = (rgb - float(np.mean(MEAN))) / float(np.mean(STD))
    torch.testing.assert_close(model_colours(grey).apply(rgb), expected)
    steps = [T.Grayscale(), T.ToTensor(), T.Normalize([0.13], [0.31])]
    _set_transform(grey, T.Compose(steps))
    torch.testing.assert_close(model_colours(grey).apply(rgb), (rgb - 0.13) / 0.31)
    _set_transform(grey, lambda image: T.Compose(steps)(image))
    torch.testing.assert_close(
        model_colours(grey).apply(rgb), (rgb - 0.13) / 0.31, rtol=0.02, atol=0.02
    )


def test_a_transform_keeps_the_photograph_and_no_probe() -> None:
    class Keeps:
        def __init__(self) -> None:
            self.images: list[Image.Image] = []

        def __call__(self, image: Image.Image) -> Tensor:
            self.images.append(image)
            return T.Compose(PRE)(image)

    keeps = Keeps()
    sample = viz.prepare(nn.Conv2d(3, 4, 3), "cat", transform=keeps)
    assert len(keeps.images) == 1
    assert sample.view.std() > 10
