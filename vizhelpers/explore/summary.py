"""The panel of summaries."""

from collections.abc import Sequence

from vizhelpers.explore.identity import replaces_earlier_panel
from vizhelpers.explore.networks import Models, Networks
from vizhelpers.inputs.arguments import integer, optional
from vizhelpers.methods.structure import ModelSummary, summary
from vizhelpers.methods.work import in_units
from vizhelpers.passes.dry import dry_run
from vizhelpers.passes.sizes import runs
from vizhelpers.view.charts import Bars
from vizhelpers.view.live.declaration import Declaration, Range
from vizhelpers.view.live.panel import Panel
from vizhelpers.view.live.scene import Scene

_BATCHES = (1, 2, 4, 5, 6, 8, 16, 32, 64)  # of a saved page
_SIDES = (32, 64, 128, 224, 320, 448, 512)


@replaces_earlier_panel
def explore_summary(
    models: Models,
    *,
    batch: int = 4,
    side: int | None = None,
    depth: int = 1,
    input_size: Sequence[int] | None = None,
    keep: bool = False,
) -> Panel:
    """Show how a model's totals grow with batch and image size, relative to one image.

    Args:
        models: one model, or ``{name: model}``; models on the meta device are possible.
        batch: first value of the batch size slider.
        side: first value of the image size slider, in pixels; None doubles the side of the input if
            the model takes that. The slider is disabled for a model that takes one size only.
        depth: first value of the depth slider: the number of levels in the list of layers.
        input_size: (N, C, H, W) of the one image; None finds a size for each model, as ``summary``.
        keep: leave the panel of an earlier call with the same arguments open.

    Raises:
        ValueError: the first model does not take images of this ``side``.
    """
    batch, depth = integer("batch", batch, 1, 64), integer("depth", depth, 1, 3)
    side = optional(integer, "side", side, 1)
    networks = Networks(models, size=input_size)

    @networks.cached
    def totals(model: str, batch: int, side: int) -> ModelSummary:
        return summary(networks[model], _resized(networks.size(model), batch, side))

    @networks.cached
    def sides(model: str) -> tuple[int, int]:
        """Return the least and the greatest image side that the slider offers."""
        size = networks.size(model)
        own = size[-1]
        try:
            dry_run(networks[model], [_resized(size, 1, 2 * own)], runs)
        except Exception:  # each model checks its input size in its own way
            return own, own
        return (1, max(512, 2 * own)) if len(size) > 2 else (own, own)

    def offline_sides(model: str) -> list[int]:
        low, high = sides(model)
        return [n for n in _SIDES if low < n < high] or [low]

    def compute(model: str, batch: int, side: int, depth: int) -> Scene:
        # The depth only selects rows of the list, so that totals are computed once for all depths.
        single, now = totals(model, 1, networks.size(model)[-1]), totals(model, batch, side)
        return Scene(charts=[[_growth(model, single, now), now.bars(depth)]])

    first = networks.own_names[0]
    low, high = sides(first)
    if side is not None and not low <= side <= high:
        possible = f"{low}" if low == high else f"{low} to {high}"
        raise ValueError(f"side={side}: the first model takes images of {possible} pixels here.")
    controls = [
        networks.choice("model", offline=networks.own_names),
        Range("batch", (1, 64), batch, label="batch size", offline=_BATCHES),
        Range(
            "side",
            sides,
            side or 2 * networks.size(first)[-1],
            label="image side",
            offline=offline_sides,
        ),
        Range("depth", (1, 3), depth),
    ]
    title = "A model's totals as batch and image grow"
    return Panel(Declaration(title, compute, controls, version=networks.changes))


def _resized(size: Sequence[int], batch: int, side: int) -> tuple[int, ...]:
    """Return a size (N, C, …, H, W) with another batch and width, in the same proportions."""
    _, channels, *places = size
    scaled = [max(1, round(n * side / size[-1])) for n in places[-2:]]
    return batch, channels, *places[:-2], *scaled


def _growth(name: str, single: ModelSummary, now: ModelSummary) -> Bars:
    """Return a bar for each total of ``now``, as a multiple of that of a single image."""
    rows = [
        ("parameters", single.parameters, now.parameters, f"{now.parameters:,}"),
        ("mult-adds", single.mult_adds, now.mult_adds, in_units(now.mult_adds)),
        *(
            (label, getattr(single, key), getattr(now, key), f"{getattr(now, key) / 1e6:.2f} MB")
            for label, key in (
                ("input", "input_bytes"),
                ("forward/backward", "pass_bytes"),
                ("parameters in MB", "parameter_bytes"),
                ("total", "total_bytes"),
            )
        ),
    ]
    batch, _, *image = now.input_size
    what, against = (" x ".join(map(str, sides)) for sides in (image, single.input_size[2:]))
    factors = [after / before if before else 1.0 for _, before, after, _ in rows]
    return Bars(
        f"{name}: batch {batch}" + (f", image {what}, against one of {against}" if image else ""),
        [(label,) for label, *_ in rows],
        factors,
        [f"{text}  (x {factor:.3g})" for (*_, text), factor in zip(rows, factors, strict=True)],
    )
