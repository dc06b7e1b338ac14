"""Notebook 06: which pixels move the answer."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.arguments import one_of, seed_of, whole
from vizhelpers.classes import targets_of
from vizhelpers.gradients import Score, input_gradient, logit_of, probability_of
from vizhelpers.inputs import HasTensor, input_tensor, photograph_of
from vizhelpers.models import warning_word
from vizhelpers.progress import steps
from vizhelpers.stack import ImageStack

METHODS = ("vanilla", "guided", "input_x_gradient", "smoothgrad", "integrated_gradients")
ONE_PASS = METHODS[:3]
SCORES = ("logit", "probability")
_NAMES = {
    "vanilla": "Saliency",
    "guided": "Guided backpropagation",
    "input_x_gradient": "Input x gradient",
    "smoothgrad": "SmoothGrad",
    "integrated_gradients": "Integrated gradients",
}
_TIMES_PIXEL = ("input_x_gradient", "integrated_gradients")
_PASSES = {"smoothgrad": 25, "integrated_gradients": 50}


def saliency(
    model: nn.Module,
    sample: HasTensor | Tensor,
    *,
    target: int | str | None = None,
    method: str = "vanilla",
    of: str = "logit",
    labels: Sequence[str] | None = None,
    passes: int | None = None,
    seed: int = 0,
) -> ImageStack:
    """Return how strongly each pixel moves one class's score.

    Args:
        model: a classifier.
        sample: a ``Sample``, or a tensor (N, C, H, W).
        target: class index or name; None asks for the predicted class, each image's own.
        method: "vanilla", the gradient (Simonyan et al. 2013); "guided", guided backpropagation
            (Springenberg et al. 2014); "input_x_gradient" (Shrikumar et al. 2016); "smoothgrad";
            "integrated_gradients". The last two stand in ``smoothgrad`` and
            ``integrated_gradients`` below, and need many backward passes.
        of: "logit", or "probability", whose gradient also says what would weaken the rivals.
        labels: class names, for a module of the user's own.
        passes: of "smoothgrad" (25 where None) and "integrated_gradients" (50).
        seed: of SmoothGrad's noise; the global random state is left as it was.

    Returns:
        One map (H, W) of the input's size: the largest absolute value of the colour channels, in
        score per unit of normalised input, not divided by its maximum; of several images one each,
        with an axis ``image``. A few pixels tower above all others, so the colour scale ends at the
        99.5th percentile and says so; ``values`` holds the true maximum.

    Raises:
        ValueError: unknown method, score or class; ``passes`` below 1; "guided" for a model
            without ReLU; and what ``capture`` refuses.
    """
    one_of("saliency method", method, METHODS)
    one_of("score", of, SCORES)
    seed = seed_of("seed", seed)
    x = input_tensor(model, sample).detach()
    asked = targets_of(model, x, target, labels=labels)
    score = (logit_of if of == "logit" else probability_of)(asked.indices)
    count = _PASSES.get(method, 1) if passes is None else whole("passes", passes, 1)
    frames = _attribution(model, x, score, method, count, seed).abs().amax(dim=1)
    maps = frames.float().cpu().numpy()
    several = {"image": range(len(x))} if len(x) > 1 else {}
    return ImageStack(
        maps,
        axes={"class": [asked.name], **several},
        titles=[
            asked.title(n) + ("" if m.any() else " · all zero: no support")
            for n, m in enumerate(maps)
        ],
        base=photograph_of(sample),
        name=f"{warning_word(model)}{_NAMES[method]} of the {of}",
        vmax=float(np.quantile(maps, 0.995)) or None,
        unit=f"|{'pixel x ' * (method in _TIMES_PIXEL)}d {of} / d pixel|\nbrightest 0.5 % clipped",
        values=maps.max(axis=(1, 2)),
    )


def _attribution(
    model: nn.Module, x: Tensor, score: Score, method: str, passes: int, seed: int
) -> Tensor:
    if method == "smoothgrad":
        return smoothgrad(model, x, score, passes=passes, seed=seed)
    if method == "integrated_gradients":
        return integrated_gradients(model, x, score, passes=passes)
    gradient = input_gradient(model, x, score, guided=method == "guided")
    return gradient * x if method == "input_x_gradient" else gradient


def smoothgrad(
    model: nn.Module,
    x: Tensor,
    score: Score,
    *,
    passes: int = 25,
    noise: float = 0.15,
    seed: int = 0,
) -> Tensor:
    """Return the mean gradient over noisy copies of the input (Smilkov et al. 2017).

    Args:
        model: a classifier.
        x: network input (N, C, H, W).
        score: a function from logits to a scalar.
        passes: how many noisy copies.
        noise: standard deviation of the noise, as a share of each image's range of values.
        seed: of the noise, drawn on the CPU: the same on every device.

    Returns:
        The signed mean gradient, (N, C, H, W).
    """
    generator = torch.Generator().manual_seed(seed)
    spread = noise * (x.amax(dim=(1, 2, 3), keepdim=True) - x.amin(dim=(1, 2, 3), keepdim=True))
    total = torch.zeros_like(x)
    for _ in steps(range(passes), "noisy copy"):
        drawn = torch.randn(x.shape, generator=generator).to(x)
        total += input_gradient(model, x + spread * drawn, score)
    return total / passes


def integrated_gradients(model: nn.Module, x: Tensor, score: Score, *, passes: int = 50) -> Tensor:
    """Return the input times the mean gradient on the way to it (Sundararajan et al. 2017).

    The way begins at zero, which after normalisation is the mean colour of the training set, and
    is walked in equal steps, each represented by its middle. Its contributions add up to the
    difference of the score between the two ends (completeness), up to the error of the steps.

    Args:
        model: a classifier.
        x: network input (N, C, H, W).
        score: a function from logits to a scalar.
        passes: how many steps.

    Returns:
        Signed contributions in the unit of the score, (N, C, H, W).
    """
    total = torch.zeros_like(x)
    for step in steps(range(passes), "step"):
        total += input_gradient(model, x * ((step + 0.5) / passes), score)
    return x.detach() * total / passes
