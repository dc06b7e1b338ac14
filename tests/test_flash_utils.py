"""FlashTorch's own utilities are the oracle where they are right."""

import inspect
from pathlib import Path

import flashtorch.utils as theirs
import numpy as np
import pytest
import torch
from flashtorch.utils.imagenet import ImageNetIndex as TheirIndex
from PIL import Image
from torch import Tensor, nn

import vizhelpers as viz
import vizhelpers.flash.utils as ours
from vizhelpers.flash.utils.imagenet import ImageNetIndex
from vizhelpers.inputs.models import card


@pytest.fixture(scope="module")
def their_index() -> TheirIndex:
    return TheirIndex()


@pytest.fixture
def batch() -> Tensor:
    return torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "name",
    [
        "apply_transforms",
        "denormalize",
        "format_for_plotting",
        "load_image",
        "standardize_and_clip",
    ],
)
def test_signatures_are_flashtorchs(name: str) -> None:
    mine = inspect.signature(getattr(ours, name)).parameters
    reference = inspect.signature(getattr(theirs, name)).parameters
    assert [(p.name, p.default, p.kind) for p in mine.values()] == [
        (p.name, p.default, p.kind) for p in reference.values()
    ]


# load_image and apply_transforms


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_load_image_reads_what_flashtorch_reads(tmp_path: Path, suffix: str) -> None:
    path = str(tmp_path / f"cat.{suffix}")
    viz.load_image("cat").save(path)
    mine, reference = ours.load_image(path), theirs.load_image(path)
    assert mine.mode == "RGB"
    assert np.asarray(reference).std() > 0
    np.testing.assert_array_equal(mine, reference)


