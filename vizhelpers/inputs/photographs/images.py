"""Load photographs as RGB PIL images: bundled ones, files, arrays and uploads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from PIL import Image

from vizhelpers.inputs.errors import ImageError, nearest
from vizhelpers.inputs.photographs.arrays import as_array, from_array
from vizhelpers.inputs.photographs.decode import (
    SMALLEST_SIDE,
    as_bytes,
    from_bytes,
    from_upload,
    upright_rgb,
)

_PHOTOGRAPHS = files("vizhelpers") / "data" / "photographs"
_COMPOSITE = "cat_coffee"
_SMALLEST, _LARGEST = 2 * SMALLEST_SIDE, 8192  # pixels, of a composite's side
_LARGEST_FILE = 1_000_000_000  # bytes


@dataclass(frozen=True)
class SampleImage:
    """Description of a bundled photograph.

    Attributes:
        name: argument of ``load_image``.
        title: a short caption.
        label: the ImageNet class that it shows; None if ImageNet has no such class.
        rank: 1-based rank of ``label`` in the bundled model's prediction; None without a label.
        licence: SPDX identifier, or "public domain".
        author: the photographer.
        source: the collection that the file comes from.
    """

    name: str
    title: str
    label: str | None
    rank: int | None
    licence: str
    author: str
    source: str


@dataclass(frozen=True)
class Composite:
    """Two photographs side by side, with the box of each half: a ground truth for CAMs.

    Attributes:
        image: the RGB picture, square.
        left: (left, top, right, bottom) of the first photograph's half, in pixels.
        right: the same for the second.
    """

    image: Image.Image
    left: tuple[int, int, int, int]
    right: tuple[int, int, int, int]


@cache
def _table() -> dict[str, dict[str, Any]]:
    return json.loads((_PHOTOGRAPHS / "photographs.json").read_text(encoding="utf-8"))


def sample_images() -> dict[str, SampleImage]:
    """Return the bundled photographs by name, with label, licence, author and source.

    Example:
        >>> sample_images()["panda"].label
        'giant panda'
    """
    fields = SampleImage.__dataclass_fields__
    return {
        name: SampleImage(name=name, **{key: row[key] for key in fields if key != "name"})
        for name, row in _table().items()
    }


def composite(left: Any, right: Any, *, size: int = 256, centre: float = 0.4) -> Composite:
    """Return a square picture of a strip of each of two photographs, side by side.

    A network that resizes the shorter side and crops the centre loses the outer halves of a 2:1
    picture. So a full-height strip, half as wide as high, is cut from each photograph.

    Args:
        left: any argument of ``load_image``; it fills the left half.
        right: the same for the right half.
        size: width and height of the result, in pixels; even.
        centre: horizontal centre of each strip, as a share of the photograph's width.

    Returns:
        A ``Composite``: the picture and the box of each half.

    Raises:
        ImageError: a photograph cannot be read.
        ValueError: ``size`` is odd, under 16 or over 8192, or ``centre`` not between 0 and 1.
    """
    numbers = isinstance(size, Integral) and isinstance(centre, Real)
    if not numbers or size % 2 or not (_SMALLEST <= size <= _LARGEST and 0 <= centre <= 1):
        raise ValueError(
            f"size={size!r}, centre={centre!r}: size must be even and between {_SMALLEST} and "
            f"{_LARGEST}, centre between 0 and 1."
        )
    picture = Image.new("RGB", (size, size))
    for offset, source in ((0, left), (size // 2, right)):
        strip = _strip(load_image(source), centre).resize(
            (size // 2, size), Image.Resampling.LANCZOS
        )
        picture.paste(strip, (offset, 0))
    half = size // 2
    return Composite(picture, (0, 0, half, size), (half, 0, size, size))


def _strip(image: Image.Image, centre: float) -> Image.Image:
    width = min(image.width, image.height // 2)
    left = round(centre * image.width - width / 2)
    left = max(0, min(left, image.width - width))
    return image.crop((left, 0, left + width, image.height))


def load_image(source: Any) -> Image.Image:
    """Return a picture from any source as an upright RGB PIL image.

    Args:
        source: a bundled name (``sample_images()`` lists them, and ``"cat_coffee"``), a path,
            the bytes of an image file, a PIL image, an array, or the value of an ipywidgets
            ``FileUpload`` (7 or 8). Arrays and tensors are (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4): uint8 0..255, or floating point 0..1. Transparency becomes white, 16 bits
            become 8, and of an animation the first frame is read.

    Returns:
        An RGB image, rotated by its EXIF orientation.

    Raises:
        ImageError: no such file, not an image, truncated, a decompression bomb, HEIC, NaN, wrong
            shape or range, masked values, or a side under 8 pixels. The text names a remedy.

    Example:
        >>> load_image("cat").mode
        'RGB'
    """
    if isinstance(source, Composite):
        source = source.image
    if isinstance(source, Image.Image):
        image = source
    elif isinstance(source, (bytes, bytearray, memoryview)):
        image = from_bytes(as_bytes(source, "the given bytes"), "the given bytes")
    elif isinstance(source, (str, Path)):
        image = _from_name_or_path(source)
    elif isinstance(source, (Mapping, tuple, list)):
        image = from_upload(source)
    elif hasattr(source, "__array__"):
        image = from_array(as_array(source))
    else:
        raise ImageError(
            f"load_image cannot read a {type(source).__name__}. It takes a bundled name, a path, "
            "bytes, an array (H, W, 3), a PIL image or a FileUpload value."
        )
    return upright_rgb(image)


def _from_name_or_path(source: str | Path) -> Image.Image:
    if source == _COMPOSITE:
        return composite("cat", "coffee").image
    if isinstance(source, str) and source in _table():
        return from_bytes((_PHOTOGRAPHS / _table()[source]["file"]).read_bytes(), source)
    name = _short(str(source))
    try:
        path = Path(source).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, an unknown user's ~
        raise _not_found(name) from None
    if not str(source).strip():
        raise ImageError("The path is empty. Give the path of a picture, or a bundled name.")
    if is_folder:
        raise ImageError(f"{name!r} is a folder. Give the path of one picture in it.")
    if not is_file:
        raise _not_found(name)
    return from_bytes(_content(path, name), name)


def _content(path: Path, name: str) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ImageError(f"{name!r} has over {_LARGEST_FILE:,} bytes: too many for a picture.")
        return path.read_bytes()
    except OSError as error:
        raise ImageError(
            f"{name!r} cannot be read: {error.strerror}. Are you allowed to read it?"
        ) from error


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:97]}…"


def _not_found(source: str) -> ImageError:
    names = [*_table(), _COMPOSITE]
    near = nearest(source, names)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    if "://" in source:
        hint = "Nothing is fetched from the web: save the picture to a file first. "
    return ImageError(
        f"{source!r} is neither a file nor a bundled photograph. {hint}"
        f"Bundled: {', '.join(names)}. A path is looked up from the notebook's own folder."
    )
