"""Worked answers of notebook 01, as a reader would type them there."""

from torch import nn


def conv_shape(shape, layer):
    """Input shape (C, H, W) -> output shape (C, H, W), from the settings alone."""
    positions = []
    for side in (0, 1):  # rows, columns
        span = layer.dilation[side] * (layer.kernel_size[side] - 1) + 1
        space = shape[side + 1] + 2 * layer.padding[side] - span
        positions.append(space // layer.stride[side] + 1)
    return (layer.out_channels, *positions)


def count_parameters(layer):
    """Parameters of a Conv2d or Linear, from its settings alone."""
    if isinstance(layer, nn.Linear):
        weights, outputs = layer.in_features * layer.out_features, layer.out_features
    else:
        height, width = layer.kernel_size
        inputs = layer.in_channels // layer.groups
        weights, outputs = layer.out_channels * inputs * height * width, layer.out_channels
    return weights + (outputs if layer.bias is not None else 0)


def twins():
    """Two networks with the same printout and weights that compute different functions."""

    class Net(nn.Module):
        def __init__(self, swapped):
            super().__init__()
            self.first = nn.Conv2d(3, 3, 3, padding=1)
            self.second = nn.Conv2d(3, 3, 3, padding=1)
            self.swapped = swapped

        def forward(self, x):
            if self.swapped:
                return self.first(self.second(x))
            return self.second(self.first(x))

    one, other = Net(swapped=False), Net(swapped=True)
    other.load_state_dict(one.state_dict())
    return one, other
