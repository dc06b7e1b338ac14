"""Notebook 06: derive a probability's gradient; compute saliency; build a pixel that it misses."""

from typing import Any

import torch
from torch import Tensor, nn

from vizhelpers.exercises.exercise import Exercise, Mistake
from vizhelpers.exercises.judges import by_cases, by_paper_and_cases, central_crop, fault
from vizhelpers.exercises.runner import LEFT_BEHIND, Runner
from vizhelpers.exercises.solutions import n06_flashtorch as worked
from vizhelpers.inputs.models import load_model
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
}


def _gradient(model: nn.Module, x: Tensor, target: int, of: Any = logit_of) -> Tensor:
    return input_gradient(model, x, of(target))[0]


def _saliency(model: nn.Module, x: Tensor, target: int) -> Tensor:
    return _gradient(model, x, target).abs().amax(dim=0)


def _saliency_cases() -> list[tuple[nn.Module, Tensor, int]]:
    model = load_model()
    torch.manual_seed(0)
    small = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(5 * 8 * 12, 4)
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
    "left hook": Mistake(LEFT_BEHIND["hook"]),
    "left requires_grad": Mistake(LEFT_BEHIND["requires_grad"]),
}


def _predicted_class(model: nn.Module, x: Tensor) -> int:
    with torch.no_grad():
        return int(model(x)[0].argmax())


MIN_CHANGE = 0.5  # of the first logit, when the pixel is erased
SATURATED_MISTAKES = {
    "parts": Mistake(
        "give a module, a tensor (1, C, H, W) and a place (row, column): "
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
}


def _judge_saturated(run: Runner, model: Any, x: Any, place: Any) -> None:
    fits = isinstance(model, nn.Module) and isinstance(x, Tensor) and x.ndim == 4 and len(x) == 1
    if not fits or not _is_place(place, x.shape[2:]):
        raise fault(SATURATED_MISTAKES, "parts")
    row, column = place
    erased = x.detach().clone()
    erased[0, :, row, column] = 0
    with_pixel, without = (run(_logits, model, image) for image in (x.detach(), erased))
    if getattr(with_pixel, "ndim", 0) != 2 or not torch.isfinite(torch.as_tensor(with_pixel)).all():
        raise fault(SATURATED_MISTAKES, "no logits")
    if not abs(float(with_pixel[0, 0]) - float(without[0, 0])) >= MIN_CHANGE:  # type: ignore[call-overload,index]
        raise fault(SATURATED_MISTAKES, "does not matter")
    gradient: Any = run(_gradient_of_first, model, x.detach())
    if not abs(gradient[:, row, column]).max() < 1e-3:
        raise fault(SATURATED_MISTAKES, "has a gradient")


def _is_place(place: Any, size: Any) -> bool:
    if not isinstance(place, (tuple, list)) or len(place) != 2:
        return False
    return all(type(i) is int and 0 <= i < n for i, n in zip(place, size, strict=True))


def _logits(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)


def _gradient_of_first(model: nn.Module, x: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(leaf)[0, 0], leaf, allow_unused=True)
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
            _by_autograd, _logit_cases, PROBABILITY_MISTAKES, part=lambda result: result[1].item()
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
        judge=by_cases(_saliency, _saliency_cases, SALIENCY_MISTAKES),
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
