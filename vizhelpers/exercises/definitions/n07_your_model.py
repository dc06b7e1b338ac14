"""Notebook 07: normalisation by hand, a step of ascent, and a checkpoint that is not loaded."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.exercises.exercise import Exercise, Mistake, by_cases, by_paper_and_cases, middle_of
from vizhelpers.exercises.runner import LEFT_BEHIND, Fault, Runner
from vizhelpers.exercises.solutions import n07_your_model as worked
from vizhelpers.inputs.models import load_model
from vizhelpers.inputs.photographs.images import load_image
from vizhelpers.methods.ascent import mean_activations

Three = tuple[float, float, float]


def _normalised(pixels: np.ndarray, mean: Three, std: Three) -> Tensor:
    from torchvision.transforms import v2

    image = v2.functional.to_dtype(torch.from_numpy(pixels).permute(2, 0, 1), scale=True)
    return v2.functional.normalize(image, list(mean), list(std))[None]


def _pixel_cases() -> list[tuple[np.ndarray, Three, Three]]:
    imagenet: Any = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    visible = np.array([[[200, 0, 0], [0, 255, 0], [9, 9, 9]], [[1, 2, 3], [5, 5, 0], [0, 0, 70]]])
    cat = np.asarray(load_image("cat"))[100:130, 80:120]
    return [
        (visible.astype(np.uint8), *imagenet),
        (cat.copy(), (0.5, 0.4, 0.3), (0.5, 0.6, 0.7)),
        (np.arange(60, dtype=np.uint8).reshape(4, 5, 3), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0)),
    ]


def _made(scaled: Any, mean: Any, std: Any) -> Tensor:
    return (
        torch.from_numpy((scaled - np.array(mean)) / np.array(std)).permute(2, 0, 1).float()[None]
    )


PIXEL_MISTAKES = {
    "not divided by 255": Mistake(
        "the pixels are still 0 to 255. Mean and spread are meant for 0 to 1: divide first.",
        lambda pixels, mean, std: _made(pixels.astype(float), mean, std),
    ),
    "spread forgotten": Mistake(
        "the mean is taken away, but the rest is not divided by the spread.",
        lambda pixels, mean, std: _made(pixels / 255, mean, (1, 1, 1)),
    ),
    "mean forgotten": Mistake(
        "the mean is not taken away.",
        lambda pixels, mean, std: _made(pixels / 255, (0, 0, 0), std),
    ),
    "not normalised": Mistake(
        "this is only divided by 255. Take the mean away, and divide by the spread.",
        lambda pixels, mean, std: _made(pixels / 255, (0, 0, 0), (1, 1, 1)),
    ),
    "divided first": Mistake(
        "the order is exchanged: first take the mean away, then divide by the spread.",
        lambda pixels, mean, std: _made(pixels / 255 / np.array(std), mean, (1, 1, 1)),
    ),
    "colours last": Mistake(
        "the colours are still the last axis. PyTorch wants (1, 3, height, width).",
        lambda pixels, mean, std: _normalised(pixels, mean, std).permute(0, 2, 3, 1),
    ),
    "height and width transposed": Mistake(
        "height and width are exchanged: the picture lies on its side.",
        lambda pixels, mean, std: _normalised(pixels, mean, std).transpose(2, 3),
    ),
    "no batch axis": Mistake(
        "the batch axis is missing: (1, 3, height, width).",
        lambda pixels, mean, std: _normalised(pixels, mean, std)[0],
    ),
    "red and blue exchanged": Mistake(
        "red and blue are exchanged.",
        lambda pixels, mean, std: _normalised(pixels, mean, std).flip(1),
    ),
}


def _slope(model: nn.Module, x: Tensor, layer: str, channel: int) -> Tensor:
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        return torch.autograd.grad(mean_activations(model, leaf, layer, [channel])[0], leaf)[0]


def _climbed(model: nn.Module, x: Tensor, layer: str, channel: int, rate: float) -> Tensor:
    slope = _slope(model, x, layer, channel)
    return x + rate * slope / slope.norm()


def _moved(model: nn.Module, x: Tensor, layer: str, channel: int, rate: float) -> Tensor:
    return _climbed(model, x, layer, channel, rate) - x


def _after_relu(model: nn.Module, x: Tensor, layer: str, channel: int, rate: float) -> Tensor:
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        kept: list[Tensor] = []
        module = model.get_submodule(layer)
        handle = module.register_forward_hook(lambda m, args, out: kept.append(out.relu()))
        try:
            model(leaf)
        finally:
            handle.remove()
        (slope,) = torch.autograd.grad(kept[0][0, channel].mean(), leaf)
    return x + rate * slope / slope.norm()


def _climb_cases() -> list[tuple[nn.Module, Tensor, str, int, float]]:
    model = load_model()
    torch.manual_seed(0)
    small = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 6, 3), nn.AdaptiveAvgPool2d(1)
    )
    random = torch.Generator().manual_seed(1)
    noise = 0.1 * torch.randn(1, 3, 64, 64, generator=random)
    return [
        (model, noise, "features.3.expand3x3", 5, 8.0),
        (model, middle_of(model, "cat"), "features.6.squeeze", 3, 40.0),
        (small.eval(), torch.randn(1, 3, 12, 15, generator=random), "2", 1, 2.0),
    ]


CLIMB_MISTAKES = {
    "downhill": Mistake(
        "this step goes downhill. Ascent adds the gradient; descent takes it away.",
        lambda model, x, layer, channel, rate: _climbed(model, x, layer, channel, -rate),
    ),
    "not normalised": Mistake(
        "the gradient is not divided by its norm, so the step has not the length `rate`.",
        lambda model, x, layer, channel, rate: x + rate * _slope(model, x, layer, channel),
    ),
    "only the step": Mistake(
        "this is the step alone. Return x plus the step.",
        lambda model, x, layer, channel, rate: _moved(model, x, layer, channel, rate),
    ),
    "signs only": Mistake(
        "this adds the signs of the gradient. Here all of it counts, divided by its norm.",
        lambda model, x, layer, channel, rate: x + rate * _slope(model, x, layer, channel).sign(),
    ),
    "rewritten in place": Mistake(
        "this climbs on the map after ReLU: an in-place ReLU rewrote what the hook kept. Keep "
        "output.clone().",
        _after_relu,
    ),
    "left hook": Mistake(LEFT_BEHIND["hook"]),
}


CHECKPOINT_MISTAKES = {
    "no dictionary": Mistake(
        "a dictionary {name: tensor} is asked for, as state_dict() gives one."
    ),
    "weights missing": Mistake(
        "not all of SqueezeNet's trained tensors are in it. The checkpoint must be complete; only "
        "the loading goes wrong."
    ),
    "raises": Mistake(
        "load_state_dict(strict=False) raises, so everybody notices. It does so for wrong shapes; "
        "what does it pass over?"
    ),
    "loaded": Mistake(
        "some of the weights arrive in the network. Let none of them: which names would it not "
        "look for?"
    ),
}


def _judge_checkpoint(run: Runner, checkpoint: Any) -> None:
    def fault(name: str) -> Fault:
        return Fault(name, CHECKPOINT_MISTAKES[name].words)

    texts = isinstance(checkpoint, dict) and all(isinstance(key, str) for key in checkpoint)
    if not texts or not all(isinstance(one, Tensor) for one in checkpoint.values()):
        raise fault("no dictionary")
    pool = [one.detach() for one in checkpoint.values()]
    for value in load_model().state_dict().values():
        if not any(one.shape == value.shape and torch.equal(one, value) for one in pool):
            raise fault("weights missing")
    for seed in range(2):
        fresh = load_model(weights=None, seed=seed)
        before = {name: value.clone() for name, value in fresh.state_dict().items()}
        try:
            fresh.load_state_dict(checkpoint, strict=False)
        except (RuntimeError, TypeError, KeyError):
            raise fault("raises") from None
        if any(not torch.equal(before[n], value) for n, value in fresh.state_dict().items()):
            raise fault("loaded")


EXERCISES = [
    Exercise(
        key="07.1",
        kind="derive",
        task="normalise a picture",
        hints=(
            "Three steps: to the range 0 to 1, take the mean away, divide by the spread.",
            "Each colour has its own mean and spread. In (H, W, 3) colours are the last axis, so "
            "NumPy lines them up by itself.",
            "((200 / 255) - 0.485) / 0.229 for red. At the end the colours must come first: "
            "transpose(2, 0, 1), and a batch axis.",
        ),
        solution=worked.normalise,
        why="(0.784 - 0.485) / 0.229: a bit more than one spread brighter than the mean red of "
        "ImageNet. The network was trained on such numbers. Others give no error, only other "
        "answers.",
        judge=by_paper_and_cases(
            _normalised,
            _pixel_cases,
            PIXEL_MISTAKES,
            asked=lambda result: result.flatten()[0].item(),
        ),
        mistakes=PIXEL_MISTAKES,
        parts=("number on paper", "function"),
        paper=lambda: f"{worked.normalise(*_pixel_cases()[0]).flatten()[0].item():.2f}",
    ),
    Exercise(
        key="07.2",
        kind="implement",
        task="one step of gradient ascent",
        hints=(
            "You need the gradient of the channel's mean activation in the pixels.",
            "A hook keeps the layer's output (a copy: ReLU may work in place). Then "
            "torch.autograd.grad(kept[0][0, channel].mean(), x).",
            "`x + rate * gradient / gradient.norm()`, detached. Remove the hook in finally.",
        ),
        solution=worked.climb,
        why="Divided by its norm, every step is `rate` long, whether the hill is steep or flat. "
        "Repeat it thirty times and you have the picture that the channel likes best, as notebook "
        "06 drew it.",
        judge=by_cases(_climbed, _climb_cases, CLIMB_MISTAKES),
        mistakes=CLIMB_MISTAKES,
    ),
    Exercise(
        key="07.3",
        kind="break",
        task="a checkpoint that is not loaded, without a word",
        hints=(
            "load_state_dict(checkpoint, strict=False) looks for names. What happens with names "
            "that it does not know?",
            "It passes over them. DataParallel writes such names: each begins with `module.`",
            "`{f'module.{name}': value for name, value in viz.load_model().state_dict().items()}`",
        ),
        solution=worked.renamed_checkpoint,
        why="All the right weights, no error, and a network that stays random. strict=False "
        "returns what was missing and what was not expected: look at it, or leave strict=True.",
        judge=_judge_checkpoint,
        mistakes=CHECKPOINT_MISTAKES,
        parts=("checkpoint",),
    ),
]
