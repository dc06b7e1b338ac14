"""Parametrise pictures by Fourier coefficients of decorrelated colours, and transform them.

Gradient ascent on pixels ends in high-frequency noise. Olah et al. 2017 ("Feature Visualization",
Distill) give three remedies: optimise Fourier coefficients, scaled like the frequency spectrum of
photographs; use colour axes that are uncorrelated in photographs; and shift, scale and rotate the
picture randomly at each step.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Square root of the covariance of ImageNet's pixels, R, G, B by row, divided by its largest column
# norm: the colour axes of Olah et al. 2017, as in Lucid. The first column is brightness, the second
# red against blue, the third green against both.
_COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))

_TURN = 10.0  # degrees
_SCALE = 0.1
_SHIFT = 8.0  # pixels at a side of 128; proportional for other sides


def random_spectrum(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Return small random coefficients, the same for each picture, (count, 3, size, W, 2).

    W is size // 2 + 1, since pictures are real; the last axis holds real and imaginary parts.
    """
    shape = (1, 3, size, size // 2 + 1, 2)
    spectrum = torch.randn(shape, generator=generator, device="cpu") * 0.01
    return spectrum.expand(count, -1, -1, -1, -1).clone()


def to_rgb(spectrum: Tensor) -> Tensor:
    """Return the pictures of Fourier coefficients, (N, 3, size, size), values between 0 and 1.

    Args:
        spectrum: (N, 3, size, size // 2 + 1, 2), not yet scaled by 1 / frequency.
    """
    size = spectrum.shape[2]
    device = spectrum.device
    down, right = torch.fft.fftfreq(size, device=device), torch.fft.rfftfreq(size, device=device)
    scale = size / torch.hypot(down[:, None], right[None]).clamp(min=1 / size)
    coefficients = torch.view_as_complex(spectrum) * scale
    waves = torch.fft.irfft2(coefficients, s=(size, size)) / 4
    colours = torch.tensor(_COLOURS, device=spectrum.device)
    colours = colours / colours.norm(dim=0).max()
    return torch.sigmoid(torch.einsum("dc,ncij->ndij", colours, waves))


def random_view(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shift, scale and rotate pictures (N, C, H, W) by small random amounts; edges are reflected.

    All pictures get the same amounts, so that a result does not depend on the rest of its batch.
    """
    turn, scale, *shift = (torch.rand(4, generator=generator, device="cpu") * 2 - 1).tolist()
    angle, factor = math.radians(_TURN) * turn, 1 + _SCALE * scale
    cos, sin = factor * math.cos(angle), factor * math.sin(angle)
    right, down = (2 * _SHIFT / 128 * value for value in shift)
    affine = x.new_tensor([[cos, -sin, right], [sin, cos, down]]).expand(len(x), 2, 3)
    grid = F.affine_grid(affine, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
