"""Notebook 06: derive a probability's gradient; compute saliency; build a pixel that it misses."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.exercises.exercise import Exercise, Mistake
from vizhelpers.exercises.forbidden import Calls
from vizhelpers.exercises.judges import by_cases, by_paper_and_cases, central_crop, fault
from vizhelpers.exercises.runner import LEFT_BEHIND, Runner
from vizhelpers.exercises.solutions import n06_flashtorch as worked
from vizhelpers.exercises.traces import TRACES, refuse_traces
from vizhelpers.exercises.values import plain
from vizhelpers.inputs.models import load_model
from vizhelpers.passes.forward import evaluating
from vizhelpers.passes.gradients import input_gradient, logit_of, probability_of


def _by_autograd(logits: Tensor, target: int) -> Tensor:
    with torch.enable_grad():
        z = logits.detach().double().requires_grad_()
        return torch.autograd.grad(z.softmax(dim=0)[target], z)[0].float()


def _logit_cases() -> list[tuple[Tensor, int]]:
    random = torch.Generator().manual_seed(0)
    model = load_model()
    with torch.no_grad():
        real = model(central_crop(model, "cat"))[0]
    return [
        (torch.tensor([2.0, 1.0, 0.0]), 0),
        (torch.randn(6, generator=random), 4),
        (torch.randn(3, generator=random), 1),
        (real, 282),
    ]


def _at(logits: Tensor, target: int, value: Any) -> Tensor:
    return torch.zeros_like(logits).index_fill(0, torch.tensor([target]), float(value))


PROBABILITY_MISTAKES = {
    "gradient of the logit": Mistake(
        "that is the gradient of the logit: 1 for its own class, 0 for the others. A probability "
        "also falls when the logit of another class grows.",
        lambda logits, target: _at(logits, target, 1),
    ),
    "own class only": Mistake(
        "only the class's own logit has a gradient here. The others have one: -p_target x p_other.",
        lambda logits, target: _at(logits, target, _by_autograd(logits, target)[target]),
    ),
    "gradient of the log": Mistake(
        "that is the gradient of the logarithm of the probability. Multiply by the probability.",
        lambda logits, target: _at(logits, target, 1) - logits.softmax(dim=0),
    ),
    "sign": Mistake(
        "the signs are swapped. A class's own logit raises its probability, the others lower it.",
        lambda logits, target: -_by_autograd(logits, target),
    ),
    "probabilities": Mistake(
        "these are the probabilities themselves, not their gradients.",
        lambda logits, target: logits.softmax(dim=0),
    ),
    "own class's slope for all": Mistake(
        "p x (1 - p) is the gradient with respect to the class's own logit. With respect to "
        "another logit it is -p_target x p_other.",
        lambda logits, target: (
            logits.softmax(dim=0)[[target] * len(logits)] * (1 - logits.softmax(dim=0)[target])
        ),
    ),
    "p x (1 - p) of each class": Mistake(
        "p x (1 - p) of each class is the slope of its own probability. Here the probability is "
        "always that of the target: the others enter by -p_target x p_other.",
        lambda logits, target: logits.softmax(dim=0) * (1 - logits.softmax(dim=0)),
    ),
    "gradient of the loss": Mistake(
        "that is the gradient of the loss (cross entropy): the probabilities, minus 1 for the "
        "target.",
        lambda logits, target: logits.softmax(dim=0) - _at(logits, target, 1),
    ),
    "autograd": Mistake(
        "the values are right, but autograd computes them. Use the formula: exp, a sum, products.",
        forbids=Calls(operations="run_backward|_make_dual|.*_backward(_data)?"),
    ),
}


def _gradient(model: nn.Module, x: Tensor, target: int, of: Any = logit_of) -> Tensor:
    return input_gradient(model, x, of(target))[0]


def _saliency(model: nn.Module, x: Tensor, target: int) -> Tensor:
    return _gradient(model, x, target).abs().amax(dim=0)


def _saliency_cases() -> list[tuple[nn.Module, Tensor, int]]:
    model = load_model()
    torch.manual_seed(0)
    small = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.Hardswish(inplace=True),
        nn.Flatten(),
        nn.Linear(5 * 8 * 12, 4),
    )
    return [
        (model, central_crop(model, "cat"), 282),
        (model, central_crop(model, "koala"), 281),
        (small.eval(), torch.randn(1, 3, 8, 12), 3),
    ]


SALIENCY_MISTAKES = {
    "signed instead of absolute": Mistake(
        "the values are signed. A pixel that lowers the logit matters as much: take the absolute "
        "value, then the maximum.",
        lambda model, x, target: _gradient(model, x, target).amax(dim=0),
    ),
    "absolute value too late": Mistake(
        "the absolute value comes after the maximum, so a large negative gradient is lost.",
        lambda model, x, target: _gradient(model, x, target).amax(dim=0).abs(),
    ),
    "softmax gradient": Mistake(
        "this is the gradient of the probability. Take the logit, before softmax.",
        lambda model, x, target: _gradient(model, x, target, probability_of).abs().amax(dim=0),
    ),
    "sum instead of maximum": Mistake(
        "the colours are summed. Simonyan and others take the largest of the three.",
        lambda model, x, target: _gradient(model, x, target).abs().sum(dim=0),
    ),
    "mean instead of maximum": Mistake(
        "the colours are averaged. Simonyan and others take the largest of the three.",
        lambda model, x, target: _gradient(model, x, target).abs().mean(dim=0),
    ),
    "another class": Mistake(
        "this is the map of the predicted class. Use the target's logit.",
        lambda model, x, target: _saliency(model, x, _predicted_class(model, x)),
    ),
    "height and width transposed": Mistake(
        "height and width are swapped: rows come first.",
        lambda model, x, target: _saliency(model, x, target).T,
    ),
    "times input": Mistake(
        "the gradient is multiplied by the input. That is another method (gradient x input).",
        lambda model, x, target: (_gradient(model, x, target) * x[0]).abs().amax(dim=0),
    ),
    "colours kept": Mistake(
        "the three colours are not combined. Take the largest of the three for each pixel.",
        lambda model, x, target: _gradient(model, x, target).abs(),
    ),
    "length instead of maximum": Mistake(
        "this is the length of the gradient over the three colours. Simonyan and others take the "
        "largest absolute value.",
        lambda model, x, target: _gradient(model, x, target).norm(dim=0),
    ),
    "divided by its maximum": Mistake(
        "the map is divided by its maximum. Keep the values: the change in the logit per unit "
        "change in the pixel.",
        lambda *case: _saliency(*case) / _saliency(*case).max(),
    ),
    "gradient of the log": Mistake(
        "this is the gradient of the logarithm of the probability, or of the loss (cross entropy). "
        "Take the logit.",
        lambda model, x, target: _gradient(model, x, target, _log_probability_of).abs().amax(dim=0),
    ),
    "all logits": Mistake(
        "this is the gradient of the sum of all logits. Use the target's logit alone.",
        lambda model, x, target: (
            _gradient(model, x, target, lambda _: lambda y: y.sum()).abs().amax(dim=0)
        ),
    ),
    "positive values only": Mistake(
        "negative gradients are set to zero. A pixel that lowers the logit matters as much: take "
        "the absolute value.",
        lambda model, x, target: _gradient(model, x, target).relu().amax(dim=0),
    ),
    "a library's map": Mistake(
        "the values are right, but a library computes the map or its gradient. Use "
        "torch.autograd.grad.",
        forbids=Calls(
            modules=(
                "vizhelpers.methods.saliency",
                "vizhelpers.flash",
                "vizhelpers.passes.gradients",
                "flashtorch",
                "captum",
            )
        ),
    ),
    **{name: TRACES[name] for name in ("left attribute", "grad mode changed", "x changed")},
    "left hook": Mistake(LEFT_BEHIND["hook"]),
    "left requires_grad": Mistake(LEFT_BEHIND["requires_grad"]),
}


def _log_probability_of(target: int) -> Any:
    return lambda logits: logits.log_softmax(dim=1)[0, target]


def _judge_saliency(run: Runner, function: Any) -> None:
    by_cases(_saliency, _saliency_cases, SALIENCY_MISTAKES)(run, function)
    refuse_traces(run, function, SALIENCY_MISTAKES, *_saliency_cases()[-1])


def _predicted_class(model: nn.Module, x: Tensor) -> int:
    with torch.no_grad():
        return int(model(x)[0].argmax())


MIN_CHANGE = 0.5  # of the first logit, when the pixel is erased
MAX_GRADIENT = 1e-3
MAX_SHARE = 0.05  # of that change, along a straight line with the gradient or the slope measured
SMALL_STEP = 0.01  # of the pixel's value
SATURATED_MISTAKES = {
    "parts": Mistake(
        "give a module, a finite tensor (1, C, H, W) and a place (row, column): "
        "viz.check('06.3', model, x, (row, column))."
    ),
    "no logits": Mistake("the model must return logits (1, classes) for this picture."),
    "does not matter": Mistake(
        "erasing this pixel (all its colours set to zero) changes the first logit by less than "
        "0.5. Build a model whose output depends on it."
    ),
    "has a gradient": Mistake(
        "the pixel has a gradient, so saliency shows it. Let its effect saturate: above some "
        "brightness a further increase changes nothing (clamp, sigmoid, 1 - relu(1 - x))."
    ),
    "gradient hidden": Mistake(
        "autograd reports no gradient, but a change of the pixel by 1 % changes the logit: "
        "detach(), .data or no_grad only hide the gradient. Build a model whose output does not "
        "change."
    ),
}


def _judge_saturated(run: Runner, model: Any, x: Any, place: Any) -> None:
    image, cell = _image(x), _cell(place)
    if not isinstance(model, nn.Module) or image is None or cell is None:
        raise fault(SATURATED_MISTAKES, "parts")
    if not all(0 <= i < n for i, n in zip(cell, image.shape[2:], strict=True)):
        raise fault(SATURATED_MISTAKES, "parts")
    index = (0, slice(None), *cell)
    scales = (1, 0, 1 + SMALL_STEP, 1 - SMALL_STEP)
    logits = [run(_logits, model, _scaled(image, index, scale)) for scale in scales]
    if not all(map(_is_logits, logits)):
        raise fault(SATURATED_MISTAKES, "no logits")
    with_pixel, without, *beside = (float(row[0, 0]) for row in logits)  # type: ignore[call-overload,index,arg-type]
    change = abs(with_pixel - without)
    if not change >= MIN_CHANGE:
        raise fault(SATURATED_MISTAKES, "does not matter")
    gradient: Any = run(_gradient_of_first, model, image)
    of_pixel = np.abs(gradient[index[1:]])
    along_line = (of_pixel * plain(image[index].abs())).sum()
    if not (of_pixel.max() < MAX_GRADIENT and along_line < MAX_SHARE * change):
        raise fault(SATURATED_MISTAKES, "has a gradient")
    rounding = 1e-6 * abs(with_pixel)
    if max(abs(b - with_pixel) for b in beside) > MAX_SHARE * SMALL_STEP * change + rounding:
        raise fault(SATURATED_MISTAKES, "gradient hidden")


def _image(x: Any) -> Tensor | None:
    """Return a tensor of finite values, (1, C, H, W), or None for anything else."""
    try:
        image = torch.as_tensor(plain(x))
    except (TypeError, ValueError, RuntimeError):
        return None
    image = image if image.is_floating_point() else image.float()
    fits = image.ndim == 4 and len(image) == 1 and bool(torch.isfinite(image).all())
    return image if fits else None


def _cell(place: Any) -> tuple[int, int] | None:
    """Return (row, column) of two integers in a tuple, list, array or tensor, or None."""
    try:
        value: Any = plain(place)
    except TypeError:
        return None
    numbers = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(numbers, list) or len(numbers) != 2:
        return None
    row, column = (n.tolist() if isinstance(n, np.ndarray) else n for n in numbers)
    return (row, column) if type(row) is int and type(column) is int else None


def _is_logits(row: Any) -> bool:
    fits = isinstance(row, np.ndarray) and row.ndim == 2 and len(row) == 1 and row.size > 0
    return fits and bool(np.isfinite(row).all())


def _scaled(image: Tensor, index: Any, scale: float) -> Tensor:
    """Return a copy in which one pixel's colours are multiplied by ``scale``."""
    copy = image.clone()
    copy[index] *= scale
    return copy


