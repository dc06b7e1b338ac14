"""Right answers of notebooks 04 to 06 in other styles than the worked answers hold, too.

Each stands beside the wrong answers that the same check refuses (``wrong_answers_04_06``).
"""

import copy
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names
from wrong_answers_04_06 import Later, at_pixel, class_map, gradcam, recording, saliency

import vizhelpers as viz
from vizhelpers.exercises.catalogue import EXERCISES

pytestmark = pytest.mark.usefixtures("empty_folder")
Answers = tuple[Any, ...]


# ------------------------------------------------------------------ 04
def sees_backwards(layers: list[tuple[int, int]]) -> int:
    size = 1
    for kernel, stride in reversed(layers):
        size = (size - 1) * stride + kernel
    return size


def sees_by_products(layers: list[tuple[int, int]]) -> Any:
    steps = [np.prod([s for _, s in layers[:i]]) for i in range(len(layers))]
    return 1 + sum((k - 1) * step for (k, _), step in zip(layers, steps, strict=True))


class Enough(Exception):
    """Raised by a hook of the reader's own."""


def record_and_stop(model: nn.Module, x: Tensor, name: str) -> Tensor:
    mode = model.training

    def stop(module: nn.Module, args: Any, output: Tensor) -> None:
        raise Enough(output)

    handle = model.get_submodule(name).register_forward_hook(stop)
    try:
        model.eval()(x)
    except Enough as enough:
        return enough.args[0]
    finally:
        handle.remove()
        model.train(mode)
    raise ValueError(f"{name} did not run")


def record_on_a_copy(model: nn.Module, x: Tensor, name: str) -> Tensor:
    own, kept = copy.deepcopy(model).eval(), []
    own.get_submodule(name).register_forward_hook(lambda m, i, o: kept.append(o.clone()))
    own(x)
    return kept[0]


def record_by_forward(model: nn.Module, x: Tensor, name: str) -> Tensor:
    layer, kept, mode = model.get_submodule(name), [], model.training
    original = layer.forward

    def forward(*args: Any) -> Tensor:
        kept.append(original(*args))
        return kept[0].clone()

    layer.forward = forward
    try:
        with torch.inference_mode():
            model.eval()(x)
    finally:
        layer.forward = original  # stays in the instance, but it is the same method
        model.train(mode)
    return kept[0]


def record_not_in_place(model: nn.Module, x: Tensor, name: str) -> Tensor:
    changed = [module for module in model.modules() if getattr(module, "inplace", False)]
    try:
        for module in changed:
            module.inplace = False
        return recording()(model, x, name)
    finally:
        for module in changed:
            module.inplace = True


def record_by_extractor(model: nn.Module, x: Tensor, name: str) -> Tensor:
    mode = model.training
    try:
        return create_feature_extractor(model, [name]).eval()(x)[name]
    finally:
        model.train(mode)


# ------------------------------------------------------------------ 05
def class_map_by_loops(maps: Tensor, weight: Tensor, bias: float) -> Any:
    channels, height, width = maps.shape
    heat = [
        [sum(weight[k] * maps[k, i, j] for k in range(channels)) for j in range(width)]
        for i in range(height)
    ]
    return heat, sum(map(sum, heat)) / (height * width) + bias


def gradcam_by_backward(model: nn.Module, x: Tensor, layer: str, target: int) -> np.ndarray:
    kept: dict[str, Tensor] = {}

    def keep(module: nn.Module, args: Any, output: Tensor) -> None:
        kept["maps"] = output.detach().clone()
        output.register_hook(lambda gradient: kept.update(gradient=gradient))

    with model.get_submodule(layer).register_forward_hook(keep):
        model(x)[0, target].backward()
    weights = kept["gradient"][0].mean((1, 2))
    return np.maximum(torch.einsum("c,chw->hw", weights, kept["maps"][0]).numpy(), 0)


def gradcam_from_a_leaf(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    maps = viz.capture(model, x, layer)[layer].requires_grad_()
    with model.get_submodule(layer).register_forward_hook(lambda m, i, o: maps.clone()):
        (gradient,) = torch.autograd.grad(model(x)[0, target], maps)
    return (gradient.mean((2, 3), keepdim=True) * maps).sum(1).relu()[0].double()


def gradcam_by_extractor(model: nn.Module, x: Tensor, layer: str, target: int) -> list[Any]:
    own = copy.deepcopy(model)
    for module in own.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    last = get_graph_node_names(own)[1][-1]
    out = create_feature_extractor(own, {layer: "maps", last: "logits"}).eval()(x)
    (gradient,) = torch.autograd.grad(out["logits"][0, target], out["maps"])
    return (gradient.mean((2, 3), keepdim=True) * out["maps"]).sum(1).relu()[0].tolist()


def noise(start: float, step: float, steps: int, target: int) -> Tensor:
    model = viz.load_model()
    x = start * torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(target))
    for _ in range(steps):
        leaf = x.requires_grad_()
        (gradient,) = torch.autograd.grad(model(leaf)[0, target], leaf)
        x = (leaf + step * gradient.sign()).detach()
    return x


# ------------------------------------------------------------------ 06
def slopes_in_python(logits: Tensor, target: int) -> list[float]:
    powers = [math.exp(z) for z in logits.tolist()]
    p = [power / sum(powers) for power in powers]
    return [p[target] * ((i == target) - p[i]) for i in range(len(p))]


def slopes_in_numpy(logits: Tensor, target: int) -> np.ndarray:
    p = np.exp(logits.numpy() - logits.numpy().max())
    p /= p.sum()
    return (np.diag(p) - np.outer(p, p))[target]


def slopes_as_tensors(logits: Tensor, target: int) -> list[Tensor]:
    p = logits.softmax(0)
    return [p[target] * (int(i == target) - p[i]) for i in range(len(p))]


