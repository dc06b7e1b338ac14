"""FlashTorch's ``GradientAscent``: pictures that raise one filter's mean activation."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.flash.activmax.ascent import Climb, checked_filters, climb, grey_noise, photograph
from vizhelpers.flash.devices import placed
from vizhelpers.flash.figures import Figure, pictures_figure
from vizhelpers.flash.utils import load_image
from vizhelpers.inputs.modules import dtype_of, unwrapped
from vizhelpers.inputs.request import input_tensor
from vizhelpers.passes.sizes import input_size


class GradientAscent:
    """Pictures that raise one filter's mean activation, by gradient ascent from grey noise.

    Attributes:
        model, img_size, lr, use_gpu, seed: as given; each may be set to another value.
        num_layers: how many modules the model consists of.
        output: of the last ``visualize``, what it returns with ``return_output``; else None.
        activation: mean activation of the filter before the last step, a scalar tensor.
        gradients: of the last step, divided by its root mean square, (1, C, H, W): the last picture
            is the one before it plus ``lr`` times this.
        activations: mean activation before each step; a list of such lists for several filters.
        handlers: always empty, since no hook stays on the model.

    ``activation``, ``gradients`` and ``activations`` are of the last call; before the first they
    are None, None and empty. For several filters, the first two are the last filter's.
    """

    def __init__(
        self,
        model: nn.Module,
        img_size: int = 224,
        lr: float = 1.0,
        use_gpu: bool = False,
        seed: int = 0,
    ) -> None:
        """Store a model, typically a classifier's ``features``.

        Args:
            model: a module that takes (N, C, H, W). It is never modified. Compiled and
                ``DataParallel`` models run as the module inside them.
            img_size: height and width of the picture.
            lr: length of a step.
            use_gpu: climb with a copy of the model on CUDA if there is one.
            seed: of the noise and of filters drawn at random. FlashTorch uses numpy's global state,
                which is not touched here.

        Raises:
            TypeError: not a module, or TorchScript.
        """
        self.num_layers = len(list(unwrapped(model).named_children()))
        self.model = model
        self.img_size = img_size
        self.lr = lr
        self.use_gpu = use_gpu
        self.seed = seed
        self.output: list[Any] | None = None
        self.activation: Tensor | None = None
        self.gradients: Tensor | None = None
        self.activations: list[Any] = []
        self.handlers: list[Any] = []

    def optimize(
        self, layer: nn.Module, filter_idx: int, input_: Tensor | None = None, num_iter: int = 30
    ) -> list[Tensor]:
        """Climb, and return the picture after each step.

        Args:
            layer: an ``nn.Conv2d`` of the model.
            filter_idx: which of its filters.
            input_: where to begin, (1, C, H, W); grey noise where None.
            num_iter: number of steps.

        Returns:
            ``num_iter`` tensors (1, C, H, W), detached.

        Raises:
            TypeError: ``layer`` is no ``nn.Conv2d``, or ``filter_idx`` no whole number.
            ValueError: no such filter, a layer that is not in the model, ``num_iter`` below 1,
                an output that holds NaN, or a forward pass that lets no gradient through.
        """
        start = self._noise if input_ is None else input_
        found = self._climb(layer, [filter_idx], self.lr, num_iter, start)
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
            The figure; with ``return_output`` a list of tensors (1, C, H, W) for one filter, else
            a list of such lists.

        Raises:
            TypeError, ValueError: as ``optimize``.
        """
        lr = self.lr if lr is None else lr
        filters = self._chosen(layer, filter_idxs, num_subplots)
        found = self._climb(layer, filters, lr, num_iter, self._noise)
        titles = [f"filter {index}" for index in filters]
        figure = pictures_figure([kept[-1] for kept in found.pictures], titles, title, figsize)
        several = filter_idxs is None or np.iterable(filter_idxs)
        self.activations = found.activations if several else found.activations[0]
        self.output = found.pictures if several else found.pictures[0]
        return self.output if return_output else figure

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
        """Climb from a photograph, and draw where it ends (Mordvintsev et al. 2015).

        Args:
            img_path: the photograph, as ``viz.load_image`` takes it.
            layer, filter_idx, num_iter: as in ``optimize``.
            lr: length of a step in this call.
            figsize, title, return_output: as in ``visualize``.

        Returns:
            The figure, or with ``return_output`` the pictures, (1, C, H, W) each.

        Raises:
            ImageError: a ``ValueError``; the photograph cannot be read.
            TypeError, ValueError: as ``optimize``.
        """
        start = partial(photograph, load_image(img_path), self.img_size)
        found = self._climb(layer, [filter_idx], lr, num_iter, start)
        self.activations = found.activations[0]
        figure = pictures_figure(found.pictures[0][-1:], [f"filter {filter_idx}"], title, figsize)
        return found.pictures[0] if return_output else figure

    def _climb(
        self,
        layer: nn.Module,
        filters: list[Any],
        lr: float,
        num_iter: int,
        start: Tensor | Callable[[int], Tensor],
    ) -> Climb:
        """Validate the arguments, and climb where ``use_gpu`` says.

        Args:
            layer, filters, lr, num_iter: as the public methods take them.
            start: (1, C, H, W), or a function that makes it for a number C of channels.
        """
        convolution, name = self._find(layer)
        indices = checked_filters(convolution, filters)
        if num_iter < 1:
            raise ValueError(f"num_iter={num_iter}: a climb needs at least one step.")

        def climbed(x: Tensor) -> Climb:
            model, x = placed(unwrapped(self.model), x, self.use_gpu)
            if not name:  # the model is the convolution itself
                return climb(nn.Sequential(model), x, "0", indices, lr=lr, steps=num_iter)
            return climb(model, x, name, indices, lr=lr, steps=num_iter)

        if callable(start):
            found = self._from_any_colours(climbed, start)
        else:
            start = input_tensor(unwrapped(self.model), start)
            if len(start) != 1:
                shape = tuple(start.shape)
                raise ValueError(f"Expected one image (1, C, H, W), got shape {shape}.")
            found = climbed(start)
        self.activation, self.gradients = found.activation, found.gradient
        return found

    def _from_any_colours(
        self, climbed: Callable[[Tensor], Climb], start: Callable[[int], Tensor]
    ) -> Climb:
        """Climb from three channels; where that fails, from as many as the model takes."""
        weight = next(unwrapped(self.model).parameters(), torch.empty(0, device="cpu"))

        def from_channels(channels: int) -> Climb:
            return climbed(start(channels).to(weight.device, dtype_of(unwrapped(self.model))))

        try:
            return from_channels(3)
        except ValueError:
            try:
                channels = input_size(unwrapped(self.model))[1]
            except ValueError:
                channels = 3
            if channels == 3:
                raise
        return from_channels(channels)

    def _noise(self, channels: int) -> Tensor:
        return grey_noise(self.img_size, self.seed, channels)

    def _find(self, layer: nn.Module) -> tuple[nn.Conv2d, str]:
        """Return a convolution, and its name in the model that ``torch.compile`` or so wraps."""
        model = unwrapped(self.model)
        convolution = unwrapped(layer) if isinstance(layer, nn.Module) else layer
        if not isinstance(convolution, nn.Conv2d):
            raise TypeError(f"The layer must be an nn.Conv2d, got {type(layer).__name__}.")
        for name, module in model.named_modules():
            if module is convolution:
                return convolution, name
        raise ValueError(f"{layer} is not in this model. Take the layer from the model itself.")

    def _chosen(self, layer: nn.Module, filter_idxs: Any, count: int) -> list[Any]:
        """Return the filters that were asked for, or some at random, each at most once."""
        if filter_idxs is None:
            total = self._find(layer)[0].out_channels
            random = np.random.default_rng(self.seed)
            return random.choice(total, size=min(total, count), replace=False).tolist()
        return list(filter_idxs) if np.iterable(filter_idxs) else [filter_idxs]
