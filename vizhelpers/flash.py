"""FlashTorch's two classes, same names and signatures, right on today's PyTorch.

FlashTorch 0.1.3 (Misa Ogura, 2019) was last released in 2020. Change the import, and nothing
else: ``from vizhelpers.flash import Backprop, GradientAscent``. What is different:

- ``calculate_gradients`` needs no ``requires_grad_()`` on its input;
- ``target_class`` is explained as asked; a warning says that the model predicts another one;
- guided backpropagation is right, in-place ReLUs included;
- the maximum over colour channels is taken of absolute values;
- no hook stays on the model, and its mode is put back;
- one figure costs one backward pass; ``lr`` is the constructor's; filters are 0 to n - 1;
- ``visualize`` returns its figure.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from vizhelpers.errors import unknown
from vizhelpers.gradients import input_gradient, logit_of, logits
from vizhelpers.layers import evaluating, input_tensor, run_to
from vizhelpers.view.static import montage

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class Backprop:
    """Gradients of a class's logit in the pixels of an image (Simonyan et al. 2013)."""

    def __init__(self, model: nn.Module) -> None:
        """Take a classifier; it is only looked at."""
        self.model = model

    def calculate_gradients(
        self,
        input_: Tensor,
        target_class: int | None = None,
        take_max: bool = False,
        guided: bool = False,
        use_gpu: bool = False,
    ) -> Tensor:
        """Return d logit / d input.

        Args:
            input_: (1, 3, H, W), normalised.
            target_class: class index; None takes the predicted class.
            take_max: return the largest absolute value over the colour channels, (1, H, W).
            guided: guided backpropagation (Springenberg et al. 2014).
            use_gpu: move input and a copy of the model to CUDA for this call, if there is one.

        Returns:
            (3, H, W) on the CPU, signed; with ``take_max`` (1, H, W), not negative.

        Raises:
            ValueError: more than one image, no such class, or ``guided`` for a model without ReLU.
        """
        model, x = _placed(self.model, input_, use_gpu)
        if len(input_tensor(model, x)) != 1:
            raise ValueError(f"Expected one image (1, 3, H, W), got shape {tuple(x.shape)}.")
        predicted = int(logits(model, x)[0].argmax())
        target = predicted if target_class is None else int(target_class)
        if target < 0:
            raise ValueError(f"There is no class {target}; classes begin at 0.")
        gradients = input_gradient(model, x, logit_of(target), guided=guided)[0].cpu()
        if target != predicted:
            warnings.warn(
                f"The model predicts class {predicted}; this explains class {target}, as asked.",
                stacklevel=2,
            )
        return gradients.abs().amax(dim=0, keepdim=True) if take_max else gradients

    def visualize(
        self,
        input_: Tensor,
        target_class: int | None,
        guided: bool = False,
        use_gpu: bool = False,
        figsize: tuple[float, float] = (16, 4),
        cmap: str = "viridis",
        alpha: float = 0.5,
        return_output: bool = False,
    ) -> Figure | tuple[Tensor, Tensor]:
        """Draw the input, the gradients in colour, their maximum, and an overlay.

        Args:
            input_: (1, 3, H, W), normalised as ImageNet networks are.
            target_class: class index; None takes the predicted class.
            guided: as in ``calculate_gradients``.
            use_gpu: as in ``calculate_gradients``.
            figsize: (width, height) in inches.
            cmap: colour map of the maximum.
            alpha: share of the maximum in the overlay.
            return_output: return (gradients, maximum), as FlashTorch does, in place of the figure.

        Returns:
            The figure, or with ``return_output`` the two tensors.
        """
        gradients = self.calculate_gradients(input_, target_class, guided=guided, use_gpu=use_gpu)
        strongest = gradients.abs().amax(dim=0, keepdim=True)
        if return_output:
            return gradients, strongest
        return _gradient_figure(input_, gradients, strongest, figsize, cmap, alpha)


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
            model: a module that takes (1, 3, H, W).
            img_size: height and width of the picture.
            lr: length of a step.
            use_gpu: climb on CUDA if there is one.
            seed: of the noise; FlashTorch took whatever numpy gave.
        """
        self.model = model
        self.img_size = img_size
        self.lr = lr
        self.use_gpu = use_gpu
        self.seed = seed
        self.activations: list[float] = []

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
            ``num_iter`` tensors (1, 3, H, W). ``self.activations`` holds the mean activation
            before each of the steps.

        Raises:
            TypeError: ``layer`` is no ``nn.Conv2d``, or ``filter_idx`` no whole number.
            ValueError: no such filter, or a layer that is not in the model.
        """
        name, filters = self._find(layer)
        _check_filter(filter_idx, filters)
        start = _grey_noise(self.img_size, self.seed) if input_ is None else input_.detach()
        model, x = _placed(self.model, start, self.use_gpu)
        output, self.activations = [], []
        with torch.inference_mode(False), torch.enable_grad(), evaluating(model):
            for _ in range(num_iter):
                leaf = x.detach().clone().requires_grad_()
                activation = run_to(model, leaf.clone(), name)[:, filter_idx].mean()
                (gradient,) = torch.autograd.grad(activation, leaf)
                x = x + self.lr * gradient / (gradient.square().mean().sqrt() + 1e-5)
                self.activations.append(activation.item())
                output.append(x)
        return output

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
        """Climb for one filter or several and draw where they end.

        Args:
            layer: an ``nn.Conv2d`` of the model.
            filter_idxs: one filter, several, or None for ``num_subplots`` drawn at random.
            lr: length of a step in this call; None keeps the constructor's.
            num_iter: number of steps.
            num_subplots: how many filters where none is named.
            figsize: (width, height) in inches of one filter's picture.
            title: of the figure.
            return_output: return the tensors, as FlashTorch does, in place of the figure.

        Returns:
            The figure; with ``return_output`` a list of tensors for one filter, else a list of
            such lists.
        """
        kept, self.lr = self.lr, self.lr if lr is None else lr
        try:
            chosen = self._chosen(layer, filter_idxs, num_subplots)
            outputs = [self.optimize(layer, index, num_iter=num_iter) for index in chosen]
        finally:
            self.lr = kept
        if return_output:
            return outputs[0] if isinstance(filter_idxs, (int, np.integer)) else outputs
        tiles = [_as_picture(output[-1]) for output in outputs]
        columns = min(4, len(tiles))
        titles = [f"filter {index}" for index in chosen]
        return montage(tiles, titles, name=title, columns=columns, width=figsize[0] * columns)

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
        """Climb from a photograph (Mordvintsev et al. 2015); arguments as in ``visualize``."""
        from vizhelpers.images import load_image

        start = _normalised(load_image(img_path), self.img_size)
        kept, self.lr = self.lr, lr
        try:
            output = self.optimize(layer, filter_idx, start, num_iter=num_iter)
        finally:
            self.lr = kept
        if return_output:
            return output
        return montage([_as_picture(output[-1])], [""], name=title, width=figsize[0])

    def _find(self, layer: nn.Module) -> tuple[str, int]:
        """Return a convolution's name in the model, and how many filters it has."""
        if not isinstance(layer, nn.Conv2d):
            raise TypeError(f"The layer must be an nn.Conv2d, got {type(layer).__name__}.")
        for name, module in self.model.named_modules():
            if module is layer:
                return name, layer.out_channels
        raise ValueError(f"{layer} is not in this model. Take the layer from the model itself.")

    def _chosen(
        self, layer: nn.Module, filter_idxs: int | Sequence[int] | None, count: int
    ) -> list[int]:
        _, total = self._find(layer)
        if filter_idxs is None:
            random = np.random.default_rng(self.seed)
            return random.choice(total, size=min(total, count), replace=False).tolist()
        return [filter_idxs] if isinstance(filter_idxs, (int, np.integer)) else list(filter_idxs)


