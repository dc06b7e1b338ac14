"""The panel of kernels."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import nn

from vizhelpers.explore.identity import replaces_earlier_panel
from vizhelpers.explore.layers import check_channel
from vizhelpers.explore.networks import Networks
from vizhelpers.inputs.layers import Layer, layer_names, path_of
from vizhelpers.inputs.modules import unwrapped
from vizhelpers.methods.kernels import convolution, kernels
from vizhelpers.stack import ImageStack
from vizhelpers.view.live.declaration import Choice, Declaration
from vizhelpers.view.live.panel import Panel
from vizhelpers.view.live.scene import Scene
from vizhelpers.view.static import side_by_side


@replaces_earlier_panel
def explore_kernels(
    model: nn.Module, *, layer: Layer | None = None, out: int = 0, keep: bool = False
) -> Panel:
    """Show a convolution's slices; choose layer, channels, and trained or random weights.

    Args:
        model: any module with convolutions.
        layer: first value of the layer menu; None is the first convolution.
        out: first value of the slider of output channels.
        keep: leave the panel of an earlier call with the same arguments open.

    Raises:
        ValueError: the model has no ``nn.Conv2d``, or not this layer or channel.
    """
    networks = Networks(model)

    def layers(network: str) -> list[str]:
        return layer_names(networks[network], nn.Conv2d)

    def compute(network: str, layer: str, weights: int) -> Scene:
        seed = None if weights < 0 else weights
        return _Kernels([kernels(networks[network], layer, random_seed=seed)])

    offered = layers(networks.own_names[0])
    if not offered:
        raise ValueError(
            f"{type(model).__name__} has no nn.Conv2d, so there are no kernels to show. "
            "viz.explore_module_tree(model) shows which layers it has."
        )
    start = path_of(unwrapped(model), layer) if layer else offered[0]
    check_channel("output channel", out, convolution(unwrapped(model), start).out_channels)
    controls = [
        networks.choice(),
        Choice("layer", layers, start, offline=offered[:6]),
        # -1 instead of None, which ipywidgets takes for "nothing selected".
        Choice("weights", [("as loaded", -1), ("random, seed 0", 0)], offline=[-1, 0]),
    ]
    title, begin = "The kernels of a convolution", {"out": out}
    return Panel(Declaration(title, compute, controls, begin, networks.changes))


class _Kernels(Scene):
    """Kernels whose figure shows a slice beside all slices of its filter."""

    def figure(self, chosen: Sequence[int] = (), *, blend: int = 100, own: bool = False) -> Figure:
        """Draw the slice of two channels, or the matrix of a 1x1 convolution."""
        (stack,) = self.stacks
        assert isinstance(stack, ImageStack)
        if "in" not in stack.axes:
            return super().figure(chosen, blend=blend, own=own)
        out, into = chosen
        single = stack.select(**{"out": out, "in": into}).plot(width=4)
        return side_by_side(single, stack.select(out=out).plot(limit=64, columns=8, width=6))
