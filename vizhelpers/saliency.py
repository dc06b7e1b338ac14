"""Notebook 06: which pixels move the answer."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from vizhelpers.errors import unknown
from vizhelpers.gradients import input_gradient, logit_of, logits, probability_of
from vizhelpers.layers import HasTensor, input_tensor, photograph_of
from vizhelpers.models import class_index, class_label, warning_word
from vizhelpers.stack import ImageStack

METHODS = ("vanilla", "guided", "input_x_gradient")
SCORES = ("logit", "probability")
_NAMES = {
    "vanilla": "Saliency",
    "guided": "Guided backpropagation",
    "input_x_gradient": "Input x gradient",
}


def saliency(
    model: nn.Module,
    sample: HasTensor | Tensor,
    *,
    target: int | str | None = None,
    method: str = "vanilla",
    of: str = "logit",
    labels: Sequence[str] | None = None,
) -> ImageStack:
    """Return how strongly each pixel moves one class's score.

    Args:
        model: a classifier.
        sample: a ``Sample`` or a tensor (1, 3, H, W).
        target: class index or name; None asks for the predicted class.
        method: "vanilla", the gradient (Simonyan et al. 2013); "guided", guided backpropagation
            (Springenberg et al. 2014); "input_x_gradient" (Shrikumar et al. 2016).
        of: "logit", or "probability", whose gradient also says what would weaken the rivals.
        labels: class names, for a module of the user's own.

    Returns:
        One map (H, W) of the input's size: the largest absolute value of the three colour
        channels, in score per unit of normalised input, not divided by its maximum. A few pixels
        tower above all others, so the colour scale ends at the 99.5th percentile and says so;
        ``values`` holds the true maximum.

    Raises:
        ValueError: unknown method, score or class; more than one photograph; "guided" for a model
            without ReLU; and what ``capture`` refuses.
    """
    if method not in METHODS:
        raise unknown("saliency method", method, METHODS)
    if of not in SCORES:
        raise unknown("score", of, SCORES)
    x = input_tensor(model, sample)
    if len(x) != 1:
        raise ValueError("A saliency map explains one photograph; take x[i:i + 1].")
    index = (
        int(logits(model, sample)[0].argmax())
        if target is None
        else class_index(model, target, labels=labels)
    )
    score = logit_of(index) if of == "logit" else probability_of(index)
    gradient = input_gradient(model, sample, score, guided=method == "guided")
    if method == "input_x_gradient":
        gradient = gradient * x
    frame = gradient[0].abs().amax(dim=0).float().cpu().numpy()
    name = class_label(model, index, labels=labels)
    empty = "" if frame.any() else " · all zero: no support"
    return ImageStack(
        frame[None],
        axes={"class": [name]},
        titles=[f"{name}{empty}"],
        base=photograph_of(sample),
        name=f"{warning_word(model)}{_NAMES[method]} of the {of}",
        vmax=float(np.quantile(frame, 0.995)) or None,
        unit=f"|{'pixel x ' * (method == 'input_x_gradient')}d {of} / d pixel|\n"
        "brightest 0.5 % clipped",
        values=frame[None].max(axis=(1, 2)),
    )