def _placed(model: nn.Module, x: Tensor, use_gpu: bool) -> tuple[nn.Module, Tensor]:
    if not (use_gpu and torch.cuda.is_available()):
        return model, x
    import copy

    return copy.deepcopy(model).cuda(), x.cuda()


def _check_filter(filter_idx: int, count: int) -> None:
    if isinstance(filter_idx, bool) or not isinstance(filter_idx, (int, np.integer)):
        raise TypeError(f"A filter is a whole number, not a {type(filter_idx).__name__}.")
    if not 0 <= filter_idx < count:
        raise unknown("filter", filter_idx, range(count))


def _grey_noise(size: int, seed: int) -> Tensor:
    pixels = np.random.default_rng(seed).uniform(150, 180, (size, size, 3)).astype(np.uint8)
    return _standard(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)


def _standard(rgb: Tensor) -> Tensor:
    return (rgb - torch.tensor(_MEAN).view(1, 3, 1, 1)) / torch.tensor(_STD).view(1, 3, 1, 1)


def _normalised(image: Any, size: int) -> Tensor:
    from torchvision.transforms import functional as tf

    square = tf.center_crop(tf.resize(image, [size]), [size])
    return _standard(tf.to_tensor(square)[None])


def _as_picture(x: Tensor) -> np.ndarray:
    """Standardise to mean 0.7 and spread 0.15, as FlashTorch draws its results."""
    x = x.detach().cpu()[0]
    rgb = (x - x.mean()) / x.std().clamp(min=1e-7) * 0.15 + 0.7
    return rgb.clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _gradient_figure(
    input_: Tensor,
    gradients: Tensor,
    strongest: Tensor,
    figsize: tuple[float, float],
    cmap: str,
    alpha: float,
) -> Figure:
    from vizhelpers.view.static import new_figure

    mean, std = torch.tensor(_MEAN).view(3, 1, 1), torch.tensor(_STD).view(3, 1, 1)
    photograph = (input_.detach().cpu()[0] * std + mean).clamp(0, 1).permute(1, 2, 0).numpy()
    extent = gradients.abs().max().clamp(min=1e-30)
    colour = (gradients / extent * 0.5 + 0.5).permute(1, 2, 0).numpy()
    figure = new_figure(*figsize)
    axes = figure.subplots(1, 4)
    titles = ("Input image", "Gradients, grey is 0", "Max |gradient|", "Overlay")
    for ax, title in zip(axes, titles, strict=True):
        ax.set_axis_off()
        ax.set_title(title)
    axes[0].imshow(photograph)
    axes[1].imshow(colour)
    drawn = axes[2].imshow(strongest[0].numpy(), cmap=cmap)
    figure.colorbar(drawn, ax=axes[2], fraction=0.046)
    axes[3].imshow(photograph)
    axes[3].imshow(strongest[0].numpy(), cmap=cmap, alpha=alpha)
    return figure
