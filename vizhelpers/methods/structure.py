"""A model's module tree and torchinfo's summary, on the meta device (notebooks 01 and 02)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from vizhelpers.inputs.arguments import integer, integers, number, one_of, strings
from vizhelpers.inputs.global_state import drawn_on_cpu
from vizhelpers.inputs.modules import unwrapped
from vizhelpers.methods.work import counting, difference_in_words, in_units, work_of_rows
from vizhelpers.passes.capture import output_shapes
from vizhelpers.passes.dry import dry_run
from vizhelpers.passes.forward import evaluating
from vizhelpers.passes.sizes import input_size as input_size_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vizhelpers.view.charts import Bars


@dataclass(frozen=True)
class ModuleRow:
    """One module: dotted path, depth in the tree, class, output shape, parameters and their share.

    ``shape`` is None for a module that did not run; ``share`` lies between 0 and 1.
    """

    name: str
    depth: int
    kind: str
    shape: tuple[int, ...] | None
    parameters: int
    share: float


@dataclass(frozen=True)
class ModuleTree:
    """A model's modules down to some depth, in order of definition; prints as a table."""

    model: str
    input_size: tuple[int, ...]
    total: int
    rows: tuple[ModuleRow, ...]

    def __repr__(self) -> str:
        """Return the tree as a table of names, classes, output shapes and parameters."""
        names = ["  " * (row.depth - 1) + row.name.rpartition(".")[2] for row in self.rows]
        shapes = ["--" if row.shape is None else str(list(row.shape)) for row in self.rows]
        first = max(map(len, [*names, self.model])) + 2  # widths of columns
        second = max((len(row.kind) for row in self.rows), default=4) + 2
        third = max((len(shape) for shape in shapes), default=4) + 2
        lines = [f"{self.model} on {list(self.input_size)}: {self.total:,} parameters"]
        for name, row, shape in zip(names, self.rows, shapes, strict=True):
            share = f"{row.parameters:>13,} {row.share:>7.1%}" if row.parameters else ""
            lines.append(f"{name:<{first}}{row.kind:<{second}}{shape:<{third}}{share}".rstrip())
        return "\n".join(lines)

    def plot(self, *, width: float = 8.0) -> "Figure":
        """Draw the tree with a bar for each module's share of all parameters.

        Args:
            width: of the figure, in inches, 1 to 100.
        """
        return self.bars().draw(number("width", width, 1, 100) / 2)

    def bars(self) -> "Bars":
        """Return the tree as rows of name, class and shape, each with its share of parameters."""
        from vizhelpers.view.charts import Bars

        return Bars(
            f"{self.model}: {self.total:,} parameters, input {list(self.input_size)}",
            [
                (
                    "  " * (row.depth - 1) + row.name.rpartition(".")[2],
                    row.kind,
                    "" if row.shape is None else " x ".join(map(str, row.shape[1:])),
                )
                for row in self.rows
            ],
            [row.share for row in self.rows],
            [
                f"{row.parameters:,} ({row.share:.1%})" if row.parameters else ""
                for row in self.rows
            ],
        )


def module_tree(
    model: nn.Module, depth: int = 2, *, input_size: Sequence[int] | None = None
) -> ModuleTree:
    """Return a model's module tree with output shapes, parameter counts and their shares.

    Args:
        model: any module that takes one tensor; it may live on the meta device.
        depth: number of levels below the model, at least 1.
        input_size: (N, C, H, W) of the input that shapes are given for; None finds one
            (``sizes.input_size``), (1, 3, 224, 224) if the model takes that. If possible, the model
            runs on torch's meta device, without arithmetic.

    Returns:
        A ``ModuleTree``: print it, or ``.plot()`` it. A module's parameters include those of the
        modules inside it.

    Raises:
        ValueError: ``depth`` below 1, or an input that the model cannot run on.

    Example:
        >>> module_tree(nn.Sequential(nn.Conv2d(3, 8, 3)), 1, input_size=(1, 3, 8, 8))
        Sequential on [1, 3, 8, 8]: 224 parameters
        0           Conv2d  [1, 8, 6, 6]            224  100.0%
    """
    model, depth = unwrapped(model), integer("depth", depth, 1)
    size = _checked_size(model, input_size)
    shapes = dry_run(model, [size], output_shapes)
    total = sum(p.numel() for p in model.parameters())
    rows = []
    for name, module in model.named_modules():
        level = name.count(".") + 1
        if name and level <= depth:
            count = sum(p.numel() for p in module.parameters())
            share = count / total if total else 0.0
            kind = type(module).__name__
            rows.append(ModuleRow(name, level, kind, shapes.get(name), count, share))
    return ModuleTree(type(model).__name__, size, total, tuple(rows))


def _checked_size(model: nn.Module, size: Sequence[int] | None) -> tuple[int, ...]:
    if size is None:
        return input_size_of(model)
    return tuple(integers("input_size", size, 0))


