"""The panel of feature maps."""

from typing import Any

from torch import nn

from vizhelpers.explore.identity import replaces_earlier_panel
from vizhelpers.explore.layers import check_channel, layer_in, with_maps
from vizhelpers.explore.networks import Networks
from vizhelpers.explore.photographs import Photographs
from vizhelpers.inputs.layers import Layer
from vizhelpers.methods.features import feature_maps
from vizhelpers.view.live.declaration import Choice, Declaration
from vizhelpers.view.live.panel import Panel
from vizhelpers.view.live.scene import Scene

_ON_A_PAGE = 8  # layers


@replaces_earlier_panel
def explore_feature_maps(
    model: nn.Module,
    image: Any = "cat",
    *,
    layer: Layer | None = None,
    channel: int = 0,
    transform: Any = None,
    keep: bool = False,
) -> Panel:
    """Show one feature map beside the photograph; choose photograph, layer, channel, overlay.

    Args:
        model: from ``load_model``, or any module.
        image: a bundled name, or any argument of ``load_image``.
        layer: first value of the layer menu; None is the first layer with maps.
        channel: first value of the channel slider.
        transform: PIL image -> tensor, for a module of the user's own, as in ``prepare``.
        keep: leave the panel of an earlier call with the same arguments open.

    Raises:
        ValueError: no layer of the model has maps, or ``layer`` has none, or not this channel.
    """
    networks = Networks(model, transform=transform)
    photographs = Photographs(networks, image)

    def layers(network: str, photograph: str) -> list[str]:
        shapes = photographs.map_shapes(network, photograph)
        several_cells = [name for name, (*_, h, w) in shapes.items() if h * w > 1]
        return with_maps(several_cells, networks[network])

    def blocks(network: str, photograph: str) -> list[str]:
        return photographs.layers_for_cam(network, photograph).blocks[-_ON_A_PAGE:]

    def compute(network: str, photograph: str, layer: str) -> Scene:
        sample = photographs.sample(network, photograph)
        return Scene([feature_maps(networks[network], sample, layer)], photograph=True)

    first = networks.own_names[0], photographs.start
    offered = layers(*first)
    start = layer_in(offered, model, layer) if layer else offered[0]
    check_channel("channel", channel, photographs.map_shapes(*first)[start][1])
    controls = [
        networks.choice(),
        photographs.choice(offline=["cat", "coffee", "astronaut"]),
        Choice("layer", layers, start, offline=blocks),
    ]
    title, begin = "Feature maps of a photograph", {"channel": channel}
    return Panel(Declaration(title, compute, controls, begin, networks.changes))
