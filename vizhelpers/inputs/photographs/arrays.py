"""Convert arrays and tensors to images; refuse ambiguous types and ranges."""

from typing import Any

import numpy as np
from PIL import Image

from vizhelpers.inputs.errors import ImageError


def as_array(source: Any) -> np.ndarray:
    """Return an array, a tensor, or any object with ``__array__``, as a NumPy array."""
    try:
        if hasattr(source, "detach"):  # a torch tensor
            source = source.detach().cpu()
            source = source.float() if source.is_floating_point() else source
        array = np.asarray(source)
    except Exception as error:  # __array__ may be any class's code
        raise ImageError(
            f"The {type(source).__name__} cannot be converted to an array: {error}. "
            "Pass np.asarray(...) of its numbers."
        ) from error
    if isinstance(source, np.ma.MaskedArray) and np.ma.is_masked(source):
        raise ImageError("The array holds masked values. array.filled(0) replaces them by 0.")
    return array


def from_array(array: np.ndarray) -> Image.Image:
    """Return an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) as a PIL image."""
    if array.size == 0:
        raise ImageError(f"The array is empty (shape {array.shape}).")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageError(
            f"An array of shape {array.shape} is not a picture. Expected (H, W), (H, W, 3) or "
            "(H, W, 4). Convert a tensor (3, H, W) with tensor.permute(1, 2, 0)."
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
