"""The panel of activation maximisation."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from vizhelpers.explore.identity import replaces_earlier_panel
from vizhelpers.explore.layers import check_channel, layer_in, with_maps
from vizhelpers.explore.networks import Networks
from vizhelpers.inputs.layers import Layer, layer_names
from vizhelpers.methods.activmax import activation_maximization
from vizhelpers.view.charts import Curve
from vizhelpers.view.live.declaration import Choice, Declaration, Range
from vizhelpers.view.live.panel import Panel
from vizhelpers.view.live.scene import Scene

_SIDE = 96  # pixels
_ON_A_PAGE = 4  # filters


@replaces_earlier_panel
def explore_activation_maximization(
    model: nn.Module,
    *,
    layer: Layer | None = None,
    channel: int = 0,
    steps: int = 30,
    size: int | None = None,
    input_size: Sequence[int] | None = None,
    keep: bool = False,
) -> Panel:
    """Show activation maximisation step by step; choose layer, filter and iteration.

    Args:
        model: from ``load_model``, or any module that takes images of one or three channels.
        layer: first value of the layer menu; None is the first convolution.
        channel: first value of the filter slider.
        steps: number of optimisation steps.
        size: height and width of the pictures, in pixels; None is 96 if the model takes that, else
            the side of its input.
        input_size: (N, C, H, W) of the model's input; None finds a size, as ``module_tree``.
        keep: leave the panel of an earlier call with the same arguments open.

    Raises:
        ValueError: no layer of the model has maps, or ``layer`` has none, or not this channel.
    """
    networks = Networks(model, size=input_size)

    @networks.cached
    def channels(network: str) -> dict[str, int]:
        """Return ``{layer: number of channels}`` of the layers with maps."""
        shapes = networks.map_shapes(network, networks.size(network))
        return {name: shapes[name][1] for name in with_maps(list(shapes), networks[network])}

    @networks.cached
    def side(network: str) -> int:
        own = networks.size(network)
        try:
            networks.map_shapes(network, (*own[:2], *[size or _SIDE] * (len(own) - 2)))
        except Exception:  # each model checks its input size in its own way
            return size or own[-1]
        return size or _SIDE

    first = networks.own_names[0]
    own_layer = layer_in(list(channels(first)), model, layer) if layer else None

    def layers(network: str) -> list[str]:
        return list(channels(network))

    def start(network: str) -> str:
        offered, convolutions = layers(network), layer_names(networks[network], nn.Conv2d)
        preferred = [own_layer] if own_layer and network == first else convolutions
        return next((name for name in preferred if name in offered), offered[0])

    def filters(network: str, layer: str) -> tuple[int, int]:
        return 0, channels(network)[layer] - 1

    def few(network: str, layer: str) -> range:
        return range(min(_ON_A_PAGE, channels(network)[layer]))

    def compute(network: str, layer: str, channel: int) -> Scene:
        pictures = activation_maximization(
            networks[network],
            layer,
            channels=[channel],
            steps=steps,
            keep=range(steps + 1),
            size=side(network),
        )
        assert pictures.values is not None
        curves = [
            [Curve("mean activation", pictures.values, step, "step", "activation")]
            for step in range(steps + 1)
        ]
        return Scene([replace(pictures, axes={"iteration": range(steps + 1)})], charts=curves)

    check_channel("channel", channel, channels(first)[start(first)])
    controls = [
        networks.choice(),
        Choice("layer", layers, start),
        Range("channel", filters, channel, label="filter", offline=few),
    ]
    title, begin = "Activation maximisation, step by step", {"iteration": -1}
    return Panel(Declaration(title, compute, controls, begin, networks.changes))
