"""Every public function on one model: what it gave, or the words with which it refused.

``python tests/families.py resnet18`` examines one model of torchvision in a process of its own and
prints the findings as JSON; ``table`` makes a row of ``tests/families.md`` of them.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from networks import unit_variance
from snapshots import difference, snapshot
from torch import Tensor, nn

import vizhelpers as viz
from vizhelpers.methods.cam import original_cam
from vizhelpers.passes.dry import dry_run
from vizhelpers.passes.maps import map_shapes

SMALLEST = {
    "alexnet": "alexnet",
    "convnext": "convnext_tiny",
    "densenet": "densenet121",
    "efficientnet": "efficientnet_b0",
    "efficientnet_v2": "efficientnet_v2_s",
    "googlenet": "googlenet",
    "inception": "inception_v3",
    "maxvit": "maxvit_t",
    "mnasnet": "mnasnet0_5",
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3": "mobilenet_v3_small",
    "regnet": "regnet_x_400mf",
    "resnet": "resnet18",
    "resnext": "resnext50_32x4d",
    "shufflenet": "shufflenet_v2_x0_5",
    "squeezenet": "squeezenet1_1",
    "swin": "swin_t",
    "swin_v2": "swin_v2_t",
    "vgg": "vgg11",
    "vit": "vit_b_32",
    "wide_resnet": "wide_resnet50_2",
}
# Sides of the input, in pixels: small ones, to save time; some families take no other than theirs.
SIDES = {"inception": 107, "maxvit": 224, "vit": 224}
SIDE = 64


def family_of(name: str) -> str:
    """Return the family of a torchvision model, such as "resnet" of "resnet18"."""
    stems = sorted(SMALLEST, key=len, reverse=True)
    return next(family for family in stems if name.startswith(family))


@dataclass(frozen=True)
class Findings:
    """What was found of one model.

    Attributes:
        name: of the model.
        parameters: their number.
        size: (N, C, H, W) of the input.
        layers: how many layers have maps.
        results: function -> "yes", or the text of the refusal.
        changed: what is not as it was before; nothing, or there is a fault.
    """

    name: str
    parameters: int
    size: tuple[int, ...]
    layers: int
    results: dict[str, str]
    changed: list[str]


def loaded(name: str) -> tuple[nn.Module, Tensor]:
    """Return a torchvision model with random weights that carry a signal, and an input."""
    side = SIDES.get(family_of(name), SIDE)
    x = noise(side)
    return unit_variance(viz.load_model(name, weights=None), x), x


def noise(side: int) -> Tensor:
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))


# Near copies of the others in what they ask of a network; left out where time is short.
ALIKE = (
    "hirescam",
    "xgradcam",
    "layercam",
    "gradcam++",
    "smoothgrad",
    "integrated_gradients",
    "input_x_gradient",
    "Backprop",
    "GradientAscent",
)


def examine(name: str, model: nn.Module, x: Tensor, *, leave_out: Sequence[str] = ()) -> Findings:
    """Call every public function on a model.

    Args:
        name: what to call it.
        model: a classifier.
        x: (1, 3, H, W), which the model can take.
        leave_out: functions that are not called, such as ``ALIKE``.

    Raises:
        AssertionError: a result that is not finite, is all zero, or has another shape than it
            should. A ``ValueError`` is a refusal, and noted; other errors are faults.
    """
    shapes = dry_run(model, [x.shape], map_shapes)
    calls, results = _calls(model, x, shapes), {}
    before = snapshot(model, x)
    for function, call in calls.items():
        if function in leave_out:
            continue
        try:
            call()
        except ValueError as refusal:
            results[function] = str(refusal)
        except Exception as fault:
            raise AssertionError(f"{function} of {name}: {fault!r}") from fault
        else:
            results[function] = "yes"
    changed = difference(before, snapshot(model, x))
    count = sum(p.numel() for p in model.parameters())
    return Findings(name, count, tuple(x.shape), len(shapes), results, changed)


def _calls(
    model: nn.Module, x: Tensor, shapes: dict[str, tuple[int, ...]]
) -> dict[str, Callable[[], None]]:
    blocks = viz.cam_layers(model, x)
    # The predicted class is asked for: random SqueezeNets give many a logit of 0, and no gradient.
    layer = blocks[-1]
    size, picture = shapes[layer][2:], tuple(x.shape[2:])
    convolution = viz.layer_names(model, nn.Conv2d)[0]
    found = {
        "layer_names": lambda: _same(set(shapes) <= set(viz.layer_names(model))),
        "kernels": lambda: _alive(viz.kernels(model, convolution).frames),
        "module_tree": lambda: _counted(viz.module_tree(model, input_size=x.shape).total, model),
        "summary": lambda: _counted(viz.summary(model, x.shape).parameters, model),
        "capture": lambda: _alive(*viz.capture(model, x, blocks).values()),
        "feature_maps": lambda: _alive(
            viz.feature_maps(model, x, layer).frames, shape=(shapes[layer][1], *size)
        ),
        "predict": lambda: _same(
            0 < sum(p.probability for p in viz.predict(model, x, k=1000)) < 1.001
        ),
        "cam_sweep": lambda: _alive(
            viz.cam_sweep(model, x, layers=[blocks[0], layer], targets=[None, 1]).frames
        ),
        "maximization": lambda: _alive(
            viz.activation_maximization(
                model, layer, channels=[1], steps=1, size=picture[0]
            ).frames,
            shape=(1, *picture, 3),
        ),
        "Backprop": lambda: _alive(
            viz.flash.Backprop(model).calculate_gradients(x), shape=(3, *picture)
        ),
        "GradientAscent": lambda: _alive(
            viz.flash.GradientAscent(model, picture[0]).optimize(
                viz.get_layer(model, convolution), 1, num_iter=1
            )[0],
            shape=(1, 3, *picture),
        ),
    }
    found["cam"] = lambda: _original(model, x, shapes)
    for method in ("gradcam", "hirescam", "xgradcam", "layercam", "gradcam++", "eigencam"):
        found[method] = lambda method=method: _map(
            viz.cam(model, x, layer, method=method), shape=(1, *size)
        )
    for method in ("vanilla", "input_x_gradient", "guided", "smoothgrad", "integrated_gradients"):
        found[method] = lambda method=method: _alive(
            viz.saliency(model, x, method=method, passes=1).frames, shape=(1, *picture)
        )
    return found


def _alive(*arrays: np.ndarray | Tensor, shape: Sequence[int] | None = None) -> None:
    for array in arrays:
        value = np.asarray(array)
        assert shape is None or value.shape == tuple(shape), (value.shape, shape)
        assert np.isfinite(value).all()
        assert value.any()


def _original(model: nn.Module, x: Tensor, shapes: dict[str, tuple[int, ...]]) -> None:
    """Make the original CAM at the last layer that allows it; refused is only what none allows."""
    of_several_cells = [name for name, shape in shapes.items() if shape[2] * shape[3] > 1]
    tried = original_cam(model, x, layers=of_several_cells[::-1], targets=[None])
    layer = tried.axes["layer"][0]
    _map(viz.cam(model, x, layer, method="cam"), shape=(1, *shapes[layer][2:]))


def _map(stack: viz.ImageStack, shape: Sequence[int]) -> None:
    """Of one class a map may be all zero, where no place speaks for it; its title says so then."""
    if "all zero" in stack.titles[0]:
        assert stack.frames.shape == tuple(shape)
        assert not stack.frames.any()
    else:
        _alive(stack.frames, shape=shape)


def _same(truth: bool) -> None:
    assert truth


def _counted(count: int, model: nn.Module) -> None:
    _same(count == sum(p.numel() for p in model.parameters()))


# What a cell says of a refusal, by words of its text.
REASONS = {
    "uses none between": "no ReLU",
    "one linear layer": "no head",
    "299x299": "299 only",
}
_PREFACE = """# Every function on all classification models of torchvision

