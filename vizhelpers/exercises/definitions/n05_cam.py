"""Notebook 05: compute CAM and Grad-CAM; build noise that gets a confident map."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.exercises.exercise import Exercise, Mistake
from vizhelpers.exercises.judges import by_cases, by_paper_and_cases, central_crop, fault
from vizhelpers.exercises.runner import LEFT_BEHIND, Runner
from vizhelpers.exercises.solutions import n05_cam as worked
from vizhelpers.exercises.values import plain
from vizhelpers.inputs.models import load_model
from vizhelpers.methods.cam import cam
from vizhelpers.passes.capture import capture
from vizhelpers.passes.gradients import activations_and_gradients, logit_of, probability_of


def _by_the_network(maps: Tensor, weight: Tensor, bias: float) -> tuple[Tensor, float]:
    """Return the CAM by a 1x1 convolution, and the logit by pooling first, as the network does."""
    logit = torch.dot(maps.mean(dim=(1, 2)), weight).item() + bias
    return torch.conv2d(maps[None], weight[None, :, None, None])[0, 0], logit


def _cam_cases() -> list[tuple[Tensor, Tensor, float]]:
    visible = torch.tensor([[[1.0, 2], [3, 4]], [[0, 1], [1, 0]]])
    random = torch.Generator().manual_seed(0)
    model = load_model()
    maps = capture(model, central_crop(model, "koala"), "features.12")["features.12"][0]
    head: Any = model.get_submodule("classifier.1")
    return [
        (visible, torch.tensor([2.0, -1.0]), 0.5),
        (torch.randn(5, 3, 4, generator=random), torch.randn(5, generator=random), -1.5),
        (maps, head.weight[105].flatten().detach().clone(), head.bias[105].item()),
    ]


def _cam_with(
    maps: Tensor, weight: Tensor, bias: float, *, relu: bool = False, average: bool = False
) -> tuple[Tensor, float]:
    class_map = (weight[:, None, None] * maps).sum(dim=0)
    class_map = class_map / len(weight) if average else class_map
    class_map = class_map.relu() if relu else class_map
    return class_map, class_map.mean().item() + bias


CAM_MISTAKES = {
    "bias forgotten": Mistake(
        "the logit lacks the bias. The map does not contain it; the last layer adds it once.",
        lambda maps, weight, bias: (
            _cam_with(maps, weight, bias)[0],
            _cam_with(maps, weight, 0.0)[1],
        ),
    ),
    "mean instead of sum": Mistake(
        "the channels are averaged. A linear layer sums them.",
        lambda maps, weight, bias: _cam_with(maps, weight, bias, average=True),
    ),
    "sum instead of mean": Mistake(
        "the positions are summed. The network averages over all positions.",
        lambda maps, weight, bias: (
            _cam_with(maps, weight, bias)[0],
            _cam_with(maps, weight, bias)[0].sum().item() + bias,
        ),
    ),
    "ReLU before the mean": Mistake(
        "negative values are set to zero. In CAM they lower the logit: no ReLU here.",
        lambda maps, weight, bias: _cam_with(maps, weight, bias, relu=True),
    ),
    "bias in the map": Mistake(
        "the bias is added to the map. A CAM is the weighted sum alone.",
        lambda maps, weight, bias: (
            _cam_with(maps, weight, bias)[0] + bias,
            _cam_with(maps, weight, bias)[1],
        ),
    ),
}


class _Small(nn.Module):
    """A network without `features`, so that iterating over `features` fails."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem = nn.Conv2d(3, 6, 3, stride=2)
        self.body = nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x).sigmoid()).relu().mean(dim=(2, 3)))


def _gradcam_cases() -> list[tuple[nn.Module, Tensor, str, int]]:
    model, small = load_model(), _Small().eval()
    cat, coffee = (central_crop(model, name) for name in ("cat", "coffee"))
    x = torch.randn(1, 3, 20, 26, generator=torch.Generator().manual_seed(4))
    return [
        (model, cat, "features.12", 281),
        (model, coffee, "features.9", 967),
        (small, x, "stem", 2),
        (small, x, "body", 4),
    ]


