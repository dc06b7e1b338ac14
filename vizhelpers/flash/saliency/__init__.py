"""FlashTorch's module of ``Backprop``."""

from vizhelpers.flash.saliency.backprop import Backprop

__all__ = ["Backprop"]
