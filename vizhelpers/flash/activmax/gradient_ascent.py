"""FlashTorch's ``GradientAscent``: pictures that raise one filter's mean activation."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.flash.activmax.ascent import Climb, climb, grey_noise, photograph
from vizhelpers.flash.devices import placed
from vizhelpers.flash.figures import Figure, pictures_figure
from vizhelpers.flash.utils import load_image
from vizhelpers.inputs.arguments import integer
from vizhelpers.inputs.modules import dtype_of, unwrapped
from vizhelpers.inputs.subject import input_tensor
from vizhelpers.passes.sizes import input_size


class _Target(NamedTuple):
    """Validated arguments of a climb: the model, a convolution's dotted path, filter indices."""

    model: nn.Module
    layer: str
    filters: list[int]


class GradientAscent:
    """Pictures that raise one filter's mean activation, by gradient ascent from grey noise.

    Attributes:
        model, img_size, lr, use_gpu, seed: as given; each may be set to another value.
        num_layers: number of the model's direct submodules.
        output: what the last ``visualize`` returns with ``return_output``; None before.
        activation: mean activation of the filter before the last step, a scalar tensor.
        gradients: of the last step, divided by its root mean square, (1, C, H, W): the last picture
            is the one before it plus ``lr`` times this.
        activations: mean activation before each step; a list of such lists for several filters.
        handlers: always empty, since no hook stays on the model.

    ``activation``, ``gradients`` and ``activations`` are of the last call; before the first they
    are None, None and empty. For several filters, the first two are the last filter's.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3))
        >>> len(GradientAscent(net, img_size=16).optimize(net[0], 2, num_iter=5))
        5
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
            img_size: height and width of the picture, in pixels.
            lr: length of a step.
            use_gpu: climb with a copy of the model on CUDA, if available.
            seed: of the noise and of filters drawn at random. FlashTorch draws from numpy's global
                state instead.

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
        """Climb, and return the picture after each step, (1, C, H, W) each.

        Args:
            layer: an ``nn.Conv2d`` of the model.
            filter_idx: index of one of its filters.
            input_: the first picture, (1, C, H, W); None for grey noise.
            num_iter: number of steps.

        Returns:
            ``num_iter`` tensors (1, C, H, W), detached.

        Raises:
            TypeError: ``layer`` is not an ``nn.Conv2d``, or ``filter_idx`` not an integer.
            ValueError: no such filter, a layer that is not in the model, ``num_iter`` below 1,
                an output that holds NaN, or a forward pass that lets no gradient through.
        """
        target = self._target(layer, [filter_idx])
        result = self._climb(target, self.lr, num_iter, self._noise if input_ is None else input_)
        self.activations = result.activations[0]
        return result.pictures[0]

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
        """Climb for one filter or several, as one batch, and draw the last pictures.

        Args:
            layer: an ``nn.Conv2d`` of the model.
            filter_idxs: one filter, several, or None for ``num_subplots`` drawn at random.
            lr: length of a step in this call; None takes the constructor's.
            num_iter: number of steps.
            num_subplots: number of filters drawn at random.
            figsize: (width, height) in inches of one filter's picture.
            title: of the figure.
            return_output: return the tensors, as FlashTorch does, instead of the figure. The
                figure is drawn all the same: ``plt.gcf()`` returns it.

        Returns:
            The figure; with ``return_output`` a list of tensors (1, C, H, W) for one filter, or
            a list of such lists.

        Raises:
            TypeError, ValueError: as ``optimize``.
        """
        several = filter_idxs is None or np.iterable(filter_idxs)
        filters = filter_idxs if several else [filter_idxs]
        target = self._target(layer, filters, count=num_subplots)  # type: ignore[arg-type]
        result = self._climb(target, self.lr if lr is None else lr, num_iter, self._noise)
        figure = pictures_figure(
            [pictures[-1] for pictures in result.pictures],
            [f"filter {index}" for index in target.filters],
            title,
            figsize,
        )
        self.activations = result.activations if several else result.activations[0]
        self.output = result.pictures if several else result.pictures[0]
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
        """Climb from a photograph, and draw the last picture (Mordvintsev et al. 2015).

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
        result = self._climb(self._target(layer, [filter_idx]), lr, num_iter, start)
        self.activations = result.activations[0]
        figure = pictures_figure(result.pictures[0][-1:], [f"filter {filter_idx}"], title, figsize)
        return result.pictures[0] if return_output else figure

    def _target(
        self, layer: nn.Module, filters: Sequence[int] | None, *, count: int = 0
    ) -> _Target:
        """Validate a layer and its filters; None draws ``count`` different filters at random."""
        model = unwrapped(self.model)
        convolution = unwrapped(layer) if isinstance(layer, nn.Module) else layer
        if not isinstance(convolution, nn.Conv2d):
            raise TypeError(f"The layer must be an nn.Conv2d, got {type(layer).__name__}.")
        if model is convolution:
            model = nn.Sequential(model)
        path = next((name for name, module in model.named_modules() if module is convolution), None)
        if path is None:
            raise ValueError(f"{layer} is not in this model. Take the layer from the model itself.")
        total = convolution.out_channels
        if filters is None:
            random = np.random.default_rng(self.seed)
            filters = random.choice(total, size=min(total, count), replace=False).tolist()
        indices = [integer("filter_idx", index, 0, total - 1) for index in filters]
        if not indices:
            raise ValueError("filter_idxs is empty: name at least one filter.")
        return _Target(model, path, indices)

    def _climb(
        self,
        target: _Target,
        lr: float,
        num_iter: int,
        start: Tensor | Callable[[int], Tensor],
    ) -> Climb:
        """Climb from ``start``, (1, C, H, W), or a function that makes it for C channels."""
        model, layer, filters = target
        steps = integer("num_iter", num_iter, 1)

        def climb_from(x: Tensor) -> Climb:
            return climb(*placed(model, x, self.use_gpu), layer, filters, lr=lr, steps=steps)

        if callable(start):
            result = _from_any_colours(model, climb_from, start)
        else:
            x = input_tensor(model, start)
            if len(x) != 1:
                raise ValueError(f"Expected one image (1, C, H, W), got shape {tuple(x.shape)}.")
            result = climb_from(x)
        self.activation, self.gradients = result.activation, result.gradient
        return result

    def _noise(self, channels: int) -> Tensor:
        return grey_noise(self.img_size, self.seed, channels)


def _from_any_colours(
    model: nn.Module, climb_from: Callable[[Tensor], Climb], start: Callable[[int], Tensor]
) -> Climb:
    """Climb from three channels; if that fails, from as many as the model takes."""
    weight = next(model.parameters(), torch.empty(0, device="cpu"))

    def with_channels(channels: int) -> Climb:
        return climb_from(start(channels).to(weight.device, dtype_of(model)))

    try:
        return with_channels(3)
    except ValueError:
        try:
            channels = input_size(model)[1]
        except ValueError:
            channels = 3
        if channels == 3:
            raise
    return with_channels(channels)
