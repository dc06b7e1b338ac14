"""Notebook 06: which pixels move the answer."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.arguments import one_of, seed_of, whole
from vizhelpers.classes import (
    ClassName,
    Target,
    Wanted,
    logits_and_ending,
    probabilities,
    targets_of,
    wanted_classes,
)
from vizhelpers.gradients import (
    Score,
    input_gradient,
    input_gradients,
    logit_of,
    probability_of,
)
from vizhelpers.inputs import HasTensor, input_tensor, photograph_of
from vizhelpers.models import warning_word
from vizhelpers.passes import without_autocast
from vizhelpers.progress import steps
from vizhelpers.stack import ImageStack

METHODS = ("vanilla", "guided", "input_x_gradient", "smoothgrad", "integrated_gradients")
ONE_PASS = METHODS[:3]
_SCORES = ("logit", "probability")
_NAMES = {
    "vanilla": "Saliency",
    "guided": "Guided backpropagation",
    "input_x_gradient": "Input x gradient",
    "smoothgrad": "SmoothGrad",
    "integrated_gradients": "Integrated gradients",
}
_TIMES_PIXEL = ("input_x_gradient", "integrated_gradients")
_PASSES = {"smoothgrad": 25, "integrated_gradients": 50}


@without_autocast()
def saliency(
    model: nn.Module,
    sample: HasTensor | Tensor,
    *,
    target: ClassName | Sequence[ClassName] = None,
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
        target: class index or name, or a list with one for each image; None asks for the predicted
            class, each image's own.
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
    one_of("score", of, _SCORES)
    seed = seed_of("seed", seed)
    count = _PASSES.get(method, 1) if passes is None else whole("passes", passes, 1)
    if method in ONE_PASS:
        return saliencies(model, sample, targets=[target], methods=[method], of=of, labels=labels)[
            0
        ]
    x = input_tensor(model, sample).detach()
    wanted = wanted_classes(model, [target], len(x), labels=labels)
    # A pass of its own: the many that are differentiated do not see the image itself.
    output, ending = logits_and_ending(model, x)
    (asked,) = targets_of(model, wanted, output, len(x), labels=labels)
    score = _score(of, list(asked.indices), ending)
    if method == "smoothgrad":
        signed = smoothgrad(model, x, score, passes=count, seed=seed)
    else:
        signed = integrated_gradients(model, x, score, passes=count)
    return _stack(model, sample, signed, asked, method, _said(of, output, ending))


def _score(of: str, target: Wanted, ending: str) -> Score:
    return logit_of(target) if of == "logit" else probability_of(target, ending)


def _said(of: str, output: Tensor, ending: str = "") -> str:
    """Return what was differentiated: the output of a model with a softmax inside is no logit."""
    already = output.shape[1] > 1 and probabilities(output, ending)[1]
    return "probability" if already else of


@without_autocast()
def saliencies(
    model: nn.Module,
    sample: HasTensor | Tensor,
    *,
    targets: Sequence[ClassName | Sequence[ClassName]],
    methods: Sequence[str] = ONE_PASS,
    of: str = "logit",
    labels: Sequence[str] | None = None,
) -> list[ImageStack]:
    """Return what ``saliency`` returns for every pair of a method and a class, method by method.

    One forward pass, and one backward pass for each class, serve all methods that look at the
    gradient as it is; as many again serve "guided", which changes it on its way.

    Args:
        model: a classifier.
        sample: a ``Sample``, or a tensor (N, C, H, W).
        targets: each as ``target`` in ``saliency``.
        methods: of ``ONE_PASS``.
        of: as in ``saliency``.
        labels: class names, for a module of the user's own.
    """
    x = input_tensor(model, sample).detach()
    wanted = wanted_classes(model, targets, len(x), labels=labels)
    # How an output becomes probabilities only matters where those are asked for.
    ending = "" if of == "logit" else logits_and_ending(model, x)[1]
    scores = [_score(of, index, ending) for index in wanted]
    found = {
        guided: input_gradients(model, x, scores, guided=guided)
        for guided in dict.fromkeys(method == "guided" for method in methods)
    }
    stacks = []
    for method in methods:
        gradients, output = found[method == "guided"]
        classes = targets_of(model, wanted, output, len(x), labels=labels)
        for asked, gradient in zip(classes, gradients, strict=True):
            signed = gradient * x if method == "input_x_gradient" else gradient
            what = _said(of, output, ending)
            stacks.append(_stack(model, sample, signed, asked, method, what))
    return stacks


def _stack(
    model: nn.Module,
    sample: HasTensor | Tensor,
    signed: Tensor,
    asked: Target,
    method: str,
    of: str,
) -> ImageStack:
    maps = signed.abs().amax(dim=1).float().cpu().numpy()
    several = {"image": range(len(maps))} if len(maps) > 1 else {}
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
    generator = torch.Generator(device="cpu").manual_seed(seed)
    spread = noise * (x.amax(dim=(1, 2, 3), keepdim=True) - x.amin(dim=(1, 2, 3), keepdim=True))
    total = torch.zeros_like(x)
    for _ in steps(range(passes), "noisy copy"):
        drawn = torch.randn(x.shape, generator=generator, device="cpu").to(x)
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
