"""The panel of saliency maps."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from vizhelpers.explore.classes import Classes
from vizhelpers.explore.identity import replaces_earlier_panel
from vizhelpers.explore.networks import Networks
from vizhelpers.explore.photographs import Photographs
from vizhelpers.inputs.errors import unknown
from vizhelpers.methods.saliency import ONE_PASS, saliencies
from vizhelpers.passes.dry import dry_run
from vizhelpers.passes.gradients import uses_relu
from vizhelpers.view.live.declaration import Declaration
from vizhelpers.view.live.panel import Panel
from vizhelpers.view.live.scene import Scene


@replaces_earlier_panel
def explore_saliency(
    model: nn.Module,
    image: Any = "cat",
    *,
    target: int | str | None = None,
    method: str = "vanilla",
    transform: Any = None,
    labels: Sequence[str] | None = None,
    keep: bool = False,
) -> Panel:
    """Show a saliency map beside the photograph; choose photograph, class and method.

    Args:
        model: from ``load_model``, or any classifier.
        image: a bundled name, or any argument of ``load_image``.
        target: a class to offer besides the most probable ones, and the first to be shown.
        method: first value of the method control.
        transform: PIL image -> tensor, for a module of the user's own, as in ``prepare``.
        labels: class names, for a module of the user's own.
        keep: leave the panel of an earlier call with the same arguments open.

    Raises:
        ValueError: no such class, or no such method in this panel or for this model.
    """
    networks = Networks(model, transform=transform, labels=labels)
    photographs = Photographs(networks, image)
    if method not in ONE_PASS:
        remedy = "viz.saliency(model, sample, method=...) computes the other methods."
        raise unknown("saliency method in this panel:", method, ONE_PASS, remedy)
    classes = Classes(photographs, target)

    @networks.cached
    def relus(network: str, size: tuple[int, ...]) -> bool:
        return dry_run(networks[network], [size], uses_relu)

    def methods(network: str, photograph: str) -> list[str]:
        guided = relus(network, photographs.size(network, photograph))
        return [name for name in ONE_PASS if name != "guided" or guided]

    def compute(network: str, photograph: str, other: str) -> Scene:
        possible = methods(network, photograph)
        indices = classes.indices(network, photograph, other, count=3)
        stacks = saliencies(
            networks[network],
            photographs.sample(network, photograph),
            targets=indices,
            methods=possible,
            labels=networks.labels(network),
        )
        return Scene(
            stacks,
            axes={"method": possible, "class": classes.names(network, photograph, indices)},
            photograph=True,
            name=f"Saliency{stacks[0].name.partition('Saliency')[2]}",
        )

    first = networks.own_names[0], photographs.start
    classes.predictions(*first)  # raises if the output has no classes
    possible = methods(*first)
    if method not in possible:
        raise ValueError(
            f"method={method!r}: {type(networks.first).__name__} uses no ReLU between the pixels "
            "and the score, and guided backpropagation changes the gradient at ReLUs. Possible: "
            f"{', '.join(possible)}."
        )
    controls = [networks.choice(), photographs.choice(), classes.search()]
    start = {"method": possible.index(method)}
    return Panel(Declaration("Saliency maps", compute, controls, start, networks.changes))
