"""Worked answers of notebook 06, as a reader would type them there."""

import torch
from torch import nn


def probability_gradient(logits, target):
    """Gradient of the probability of `target` with respect to the logits, (classes,)."""
    p = logits.softmax(dim=0)
    gradient = -p[target] * p
    gradient[target] += p[target]
    return gradient


def saliency_map(model, x, target):
    """Largest absolute gradient of the target's logit over the colours, for each pixel, (H, W)."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[0, target], x)
    return gradient[0].abs().amax(dim=0)


def saturated():
    """A network, a picture and a pixel that the logit depends on, though its gradient is zero."""

    class Saturated(nn.Module):
        def forward(self, x):
            brightness = x[:, 0, 4, 4]
            score = brightness.clamp(max=1)  # above 1 a higher value changes nothing
            return torch.stack([score, x.mean(dim=(1, 2, 3))], dim=1)

    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 4, 4] = 3.0
    return Saturated(), x, (4, 4)