def saliency_by_backward(model: nn.Module, x: Tensor, target: int) -> np.ndarray:
    leaf = x.clone().requires_grad_()
    model(leaf)[0, target].backward()
    return np.abs(leaf.grad[0].numpy()).max(axis=0)


def saliency_by_functorch(model: nn.Module, x: Tensor, target: int) -> Tensor:
    return torch.func.grad(lambda image: model(image)[0, target])(x)[0].abs().amax(0)


def saliency_that_tidies(model: nn.Module, x: Tensor, target: int) -> Tensor:
    model(x.requires_grad_())[0, target].backward()
    gradient, x.grad = x.grad, None
    x.requires_grad_(False)
    return gradient[0].abs().amax(0)


def overwriting_its_input() -> nn.Module:
    layers = nn.Sequential(nn.Hardtanh(inplace=True), nn.Flatten(), nn.Linear(16, 2))
    nn.init.ones_(layers[2].weight)
    return layers


WORKED = {key: exercise.solution for key, exercise in EXERCISES.items()}
RIGHT: dict[str, list[Callable[[], Answers]]] = {
    "04.1": [
        lambda: (15, sees_backwards),
        lambda: (np.int64(15), sees_by_products),
        lambda: (torch.tensor(15.0), lambda layers: torch.tensor(sees_backwards(layers))),
    ],
    "04.2": [
        lambda: (record_and_stop,),
        lambda: (record_on_a_copy,),
        lambda: (record_by_forward,),
        lambda: (record_not_in_place,),
        lambda: (record_by_extractor,),
        lambda: (recording(),),
        lambda: (lambda model, x, name: viz.capture(model, x, name)[name].numpy(),),
    ],
    "04.3": [
        lambda: (Later(torch.Tensor.log_),),  # NaN is a change, too
        lambda: (Later(nn.Threshold(0.1, 9, inplace=True)),),
        lambda: (Later(lambda maps: maps.unsqueeze_(0)[0]),),
        lambda: (Later(torch.sigmoid_).double(),),
        lambda: (nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), act=nn.ELU(inplace=True))),),
    ],
    "05.1": [
        lambda: (np.float64(5), class_map_by_loops),
        lambda: (
            torch.tensor(5),
            lambda *case: (class_map(*case)[0].tolist(), class_map(*case)[1]),
        ),
        lambda: (5, lambda *case: [part * torch.ones(()) for part in class_map(*case)]),
    ],
    "05.2": [
        lambda: (gradcam,),
        lambda: (gradcam_by_backward,),
        lambda: (gradcam_from_a_leaf,),
        lambda: (gradcam_by_extractor,),
    ],
    "05.3": [
        lambda: (noise(0.5, 0.1, 12, 657).numpy(),),
        lambda: (noise(1, 0.3, 5, 281).double(),),
        lambda: (nn.Parameter(noise(3, 0.3, 10, 985)),),
    ],
    "06.1": [
        lambda: (-0.16, slopes_in_python),
        lambda: (np.float32(-0.163), slopes_in_numpy),
        lambda: (torch.tensor(-0.1628), slopes_as_tensors),
    ],
    "06.2": [
        lambda: (saliency,),
        lambda: (saliency_by_backward,),
        lambda: (saliency_by_functorch,),
        lambda: (saliency_that_tidies,),
        lambda: (lambda *case: saliency(*case).double().tolist(),),
    ],
    "06.3": [
        lambda: at_pixel(lambda pixel: (pixel > 1).float()),
        lambda: at_pixel(lambda pixel: torch.sigmoid(20 * pixel - 20)),
        lambda: (overwriting_its_input(), *at_pixel(torch.sign)[1:]),
        lambda: (at_pixel(torch.sign)[0], at_pixel(torch.sign)[1].numpy(), np.array([2, 2])),
        lambda: (
            *at_pixel(nn.Sequential(nn.Hardtanh(), nn.Dropout()))[:2],
            (np.int64(2), torch.tensor(2)),
        ),
    ],
}
STYLES = [
    pytest.param(key, build, id=f"{key} {i}")
    for key, rows in RIGHT.items()
    for i, build in enumerate(rows)
]


@pytest.mark.parametrize(("key", "build"), STYLES)
def test_a_right_answer_of_another_style_holds(key: str, build: Callable[[], Answers]) -> None:
    verdict = viz.check(key, *build())
    assert verdict, verdict


@pytest.mark.parametrize(("key", "function"), [("05.2", gradcam), ("06.2", saliency)])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_notebook_without_gradients_refuses_nothing_right(
    key: str, function: Any, mode: Any
) -> None:
    with mode():
        assert viz.check(key, function)


def test_the_worked_grad_cam_is_right_at_every_layer_that_has_a_map() -> None:
    """Also at ``features.0``, whose output an in-place ReLU overwrites."""
    model = viz.load_model()
    x = viz.prepare(model, "coffee").x[:, :, 56:168, 56:168]
    for layer in ["features.0", "features.3.squeeze", "features.7.expand3x3", "features.12"]:
        ours = WORKED["05.2"](model, x, layer, 967)
        theirs = viz.cam(model, x, layer, target=967).frames[0]
        assert np.allclose(ours, theirs, atol=1e-5 * theirs.max()), layer


def test_the_worked_record_restores_the_mode_of_a_frozen_part() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    model[1].eval()
    WORKED["04.2"](model, torch.ones(1, 3, 5, 5), "1")
    assert [module.training for module in model.modules()] == [True, True, False, True]


def test_a_check_leaves_the_readers_model_in_its_mode() -> None:
    model = Later(torch.sigmoid_)
    assert viz.check("04.3", model)
    assert model.training