def _logits(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad(), evaluating(model):
        return model(x)


def _gradient_of_first(model: nn.Module, x: Tensor) -> Tensor:
    with torch.enable_grad(), evaluating(model):
        leaf = x.clone().requires_grad_()
        logit = model(leaf.clone())[0, 0]  # which a model may overwrite in place
        if not logit.requires_grad:  # a step function, such as x > 1
            return torch.zeros_like(x[0])
        (gradient,) = torch.autograd.grad(logit, leaf, allow_unused=True)
    return torch.zeros_like(x[0]) if gradient is None else gradient[0]


EXERCISES = [
    Exercise(
        key="06.1",
        kind="derive",
        task="the gradient of a probability",
        hints=(
            "p_target = exp(z_target) / sum of all exp(z). Differentiate with respect to z_target, "
            "then with respect to another logit.",
            "Its own logit: p_target x (1 - p_target). Another logit: -p_target x p_other.",
            "For the logits 2, 1, 0 the probabilities are 0.665, 0.245 and 0.090.",
        ),
        solution=worked.probability_gradient,
        why="-0.665 x 0.245. The derivatives sum to zero: a probability grows only at the cost of "
        "others. So a saliency map of a probability mixes all classes, and if one probability is "
        "near 1, all derivatives are near zero.",
        judge=by_paper_and_cases(
            _by_autograd,
            _logit_cases,
            PROBABILITY_MISTAKES,
            part=lambda result: result[1].item(),
            tolerance=0.02,  # two decimals: -0.16
        ),
        mistakes=PROBABILITY_MISTAKES,
        parts=("number on paper", "function"),
        paper=lambda: f"{worked.probability_gradient(*_logit_cases()[0])[1].item():.3f}",
    ),
    Exercise(
        key="06.2",
        kind="implement",
        task="a saliency map",
        hints=(
            "You need the gradient of one logit with respect to the pixels: the input needs "
            "requires_grad.",
            "torch.autograd.grad(model(x)[0, target], x) returns a tuple with one gradient, "
            "(1, 3, H, W).",
            "gradient[0].abs().amax(dim=0): absolute value first, then the largest of three "
            "colours.",
        ),
        solution=worked.saliency_map,
        why="The absolute value comes before the maximum: a colour that lowers the logit counts "
        "too. Copy x, so that the caller's tensor is not changed. Use torch.autograd.grad instead "
        "of backward(), so that no parameter's .grad is filled.",
        judge=_judge_saliency,
        mistakes=SALIENCY_MISTAKES,
    ),
    Exercise(
        key="06.3",
        kind="break",
        task="a pixel that matters and has no gradient",
        hints=(
            "A gradient describes a small change. Which function does not change with a small "
            "step, but changes with a large one?",
            "One with a plateau. x.clamp(max=1) is flat above 1, and a sigmoid is flat far from 0.",
            "Let the first logit be x[:, 0, 4, 4].clamp(max=1), and give that pixel the value 3.",
        ),
        solution=worked.saturated,
        why="Saliency is zero at the only pixel that matters. Methods that compare with an erased "
        "input, such as integrated gradients or occlusion, show it. (A. Shrikumar and others, "
        "*DeepLIFT*, 2017.)",
        judge=_judge_saturated,
        mistakes=SATURATED_MISTAKES,
        parts=("model", "x", "(row, column)"),
    ),
]
