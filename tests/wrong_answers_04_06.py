"""More wrong answers of notebooks 04 to 06, by exercise and by the mistake that should be named."""

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam, Saliency
from torch import Tensor, nn
from torch.autograd import forward_ad

import vizhelpers as viz
from vizhelpers import saliency as under_another_name

Answers = tuple[Any, ...]


# ------------------------------------------------------------------ 04
def sees_without_1x1(layers: list[tuple[int, int]]) -> int:
    size = step = 1
    for kernel, stride in layers:
        if kernel == 1:
            continue
        size += (kernel - 1) * step
        step *= stride
    return size


def sees_by_previous_stride(layers: list[tuple[int, int]]) -> int:
    size = before = 1
    for kernel, stride in layers:
        size += (kernel - 1) * before
        before = stride
    return size


def recording(
    before: Callable[..., Any] = lambda model, layer, x: None,
    after: Callable[..., Any] = lambda model, layer, x: None,
    cleans_after: type[BaseException] | tuple[type[BaseException], ...] = BaseException,
    run: Callable[..., Any] = lambda model, x: model(x),
) -> Callable[..., Tensor]:
    """Return a right ``record`` with something more before, in or after its forward pass."""

    def record(model: nn.Module, x: Tensor, name: str) -> Tensor:
        layer, modes = model.get_submodule(name), {m: m.training for m in model.modules()}
        kept: list[Tensor] = []
        before(model, layer, x)
        handle = layer.register_forward_hook(lambda m, i, output: kept.append(output.clone()))

        def clean() -> None:
            handle.remove()
            for module, mode in modes.items():
                module.training = mode
            after(model, layer, x)

        try:
            run(model.eval(), x)
        except cleans_after:
            clean()
            raise
        clean()
        return kept[0]

    return record


def all_hooks_gone(model: nn.Module, layer: nn.Module, x: Tensor) -> None:
    layer._forward_hooks.clear()


def pre_hooks_gone(model: nn.Module, layer: nn.Module, x: Tensor) -> None:
    for module in model.modules():
        module._forward_pre_hooks.clear()


def not_in_place(model: nn.Module, layer: nn.Module, x: Tensor) -> None:
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False


def another_forward(model: nn.Module, layer: Any, x: Tensor) -> None:
    original = layer.forward
    layer.forward = lambda *args: original(*args)


def hook_for_all_modules(model: nn.Module, layer: nn.Module, x: Tensor) -> None:
    nn.modules.module.register_module_forward_hook(lambda module, args, output: None)


def in_place_after_success_only(model: nn.Module, x: Tensor, name: str) -> Tensor:
    changed = [m for m in model.modules() if isinstance(m, nn.ReLU) and m.inplace]
    for module in changed:
        module.inplace = False
    maps = recording()(model, x, name)
    for module in changed:
        module.inplace = True
    return maps


def swallow_value_errors(model: nn.Module, x: Tensor, name: str) -> Tensor:
    try:
        return recording()(model, x, name)
    except ValueError:
        return torch.zeros(1)


def swallow_behind_the_layer(model: nn.Module, x: Tensor, name: str) -> Tensor:
    kept, modes = [], {m: m.training for m in model.modules()}
    layer = model.get_submodule(name)
    handle = layer.register_forward_hook(lambda m, i, output: kept.append(output.clone()))
    try:
        model.eval()(x)
    except BaseException:
        if not kept:
            raise
    finally:
        handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return kept[0]


