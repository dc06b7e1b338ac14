"""The panel of module trees."""

from collections.abc import Sequence

from vizhelpers.explore.identity import replaces_earlier_panel
from vizhelpers.explore.networks import Models, Networks
from vizhelpers.inputs.arguments import integer
from vizhelpers.inputs.layers import layer_names
from vizhelpers.methods.structure import module_tree
from vizhelpers.view.live.declaration import Declaration, Range
from vizhelpers.view.live.panel import Panel
from vizhelpers.view.live.scene import Scene


@replaces_earlier_panel
def explore_module_tree(
    models: Models,
    *,
    depth: int = 2,
    input_size: Sequence[int] | None = None,
    keep: bool = False,
) -> Panel:
    """Show a model's module tree with shapes and parameter shares; choose model and depth.

    Args:
        models: one model, or ``{name: model}``; models on the meta device are possible.
        depth: first value of the depth slider.
        input_size: (N, C, H, W) of the input; None finds a size for each model, as ``module_tree``.
        keep: leave the panel of an earlier call with the same arguments open.
    """
    depth = integer("depth", depth, 1)
    networks = Networks(models, size=input_size)

    def depths(model: str) -> tuple[int, int]:
        return 1, 1 + max((name.count(".") for name in layer_names(networks[model])), default=0)

    def compute(model: str, depth: int) -> Scene:
        tree = module_tree(networks[model], depth, input_size=networks.size(model))
        return Scene(charts=[[tree.bars()]])

    controls = [
        networks.choice("model", offline=networks.own_names),
        Range("depth", depths, depth, offline=[1, 2]),
    ]
    title = "A model's module tree"
    return Panel(Declaration(title, compute, controls, version=networks.changes))