def _maps_and_gradient(
    model: nn.Module, x: Tensor, layer: str, target: int, of: Any = logit_of
) -> tuple[Tensor, Tensor]:
    acts, gradients, _ = activations_and_gradients(model, x, [layer], [of(target)])
    return acts[layer], gradients[layer][0]


def _gradcam(model: nn.Module, x: Tensor, layer: str, target: int, of: Any = logit_of) -> Tensor:
    a, g = _maps_and_gradient(model, x, layer, target, of)
    return (g.mean(dim=(2, 3), keepdim=True) * a).sum(dim=1).relu()[0]


def _gradcam_signed(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    a, g = _maps_and_gradient(model, x, layer, target)
    return (g.mean(dim=(2, 3), keepdim=True) * a).sum(dim=1)[0]


def _gradcam_summed(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    a, _ = _maps_and_gradient(model, x, layer, target)
    return _gradcam(model, x, layer, target) * a.shape[2] * a.shape[3]


def _gradcam_early_relu(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    a, g = _maps_and_gradient(model, x, layer, target)
    return (g.mean(dim=(2, 3), keepdim=True) * a).relu().sum(dim=1)[0]


def _gradcam_by_position(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    a, g = _maps_and_gradient(model, x, layer, target)
    return (g * a).sum(dim=1).relu()[0]


def _gradcam_normalised(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    cam_map = _gradcam(model, x, layer, target)
    return cam_map / cam_map.max()


GRADCAM_MISTAKES = {
    "ReLU omitted": Mistake(
        "there are negative values: the final ReLU is missing. Grad-CAM keeps only what raises the "
        "logit.",
        _gradcam_signed,
    ),
    "sum instead of mean": Mistake(
        "the gradients are summed over all positions. The paper averages them.",
        _gradcam_summed,
    ),
    "softmax gradient": Mistake(
        "this is the gradient of the probability. Take the logit, before softmax.",
        lambda model, x, layer, target: _gradcam(model, x, layer, target, probability_of),
    ),
    "ReLU before the sum": Mistake(
        "ReLU comes before the sum over channels. Sum the channels first: they may cancel.",
        _gradcam_early_relu,
    ),
    "gradients not averaged": Mistake(
        "each position has its own weight. That is HiResCAM; Grad-CAM averages the gradient to one "
        "weight for each channel.",
        _gradcam_by_position,
    ),
    "divided by its maximum": Mistake(
        "the map is divided by its maximum. Keep the values, so that maps of two classes can be "
        "compared.",
        _gradcam_normalised,
    ),
    "left hook": Mistake(LEFT_BEHIND["hook"]),
}


MIN_PROBABILITY, MAX_CORRELATION, MAX_VALUE = 0.9, 0.2, 20
NOISE_MISTAKES = {
    "no input": Mistake("a tensor of shape (1, 3, 224, 224) without NaN is needed."),
    "too loud": Mistake(
        "values above 20 do not occur in photographs: normalised pixels reach about 3. Stay below "
        "20."
    ),
    "something to see": Mistake(
        "this is not noise: neighbouring pixels are correlated (0.2 or more, as in photographs). "
        "Begin with torch.randn."
    ),
    "not sure": Mistake(
        "the probability of the predicted class is below 90 %. Use gradient ascent: add a small "
        "multiple of one logit's gradient, several times."
    ),
}


def _judge_noise(run: Runner, x: Any) -> None:
    if not isinstance(x, Tensor) or x.shape != (1, 3, 224, 224):
        raise fault(NOISE_MISTAKES, "no input")
    noise = torch.from_numpy(np.array(plain(x.detach().clone()), dtype=np.float32))
    if not torch.isfinite(noise).all():
        raise fault(NOISE_MISTAKES, "no input")
    if noise.abs().max() > MAX_VALUE:
        raise fault(NOISE_MISTAKES, "too loud")
    if neighbour_correlation(noise) >= MAX_CORRELATION:
        raise fault(NOISE_MISTAKES, "something to see")
    model = load_model()
    with torch.no_grad():
        probabilities = model(noise).softmax(dim=1)[0]
    if probabilities.max() < MIN_PROBABILITY:
        raise fault(NOISE_MISTAKES, "not sure")
    best = int(probabilities.argmax())
    if not cam(model, noise, "features.12", target=best).frames.max() > 0:
        raise fault(NOISE_MISTAKES, "not sure")


def neighbour_correlation(x: Tensor) -> float:
    """Return the largest absolute correlation between neighbouring pixels of one colour."""
    correlations = []
    for plane in x[0]:
        for a, b in ((plane[:, :-1], plane[:, 1:]), (plane[:-1], plane[1:])):
            pair = torch.stack([a.flatten(), b.flatten()])
            # A constant plane has no correlation; it is not random either.
            correlations.append(1.0 if plane.std() == 0 else abs(torch.corrcoef(pair)[0, 1].item()))
    return max(correlations)


EXERCISES = [
    Exercise(
        key="05.1",
        kind="derive",
        task="from a CAM to the logit",
        hints=(
            "The network averages each map over its positions, then computes a weighted sum. Both "
            "steps are linear, so their order does not matter.",
            "So compute the weighted sum of the maps first. That is the CAM. Average it over all "
            "positions.",
            "2 x [[1, 2], [3, 4]] - [[0, 1], [1, 0]] = [[2, 3], [5, 8]]. Its mean, plus the bias.",
        ),
        solution=worked.class_map_and_logit,
        why="The mean of [[2, 3], [5, 8]] is 4.5, plus 0.5 makes 5. A CAM distributes the logit "
        "over positions: its mean plus the bias is the logit. So negative values must stay: "
        "positions that lower the logit belong to the mean.",
        judge=by_paper_and_cases(
            _by_the_network, _cam_cases, CAM_MISTAKES, part=lambda result: result[1]
        ),
        mistakes=CAM_MISTAKES,
        parts=("logit on paper", "function"),
        paper=lambda: f"{worked.class_map_and_logit(*_cam_cases()[0])[1]:g}",
    ),
    Exercise(
        key="05.2",
        kind="implement",
        task="Grad-CAM",
        hints=(
            "You need the layer's output, kept by a hook, and the gradient of one logit with "
            "respect to it, from torch.autograd.grad.",
            "Average the gradient over all positions: one weight for each channel. Multiply the "
            "maps by the weights, sum over the channels, then apply ReLU.",
            "`gradient.mean(dim=(2, 3), keepdim=True)` are the weights; "
            "`(weights * kept[0]).sum(dim=1).relu()[0]` is the map. Remove the hook in finally.",
        ),
        solution=worked.grad_cam,
        why="The order matters: first the sum over channels, then ReLU, since channels may cancel. "
        "Use the logit: the gradient of the probability also depends on the other classes.",
        judge=by_cases(_gradcam, _gradcam_cases, GRADCAM_MISTAKES),
        mistakes=GRADCAM_MISTAKES,
    ),
    Exercise(
        key="05.3",
        kind="break",
        task="a confident CAM of noise",
        hints=(
            "Begin with torch.randn(1, 3, 224, 224). No class has a high probability. How can you "
            "raise one?",
            "The gradient of a logit with respect to the pixels says how to change each of them. "
            "Add a small multiple of it, several times.",
            "Eight times: `x = (x + 0.1 * gradient.sign()).detach()`, with one logit's gradient.",
        ),
        solution=worked.confident_noise,
        why="The predicted class has a probability above 90 %, Grad-CAM shows a bright spot, and "
        "the picture is noise. A CAM shows where the logit comes from. It does not show that an "
        "object is there. (I. Goodfellow and others, *Explaining and Harnessing Adversarial "
        "Examples*, 2014.)",
        judge=_judge_noise,
        mistakes=NOISE_MISTAKES,
        parts=("x",),
    ),
]
