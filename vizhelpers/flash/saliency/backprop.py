"""FlashTorch's ``Backprop``: gradients of a class's logit with respect to an image's pixels."""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.flash.devices import placed
from vizhelpers.flash.figures import Figure, saliency_figure
from vizhelpers.inputs.arguments import whole
from vizhelpers.inputs.modules import unwrapped
from vizhelpers.inputs.request import input_tensor
from vizhelpers.passes.forward import forward
from vizhelpers.passes.gradients import input_gradient, logit_of


class Backprop:
    """Gradients of a class's logit with respect to an image's pixels (Simonyan et al. 2013).

    Attributes:
        model: the classifier.
        gradients: of the last call, (1, C, H, W), signed, on the device where they were computed;
            None before the first call.
        relu_outputs: always empty, as FlashTorch's is after a call.
    """

    def __init__(self, model: nn.Module) -> None:
        """Store a classifier.

        Args:
            model: a module that takes (1, C, H, W) and returns (1, classes), or one score (1,).
                It is never modified. Compiled and ``DataParallel`` models run as the module inside
                them; TorchScript works but for ``guided``.

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
        """Return d logit / d input, by one forward and one backward pass.

        Args:
            input_: (1, C, H, W), normalised; whether it requires gradients makes no difference.
            target_class: class index, or a list of one; None takes the predicted class. Another
                class than the predicted one is explained as asked, with a warning.
            take_max: return the largest absolute value over the colour channels.
            guided: guided backpropagation (Springenberg et al. 2014).
            use_gpu: move input and a copy of the model to CUDA for this call, if there is one.

        Returns:
            (C, H, W) on the CPU, signed; with ``take_max`` (1, H, W), not negative.

        Raises:
            TypeError: not a tensor, or ``target_class`` is not a whole number.
            ValueError: more than one image, no such class, an Inception network with another size
                than 299 x 299, ``guided`` for a model without ReLU or in TorchScript, an output
                that holds NaN, or a forward pass that lets no gradient through.
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
            input_: (1, C, H, W), normalised as ImageNet networks are. Where C is neither 1 nor 3,
                means over the channels are drawn.
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

        Raises:
            TypeError, ValueError: as ``calculate_gradients``; or the gradient holds NaN.
        """
        gradients, explained = self._explain(input_, target_class, guided, use_gpu)
        figure = saliency_figure(
            getattr(input_, "x", input_), gradients, explained, figsize, cmap, alpha
        )
        if return_output:
            return gradients, gradients.abs().amax(dim=0, keepdim=True)
        return figure

    def _explain(
        self, input_: Tensor, target_class: int | None, guided: bool, use_gpu: bool
    ) -> tuple[Tensor, str]:
        """Return the gradient (C, H, W) on the CPU, and what it explains, in words."""
        model = _Whole.of(_inside(self.model))
        _check_inception(self.model, input_)
        x = input_tensor(model, input_)
        if len(x) != 1:
            raise ValueError(f"Expected one image (1, C, H, W), got shape {tuple(x.shape)}.")
        if guided:
            _refuse_scripted(model)
        wanted = _class_of(target_class)
        predicted: list[int] = []

        def score(scores: Tensor) -> Tensor:
            # The prediction is read from the pass that is differentiated anyway.
            predicted.append(int(scores[0].argmax()))
            return logit_of(predicted[0] if wanted is None else wanted)(scores)

        self.gradients = input_gradient(*placed(model, x, use_gpu), score, guided=guided)
        gradients = self.gradients[0].cpu()
        if wanted is None or wanted == predicted[0]:
            return gradients, f"class {predicted[0]}, as predicted"
        text = f"The model predicts class {predicted[0]}; this explains class {wanted}"
        warnings.warn(f"{text}, as requested.", stacklevel=3)
        return gradients, f"class {wanted}; predicted {predicted[0]}"


def _inside(model: nn.Module) -> nn.Module:
    """Return the module inside ``torch.compile`` or ``DataParallel``; TorchScript as it is."""
    return model if isinstance(model, torch.jit.ScriptModule) else unwrapped(model)


def _check_inception(model: nn.Module, input_: Any) -> None:
    shape = getattr(getattr(input_, "x", input_), "shape", None)
    inception = "inception" in type(_inside(model)).__name__.lower()
    if inception and shape is not None and tuple(shape[1:]) != (3, 299, 299):
        raise ValueError(
            f"Image must be 299x299 for Inception models. Got shape {tuple(shape)}; "
            "apply_transforms(image, 299) makes one."
        )


def _refuse_scripted(model: nn.Module) -> None:
    scripted = [n for n, m in model.named_modules() if isinstance(m, torch.jit.ScriptModule)]
    if scripted:
        name = scripted[0].removeprefix("model").lstrip(".")
        raise ValueError(
            f"{f'Layer {name!r}' if name else 'The model'} is TorchScript, whose ReLUs guided "
            "backpropagation cannot change. Use the Python module that was scripted or traced, or "
            "guided=False."
        )


def _class_of(target_class: Any) -> int | None:
    """Return a class index, or None for the predicted class; a list may hold the one class."""
    if np.shape(target_class) == (1,):
        target_class = target_class[0]
    if target_class is None:
        return None
    index = whole("target_class", target_class)
    if index < 0:
        raise ValueError(f"There is no class {index}; classes begin at 0.")
    return index


class _Whole(nn.Module):
    """A model whose output may also be a constant, and which may be TorchScript."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @staticmethod
    def of(model: nn.Module) -> nn.Module:
        # Errors name the type of the model that they were given: let it be the user's.
        return type(type(model).__name__, (_Whole,), {})(model)

    def forward(self, x: Tensor) -> Any:
        scripted = isinstance(self.model, torch.jit.ScriptModule)
        output = self.model(x) if scripted else forward(self.model, x)
        # A tensor that no operation made, such as a parameter, does not depend on the pixels.
        # Without this its gradient would not be zero but an error.
        constant = isinstance(output, Tensor) and output.is_leaf and output.requires_grad
        return output + x.flatten()[:0].sum() if constant else output
