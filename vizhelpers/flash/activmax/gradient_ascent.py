"""FlashTorch's ``GradientAscent``: pictures that raise one filter's mean activation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from vizhelpers.flash.activmax.ascent import Climb, checked_filters, climb, grey_noise
from vizhelpers.flash.devices import placed
from vizhelpers.flash.figures import Figure, pictures_figure
from vizhelpers.flash.utils import apply_transforms, load_image
from vizhelpers.inputs import input_tensor


class GradientAscent:
    """Pictures that raise one filter's mean activation, by gradient ascent from grey noise."""

    def __init__(
        self,
        model: nn.Module,
        img_size: int = 224,
        lr: float = 1.0,
        use_gpu: bool = False,
        seed: int = 0,
    ) -> None:
        """Take a model, typically its ``features``.

        Args:
            model: a module that takes (N, 3, H, W); it is only looked at.
            img_size: height and width of the picture.
            lr: length of a step.
            use_gpu: climb with a copy of the model on CUDA if there is one.
            seed: of the noise; FlashTorch took whatever numpy gave.
        """
        self.model = model
        self.img_size = img_size
        self.lr = lr
        self.use_gpu = use_gpu
        self.seed = seed
        self.activations: list[Any] = []

    def optimize(
        self, layer: nn.Module, filter_idx: int, input_: Tensor | None = None, num_iter: int = 30
    ) -> list[Tensor]:
        """Climb, and return the picture after each step.

        Args:
            layer: an ``nn.Conv2d`` of the model.
            filter_idx: which of its filters.
            input_: where to begin, (1, 3, H, W); grey noise where None.
            num_iter: number of steps.

        Returns:
            ``num_iter`` tensors (1, 3, H, W), detached. ``self.activations`` holds the mean
            activation before each of the steps.

        Raises:
            TypeError: ``layer`` is no ``nn.Conv2d``, or ``filter_idx`` no whole number.
            ValueError: no such filter, a layer that is not in the model, ``num_iter`` below 1.
        """
        found = self._climb(layer, [filter_idx], self.lr, num_iter, input_)
        self.activations = found.activations[0]
        return found.pictures[0]

    def visualize(
        self,
        layer: nn.Module,
        filter_idxs: int | Sequence[int] | None = None,
        lr: float | None = None,
        num_iter: int = 30,
        num_subplots: int = 4,
        figsize: tuple[float, float] = (4, 4),
        title: str = "Conv2d",
        return_output: bool = False,
    ) -> Figure | list[Any]:
        """Climb for one filter or several, as one batch, and draw where they end.

        Args:
            layer: an ``nn.Conv2d`` of the model.
            filter_idxs: one filter, several, or None for ``num_subplots`` drawn at random.
            lr: length of a step in this call; None keeps the constructor's.
            num_iter: number of steps.
            num_subplots: how many filters where none is named.
            figsize: (width, height) in inches of one filter's picture.
            title: of the figure.
            return_output: return the tensors, as FlashTorch does, in place of the figure. The
                figure is drawn all the same: ``plt.gcf()`` is it.

        Returns:
            The figure; with ``return_output`` a list of tensors (1, 3, H, W) for one filter, else
            a list of such lists. ``self.activations`` has the same nesting.

        Raises:
            TypeError, ValueError: as ``optimize``.
        """
        lr = self.lr if lr is None else lr
        filters = self._chosen(layer, filter_idxs, num_subplots)
        found = self._climb(layer, filters, lr, num_iter, keep_all=return_output)
        titles = [f"filter {index}" for index in filters]
        figure = pictures_figure([kept[-1] for kept in found.pictures], titles, title, figsize)
        several = filter_idxs is None or np.iterable(filter_idxs)
        self.activations = found.activations if several else found.activations[0]
        if return_output:
            return found.pictures if several else found.pictures[0]
        return figure

    def deepdream(
        self,
        img_path: str,
        layer: nn.Module,
        filter_idx: int,
        lr: float = 0.1,
        num_iter: int = 20,
        figsize: tuple[float, float] = (4, 4),
        title: str = "DeepDream",
        return_output: bool = False,
    ) -> Figure | list[Tensor]:
        """Climb from a photograph (Mordvintsev et al. 2015).

        Args:
            img_path: the photograph, as ``viz.load_image`` takes it.
            layer, filter_idx, num_iter: as in ``optimize``.
            lr: length of a step in this call.
            figsize, title, return_output: as in ``visualize``.

        Returns:
            The figure, or with ``return_output`` the pictures, (1, 3, H, W) each.

        Raises:
            ImageError: a ``ValueError``; the photograph cannot be read.
            TypeError, ValueError: as ``optimize``.
        """
        start = apply_transforms(load_image(img_path), self.img_size)
        found = self._climb(layer, [filter_idx], lr, num_iter, start, keep_all=return_output)
        self.activations = found.activations[0]
        figure = pictures_figure(found.pictures[0][-1:], [f"filter {filter_idx}"], title, figsize)
        return found.pictures[0] if return_output else figure

    def _climb(
        self,
        layer: nn.Module,
        filters: list[Any],
        lr: float,
        num_iter: int,
        start: Tensor | None = None,
        keep_all: bool = True,
    ) -> Climb:
        """Check what was asked for, and climb where ``use_gpu`` says."""
        convolution, name = self._find(layer)
        indices = checked_filters(convolution, filters)
        if num_iter < 1:
            raise ValueError(f"num_iter={num_iter}: a climb needs at least one step.")
        if start is None:
            start = grey_noise(self.model, self.img_size, self.seed)
        model, start = placed(self.model, start, self.use_gpu)
        if len(input_tensor(model, start)) != 1:
            raise ValueError(f"Expected one image (1, 3, H, W), got shape {tuple(start.shape)}.")
        return climb(model, start, name, indices, lr=lr, steps=num_iter, keep_all=keep_all)

    def _find(self, layer: nn.Module) -> tuple[nn.Conv2d, str]:
        """Return a convolution, and its name in the model."""
        if not isinstance(layer, nn.Conv2d):
            raise TypeError(f"The layer must be an nn.Conv2d, got {type(layer).__name__}.")
        for name, module in self.model.named_modules():
            if module is layer:
                return layer, name
        raise ValueError(f"{layer} is not in this model. Take the layer from the model itself.")

    def _chosen(self, layer: nn.Module, filter_idxs: Any, count: int) -> list[Any]:
        """Return the filters that were asked for, or some at random, each at most once."""
        if filter_idxs is None:
            total = self._find(layer)[0].out_channels
            random = np.random.default_rng(self.seed)
            return random.choice(total, size=min(total, count), replace=False).tolist()
        return list(filter_idxs) if np.iterable(filter_idxs) else [filter_idxs]