class Later(nn.Module):
    def __init__(self, later: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.later = nn.Conv2d(3, 4, 3), later

    def forward(self, x: Tensor) -> Tensor:
        return self.later(self.conv(x))


# ------------------------------------------------------------------ 05
def class_map(maps: Tensor, weight: Tensor, bias: float) -> tuple[Tensor, float]:
    heat = torch.tensordot(weight, maps, dims=1)
    return heat, float(heat.mean()) + bias


def gradcam(
    model: nn.Module,
    x: Tensor,
    layer: str,
    target: int,
    end: Callable[[Tensor], Tensor] = torch.relu,
    score: Callable[[Tensor, int], Tensor] = lambda logits, target: logits[0, target],
) -> Tensor:
    """Return a right Grad-CAM, or one with another last step or another score."""
    kept: list[Tensor] = []

    def keep(module: Any, args: Any, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()

    with model.get_submodule(layer).register_forward_hook(keep):
        gradient = torch.autograd.grad(score(model(x), target), kept)[0]
    return end((gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1)[0])


def gradcam_overwritten(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    """Compute what the exercise's first worked answer computed."""
    kept: list[Tensor] = []
    module = model.get_submodule(layer)
    with module.register_forward_hook(lambda m, i, output: kept.append(output)):
        logit = model(x)[0, target]
    gradient = torch.autograd.grad(logit, kept[0])[0]
    return (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1).relu()[0]


def gradcam_half_overwritten(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    kept: list[Tensor] = []
    module = model.get_submodule(layer)
    with module.register_forward_hook(lambda m, i, o: kept.extend([o, o.detach().clone()])):
        logit = model(x)[0, target]
    gradient = torch.autograd.grad(logit, kept[0])[0]
    return (gradient.mean((2, 3), keepdim=True) * kept[1]).sum(1).relu()[0]


def gradcam_ending(end: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda *case: gradcam(*case, end=end)


def gradcam_of(score: Callable[[Tensor, int], Tensor]) -> Callable[..., Tensor]:
    return lambda *case: gradcam(*case, score=score)


def gradcam_by_captum(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    own = copy.deepcopy(model)
    method = LayerGradCam(own, own.get_submodule(layer))
    return method.attribute(x, target, relu_attributions=True)[0, 0]


def gradcam_needing_x(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    return gradcam(model, x.requires_grad_(), layer, target)


def gradcam_beside(damage: Callable[[nn.Module, nn.Module, Tensor], Any]) -> Callable[..., Tensor]:
    """Return a right Grad-CAM that damages something after its pass."""

    def damaging(model: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
        heat = gradcam(model, x, layer, target)
        damage(model, model.get_submodule(layer), x)
        return heat

    return damaging


def cat_under_noise(how: str) -> Tensor:
    """Return a cat that a person sees, though neighbouring pixels are hardly correlated."""
    cat = viz.prepare(viz.load_model(), "cat").x
    noise = torch.randn(cat.shape, generator=torch.Generator().manual_seed(0))
    if how == "faint":
        return noise + 0.25 * cat
    if how == "edges":
        return noise + cat - F.avg_pool2d(cat, 9, 1, 4)
    if how == "contrast":
        return noise * (cat.mean(dim=1, keepdim=True) + 2.2) / 1.5
    noise[..., :56, :56] += F.avg_pool2d(cat, 4)
    return noise


# ------------------------------------------------------------------ 06
def slopes_by_backward(logits: Tensor, target: int) -> Tensor:
    leaf = logits.clone().requires_grad_()
    leaf.softmax(0)[target].backward()
    return leaf.grad


def slopes_by_functorch(logits: Tensor, target: int) -> Tensor:
    return torch.func.jacrev(lambda z: z.softmax(0))(logits)[target]


def slopes_forwards(logits: Tensor, target: int) -> Tensor:
    slopes = []
    with forward_ad.dual_level():
        for unit in torch.eye(len(logits)):
            dual = forward_ad.make_dual(logits, unit)
            slopes.append(forward_ad.unpack_dual(dual.softmax(0)[target]).tangent)
    return torch.stack(slopes)


def saliency(
    model: nn.Module,
    x: Tensor,
    target: int,
    end: Callable[[Tensor], Tensor] = lambda gradient: gradient.abs().amax(0),
    score: Callable[[Tensor, int], Tensor] = lambda logits, target: logits[0, target],
) -> Tensor:
    """Return a right saliency map, or one with another last step or another score."""
    leaf = x.detach().clone().requires_grad_()
    return end(torch.autograd.grad(score(model(leaf), target), leaf)[0][0])


def saliency_ending(end: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda *case: saliency(*case, end=end)


def saliency_of(score: Callable[[Tensor, int], Tensor]) -> Callable[..., Tensor]:
    return lambda *case: saliency(*case, score=score)


def saliency_needing_x(model: nn.Module, x: Tensor, target: int) -> Tensor:
    return torch.autograd.grad(model(x.requires_grad_())[0, target], x)[0][0].abs().amax(0)


def saliency_leaving_grad(model: nn.Module, x: Tensor, target: int) -> Tensor:
    model(x.requires_grad_())[0, target].backward()
    x.requires_grad_(False)
    return x.grad[0].abs().amax(0)


def saliency_scaling_x(model: nn.Module, x: Tensor, target: int) -> Tensor:
    x *= 1  # the same values
    result = saliency(model, x, target)
    x *= 2
    return result


def saliency_not_in_place(model: nn.Module, x: Tensor, target: int) -> Tensor:
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return saliency(model, x, target)


def saliency_without_grad(model: nn.Module, x: Tensor, target: int) -> Tensor:
    result = saliency(model, x, target)
    torch.set_grad_enabled(False)
    return result


class FirstLogit(nn.Module):
    def __init__(self, of: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.of = of

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.of(x[:, 0, 2, 2]), x.mean((1, 2, 3))], 1)


def at_pixel(of: Callable[[Tensor], Tensor], value: float = 3.0) -> Answers:
    """Return a model whose first logit is a function of one pixel, a picture and the place."""
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 2, 2] = value
    return FirstLogit(of), x, (2, 2)


def without_graph(pixel: Tensor) -> Tensor:
    with torch.no_grad():
        return pixel * 1


WRONG: dict[str, list[tuple[str, Callable[[], Answers]]]] = {
    "04.1": [
        ("1x1 layers skipped", lambda: (15, sees_without_1x1)),
        ("strides not multiplied", lambda: (15, sees_by_previous_stride)),
        ("area", lambda: (225, sees_without_1x1)),
    ],
    "04.2": [
        ("others' hooks removed", lambda: (recording(after=all_hooks_gone),)),
        ("others' hooks removed", lambda: (recording(before=pre_hooks_gone),)),
        ("left attribute", lambda: (recording(before=not_in_place),)),
        ("left attribute", lambda: (recording(before=another_forward),)),
        (
            "left attribute",
            lambda: (recording(after=lambda m, layer, x: setattr(layer, "kept", x)),),
        ),
        ("left global hook", lambda: (recording(before=hook_for_all_modules),)),
        ("left grad", lambda: (recording(run=lambda model, x: model(x).sum().backward()),)),
        ("left grad", lambda: (recording(after=lambda model, layer, x: model.zero_grad()),)),
        ("grad mode changed", lambda: (recording(after=lambda *_: torch.set_grad_enabled(False)),)),
        ("x changed", lambda: (recording(after=lambda model, layer, x: x.zero_()),)),
        ("x changed", lambda: (recording(before=lambda model, layer, x: x.requires_grad_()),)),
        ("hook stays after an error", lambda: (recording(cleans_after=RuntimeError),)),
        (
            "hook stays after an error",
            lambda: (recording(cleans_after=(RuntimeError, ValueError)),),
        ),
        ("hook stays after an error", lambda: (recording(cleans_after=Exception),)),
        ("attribute stays after an error", lambda: (in_place_after_success_only,)),
        ("error swallowed", lambda: (swallow_value_errors,)),
        ("error swallowed", lambda: (swallow_behind_the_layer,)),
    ],
    "04.3": [
        ("a ReLU", lambda: (Later(torch.relu_),)),
        ("a ReLU", lambda: (Later(lambda maps: F.leaky_relu(maps, inplace=True)),)),
        ("a ReLU", lambda: (Later(nn.RReLU(inplace=True)),)),
        ("a ReLU", lambda: (Later(lambda maps: F.relu6(maps, inplace=True)),)),
        ("no module", lambda: (Later,)),
        ("no values", lambda: (Later(torch.sigmoid_).to("meta"),)),
        ("not rewritten", lambda: (Later(lambda maps: maps.clone().add_(1)),)),
    ],
    "05.1": [
        ("maximum instead of mean", lambda: (8.5, class_map)),
        ("logit first", lambda: (5, lambda *case: class_map(*case)[::-1])),
        (
            "bias twice",
            lambda: (5, lambda m, w, b: (class_map(m, w, b)[0] + b, class_map(m, w, b)[1] + b)),
        ),
    ],
    "05.2": [
        ("rewritten in place", lambda: (gradcam_overwritten,)),
        ("gradient behind the in-place ReLU", lambda: (gradcam_half_overwritten,)),
        ("leaky ReLU", lambda: (gradcam_ending(F.leaky_relu),)),
        ("another input", lambda: (gradcam_ending(lambda heat: F.leaky_relu(heat, 1e-3)),)),
        ("another input", lambda: (gradcam_ending(F.elu),)),
        ("value", lambda: (gradcam_ending(lambda heat: heat.clamp(0, 1)),)),
        ("absolute value", lambda: (gradcam_ending(torch.abs),)),
        ("another class", lambda: (gradcam_of(lambda logits, target: logits.max()),)),
        (
            "gradient of the loss",
            lambda: (gradcam_of(lambda y, target: F.cross_entropy(y, torch.tensor([target]))),),
        ),
        ("a library's map", lambda: (gradcam_by_captum,)),
        ("a library's map", lambda: (lambda m, x, n, t: viz.cam(m, x, n, target=t).frames[0],)),
        ("x changed", lambda: (gradcam_needing_x,)),
        ("left attribute", lambda: (gradcam_beside(not_in_place),)),
        ("left global hook", lambda: (gradcam_beside(hook_for_all_modules),)),
        ("others' hooks removed", lambda: (gradcam_beside(all_hooks_gone),)),
        ("grad mode changed", lambda: (gradcam_beside(lambda *_: torch.set_grad_enabled(False)),)),
    ],
    "05.3": [
        ("something under the noise", lambda: (cat_under_noise("faint"),)),
        ("something under the noise", lambda: (cat_under_noise("edges"),)),
        ("something under the noise", lambda: (cat_under_noise("contrast"),)),
        ("something under the noise", lambda: (cat_under_noise("corner"),)),
    ],
    "06.1": [
        ("autograd", lambda: (-0.163, slopes_by_backward)),
        ("autograd", lambda: (-0.163, slopes_by_functorch)),
        ("autograd", lambda: (-0.163, slopes_forwards)),
        ("own class's slope for all", lambda: (0.22, slopes_by_backward)),
        ("sign", lambda: (0.16, slopes_by_backward)),
        ("paper", lambda: (-0.17, slopes_by_backward)),
    ],
    "06.2": [
        ("a library's map", lambda: (lambda m, x, t: viz.saliency(m, x, target=t).frames[0],)),
        (
            "a library's map",
            lambda: (lambda m, x, t: under_another_name(m, x, target=t).frames[0],),
        ),
        ("a library's map", lambda: (lambda m, x, t: Saliency(m).attribute(x, t)[0].amax(0),)),
        ("x changed", lambda: (saliency_needing_x,)),
        ("x changed", lambda: (saliency_leaving_grad,)),
        ("x changed", lambda: (saliency_scaling_x,)),
        ("left attribute", lambda: (saliency_not_in_place,)),
        ("grad mode changed", lambda: (saliency_without_grad,)),
        ("length instead of maximum", lambda: (saliency_ending(lambda g: (g**2).sum(0).sqrt()),)),
        ("positive values only", lambda: (saliency_ending(lambda g: g.clamp(min=0).amax(0)),)),
        ("all logits", lambda: (saliency_of(lambda logits, target: logits.sum()),)),
        (
            "gradient of the log",
            lambda: (saliency_of(lambda y, target: F.cross_entropy(y, torch.tensor([target]))),),
        ),
    ],
    "06.3": [
        ("gradient hidden", lambda: at_pixel(lambda pixel: pixel.detach())),
        ("gradient hidden", lambda: at_pixel(without_graph)),
        (
            "gradient hidden",
            lambda: at_pixel(lambda p: p * 0 if torch.is_grad_enabled() else p),
        ),
        ("has a gradient", lambda: at_pixel(lambda pixel: pixel * 6e-4, 1000.0)),
        ("no logits", lambda: (nn.Flatten(0, 2), *at_pixel(torch.sign)[1:])),
        ("parts", lambda: at_pixel(torch.sign, torch.inf)),
        ("parts", lambda: (*at_pixel(torch.sign)[:2], (2.0, 2.0))),
    ],
}
