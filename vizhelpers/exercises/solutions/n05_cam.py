"""Worked answers of notebook 05, as a reader would type them there."""

import torch

import vizhelpers as viz


def class_map_and_logit(maps, weight, bias):
    """Maps (C, h, w) and a class's weights (C,) -> its CAM (h, w), and its logit.

    The network averages each map over all positions; a linear layer follows.
    """
    class_map = (weight[:, None, None] * maps).sum(dim=0)
    return class_map, class_map.mean().item() + bias


def grad_cam(model, x, layer, target):
    """Grad-CAM (h, w) of one picture, at the size of the layer's maps."""
    kept, module = [], model.get_submodule(layer)
    # append returns None, so the hook returns a copy: an in-place ReLU overwrites only the copy.
    handle = module.register_forward_hook(lambda m, args, out: kept.append(out) or out.clone())
    try:
        logit = model(x)[0, target]
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(logit, kept[0])
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return (weights * kept[0]).sum(dim=1).relu()[0].detach()


def confident_noise():
    """Noise that the network assigns to one class with high probability."""
    model, rocket = viz.load_model(), 657
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    for _ in range(8):
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(model(x)[0, rocket], x)
        x = (x + 0.1 * gradient.sign()).detach()
    return x
