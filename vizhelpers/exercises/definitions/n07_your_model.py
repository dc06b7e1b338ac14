"""Notebook 07: normalise a picture; take a step of ascent; build a checkpoint that is ignored."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.exercises.exercise import Exercise, Mistake
from vizhelpers.exercises.judges import by_cases, by_paper_and_cases, central_crop, fault
from vizhelpers.exercises.runner import LEFT_BEHIND, Runner
from vizhelpers.exercises.solutions import n07_your_model as worked
from vizhelpers.exercises.traces import TRACES, refuse_traces
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


def _scaled_to_input(scaled: Any, mean: Any, std: Any) -> Tensor:
    return (
        torch.from_numpy((scaled - np.array(mean)) / np.array(std)).permute(2, 0, 1).float()[None]
    )


PIXEL_MISTAKES = {
    "not divided by 255": Mistake(
        "the pixels are still 0 to 255. Mean and standard deviation are meant for 0 to 1: divide "
        "first.",
        lambda pixels, mean, std: _scaled_to_input(pixels.astype(float), mean, std),
    ),
    "standard deviation forgotten": Mistake(
        "the mean is subtracted, but the result is not divided by the standard deviation.",
        lambda pixels, mean, std: _scaled_to_input(pixels / 255, mean, (1, 1, 1)),
    ),
    "mean forgotten": Mistake(
        "the mean is not subtracted.",
        lambda pixels, mean, std: _scaled_to_input(pixels / 255, (0, 0, 0), std),
    ),
    "not normalised": Mistake(
        "this is only divided by 255. Subtract the mean, and divide by the standard deviation.",
        lambda pixels, mean, std: _scaled_to_input(pixels / 255, (0, 0, 0), (1, 1, 1)),
    ),
    "divided first": Mistake(
        "the order is swapped: subtract the mean, then divide by the standard deviation.",
        lambda pixels, mean, std: _scaled_to_input(pixels / 255 / np.array(std), mean, (1, 1, 1)),
    ),
    "colours last": Mistake(
        "the colours are still the last axis. PyTorch expects (1, 3, height, width).",
        lambda pixels, mean, std: _normalised(pixels, mean, std).permute(0, 2, 3, 1),
    ),
    "height and width transposed": Mistake(
        "height and width are swapped: the picture is transposed.",
        lambda pixels, mean, std: _normalised(pixels, mean, std).transpose(2, 3),
    ),
    "no batch axis": Mistake(
        "the batch axis is missing: (1, 3, height, width).",
        lambda pixels, mean, std: _normalised(pixels, mean, std)[0],
    ),
    "red and blue swapped": Mistake(
        "red and blue are swapped.",
        lambda pixels, mean, std: _normalised(pixels, mean, std).flip(1),
    ),
}


def _gradient(model: nn.Module, x: Tensor, layer: str, channel: int) -> Tensor:
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        return torch.autograd.grad(mean_activations(model, leaf, layer, [channel])[0], leaf)[0]


def _ascended(model: nn.Module, x: Tensor, layer: str, channel: int, rate: float) -> Tensor:
    gradient = _gradient(model, x, layer, channel)
    return x + rate * gradient / gradient.norm()


def _step(model: nn.Module, x: Tensor, layer: str, channel: int, rate: float) -> Tensor:
    return _ascended(model, x, layer, channel, rate) - x


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
        (gradient,) = torch.autograd.grad(kept[0][0, channel].mean(), leaf)
    return x + rate * gradient / gradient.norm()


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
        (model, central_crop(model, "cat"), "features.6.squeeze", 3, 40.0),
        (small.eval(), torch.randn(1, 3, 12, 15, generator=random), "2", 1, 2.0),
    ]


CLIMB_MISTAKES = {
    "downhill": Mistake(
        "this step goes downhill. Ascent adds the gradient; descent subtracts it.",
        lambda model, x, layer, channel, rate: _ascended(model, x, layer, channel, -rate),
    ),
    "not normalised": Mistake(
        "the gradient is not divided by its norm, so the length of the step is not `rate`.",
        lambda model, x, layer, channel, rate: x + rate * _gradient(model, x, layer, channel),
    ),
    "only the step": Mistake(
        "this is the step alone. Return x plus the step.",
        lambda model, x, layer, channel, rate: _step(model, x, layer, channel, rate),
    ),
    "signs only": Mistake(
        "this adds the signs of the gradient. Use its values, divided by the norm.",
        lambda model, x, layer, channel, rate: (
            x + rate * _gradient(model, x, layer, channel).sign()
        ),
    ),
    "rewritten in place": Mistake(
        "this ascends on the map after ReLU: an in-place ReLU overwrote the tensor that the hook "
        "kept. Keep output.clone().",
        _after_relu,
    ),
    "left hook": Mistake(LEFT_BEHIND["hook"]),
    "x changed": TRACES["x changed"],
}


def _judge_climb(run: Runner, function: Any) -> None:
    by_cases(_ascended, _climb_cases, CLIMB_MISTAKES)(run, function)
    refuse_traces(run, function, CLIMB_MISTAKES, *_climb_cases()[-1])


CHECKPOINT_MISTAKES = {
    "no dictionary": Mistake(
        "a dictionary {name: tensor} is needed, like the one that state_dict() returns."
    ),
    "weights missing": Mistake(
        "some of SqueezeNet's trained tensors are missing. The checkpoint must be complete; only "
        "its loading must fail."
    ),
    "raises": Mistake(
        "load_state_dict(strict=False) raises, so the failure is noticed. It raises for wrong "
        "shapes; what does it ignore?"
    ),
    "loaded": Mistake(
        "some of the weights are loaded. None may be: which names does the network not look for?"
    ),
}


def _same(tensor: Tensor, other: Tensor) -> bool:
    return tensor.shape == other.shape and torch.equal(tensor.to(other.dtype), other)


def _judge_checkpoint(run: Runner, checkpoint: Any) -> None:
    names_are_texts = isinstance(checkpoint, dict) and all(
        isinstance(key, str) for key in checkpoint
    )
    if not names_are_texts or not all(isinstance(value, Tensor) for value in checkpoint.values()):
        raise fault(CHECKPOINT_MISTAKES, "no dictionary")
    tensors = [tensor.detach() for tensor in checkpoint.values()]
    for value in load_model().state_dict().values():
        if not any(_same(t, value) for t in tensors):
            raise fault(CHECKPOINT_MISTAKES, "weights missing")
    for seed in range(2):
        fresh = load_model(weights=None, seed=seed)
        before = {name: value.clone() for name, value in fresh.state_dict().items()}
        try:
            fresh.load_state_dict(checkpoint, strict=False)
        except (RuntimeError, TypeError, KeyError):
            raise fault(CHECKPOINT_MISTAKES, "raises") from None
        if any(not torch.equal(before[n], value) for n, value in fresh.state_dict().items()):
            raise fault(CHECKPOINT_MISTAKES, "loaded")


EXERCISES = [
    Exercise(
        key="07.1",
        kind="derive",
        task="normalise a picture",
        hints=(
            "Three steps: scale to the range 0 to 1, subtract the mean, divide by the standard "
            "deviation.",
            "Each colour has its own mean and standard deviation. In (H, W, 3) colours are the "
            "last axis, so NumPy broadcasts them.",
            "((200 / 255) - 0.485) / 0.229 for red. At the end move the colours to the front, "
            "transpose(2, 0, 1), and add a batch axis.",
        ),
        solution=worked.normalise,
        why="(0.784 - 0.485) / 0.229: a little more than one standard deviation above ImageNet's "
        "mean red. The network was trained on such values. Other values raise no error; they only "
        "give other predictions.",
        judge=by_paper_and_cases(
            _normalised,
            _pixel_cases,
            PIXEL_MISTAKES,
            part=lambda result: result.flatten()[0].item(),
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
            "You need the gradient of the channel's mean activation with respect to the pixels.",
            "A hook keeps the layer's output (a copy: a later ReLU may work in place). Then "
            "torch.autograd.grad(kept[0][0, channel].mean(), x).",
            "`x + rate * gradient / gradient.norm()`, detached. Remove the hook in finally.",
        ),
        solution=worked.climb,
        why="Because the gradient is divided by its norm, every step has length `rate`. Thirty "
        "such steps give a picture that strongly activates the channel, as in notebook 06.",
        judge=_judge_climb,
        mistakes=CLIMB_MISTAKES,
    ),
    Exercise(
        key="07.3",
        kind="break",
        task="a checkpoint that is ignored without an error",
        hints=(
            "load_state_dict(checkpoint, strict=False) looks tensors up by name. What happens to "
            "names that the network does not have?",
            "They are ignored. DataParallel writes such names: each begins with `module.`",
            "`{f'module.{name}': value for name, value in viz.load_model().state_dict().items()}`",
        ),
        solution=worked.renamed_checkpoint,
        why="The checkpoint holds all the right weights, loading raises no error, and the network "
        "stays random. strict=False returns the missing and unexpected names: read them, or keep "
        "strict=True.",
        judge=_judge_checkpoint,
        mistakes=CHECKPOINT_MISTAKES,
        parts=("checkpoint",),
    ),
]