@dataclass(frozen=True)
class ModelSummary:
    """Totals of a model for one input size; prints as torchinfo's table.

    Attributes:
        input_size: (N, C, H, W).
        parameters: number of parameters.
        mult_adds: multiply-adds of one forward pass in convolutions and matrix products, as
            ``torch.utils.flop_counter`` counts them.
        torchinfo_mult_adds: torchinfo's count, as in its table. It counts a linear layer once for
            each image, not at each position or token, omits products outside of layers, and
            includes biases. If the two differ by more than 1 %, the printout explains why.
        input_bytes: size of one batch.
        pass_bytes: torchinfo's "Forward/backward pass size": 2 x 4 bytes for each output element
            of a layer *with parameters*.
        parameter_bytes: 4 for each parameter.
        text: the table.
        layers: for each call of a module (depth, "name: class", output shape, mult-adds including
            its submodules), in torchinfo's order. Products in a module's own ``forward``, such as
            ``x @ w``, are counted in that module and those that contain it.
    """

    input_size: tuple[int, ...]
    parameters: int
    mult_adds: int
    torchinfo_mult_adds: int
    input_bytes: int
    pass_bytes: int
    parameter_bytes: int
    text: str
    layers: tuple[tuple[int, str, tuple[int, ...], int], ...] = ()

    @property
    def total_bytes(self) -> int:
        """Sum of input, pass and parameters."""
        return self.input_bytes + self.pass_bytes + self.parameter_bytes

    def __repr__(self) -> str:
        """Return torchinfo's table, and below it why its mult-adds differ from ``mult_adds``."""
        return self.text

    def bars(self, depth: int = 1) -> "Bars":
        """Return the modules down to some depth, each with its share of the mult-adds.

        Mult-adds outside of these modules are in the last row.
        """
        from vizhelpers.view.charts import Bars

        rows = [
            (("  " * (level - 1) + name, *kind, " x ".join(map(str, shape))), work)
            for level, text, shape, work in self.layers
            if 1 <= level <= depth
            for name, *kind in [text.split(": ")]
        ]
        rest = self.mult_adds - sum(work for level, *_, work in self.layers if level == 1)
        if rest > 0:
            rows.append((("rest of the model", "", ""), rest))
        shares = [work / max(self.mult_adds, 1) for _, work in rows]
        return Bars(
            f"Where the work is: {in_units(self.mult_adds)} mult-adds",
            [cells for cells, _ in rows],
            shares,
            [
                f"{in_units(work)} ({share:.1%})"
                for (_, work), share in zip(rows, shares, strict=True)
            ],
        )


def summary(
    model: nn.Module,
    input_size: Sequence[int] | None = None,
    *,
    depth: int = 3,
    col_names: Sequence[str] = ("output_size", "num_params"),
    col_width: int = 25,
) -> ModelSummary:
    """Return a model's parameters, mult-adds and bytes, with torchinfo's table of its layers.

    The table shows torchinfo's own mult-adds, which are too few if linear layers run at many
    positions or tokens, as in transformers. ``mult_adds`` is the full count, and lines below the
    table explain a difference of more than 1 %.

    If possible the model runs on the meta device, which needs no memory and gives the same totals.
    ``(Units.GIGABYTES)``, which torchinfo 1.8.0 prints on Python 3.11 and later, becomes ``(G)``.

    Args:
        model: any module that takes one tensor.
        input_size: (N, C, H, W); None as in ``module_tree``.
        depth: levels of the tree in the table.
        col_names: torchinfo's columns, such as "kernel_size" and "mult_adds".
        col_width: of each of these columns, in characters.

    Returns:
        A ``ModelSummary``; it prints as torchinfo's table.

    Raises:
        ValueError: an input that the model cannot run on, or an unknown column.

    Example:
        >>> summary(nn.Sequential(nn.Conv2d(3, 8, 3)), (1, 3, 8, 8)).parameters
        224
    """
    import torchinfo
    from torchinfo.enums import ColumnSettings

    known = [column.value for column in ColumnSettings]
    col_names = strings("col_names", col_names)
    for column in col_names:
        one_of("torchinfo column", column, known)
    depth, col_width = integer("depth", depth, 1), integer("col_width", col_width, 1, 200)
    model = unwrapped(model)
    size = _checked_size(model, input_size)

    def measure(stand_in: nn.Module, x: torch.Tensor) -> tuple[Any, Any]:
        try:
            # torchinfo draws a random input too; the caller's random state must not change.
            with drawn_on_cpu(), evaluating(stand_in), counting(stand_in) as work:
                statistics = torchinfo.summary(
                    stand_in,
                    input_data=x,
                    depth=depth,
                    col_names=tuple(col_names),
                    col_width=col_width,
                    device=x.device,
                    mode="eval",
                    verbose=0,
                )
            return statistics, work
        except RuntimeError:
            output_shapes(stand_in, x)  # raises an error that names the layer; torchinfo's does not
            raise

    statistics, work = dry_run(model, [size], measure)
    rows = statistics.summary_list
    works = work_of_rows(rows, work)
    return ModelSummary(
        size,
        statistics.total_params,
        work.total,
        statistics.total_mult_adds,
        statistics.total_input,
        statistics.total_output_bytes,
        statistics.total_param_bytes,
        "\n".join(
            filter(
                None, (_with_units(str(statistics)), difference_in_words(rows, works, work.total))
            )
        ),
        tuple(
            (row.depth, f"{row.var_name}: {row.class_name}", tuple(row.output_size or ()), done)
            for row, done in zip(rows, works, strict=True)
        ),
    )


def _with_units(text: str) -> str:
    for name, symbol in (("MEGABYTES", "M"), ("GIGABYTES", "G"), ("TERABYTES", "T")):
        text = text.replace(f"(Units.{name})", f"({symbol})")
    return text
