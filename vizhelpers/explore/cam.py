"""The panel of class activation maps."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from vizhelpers.explore.classes import Classes, prediction_bars
from vizhelpers.explore.identity import replaces_earlier_panel
from vizhelpers.explore.layers import layer_in
from vizhelpers.explore.networks import Networks
from vizhelpers.explore.photographs import Photographs
from vizhelpers.inputs.arguments import one_of
from vizhelpers.inputs.layers import Layer
from vizhelpers.methods.cam import cams_by_layer, original_cam
from vizhelpers.methods.cam_methods import CAM_METHODS
from vizhelpers.view.live.declaration import Choice, Declaration
from vizhelpers.view.live.panel import Panel
from vizhelpers.view.live.scene import Scene

_OFFERED = 8  # layers
_TRIED = 4  # layers, for the original CAM


@replaces_earlier_panel
def explore_cam(
    model: nn.Module,
    image: Any = "cat",
    *,
    layer: Layer | None = None,
    target: int | str | None = None,
    method: str = "gradcam",
    transform: Any = None,
    labels: Sequence[str] | None = None,
    keep: bool = False,
) -> Panel:
    """Show class activation maps with the prediction; choose photograph, method, layer, class.

    All pairs of a layer and a class are computed at once, so that these two controls also work
    without a kernel. Each layer has one colour scale for all classes, and maps of its own size.

    Args:
        model: from ``load_model``, or any classifier.
        image: a bundled name, or any argument of ``load_image``.
        layer: first value of the layer menu; None is the last of ``cam_layers``.
        target: a class to offer besides the most probable ones, and the first to be shown.
        method: first value of the method menu.
        transform: PIL image -> tensor, for a module of the user's own, as in ``prepare``.
        labels: class names, for a module of the user's own.
        keep: leave the panel of an earlier call with the same arguments open.

    Raises:
        ValueError: no layer of the model has maps; no such layer, class or method.
    """
    networks = Networks(model, transform=transform, labels=labels)
    photographs = Photographs(networks, image)
    one_of("CAM method", method, CAM_METHODS)
    classes = Classes(photographs, target)
    first = networks.own_names[0]
    every = photographs.layers_for_cam(first, photographs.start).every
    own_layer = layer_in(every, model, layer) if layer else None

    def layers(network: str, photograph: str, method: str) -> list[str]:
        every, blocks = photographs.layers_for_cam(network, photograph)
        if method == "cam":  # the first that allows it
            return list(dict.fromkeys([blocks[-1], *reversed(every)]))[:_TRIED]
        extra = own_layer if network == first else None
        if CAM_METHODS[method] == "perturbation":  # takes seconds for each map
            return [extra or blocks[-1]]
        return [name for name in every if name in blocks[-_OFFERED:] or name == extra]

    def compute(network: str, photograph: str, method: str, other: str) -> Scene:
        own, sample = networks[network], photographs.sample(network, photograph)
        indices = classes.indices(network, photograph, other)
        if CAM_METHODS[method] == "perturbation":
            indices = indices[:1]
        arguments: dict[str, Any] = {
            "layers": layers(network, photograph, method),
            "targets": indices,
            "labels": networks.labels(network),
        }
        if method == "cam":
            stacks = [original_cam(own, sample, **arguments)]
        else:
            stacks = cams_by_layer(own, sample, method=method, **arguments)
        predictions = classes.predictions(network, photograph)
        where = [stack.axes["layer"][0] for stack in stacks]
        return Scene(
            stacks,
            axes={"layer": where, "class": classes.names(network, photograph, indices)},
            charts=[[prediction_bars(predictions, index)] for index in indices] * len(where),
            name=stacks[0].name.partition(" at ")[0],
        )

    begin = layers(first, photographs.start, "gradcam").index(own_layer) if own_layer else -1
    fast = [name for name, cost in CAM_METHODS.items() if cost != "perturbation"]
    controls = [
        networks.choice(jump={"layer": -1}),
        photographs.choice(),
        Choice("method", list(CAM_METHODS), method, offline=fast),
        classes.search(),
    ]
    start = {"layer": begin, "blend": 50}
    return Panel(Declaration("Class activation maps", compute, controls, start, networks.changes))
