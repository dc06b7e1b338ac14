"""Notebook 05: compute CAM and Grad-CAM; build noise that gets a confident map."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vizhelpers.exercises.exercise import Exercise, Mistake
from vizhelpers.exercises.forbidden import Calls
from vizhelpers.exercises.judges import by_cases, by_paper_and_cases, central_crop, fault
from vizhelpers.exercises.runner import LEFT_BEHIND, Runner
from vizhelpers.exercises.solutions import n05_cam as worked
from vizhelpers.exercises.traces import TRACES, refuse_traces
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
    "bias twice": Mistake(
        "the bias is counted twice: in the map and in the logit. Add it once, to the mean.",
        lambda maps, weight, bias: (
            _cam_with(maps, weight, bias)[0] + bias,
            _cam_with(maps, weight, bias)[1] + bias,
        ),
    ),
    "maximum instead of mean": Mistake(
        "the logit is taken from the brightest position. The network averages over all positions.",
        lambda maps, weight, bias: (
            _cam_with(maps, weight, bias)[0],
            _cam_with(maps, weight, bias)[0].max().item() + bias,
        ),
    ),
    "divided by its maximum": Mistake(
        "the map is divided by its maximum. Keep the values: their mean plus the bias is the "
        "logit.",
        lambda maps, weight, bias: (
            _cam_with(maps, weight, bias)[0] / _cam_with(maps, weight, bias)[0].max(),
            _cam_with(maps, weight, bias)[1],
        ),
    ),
    "logit first": Mistake(
        "the order is swapped: the CAM comes first, then the logit.",
        lambda maps, weight, bias: _cam_with(maps, weight, bias)[::-1],
    ),
}


class _Small(nn.Module):
    """A network without `features`, so that iterating over `features` fails.

    Behind `body` comes a ReLU in place. The head's weights are large, so that maps exceed 1.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem = nn.Conv2d(3, 6, 3, stride=2)
        self.body = nn.Conv2d(6, 8, 3, padding=1)
        self.rectify = nn.ReLU(inplace=True)
        self.head = nn.Linear(8, 5)
        nn.init.normal_(self.head.weight, std=1e4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rectify(self.body(self.stem(x).sigmoid())).mean(dim=(2, 3)))


def _gradcam_cases() -> list[tuple[nn.Module, Tensor, str, int]]:
    model, small = load_model(), _Small().eval()
    cat, coffee, koala = (central_crop(model, name) for name in ("cat", "coffee", "koala"))
    x = torch.randn(1, 3, 20, 26, generator=torch.Generator().manual_seed(4))
    return [
        (model, cat, "features.12", 281),
        (model, koala, "features.9", 0),  # nearly all of it is negative before the last ReLU
        (model, coffee, "features.6.squeeze", 967),  # a ReLU in place follows
        (small, x, "stem", 2),
        (small, x, "body", 2),
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


def _gradcam_of_rewritten(
    model: nn.Module, x: Tensor, layer: str, target: int, *, maps_copied: bool
) -> Tensor:
    """Keep the output without its copy, so that an in-place layer behind it overwrites it."""
    kept: list[Tensor] = []
    copies: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Tensor) -> None:
        kept.append(output)
        copies.append(output.detach().clone())

    handle = model.get_submodule(layer).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logit = model(x)[0, target]
            (gradient,) = torch.autograd.grad(logit, kept[0])
    finally:
        handle.remove()
    maps = copies[0] if maps_copied else kept[0]
    return (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1).relu()[0].detach()


def _log_probability_of(target: int) -> Any:
    return lambda logits: logits.log_softmax(dim=1)[0, target]


def _loss_of(target: int) -> Any:
    return lambda logits: -logits.log_softmax(dim=1)[0, target]


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
    "rewritten in place": Mistake(
        "a ReLU in place follows this layer and has overwritten what your hook keeps: map and "
        "gradient are those behind the ReLU. Keep the output, and return output.clone() from the "
        "hook.",
        lambda *case: _gradcam_of_rewritten(*case, maps_copied=False),
    ),
    "gradient behind the in-place ReLU": Mistake(
        "a ReLU in place follows this layer. Your map is a copy, but the gradient is the one "
        "behind the ReLU. Keep the output itself, and return output.clone() from the hook.",
        lambda *case: _gradcam_of_rewritten(*case, maps_copied=True),
    ),
    "leaky ReLU": Mistake(
        "negative values are only made smaller. The final ReLU sets them to zero.",
        lambda *case: F.leaky_relu(_gradcam_signed(*case)),
    ),
    "absolute value": Mistake(
        "negative values have become positive. The final ReLU sets them to zero.",
        lambda *case: _gradcam_signed(*case).abs(),
    ),
    "mean over channels": Mistake(
        "the channels are averaged. Grad-CAM sums them.",
        lambda *case: _gradcam(*case) / _maps_and_gradient(*case)[0].shape[1],
    ),
    "another class": Mistake(
        "this is the map of the predicted class. Use the target's logit.",
        lambda model, x, layer, target: _gradcam(model, x, layer, target, lambda _: logit_of(None)),
    ),
    "gradient of the log": Mistake(
        "this is the gradient of the logarithm of the probability. Take the logit.",
        lambda model, x, layer, target: _gradcam(model, x, layer, target, _log_probability_of),
    ),
    "gradient of the loss": Mistake(
        "this is the gradient of the loss (cross entropy), which falls when the logit rises. Take "
        "the logit.",
        lambda model, x, layer, target: _gradcam(model, x, layer, target, _loss_of),
    ),
    "a library's map": Mistake(
        "the values are right, but a library computes the map or its gradient. Use a hook and "
        "torch.autograd.grad.",
        forbids=Calls(
            modules=(
                "vizhelpers.methods.cam",
                "vizhelpers.methods.cam_methods",
                "vizhelpers.passes.gradients",
                "pytorch_grad_cam",
                "torchcam",
                "captum",
            )
        ),
    ),
    "left hook": Mistake(LEFT_BEHIND["hook"]),
    **{name: mistake for name, mistake in TRACES.items() if name != "left grad"},
}


