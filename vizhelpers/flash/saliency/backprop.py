"""FlashTorch's ``Backprop``: gradients of a class's logit with respect to an image's pixels."""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.flash.devices import placed
from vizhelpers.flash.figures import Figure, saliency_figure
from vizhelpers.inputs.arguments import integer
from vizhelpers.inputs.modules import unwrapped
from vizhelpers.inputs.subject import input_tensor
from vizhelpers.passes.forward import forward
from vizhelpers.passes.gradients import input_gradients, logit_of, refuse_scripted


class Backprop:
    """Gradients of a class's logit with respect to an image's pixels (Simonyan et al. 2013).

    Attributes:
        model: the classifier.
        gradients: of the last call, (1, C, H, W), signed, on the device where they were computed;
            None before the first call.
        relu_outputs: always empty, as FlashTorch's is after a call.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 5, 8), nn.Flatten())
        >>> Backprop(net).calculate_gradients(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([3, 8, 8])
    """

    def __init__(self, model: nn.Module) -> None:
        """Store a classifier.

        Args:
            model: a module that takes (1, C, H, W) and returns (1, classes), or one score (1,).
                It is never modified. Compiled and ``DataParallel`` models run as the module inside
                them; TorchScript works except with ``guided``.

        Raises:
            TypeError: not a module.
        """
        _inside(model)
        self.model = model
        self.gradients: Tensor | None = None
        self.relu_outputs: list[Tensor] = []

    def calculate_gradients(
        self,
        input_: Tensor,
        target_class: int | None = None,
        take_max: bool = False,
        guided: bool = False,
        use_gpu: bool = False,
    ) -> Tensor:
        """Return the gradient of a class's logit with respect to the pixels, (C, H, W).

        This takes one forward and one backward pass.

        Args:
            input_: (1, C, H, W), normalised; it need not require gradients.
            target_class: class index, or a list of one; None takes the predicted class. A warning
                says if the model predicts another class.
            take_max: return the largest absolute value over the colour channels.
            guided: guided backpropagation (Springenberg et al. 2014).
            use_gpu: move input and a copy of the model to CUDA for this call, if available.

        Returns:
            (C, H, W) on the CPU, signed; with ``take_max`` (1, H, W), not negative.

        Raises:
            TypeError: not a tensor, or ``target_class`` is not an integer.
            ValueError: more than one image, no such class, an Inception network with another size
                than 299 x 299, ``guided`` for a model without ReLU or in TorchScript, an output
                that holds NaN, or a forward pass that lets no gradient through.
        """
        gradients, _ = self._explain(input_, target_class, guided, use_gpu)
        return _strongest(gradients) if take_max else gradients

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
            input_: (1, C, H, W), normalised as for ImageNet. If C is neither 1 nor 3, means over
                the channels are drawn.
            target_class, guided, use_gpu: as in ``calculate_gradients``.
            figsize: (width, height) in inches.
            cmap: colour map of the maximum.
            alpha: opacity of the maximum in the overlay, 0 to 1.
            return_output: return (gradients, maximum), as FlashTorch does, instead of the figure.
                The figure is drawn all the same: ``plt.gcf()`` returns it.

        Returns:
            The figure, or with ``return_output`` the two tensors, (C, H, W) and (1, H, W).

        Raises:
            TypeError, ValueError: as ``calculate_gradients``; or the gradient holds NaN.
        """
        gradients, explained = self._explain(input_, target_class, guided, use_gpu)
        x = getattr(input_, "x", input_)
        figure = saliency_figure(x, gradients, explained, figsize, cmap, alpha)
        return (gradients, _strongest(gradients)) if return_output else figure

    def _explain(
        self, input_: Tensor, target_class: int | None, guided: bool, use_gpu: bool
    ) -> tuple[Tensor, str]:
        """Return the gradient (C, H, W) on the CPU, and a text that names the explained class."""
        model = _inside(self.model)
        x = input_tensor(model, input_)
        _check_size(model, x)
        if guided:
            refuse_scripted(model)
        target = _class_index(target_class)
        classifier, x = placed(_Classifier.of(model), x, use_gpu)
        (self.gradients,), logits = input_gradients(
            classifier, x, [logit_of(target)], guided=guided
        )
        gradients, predicted = self.gradients[0].cpu(), int(logits[0].argmax())
        if target is None or target == predicted:
            return gradients, f"class {predicted}, as predicted"
        text = f"The model predicts class {predicted}; this explains class {target}, as requested."
        warnings.warn(text, stacklevel=3)
        return gradients, f"class {target}; predicted {predicted}"


def _strongest(gradients: Tensor) -> Tensor:
    return gradients.abs().amax(dim=0, keepdim=True)


def _inside(model: nn.Module) -> nn.Module:
    """Return the module inside ``torch.compile`` or ``DataParallel``; TorchScript unchanged."""
    return model if isinstance(model, torch.jit.ScriptModule) else unwrapped(model)


def _check_size(model: nn.Module, x: Tensor) -> None:
    """Raise a ``ValueError`` for several images, or, as FlashTorch, for Inception's wrong size."""
    shape = tuple(x.shape)
    if "inception" in type(model).__name__.lower() and shape[1:] != (3, 299, 299):
        raise ValueError(
            f"Image must be 299x299 for Inception models. Got shape {shape}; "
            "apply_transforms(image, 299) makes one."
        )
    if len(x) != 1:
        raise ValueError(f"Expected one image (1, C, H, W), got shape {shape}.")


def _class_index(target_class: Any) -> int | None:
    """Return a class index, or None for the predicted class; a list may hold the one class."""
    if np.shape(target_class) == (1,):
        target_class = target_class[0]
    return None if target_class is None else integer("target_class", target_class, 0)


class _Classifier(nn.Module):
    """A model whose output may also be a constant, such as a parameter."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @staticmethod
    def of(model: nn.Module) -> nn.Module:
        # Error texts name the model's type: let it be the user's.
        return type(type(model).__name__, (_Classifier,), {})(model)

    def forward(self, x: Tensor) -> Any:
        output = forward(self.model, x)
        # A constant has the gradient zero, for which autograd needs a path to the pixels.
        constant = isinstance(output, Tensor) and output.is_leaf and output.requires_grad
        return output + x.flatten()[:0].sum() if constant else output
