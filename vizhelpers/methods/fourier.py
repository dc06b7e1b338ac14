"""Pictures as natural images are made: by frequency, with decorrelated colours, looked at loosely.

Gradient ascent on pixels ends in high-frequency noise. Three remedies of Olah et al. 2017
("Feature Visualization", Distill): climb on Fourier coefficients that are scaled as the
frequencies of photographs are; on colour axes that are independent in photographs; and show the
network a picture that is shifted, scaled and turned a little anew at each step.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Square root of the covariance of ImageNet's pixels, R, G, B by row, divided by its largest column
# norm: the colour axes of Olah et al. 2017, as they stand in Lucid. The first column is brightness,
# the second red against blue, the third green against both.
_COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))

_TURN = 10.0  # degrees
_SCALE = 0.1
_SHIFT = 8.0  # pixels of a picture of 128; of others in proportion


def random_spectrum(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Return weak random coefficients, the same for each picture, (count, 3, size, W, 2).

    W is size // 2 + 1, since the picture is real; the last axis is real and imaginary part.
    """
    shape = (1, 3, size, size // 2 + 1, 2)
    one = torch.randn(shape, generator=generator, device="cpu") * 0.01
    return one.expand(count, -1, -1, -1, -1).clone()


def to_rgb(spectrum: Tensor) -> Tensor:
    """Return the pictures that coefficients make, (N, 3, size, size), values between 0 and 1.

    Args:
        spectrum: (N, 3, size, size // 2 + 1, 2), before it is scaled by 1 / frequency.
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
    """Shift, scale and turn all pictures (N, C, H, W) alike, by a little; edges are reflected.

    All alike, so that what a picture becomes does not depend on those beside it.
    """
    turn, scale, *shift = (torch.rand(4, generator=generator, device="cpu") * 2 - 1).tolist()
    angle, factor = math.radians(_TURN) * turn, 1 + _SCALE * scale
    cos, sin = factor * math.cos(angle), factor * math.sin(angle)
    right, down = (2 * _SHIFT / 128 * value for value in shift)
    affine = x.new_tensor([[cos, -sin, right], [sin, cos, down]]).expand(len(x), 2, 3)
    grid = F.affine_grid(affine, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
