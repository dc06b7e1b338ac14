"""Decode image files and uploads to upright RGB images, or explain why that is impossible."""

import io
import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from vizhelpers.inputs.errors import ImageError
from vizhelpers.inputs.filetypes import kind_of, without_bytes

SMALLEST_SIDE = 8  # pixels
_MOST_SCANS = 100  # encoders write about ten
_TRANSPOSITIONS = {  # EXIF orientation: operation that undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def from_upload(value: Any) -> Image.Image:
    """Return the image in ``FileUpload.value``: a tuple of dicts (ipywidgets 8) or a dict (7)."""
    if isinstance(value, Mapping) and "content" in value:
        entries = [value]
    elif isinstance(value, Mapping):
        entries = [
            {"name": name, **entry} for name, entry in value.items() if isinstance(entry, Mapping)
        ]
    else:
        entries = [entry for entry in value if isinstance(entry, Mapping)]
    if len(entries) != 1 or "content" not in entries[0]:
        raise ImageError(
            f"Expected one uploaded file, got {len(entries)} in a {type(value).__name__}. "
            "Use FileUpload(multiple=False), or pass one entry of its value. "
            "A nested list of numbers becomes a picture with np.asarray."
        )
    metadata = entries[0].get("metadata")
    inner = metadata.get("name") if isinstance(metadata, Mapping) else None
    name = str(entries[0].get("name") or inner or "the upload")
    return from_bytes(as_bytes(entries[0]["content"], name), name)


def as_bytes(content: Any, name: str) -> bytes:
    """Return bytes, a bytearray or a memoryview as bytes; refuse other types."""
    try:
        # Not bytes(content), which turns the number 5 into five zero bytes.
        return b"".join([content])
    except (TypeError, ValueError) as error:
        raise ImageError(
            f"The content of {name!r} must be the bytes of a file, got a "
            f"{type(content).__name__}: {without_bytes(error)}."
        ) from error


def from_bytes(data: bytes, name: str) -> Image.Image:
    """Return the image in a file's bytes; error texts call the file ``name``."""
    if not data:
        raise ImageError(f"{name!r} is empty (0 bytes). Was the download or upload cut off?")
    kind = kind_of(data)
    if kind and kind.picture_remedy:  # Pillow would run PostScript
        raise ImageError(f"{name!r} is not an image but {kind.what}. {kind.picture_remedy}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Between its limit and twice its limit, Pillow only warns.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            if image.format in ("JPEG", "MPO"):
                _check_scans(data)
            image.load()
            return image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name!r} would unpack to more than {Image.MAX_IMAGE_PIXELS:,} pixels, so it was not "
            "opened. Scale it down first; a network sees about 224 x 224 of it."
        ) from error
    except UnidentifiedImageError as error:
        raise _unidentified(data, name) from error
    except Exception as error:  # Pillow's decoders raise many kinds of error
        raise ImageError(
            f"{name!r} is damaged or truncated: {without_bytes(error)}. Fetch it again."
        ) from error


def _unidentified(data: bytes, name: str) -> ImageError:
    """Return the error for a file that none of Pillow's registered openers accepts."""
    kind = kind_of(data)
    if kind is None:
        words = "is not an image: its first bytes are not those of any known kind of picture"
        return ImageError(f"{name!r} {words}. Save it as JPEG or PNG.")
    if not kind.extension:
        return ImageError(f"{name!r} is not an image but {kind.what}. {kind.remedy}")
    if kind.extension in Image.registered_extensions():
        return ImageError(f"{name!r} is {kind.what}, and damaged or truncated. Fetch it again.")
    return ImageError(f"{name!r} is {kind.what}, which Pillow cannot read. {kind.remedy}")


def _check_scans(data: bytes) -> None:
    """Refuse a progressive JPEG of many scans: 300 kB of them keep libjpeg busy for minutes."""
    at = scans = 0
    marker = re.compile(rb"\xff[\x01-\xcf\xd9-\xfe]")  # no stuffed byte, no restart, no start
    while match := marker.search(data, at):
        kind = data[match.start() + 1]
        scans += kind == 0xDA
        if kind == 0xD9 or scans > _MOST_SCANS:
            break
        at = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")
    if scans > _MOST_SCANS:
        raise ValueError(f"it is drawn in more than {_MOST_SCANS} passes, which no camera does")


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return an image as RGB on white, rotated by its EXIF orientation; refuse tiny images."""
    if min(image.size) < SMALLEST_SIDE:
        raise ImageError(
            f"The picture is {image.width} x {image.height} pixels; each side needs at least "
            f"{SMALLEST_SIDE}."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damaged EXIF and palettes
            return _upright_rgb(image)
    except ImageError:
        raise
    except Exception as error:  # a PIL image may be decoded only here, see from_bytes
        raise ImageError(
            f"The picture is damaged: {without_bytes(error)}. Fetch or save it again."
        ) from error


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    transposition = _TRANSPOSITIONS.get(_orientation(image))
    image = image if transposition is None else image.transpose(transposition)
    if image.mode.startswith("I") or image.mode == "F":
        image = _deep_grey_to_8_bit(image)
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    rgb = image.convert("RGB")
    rgb.info = {}  # else the orientation would be applied again
    return rgb


def _orientation(image: Image.Image) -> Any:
    """Return EXIF's orientation; 1, upright, if EXIF is missing or damaged."""
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) else 1


def _deep_grey_to_8_bit(image: Image.Image) -> Image.Image:
    """Scale grey of more than 8 bits to 0..255; PIL's own conversion clips it to white.

    The mode or the format may specify the value of white. Else the maximum decides between 1, 255
    and 65535 for floats, 255 and 65535 for integers.
    """
    values = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all():
        raise ImageError("The picture holds NaN or infinite values; there is nothing to show.")
    low, high = float(values.min()), float(values.max())
    tops = [1.0, 255.0, 65535.0] if image.mode == "F" else [255.0, 65535.0]
    if image.mode.startswith("I;16") or image.format in ("PNG", "PPM"):
        tops = [65535.0]
    top = next((top for top in tops if high <= top * (1 + 1e-3)), None)
    if top is None or low < (-1e-3 * top if image.mode == "F" else 0):
        raise ImageError(
            f"The picture has values {low:.4g}..{high:.4g}; expected 0..1, 0..255 or 0..65535. "
            "Scale it first, and pass it as an array of floats 0..1."
        )
    return Image.fromarray((np.clip(values / top, 0, 1) * 255).round().astype(np.uint8))
