"""FlashTorch's helpers: convert pictures to tensors and back; ImageNet's classes by name."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as tf

from vizhelpers.flash.utils.imagenet import ImageNetIndex
from vizhelpers.inputs.photographs import images
from vizhelpers.inputs.samples import IMAGENET_MEAN, IMAGENET_STD

__all__ = [
    "ImageNetIndex",
    "apply_transforms",
    "denormalize",
    "format_for_plotting",
    "load_image",
    "standardize_and_clip",
]


def load_image(image_path: Any) -> Image.Image:
    """Read a picture as RGB, upright by its EXIF orientation.

    Args:
        image_path: a path, or anything else that ``viz.load_image`` takes.

    Raises:
        ImageError: a ``ValueError``; no such file, or not a picture.
    """
    return images.load_image(image_path)


def apply_transforms(image: Any, size: int = 224) -> Tensor:
    """Return a picture as input of an ImageNet network, (1, 3, size, size), normalised.

    Args:
        image: a PIL image, an array (H, W, 3) or (3, H, W), a tensor (3, H, W), or anything else
            that ``viz.load_image`` takes. Grey becomes RGB; transparent pixels become white.
        size: height and width of the result, in pixels: the picture is resized and cropped at the
            centre.

    Returns:
        (1, 3, size, size) float32. It requires gradients, as FlashTorch's does: users read
        ``x.grad`` after a backward pass of their own. Nothing in this package needs that.

    Raises:
        ImageError: a ``ValueError``; the picture cannot be read.
    """
    picture = tf.to_pil_image(image) if isinstance(image, Tensor) else image
    if isinstance(picture, np.ndarray) and picture.ndim == 3 and picture.shape[2] not in (1, 3, 4):
        picture = picture.transpose(1, 2, 0)  # FlashTorch documents (C, H, W)
    square = tf.center_crop(tf.resize(images.load_image(picture), [size]), [size])
    return tf.normalize(tf.to_tensor(square), IMAGENET_MEAN, IMAGENET_STD)[None].requires_grad_()


def denormalize(tensor: Tensor) -> Tensor:
    """Return images with ImageNet's normalisation undone, of the same shape.

    Args:
        tensor: (N, 3, H, W) or (3, H, W), normalised; it is not changed. A single channel is
            treated as the first colour, as in FlashTorch.

    Returns:
        The same shape, pixel values 0 to 1 for a normalised picture; gradients flow through.

    Raises:
        ValueError: neither one nor three channels.
    """
    if tensor.ndim not in (3, 4) or tensor.shape[-3] not in (1, 3):
        raise ValueError(f"Expected (N, 3, H, W) or (3, H, W), got shape {tuple(tensor.shape)}.")
    channels = tensor.shape[-3]
    mean = tensor.new_tensor(IMAGENET_MEAN[:channels]).view(-1, 1, 1)
    std = tensor.new_tensor(IMAGENET_STD[:channels]).view(-1, 1, 1)
    return tensor * std + mean


def standardize_and_clip(
    tensor: Tensor,
    min_value: float = 0.0,
    max_value: float = 1.0,
    saturation: float = 0.1,
    brightness: float = 0.5,
) -> Tensor:
    """Scale values to mean ``brightness`` and standard deviation ``saturation``, then clip them.

    Args:
        tensor: any shape; the mean and the standard deviation are taken over all of it.
        min_value: lower bound of the result.
        max_value: upper bound of the result.
        saturation: standard deviation of the result, before clipping.
        brightness: mean of the result, before clipping; the result for a constant tensor.

    Returns:
        The same shape, detached, on the CPU.
    """
    values = tensor.detach().cpu()
    values = values if values.is_floating_point() else values.float()
    centred = values - values.mean()
    std = centred.std() if values.numel() > 1 else centred.new_zeros(())
    return (centred / torch.where(std == 0, 1e-7, std) * saturation + brightness).clamp(
        min_value, max_value
    )


def format_for_plotting(tensor: Tensor) -> Tensor:
    """Return an image tensor as matplotlib's ``imshow`` takes it, (H, W, C) or (H, W).

    Args:
        tensor: (1, C, H, W) or (C, H, W).

    Returns:
        (H, W, C), or (H, W) for one channel; a detached copy on the CPU.

    Raises:
        ValueError: another shape, or more than one image.
    """
    if tensor.ndim == 4 and len(tensor) == 1:
        tensor = tensor[0]
    if tensor.ndim != 3:
        raise ValueError(
            f"Expected one image, (1, C, H, W) or (C, H, W), got shape {tuple(tensor.shape)}. "
            "Take one image of a batch with x[i]."
        )
    tensor = tensor.detach().cpu().clone()
    return tensor[0] if len(tensor) == 1 else tensor.permute(1, 2, 0)