def _judge_gradcam(run: Runner, function: Any) -> None:
    by_cases(_gradcam, _gradcam_cases, GRADCAM_MISTAKES)(run, function)
    model, x, layer, target = _gradcam_cases()[-1]
    model.get_submodule(layer).register_forward_hook(lambda module, args, output: None)
    refuse_traces(run, function, GRADCAM_MISTAKES, model, x, layer, target)


MIN_PROBABILITY, MAX_CORRELATION, MAX_VALUE = 0.9, 0.2, 20
MAX_CORRELATION_OF_CONTRAST = 0.25
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
    "something under the noise": Mistake(
        "there is something to see under the noise: averaged over blocks of 2, 4 or 8 pixels, "
        "neighbours are correlated in brightness or in contrast. Begin with torch.randn alone."
    ),
    "not sure": Mistake(
        "the probability of the predicted class is below 90 %. Use gradient ascent: add a small "
        "multiple of one logit's gradient, several times."
    ),
}


def _judge_noise(run: Runner, x: Any) -> None:
    try:
        noise = torch.as_tensor(plain(x)).float()
    except (TypeError, ValueError, RuntimeError):
        raise fault(NOISE_MISTAKES, "no input") from None
    if noise.shape != (1, 3, 224, 224) or not torch.isfinite(noise).all():
        raise fault(NOISE_MISTAKES, "no input")
    if noise.abs().max() > MAX_VALUE:
        raise fault(NOISE_MISTAKES, "too loud")
    if neighbour_correlation(noise[0]) >= MAX_CORRELATION:
        raise fault(NOISE_MISTAKES, "something to see")
    if shows_under_noise(noise[0]):
        raise fault(NOISE_MISTAKES, "something under the noise")
    model = load_model()
    with torch.no_grad():
        probabilities = model(noise).softmax(dim=1)[0]
    if probabilities.max() < MIN_PROBABILITY:
        raise fault(NOISE_MISTAKES, "not sure")
    best = int(probabilities.argmax())
    if not cam(model, noise, "features.12", target=best).frames.max() > 0:
        raise fault(NOISE_MISTAKES, "not sure")


def neighbour_correlation(planes: Tensor) -> float:
    """Return the largest absolute correlation between neighbouring pixels of planes (C, H, W)."""
    correlations = []
    for plane in planes:
        for a, b in ((plane[:, :-1], plane[:, 1:]), (plane[:-1], plane[1:])):
            pair = torch.stack([a.flatten(), b.flatten()])
            # A constant plane has no correlation; it is not random either.
            correlations.append(1.0 if plane.std() == 0 else abs(torch.corrcoef(pair)[0, 1].item()))
    return max(correlations)


def shows_under_noise(colours: Tensor) -> bool:
    """Return whether means over blocks are alike between neighbours, as in a noisy photograph.

    A cat under noise of six times its amplitude has a correlation of 0.37 between blocks of 8
    pixels, noise after gradient ascent 0.12 at most. Contrast (0.17 at most) is compared as well,
    since edges, and a picture that only modulates the noise, leave the blocks' means alone.
    """
    planes = torch.cat([colours, colours.sum(dim=0, keepdim=True)])
    for block in (1, 2, 4, 8):
        means = F.avg_pool2d(planes, block)
        if neighbour_correlation(means) >= MAX_CORRELATION:
            return True
        if block in (2, 4):
            around = F.avg_pool2d(means, 5, 1, 2, count_include_pad=False)
            contrasts = F.avg_pool2d((means - around).abs(), 8 // block)
            if neighbour_correlation(contrasts) >= MAX_CORRELATION_OF_CONTRAST:
                return True
    return False


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
            "respect to it, from torch.autograd.grad. If the hook returns output.clone(), a ReLU "
            "in place overwrites the copy, and not what you keep.",
            "Average the gradient over all positions: one weight for each channel. Multiply the "
            "maps by the weights, sum over the channels, then apply ReLU.",
            "`gradient.mean(dim=(2, 3), keepdim=True)` are the weights; "
            "`(weights * kept[0]).sum(dim=1).relu()[0]` is the map. Remove the hook in finally.",
        ),
        solution=worked.grad_cam,
        why="The order matters: first the sum over channels, then ReLU, since channels may cancel. "
        "Use the logit: the gradient of the probability also depends on the other classes.",
        judge=_judge_gradcam,
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
