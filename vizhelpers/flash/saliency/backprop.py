"""FlashTorch's ``Backprop``: gradients of a class's logit in the pixels of an image."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from vizhelpers.flash.devices import placed
from vizhelpers.flash.figures import Figure, saliency_figure
from vizhelpers.gradients import input_gradient, logit_of
from vizhelpers.inputs import input_tensor


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
        """Return d logit / d input, by one forward and one backward pass.

        Args:
            input_: (1, C, H, W), normalised; whether it requires gradients makes no difference.
            target_class: class index; None takes the predicted class. Another class than the
                predicted one is explained as asked, with a warning.
            take_max: return the largest absolute value over the colour channels.
            guided: guided backpropagation (Springenberg et al. 2014).
            use_gpu: move input and a copy of the model to CUDA for this call, if there is one.

        Returns:
            (C, H, W) on the CPU, signed; with ``take_max`` (1, H, W), not negative.

        Raises:
            ValueError: more than one image, no such class, an Inception network with another size
                than 299 x 299, or ``guided`` for a model without ReLU.
        """
        gradients, _ = self._explain(input_, target_class, guided, use_gpu)
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
            input_: (1, C, H, W), C 1 or 3, normalised as ImageNet networks are.
            target_class: as in ``calculate_gradients``; the first title says what is explained.
            guided: as in ``calculate_gradients``.
            use_gpu: as in ``calculate_gradients``.
            figsize: (width, height) in inches.
            cmap: colour map of the maximum.
            alpha: share of the maximum in the overlay.
            return_output: return (gradients, maximum), as FlashTorch does, in place of the
                figure. The figure is drawn all the same: ``plt.gcf()`` is it.

        Returns:
            The figure, or with ``return_output`` the two tensors, (C, H, W) and (1, H, W).
        """
        gradients, explained = self._explain(input_, target_class, guided, use_gpu)
        figure = saliency_figure(input_, gradients, explained, figsize, cmap, alpha)
        if return_output:
            return gradients, gradients.abs().amax(dim=0, keepdim=True)
        return figure

    def _explain(
        self, input_: Tensor, target_class: int | None, guided: bool, use_gpu: bool
    ) -> tuple[Tensor, str]:
        """Return the gradient (C, H, W) on the CPU, and what it explains, in words."""
        model, x = placed(_with_rows(self.model), input_, use_gpu)
        _check(self.model, input_tensor(model, x), target_class)
        predicted: list[int] = []

        def score(scores: Tensor) -> Tensor:
            # The prediction is read from the pass that is differentiated anyway.
            predicted.append(int(scores[0].argmax()))
            return logit_of(predicted[0] if target_class is None else int(target_class))(scores)

        gradients = input_gradient(model, x, score, guided=guided)[0].cpu()
        if target_class is None or int(target_class) == predicted[0]:
            return gradients, f"class {predicted[0]}, as predicted"
        text = f"The model predicts class {predicted[0]}; this explains class {target_class}"
        warnings.warn(f"{text}, as asked.", stacklevel=3)
        return gradients, f"class {target_class}; predicted {predicted[0]}"


def _check(model: nn.Module, x: Tensor, target_class: int | None) -> None:
    if len(x) != 1:
        raise ValueError(f"Expected one image (1, C, H, W), got shape {tuple(x.shape)}.")
    if target_class is not None and int(target_class) < 0:
        raise ValueError(f"There is no class {target_class}; classes begin at 0.")
    if "inception" in type(model).__name__.lower() and x.shape[1:] != (3, 299, 299):
        raise ValueError(
            f"Image must be 299x299 for Inception models, got shape {tuple(x.shape)}. "
            "apply_transforms(image, 299) makes one."
        )


class _Rows(nn.Module):
    """A binary classifier may return one score for each image, (N,); here it has a column."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        output = self.model(x)
        one_axis = isinstance(output, torch.Tensor) and output.ndim == 1
        return output.unsqueeze(1) if one_axis else output


def _with_rows(model: nn.Module) -> nn.Module:
    # Errors name the type of the model that they were given: let it be the user's.
    return type(type(model).__name__, (_Rows,), {})(model)
