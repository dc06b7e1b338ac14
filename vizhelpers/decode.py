"""Bytes, arrays and uploads to upright RGB pictures; what is broken gets a clear error."""

import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vizhelpers.errors import ImageError

SMALLEST_SIDE = 8  # pixels
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"heif"}


def from_upload(value: Any) -> Image.Image:
    """Read ``FileUpload.value``: a tuple of dicts (ipywidgets 8) or a dict of dicts (7)."""
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
    name = entries[0].get("name") or entries[0].get("metadata", {}).get("name", "the upload")
    return from_bytes(bytes(entries[0]["content"]), name)


def from_bytes(data: bytes, name: str) -> Image.Image:
    """Decode an image file; ``name`` is what error texts call it."""
    if not data:
        raise ImageError(f"{name!r} is empty (0 bytes). Was the download or upload cut off?")
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        raise ImageError(
            f"{name!r} is a HEIC photograph, as iPhones make them, which Pillow cannot read. "
            "Export it as JPEG: in Photos, Share > Options > Most Compatible, or set "
            "Settings > Camera > Formats > Most Compatible."
        )
    try:
        with warnings.catch_warnings():
            # Pillow only warns of a picture between its limit and twice its limit.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)
            image = Image.open(io.BytesIO(data))
            image.load()
            return image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name!r} would unpack to more than {Image.MAX_IMAGE_PIXELS:,} pixels, so it was not "
            "opened. Scale it down first; a network sees about 224 x 224 of it."
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name!r} is not an image that Pillow knows; it begins with {data[:12]!r}. "
            "Save it as JPEG or PNG. (A web page saved under a picture's name begins with '<'.)"
        ) from error
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to
        raise ImageError(f"{name!r} is damaged or truncated: {error}. Fetch it again.") from error


def from_array(array: np.ndarray) -> Image.Image:
    """Turn (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) into an image."""
    if array.size == 0:
        raise ImageError(f"The array is empty (shape {array.shape}).")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageError(
            f"An array of shape {array.shape} is no picture. Expected (H, W), (H, W, 3) or "
            "(H, W, 4). A tensor (3, H, W) becomes one with tensor.permute(1, 2, 0)."
        )
    return Image.fromarray(_as_uint8(array))


def _as_uint8(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(
            f"An array of {array.dtype} is ambiguous. Use uint8 with 0..255, or floats with 0..1."
        )
    if not np.isfinite(array).all():
        raise ImageError("The array holds NaN or infinite values. np.nan_to_num replaces them.")
    if array.size and (array.min() < -1e-3 or array.max() > 1 + 1e-3):
        raise ImageError(
            f"A floating point picture has values 0..1, this one {array.min():.3g}.."
            f"{array.max():.3g}. Divide by 255, or undo the normalisation first."
        )
    return np.round(np.clip(array, 0, 1) * 255).astype(np.uint8)


def upright_rgb(image: Image.Image) -> Image.Image:
    """Turn as EXIF says, lay transparency on white, convert to RGB, refuse what is too small."""
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I") or image.mode == "F":
            image = _deep_grey_to_8_bit(image)
        if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
            image = image.convert("RGBA")
            paper = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(paper, image)
        image = image.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"The picture is damaged: {error}. Fetch or save it again.") from error
    if min(image.size) < SMALLEST_SIDE:
        raise ImageError(
            f"The picture is {image.width} x {image.height} pixels; with a side under "
            f"{SMALLEST_SIDE} there is nothing to see in it."
        )
    return image


def _deep_grey_to_8_bit(image: Image.Image) -> Image.Image:
    """Map 16-bit (or deeper) grey to 0..255; PIL's own conversion clips it to white."""
    values = np.asarray(image, dtype=np.float64)
    top = 65535.0 if values.max(initial=0) > 255 else 255.0
    return Image.fromarray((np.clip(values / top, 0, 1) * 255).round().astype(np.uint8))
