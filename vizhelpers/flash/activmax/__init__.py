"""FlashTorch's module of ``GradientAscent``."""

from vizhelpers.flash.activmax.gradient_ascent import GradientAscent

__all__ = ["GradientAscent"]