def test_load_image_turns_a_telephones_picture_upright(tmp_path: Path) -> None:
    path = str(tmp_path / "turned.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # "the top of the scene is at the picture's right"
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    assert theirs.load_image(path).size == (40, 20)
    assert ours.load_image(path).size == (20, 40)


@pytest.mark.parametrize("size", [224, 64])
def test_apply_transforms_equals_flashtorchs(size: int) -> None:
    picture = viz.load_image("cat")
    mine, reference = ours.apply_transforms(picture, size), theirs.apply_transforms(picture, size)
    assert reference.std() > 0.1
    assert torch.equal(mine, reference)
    assert not torch.equal(mine, theirs.apply_transforms(viz.load_image("coffee"), size))
    pixels = np.asarray(picture)
    assert torch.equal(ours.apply_transforms(pixels, size), theirs.apply_transforms(pixels, size))


def test_apply_transforms_gives_a_leaf_whose_gradient_a_user_may_read(model: nn.Module) -> None:
    x = ours.apply_transforms(viz.load_image("cat"))
    assert x.is_leaf
    assert theirs.apply_transforms(viz.load_image("cat")).requires_grad == x.requires_grad is True
    model(x)[0, 281].backward()
    assert x.grad is not None
    assert x.grad.abs().max() > 0
    model.zero_grad()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_apply_transforms_takes_every_mode(mode: str) -> None:
    picture = viz.load_image("cat").convert(mode)
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        theirs.apply_transforms(picture)
    assert ours.apply_transforms(picture).shape == (1, 3, 224, 224)


def test_apply_transforms_takes_arrays_and_tensors_of_floats() -> None:
    pixels = np.asarray(viz.load_image("cat"), dtype=np.float32) / 255
    expected = theirs.apply_transforms(viz.load_image("cat"))
    torch.testing.assert_close(ours.apply_transforms(pixels), expected, atol=0.03, rtol=0)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    torch.testing.assert_close(ours.apply_transforms(tensor), expected, atol=0.03, rtol=0)


def test_apply_transforms_takes_arrays_with_channels_first_as_flashtorch_documents() -> None:
    pixels = np.asarray(viz.load_image("cat"))
    expected = ours.apply_transforms(pixels)
    with pytest.raises(ValueError, match="4 channels"):
        theirs.apply_transforms(pixels.transpose(2, 0, 1))
    assert torch.equal(ours.apply_transforms(pixels.transpose(2, 0, 1)), expected)


# denormalize, standardize_and_clip, format_for_plotting


def test_denormalize_equals_flashtorchs_on_one_image(batch: Tensor) -> None:
    before = batch.clone()
    reference = theirs.denormalize(batch[:1])
    assert not torch.allclose(reference, batch[:1], atol=0.1)
    torch.testing.assert_close(ours.denormalize(batch[:1]), reference)
    assert torch.equal(batch, before)


def test_denormalize_treats_every_image_of_a_batch(batch: Tensor) -> None:
    assert torch.equal(theirs.denormalize(batch)[1], batch[1])  # theirs leaves the second one
    each = torch.cat([theirs.denormalize(batch[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(ours.denormalize(batch), each)
    torch.testing.assert_close(ours.denormalize(batch[1]), each[1])


def test_denormalize_takes_what_apply_transforms_gives() -> None:
    x = ours.apply_transforms(viz.load_image("cat"))
    with pytest.raises(RuntimeError, match="view"):
        theirs.denormalize(x)
    rgb = ours.denormalize(x)
    assert rgb.shape == x.shape
    assert rgb.min() >= 0
    assert rgb.max() <= 1 + 1e-6
    rgb.sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("shape", [(3, 7, 5), (1, 7, 5), (7, 5), (1, 3, 4, 4)])
def test_standardize_and_clip_equals_flashtorchs(shape: tuple[int, ...]) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(2)) * 40 + 3
    for options in ({}, {"saturation": 0.15, "brightness": 0.7}, {"min_value": 0.4}):
        reference = theirs.standardize_and_clip(values, **options)
        assert reference.std() > 0
        torch.testing.assert_close(ours.standardize_and_clip(values, **options), reference)
    flipped = theirs.standardize_and_clip(-values)
    assert not torch.allclose(ours.standardize_and_clip(values), flipped, atol=1e-2)


@pytest.mark.filterwarnings("ignore:std")
def test_a_flat_tensor_is_the_brightness_everywhere() -> None:
    assert torch.equal(ours.standardize_and_clip(torch.zeros(3, 4, 4)), torch.full((3, 4, 4), 0.5))
    one = torch.ones(1, 1, 1)
    assert theirs.standardize_and_clip(one).isnan().all()
    assert ours.standardize_and_clip(one).item() == 0.5


@pytest.mark.parametrize("shape", [(1, 3, 6, 5), (3, 6, 5), (1, 1, 6, 5), (1, 6, 5)])
def test_format_for_plotting_equals_flashtorchs(shape: tuple[int, ...]) -> None:
    image = torch.rand(shape, generator=torch.Generator().manual_seed(3)).requires_grad_()
    mine, reference = ours.format_for_plotting(image), theirs.format_for_plotting(image)
    assert torch.equal(mine, reference)
    assert not mine.requires_grad
    mine.add_(1)  # a copy: the tensor that was drawn stays as it is
    assert torch.equal(ours.format_for_plotting(image), reference)


def test_shapes_that_are_no_picture_are_refused_in_words(batch: Tensor) -> None:
    with pytest.raises(ValueError, match=r"one image.*\(2, 3, 6, 5\).*x\[i\]"):
        ours.format_for_plotting(batch)
    with pytest.raises(ValueError, match=r"\(6, 5\)"):
        ours.format_for_plotting(batch[0, 0])
    with pytest.raises(ValueError, match=r"\(2, 6, 5\)"):
        ours.denormalize(batch[:, 0])


# ImageNetIndex


def test_index_holds_flashtorchs_thousand_names_in_its_order(their_index: TheirIndex) -> None:
    index = ImageNetIndex()
    assert len(index) == len(their_index) == 1000
    assert list(index.items()) == list(their_index.items())
    assert list(index) == list(index.keys()) == list(their_index)
    assert index["tabby"] == 281


def test_index_finds_every_class_by_its_name(their_index: TheirIndex) -> None:
    index = ImageNetIndex()
    assert all(index[name] == number == their_index[name] for name, number in their_index.items())
    assert all(name in index for name in their_index)


def test_index_finds_by_one_word_as_flashtorch_does(their_index: TheirIndex) -> None:
    """Every word of every name: the same class, the same doubt, or nothing."""

    def found(index: object, phrase: str) -> object:
        try:
            return index[phrase]  # type: ignore[index]
        except ValueError as error:
            return sorted(
                str(error).removesuffix(". Write one of them.").split(": ")[1].split(", ")
            )

    index = ImageNetIndex()
    words = sorted({word for name in index for word in name.split()} | {"foxhound", "xyz", "Jay"})
    answers = [found(index, word) for word in words]
    assert answers == [found(their_index, word) for word in words]
    kinds = {type(answer) for answer in answers}
    assert kinds == {int, list, type(None)}


def test_index_agrees_on_the_documented_examples(their_index: TheirIndex) -> None:
    index = ImageNetIndex()
    for phrase, expected in {
        "jay": 17,
        "king penguin": 145,
        "dalmatian dog": 251,
        "foxhound": 167,
        "great grey owl": 24,
        "peacock": 84,
        "toucan": 96,
        "invalid class": None,
    }.items():
        assert index[phrase] == their_index[phrase] == expected
    assert "dalmatian" in index
    assert "invalid class" not in index


def test_a_name_that_fits_several_classes_is_refused_with_all_of_them() -> None:
    with pytest.raises(ValueError, match="crane wading bird, crane lifting device"):
        ImageNetIndex()["crane"]
    with pytest.raises(TypeError, match="needs to be a string, got int"):
        ImageNetIndex()[281]  # type: ignore[index]


def test_spaces_repetitions_and_capitals_do_no_harm(their_index: TheirIndex) -> None:
    index = ImageNetIndex()
    with pytest.raises(ValueError, match=r"tench, goldfish"):  # an empty word is in every name
        their_index["foxhound "]
    assert index["foxhound "] == 167
    with pytest.raises(ValueError, match=r"foxhound, english foxhound"):
        their_index["foxhound hound_ foxhoun"]
    assert index["foxhound hound_ foxhoun"] == 167
    assert "Jay" not in their_index
    assert "Jay" in index
    assert index["Great Grey Owl"] == 24
    assert index[""] is None


def test_labels_that_stand_with_the_model_are_the_same_but_six(model: nn.Module) -> None:
    index = ImageNetIndex()
    numbers = {name: number for name, number in index.items()}
    labels = [name.lower() for name in card(model).labels]  # type: ignore[union-attr]
    other = [number for name, number in numbers.items() if labels[number] != name]
    assert other == [134, 264, 474, 517, 638, 639]
