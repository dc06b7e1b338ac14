"""Notebook 05: CAM and Grad-CAM by hand, and a confident map of nothing."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.exercises.exercise import Exercise, Mistake
from vizhelpers.exercises.judges import by_cases, by_paper_and_cases, central_crop, fault
from vizhelpers.exercises.runner import LEFT_BEHIND, Fault, Runner
from vizhelpers.exercises.solutions import n05_cam as worked
from vizhelpers.exercises.values import plain
from vizhelpers.inputs.models import load_model
from vizhelpers.methods.cam import cam
from vizhelpers.passes.capture import capture
from vizhelpers.passes.gradients import activations_and_gradients, logit_of, probability_of


def _by_the_network(maps: Tensor, weight: Tensor, bias: float) -> tuple[Tensor, float]:
    """Pool first and then weigh, as the network does; the map by a 1x1 convolution."""
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


def _cam_made(
    maps: Tensor, weight: Tensor, bias: float, *, relu: bool = False, average: bool = False
) -> tuple[Tensor, float]:
    found = (weight[:, None, None] * maps).sum(dim=0)
    found = found / len(weight) if average else found
    found = found.relu() if relu else found
    return found, found.mean().item() + bias


CAM_MISTAKES = {
    "bias forgotten": Mistake(
        "the logit lacks the bias. The map does not hold it; the last layer adds it once.",
        lambda maps, weight, bias: (
            _cam_made(maps, weight, bias)[0],
            _cam_made(maps, weight, 0.0)[1],
        ),
    ),
    "mean instead of sum": Mistake(
        "the channels are averaged. A linear layer adds them up.",
        lambda maps, weight, bias: _cam_made(maps, weight, bias, average=True),
    ),
    "sum instead of mean": Mistake(
        "the places are added up. The network averages over all places.",
        lambda maps, weight, bias: (
            _cam_made(maps, weight, bias)[0],
            _cam_made(maps, weight, bias)[0].sum().item() + bias,
        ),
    ),
    "ReLU before the mean": Mistake(
        "negative places are cut off. In CAM they count against the class: no ReLU here.",
        lambda maps, weight, bias: _cam_made(maps, weight, bias, relu=True),
    ),
    "bias in the map": Mistake(
        "the bias stands in the map already. A CAM is the weighted sum alone.",
        lambda maps, weight, bias: (
            _cam_made(maps, weight, bias)[0] + bias,
            _cam_made(maps, weight, bias)[1],
        ),
    ),
}


class _Small(nn.Module):
    """A network that is no chain, so that walking through `features` does not work."""

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


def _ingredients(
    model: nn.Module, x: Tensor, layer: str, target: int, of: Any = logit_of
) -> tuple[Tensor, Tensor]:
    acts, gradients, _ = activations_and_gradients(model, x, [layer], [of(target)])
    return acts[layer], gradients[layer][0]


def _gradcam(model: nn.Module, x: Tensor, layer: str, target: int, of: Any = logit_of) -> Tensor:
    a, g = _ingredients(model, x, layer, target, of)
    return (g.mean(dim=(2, 3), keepdim=True) * a).sum(dim=1).relu()[0]


def _gradcam_signed(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    a, g = _ingredients(model, x, layer, target)
    return (g.mean(dim=(2, 3), keepdim=True) * a).sum(dim=1)[0]


def _gradcam_added(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    a, _ = _ingredients(model, x, layer, target)
    return _gradcam(model, x, layer, target) * a.shape[2] * a.shape[3]


def _gradcam_early_relu(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    a, g = _ingredients(model, x, layer, target)
    return (g.mean(dim=(2, 3), keepdim=True) * a).relu().sum(dim=1)[0]


def _gradcam_of_places(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    a, g = _ingredients(model, x, layer, target)
    return (g * a).sum(dim=1).relu()[0]


def _gradcam_stretched(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    found = _gradcam(model, x, layer, target)
    return found / found.max()


GRADCAM_MISTAKES = {
    "ReLU omitted": Mistake(
        "there are negative values: the ReLU at the end is missing. Grad-CAM keeps what speaks for "
        "the class.",
        _gradcam_signed,
    ),
    "sum instead of mean": Mistake(
        "the gradients are added over all places. The paper averages them.",
        _gradcam_added,
    ),
    "softmax gradient": Mistake(
        "this is the gradient of the probability. Take the logit, before softmax.",
        lambda model, x, layer, target: _gradcam(model, x, layer, target, probability_of),
    ),
    "ReLU before the sum": Mistake(
        "ReLU comes before the sum over channels here. Add the channels first: they may cancel.",
        _gradcam_early_relu,
    ),
    "gradients not averaged": Mistake(
        "each place has a weight of its own. That is HiResCAM; Grad-CAM averages the gradient to "
        "one weight for each channel.",
        _gradcam_of_places,
    ),
    "divided by its maximum": Mistake(
        "the map is divided by its maximum. Leave the values as they are, so that maps of two "
        "classes can be compared.",
        _gradcam_stretched,
    ),
    "left hook": Mistake(LEFT_BEHIND["hook"]),
}


SURE, ALIKE = 0.9, 0.2
NOISE_MISTAKES = {
    "no input": Mistake("a tensor of shape (1, 3, 224, 224) without NaN is asked for."),
    "too loud": Mistake(
        "values beyond 20 cannot come from a photograph or anything like it: normalised pixels end "
        "near 3. Stay below 20."
    ),
    "something to see": Mistake(
        "this is no noise: neighbouring pixels are alike (a correlation of 0.2 or more, as in "
        "photographs). Begin with torch.randn."
    ),
    "not sure": Mistake(
        "the network gives its first class less than 90 %. Climb: add a little of the gradient of "
        "one logit, some times."
    ),
}


def _judge_noise(run: Runner, x: Any) -> None:
    if not isinstance(x, Tensor) or x.shape != (1, 3, 224, 224):
        raise fault(NOISE_MISTAKES, "no input")
    noise = torch.from_numpy(np.array(plain(x.detach().clone()), dtype=np.float32))
    if not torch.isfinite(noise).all():
        raise fault(NOISE_MISTAKES, "no input")
    if noise.abs().max() > 20:
        raise fault(NOISE_MISTAKES, "too loud")
    if neighbours_alike(noise) >= ALIKE:
        raise fault(NOISE_MISTAKES, "something to see")
    model = load_model()
    with torch.no_grad():
        probabilities = model(noise).softmax(dim=1)[0]
    if probabilities.max() < SURE:
        raise fault(NOISE_MISTAKES, "not sure")
    best = int(probabilities.argmax())
    if not cam(model, noise, "features.12", target=best).frames.max() > 0:
        raise fault(NOISE_MISTAKES, "not sure")


def neighbours_alike(x: Tensor) -> float:
    """Return how much pixels are like their right or lower neighbour, over the colours."""
    found = []
    for plane in x[0]:
        for a, b in ((plane[:, :-1], plane[:, 1:]), (plane[:-1], plane[1:])):
            pair = torch.stack([a.flatten(), b.flatten()])
            # A plane of one value has no correlation; there is nothing random in it either.
            found.append(1.0 if plane.std() == 0 else abs(torch.corrcoef(pair)[0, 1].item()))
    return max(found)


EXERCISES = [
    Exercise(
        key="05.1",
        kind="derive",
        task="from a CAM to the logit",
        hints=(
            "The network averages each map over its places, then weighs and adds. Weighing and "
            "averaging can change places.",
            "So: weigh the maps, add them up. That is the CAM. Average it over all places.",
            "2 x [[1, 2], [3, 4]] - [[0, 1], [1, 0]] = [[2, 3], [5, 8]]. Its mean, plus the bias.",
        ),
        solution=worked.class_map_and_logit,
        why="The mean of [[2, 3], [5, 8]] is 4.5, plus 0.5 makes 5. A CAM is the logit, spread out "
        "over the places that it is the average of. So nothing may be cut off: places that "
        "speak against the class belong to the sum.",
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
            "Two ingredients: the layer's output, kept by a hook, and the gradient of one logit "
            "in it, from torch.autograd.grad.",
            "Average the gradient over all places: one weight for each channel. Weigh the maps, "
            "add them up over the channels, then ReLU.",
            "`gradient.mean(dim=(2, 3), keepdim=True)` are the weights; "
            "`(weights * kept[0]).sum(dim=1).relu()[0]` is the map. Remove the hook in finally.",
        ),
        solution=worked.grad_cam,
        why="The order matters: first the sum over channels, then ReLU, since channels may cancel. "
        "And the logit, not the probability, whose gradient also fears the other classes.",
        judge=by_cases(_gradcam, _gradcam_cases, GRADCAM_MISTAKES),
        mistakes=GRADCAM_MISTAKES,
    ),
    Exercise(
        key="05.3",
        kind="break",
        task="a confident CAM of noise",
        hints=(
            "Begin with torch.randn(1, 3, 224, 224). The network is not sure of it. How could it "
            "be made sure?",
            "The gradient of a logit in the pixels says how to change each of them a little. Add "
            "some of it, a few times.",
            "Eight times: `x = (x + 0.1 * gradient.sign()).detach()`, with one logit's gradient.",
        ),
        solution=worked.confident_noise,
        why="The network is more than 90 % sure, Grad-CAM draws a bright spot with a name, and "
        "there is nothing to see. A CAM says where the score comes from. It does not say that "
        "something is there. (I. Goodfellow and others, *Explaining and Harnessing Adversarial "
        "Examples*, 2014.)",
        judge=_judge_noise,
        mistakes=NOISE_MISTAKES,
        parts=("x",),
    ),
]