Written by `pytest -m matrix`, one process for each model. Weights are random, of unit variance.
`+`: the result is finite, of the right shape and not zero (a class activation map may be, and says
so); parameters, buffers, modes, hooks and random states are as before. Else the refusal:

- *no ReLU*: guided backpropagation changes the gradient at ReLUs, and none lies on its way;
- *no head*: the original CAM needs a mean over a layer's maps and one linear layer to the logits;
  every layer with maps was tried (DenseNet's mean is over a ReLU that is a function, not a layer);
- *299 only*: `flash.Backprop` keeps FlashTorch's rule that Inception takes 299 x 299.
"""


def table(findings: Findings, previous: str = "") -> str:
    """Return a Markdown table with one more row, or with a model's row renewed.

    Args:
        findings: of one model.
        previous: the table so far; its rows are kept if they have the same columns.
    """
    functions = [f"`{name}`" for name in findings.results]
    head = _line("model", "parameters", "input", "layers with maps", *functions)
    rows = {}
    if head in previous:
        _, _, kept = previous.partition(head)
        rows = {line.split("|")[1].strip(): line for line in kept.splitlines()[2:]}
    size = " x ".join(map(str, findings.size[2:]))
    cells = [_cell(result) for result in findings.results.values()]
    rows[findings.name] = _line(
        findings.name, f"{findings.parameters:,}", size, str(findings.layers), *cells
    )
    rule = _line("---", *["--:"] * 3, *[":-:"] * len(functions))
    return "\n".join([_PREFACE, head, rule, *(rows[name] for name in sorted(rows)), ""])


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(result: str) -> str:
    if result == "yes":
        return "+"
    return next((short for words, short in REASONS.items() if words in result), result[:60])


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(asdict(examine(sys.argv[1], *loaded(sys.argv[1])))))  # noqa: T201
