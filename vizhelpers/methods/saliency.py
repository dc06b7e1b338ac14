"""Saliency maps: gradients of a class score with respect to the pixels (notebook 06)."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.inputs.arguments import as_list, integer, one_of, seed_of
from vizhelpers.inputs.classes import ClassIndex, ClassName
from vizhelpers.inputs.subject import HasTensor, Subject, validated
from vizhelpers.passes.forward import without_autocast
from vizhelpers.passes.gradients import (
    Score,
    input_gradient,
    input_gradients,
    logit_of,
    probability_of,
)
from vizhelpers.passes.outputs import (
    Ending,
    Target,
    already_probability,
    logits_and_ending,
    targets_of,
)
from vizhelpers.stack import ImageStack
from vizhelpers.view.live.progress import steps

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
_NOISE = 0.15  # standard deviation, as a share of each image's range of values
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
    """Return the saliency map of one class's score, one value for each pixel, shape (H, W).

    Args:
        model: a classifier.
        sample: a ``Sample``, or a tensor (N, C, H, W).
        target: class index or name, or a list with one for each image; None is each image's
            predicted class.
        method: "vanilla", the gradient (Simonyan et al. 2013); "guided", guided backpropagation
            (Springenberg et al. 2014); "input_x_gradient" (Shrikumar et al. 2016); "smoothgrad";
            "integrated_gradients". The last two are described in ``smoothgrad`` and
            ``integrated_gradients`` below, and need many backward passes.
        of: "logit", or "probability", whose gradient also depends on the logits of other classes.
        labels: class names, for a module of the user's own.
        passes: number of passes of "smoothgrad" (None is 25) and "integrated_gradients" (50).
        seed: of SmoothGrad's noise; the global random state does not change.

    Returns:
        One map (H, W) of the input's size: the largest absolute value over the colour channels, in
        score per unit of normalised input, or in units of the score for the methods that multiply
        by the input; never divided by its maximum. Several images give one map each, with an axis
        ``image``. A few pixels are far above all others, so the colour scale ends at the 99.5th
        percentile, as its label states; ``values`` holds the true maximum.

    Raises:
        ValueError: unknown method, score or class; ``passes`` below 1; "guided" for a model
            without ReLU; or an input that ``capture`` refuses.

    Example:
        >>> import vizhelpers as viz
        >>> model = viz.load_model()
        >>> saliency(model, viz.prepare(model, "cat"), method="guided").frames.shape
        (1, 224, 224)
    """
    one_of("saliency method", method, METHODS)
    one_of("score", of, _SCORES)
    seed = seed_of("seed", seed)
    count = _PASSES.get(method, 1) if passes is None else integer("passes", passes, 1)
    subject = validated(model, sample, labels=labels)
    if method in ONE_PASS:
        return _by_method(subject, [target], [method], of)[0]
    (class_indices,) = subject.classes.indices([target], len(subject.x))
    # An extra pass, since gradients are taken at noisy or scaled copies of the image.
    output, ending = logits_and_ending(subject.model, subject.x)
    (explained,) = targets_of(subject, [class_indices], output)
    score = _score(of, list(explained.indices), lambda output: ending)
    if method == "smoothgrad":
        signed = smoothgrad(subject.model, subject.x, score, passes=count, seed=seed)
    else:
        signed = integrated_gradients(subject.model, subject.x, score, passes=count)
    return _stack(subject, signed, explained, method, _differentiated(of, output, ending))


def _score(of: str, target: ClassIndex, ending: Callable[[Tensor], str]) -> Score:
    def score(scores: Tensor) -> Tensor:
        last = ending(scores)
        return (logit_of(target) if of == "logit" else probability_of(target, last))(scores)

    return score


def _differentiated(of: str, output: Tensor, ending: str) -> str:
    """Return what was differentiated: "probability" if the model itself ends in a softmax."""
    return "probability" if already_probability(output, ending) else of


def saliencies(
    model: nn.Module,
    sample: HasTensor | Tensor,
    *,
    targets: Sequence[ClassName | Sequence[ClassName]],
    methods: Sequence[str] = ONE_PASS,
    of: str = "logit",
    labels: Sequence[str] | None = None,
) -> list[ImageStack]:
    """Return the ``saliency`` map (H, W) of each (method, class) pair, method by method.

    One forward pass, and one backward pass for each class, serve all methods but "guided", which
    overrides the backward pass and needs as many passes again.

    Args:
        model: a classifier.
        sample: a ``Sample``, or a tensor (N, C, H, W).
        targets: each as ``target`` in ``saliency``.
        methods: some of ``ONE_PASS``.
        of: as in ``saliency``.
        labels: class names, for a module of the user's own.
    """
    subject = validated(model, sample, labels=labels)
    return _by_method(subject, as_list("targets", targets, "classes"), methods, of)


@without_autocast()
def _by_method(
    subject: Subject,
    targets: Sequence[ClassName | Sequence[ClassName]],
    methods: Sequence[str],
    of: str,
) -> list[ImageStack]:
    model, x = subject.model, subject.x
    class_indices = subject.classes.indices(targets, len(x))
    ending = Ending()
    scores = [_score(of, index, ending.of) for index in class_indices]
    results = {
        guided: input_gradients(model, x, scores, guided=guided, ending=ending)
        for guided in dict.fromkeys(method == "guided" for method in methods)
    }
    stacks = []
    for method in methods:
        gradients, output = results[method == "guided"]
        differentiated = _differentiated(of, output, ending.of(output))
        classes = targets_of(subject, class_indices, output)
        for explained, gradient in zip(classes, gradients, strict=True):
            signed = gradient * x if method == "input_x_gradient" else gradient
            stacks.append(_stack(subject, signed, explained, method, differentiated))
    return stacks


def _stack(subject: Subject, signed: Tensor, explained: Target, method: str, of: str) -> ImageStack:
    maps = signed.abs().amax(dim=1).float().cpu().numpy()
    if not np.isfinite(maps).all():
        raise ValueError(
            f"The gradient of the {of} holds NaN or infinite values: the model's weights diverged "
            "in training, or values overflowed. viz.feature_maps(model, sample, layer) shows in "
            "which layer that begins."
        )
    several = {"image": range(len(maps))} if len(maps) > 1 else {}
    return ImageStack(
        maps,
        axes={"class": [explained.name], **several},
        titles=[
            explained.title(n) + ("" if m.any() else " · all zero: no support")
            for n, m in enumerate(maps)
        ],
        base=subject.view,
        name=f"{subject.warning}{_NAMES[method]} of the {of}",
        vmax=float(np.quantile(maps, 0.995)) or None,
        unit=f"|{'pixel x ' * (method in _TIMES_PIXEL)}d {of} / d pixel|\nbrightest 0.5 % clipped",
        values=maps.max(axis=(1, 2)),
    )


def smoothgrad(model: nn.Module, x: Tensor, score: Score, *, passes: int, seed: int) -> Tensor:
    """Return the mean gradient over noisy copies of the input, (N, C, H, W) (Smilkov et al. 2017).

    Args:
        model: a classifier.
        x: network input (N, C, H, W).
        score: a function from logits to a scalar.
        passes: number of noisy copies.
        seed: of the noise, drawn on the CPU: the same on every device.

    Returns:
        The signed mean gradient, (N, C, H, W).
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    spread = _NOISE * (x.amax(dim=(1, 2, 3), keepdim=True) - x.amin(dim=(1, 2, 3), keepdim=True))
    total = torch.zeros_like(x)
    for _ in steps(range(passes), "noisy copy"):
        # The same noise for all images, so that a result does not depend on the rest of its batch.
        drawn = torch.randn(x.shape[1:], generator=generator, device="cpu").to(x)
        total += input_gradient(model, x + spread * drawn, score)
    return total / passes


def integrated_gradients(model: nn.Module, x: Tensor, score: Score, *, passes: int) -> Tensor:
    """Return the integrated gradients of a score, (N, C, H, W) (Sundararajan et al. 2017).

    They are the input times the mean gradient on the straight line from the baseline to the input.
    The baseline is zero, which after normalisation is the mean colour of the training set. The
    integral is a midpoint sum of equal steps. The attributions sum to the difference of the score
    between input and baseline (completeness), up to the error of that sum.

    Args:
        model: a classifier.
        x: network input (N, C, H, W).
        score: a function from logits to a scalar.
        passes: number of steps.

    Returns:
        Signed attributions in units of the score, (N, C, H, W).
    """
    total = torch.zeros_like(x)
    for step in steps(range(passes), "step"):
        total += input_gradient(model, x * ((step + 0.5) / passes), score)
    return x * total / passes
