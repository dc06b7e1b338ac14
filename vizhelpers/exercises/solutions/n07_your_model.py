"""Worked answers of notebook 07, as a reader would type them there."""

import torch

import vizhelpers as viz


def normalise(pixels, mean, std):
    """Pixels (H, W, 3) of 0 to 255 -> the input (1, 3, H, W) that the network was trained on."""
    scaled = pixels / 255
    normal = (scaled - mean) / std
    return torch.from_numpy(normal.transpose(2, 0, 1)).float()[None]


def climb(model, x, layer, channel, rate):
    """Move x by `rate` in the direction in which a channel's mean grows fastest."""
    kept = []
    module = model.get_submodule(layer)
    handle = module.register_forward_hook(lambda module, args, output: kept.append(output.clone()))
    x = x.clone().requires_grad_()
    try:
        model(x)
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(kept[0][0, channel].mean(), x)
    return (x + rate * gradient / gradient.norm()).detach()


def renamed_checkpoint():
    """SqueezeNet's trained weights under names that no layer has."""
    return {f"module.{name}": value for name, value in viz.load_model().state_dict().items()}
