import copy
import re
from pathlib import Path

import malformed
import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, features

import vizhelpers as viz

PHOTO = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)


PNG = malformed.encoded(PHOTO, "PNG")


def test_every_bundled_photograph_loads() -> None:
    for name, known in viz.sample_images().items():
        image = viz.load_image(name)
        assert image.mode == "RGB" and 200 <= min(image.size) <= 320
        assert known.licence and known.author and known.source


@pytest.mark.parametrize(
    "source",
    [
        PNG,
        bytearray(PNG),
        memoryview(PNG),
        PHOTO,
        PHOTO / 255,
        (PHOTO / 255).astype(np.float32),
        Image.fromarray(PHOTO),
        torch.from_numpy(PHOTO),
        ({"name": "a.png", "type": "image/png", "size": 9, "content": memoryview(PNG)},),
        {"a.png": {"metadata": {"name": "a.png"}, "content": PNG}},
    ],
    ids=["bytes", "bytearray", "memoryview", "uint8", "float64", "float32", "PIL", "tensor HWC",
         "FileUpload 8", "FileUpload 7"],
)  # fmt: skip
def test_load_image_takes(source: object) -> None:
    np.testing.assert_array_equal(np.asarray(viz.load_image(source)), PHOTO)


def test_load_image_takes_paths(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    for source in (path, str(path)):
        np.testing.assert_array_equal(np.asarray(viz.load_image(source)), PHOTO)


def test_grey_and_transparent_arrays() -> None:
    grey = np.full((20, 30), 9, dtype=np.uint8)
    assert np.asarray(viz.load_image(grey)).tolist() == np.full((20, 30, 3), 9).tolist()
    clear = np.zeros((20, 30, 4), dtype=np.uint8)
    assert np.asarray(viz.load_image(clear)).min() == 255  # laid on white


BAD = {  # of what is no file; ``malformed`` has the files
    "one pixel wide": (PHOTO[:, :1], "each side needs at least 8"),
    "NaN": (np.full((20, 30, 3), np.nan), "NaN"),
    "normalised": (np.full((20, 30, 3), 2.5), "0..1"),
    "int64": (np.ones((20, 30, 3), dtype=np.int64), "uint8"),
    "CHW": (np.zeros((3, 20, 30)), "permute"),
    "no pixels": (np.zeros((0, 5)), "empty"),
    "number": (7, "int"),
    "two uploads": (({"content": PNG}, {"content": PNG}), "one uploaded file"),
    "folder": (".", "folder"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_images_say_what_to_do(name: str) -> None:
    source, word = BAD[name]
    with pytest.raises(viz.ImageError, match=word):
        viz.load_image(source)


def test_no_error_text_shows_raw_bytes(tmp_path: Path) -> None:
    groups = (malformed.flipped, malformed.not_pictures, malformed.truncated)
    texts = []
    for case in (case for group in groups for case in group()):
        try:
            viz.load_image(case.make(tmp_path))
        except viz.ImageError as error:
            texts.append(str(error))
    assert len(texts) > 100
    raw = re.compile(r"""\bb['"]|\\x|object at 0x|[^\n -~…]""")
    assert not [text for text in texts if raw.search(text)]


class Opened(ImageFile.ImageFile):
    """What an opener gives that a reader registers, as pillow-heif does; always a red picture."""

    format = "STAND-IN"

    def _open(self) -> None:
        if b"damaged" in self.fp.read():
            raise SyntaxError("damaged")
        self._size, self._mode, self.tile = (30, 20), "RGB", []

    def load(self) -> object:
        self.im = Image.new("RGB", self.size, "red").im
        return super().load()


@pytest.fixture
def opener(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register an opener for HEIC and JPEG XL until the test ends."""
    Image.init()
    for name in ("ID", "OPEN", "EXTENSION"):
        monkeypatch.setattr(Image, name, copy.copy(getattr(Image, name)))
    Image.register_open("STAND-IN", Opened, lambda start: start[4:8] in (b"ftyp", b"JXL "))
    Image.register_extensions("STAND-IN", [".heic", ".jxl"])


@pytest.mark.parametrize("start", [b"\0\0\0\x18ftypheic", b"\0\0\0\x18ftypmif1", b"\0\0\0\x0cJXL "])
def test_what_a_registered_opener_reads_is_read(opener: None, tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(start + b"\0" * 40)
    for source in (path, path.read_bytes(), ({"name": "a", "content": path.read_bytes()},)):
        image = viz.load_image(source)
        assert image.size == (30, 20) and image.getpixel((5, 5)) == (255, 0, 0)


def test_a_damaged_heic_is_called_damaged_where_an_opener_is_registered(opener: None) -> None:
    with pytest.raises(viz.ImageError, match=r"a HEIC photograph.*damaged or truncated"):
        viz.load_image(b"\0\0\0\x18ftypheic damaged" + b"\0" * 40)


def test_avif_is_read() -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    image = viz.load_image(malformed.encoded(Image.new("RGB", (30, 20), "red"), "AVIF", quality=95))
    assert np.abs(np.subtract(image.getpixel((5, 5)), (255, 0, 0))).max() < 6


def test_composite_knows_where_its_halves_are() -> None:
    red, blue = np.zeros((2, 40, 60, 3), dtype=np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    made = viz.composite(red, blue, size=64)
    assert made.left == (0, 0, 32, 64) and made.right == (32, 0, 64, 64)
    assert np.asarray(made.image.crop(made.left)).mean((0, 1)).tolist() == [255, 0, 0]
    assert np.asarray(made.image.crop(made.right)).mean((0, 1)).tolist() == [0, 0, 255]


@pytest.mark.parametrize("wrong", [{"size": 63}, {"size": 0}, {"centre": 1.5}])
def test_composite_refuses(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="size must be even"):
        viz.composite("cat", "coffee", **wrong)  # type: ignore[arg-type]
