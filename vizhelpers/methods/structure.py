"""Notebooks 01 and 02: a model's tree, and torchinfo's summary of it, without spending memory."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from vizhelpers.arguments import one_of, texts, whole, whole_numbers
from vizhelpers.inputs import bare, dtype_of
from vizhelpers.layers import output_shapes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vizhelpers.view.charts import Bars


@dataclass(frozen=True)
class ModuleRow:
    """One module: dotted name, depth in the tree, class, output shape, parameters, share of all.

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
        wide = max(map(len, [*names, self.model])) + 2
        kind = max((len(row.kind) for row in self.rows), default=4) + 2
        span = max((len(shape) for shape in shapes), default=4) + 2
        lines = [f"{self.model} on {list(self.input_size)}: {self.total:,} parameters"]
        for name, row, shape in zip(names, self.rows, shapes, strict=True):
            share = f"{row.parameters:>13,} {row.share:>7.1%}" if row.parameters else ""
            lines.append(f"{name:<{wide}}{row.kind:<{kind}}{shape:<{span}}{share}".rstrip())
        return "\n".join(lines)

    def plot(self, *, width: float = 8.0) -> "Figure":
        """Draw the tree with a bar for each module's share of all parameters."""
        return self.bars().draw(width / 2)

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


def on_meta(model: nn.Module) -> nn.Module:
    """Return a copy of a model on torch's meta device: shapes without numbers, in milliseconds.

    The copy's parameters hold no memory; hooks and the ``load_model`` card are not copied along
    with any weight. The model itself is only read.
    """
    model = bare(model)
    memo: dict[int, Any] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        empty = torch.empty_like(tensor, device="meta", requires_grad=False)
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
    return copy.deepcopy(model, memo)


def _empty(model: nn.Module, size: Sequence[int]) -> torch.Tensor:
    try:
        return torch.empty(tuple(size), device="meta", dtype=dtype_of(model))
    except RuntimeError as error:  # more numbers than can be counted
        raise ValueError(f"input_size={tuple(size)} is too large: {error}.") from error


def module_tree(
    model: nn.Module, depth: int = 2, *, input_size: Sequence[int] = (1, 3, 224, 224)
) -> ModuleTree:
    """Return a model's module tree with output shapes, parameter counts and their shares.

    Args:
        model: any module that takes one tensor; it may live on the meta device.
        depth: levels below the model, at least 1.
        input_size: (N, C, H, W) of the input that shapes are given for. No number is computed:
            the pass runs on the meta device.

    Returns:
        A ``ModuleTree``: print it, or ``.plot()`` it. A module's parameters include those of the
        modules inside it.

    Raises:
        ValueError: ``depth`` below 1, or an input that the model cannot take.

    Example:
        >>> module_tree(nn.Sequential(nn.Conv2d(3, 8, 3)), 1, input_size=(1, 3, 8, 8))
        Sequential on [1, 3, 8, 8]: 224 parameters
        0             Conv2d  [1, 8, 6, 6]            224  100.0%
    """
    depth, input_size = whole("depth", depth, 1), whole_numbers("input_size", input_size, 0)
    model = bare(model)
    shapes = output_shapes(on_meta(model), _empty(model, input_size))
    total = sum(p.numel() for p in model.parameters())
    rows = []
    for name, module in model.named_modules():
        level = name.count(".") + 1
        if name and level <= depth:
            count = sum(p.numel() for p in module.parameters())
            share = count / total if total else 0.0
            kind = type(module).__name__
            rows.append(ModuleRow(name, level, kind, shapes.get(name), count, share))
    return ModuleTree(type(model).__name__, tuple(input_size), total, tuple(rows))


@dataclass(frozen=True)
class ModelSummary:
    """torchinfo's totals for one input size; prints as torchinfo's table.

    Attributes:
        input_size: (N, C, H, W).
        parameters: how many numbers are learned.
        mult_adds: multiply-adds of one forward pass, as torchinfo counts them.
        input_bytes: of one batch.
        pass_bytes: torchinfo's "Forward/backward pass size": 2 x 4 bytes for each number that
            a layer *with parameters* puts out.
        parameter_bytes: 4 for each parameter.
        text: the table.
        layers: for each module (depth, "name: class", output shape, mult-adds of it and all that
            is in it), in torchinfo's order.
    """

    input_size: tuple[int, ...]
    parameters: int
    mult_adds: int
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
        """Return torchinfo's table."""
        return self.text

    def bars(self, depth: int = 1) -> "Bars":
        """Return the modules down to some depth, each with its share of the mult-adds."""
        from vizhelpers.view.charts import Bars

        rows = [row for row in self.layers if 1 <= row[0] <= depth]
        return Bars(
            f"Where the work is: {self.mult_adds / 1e9:.2f} G mult-adds",
            [
                ("  " * (level - 1) + name, *kind, " x ".join(map(str, shape)))
                for level, text, shape, _ in rows
                for name, *kind in [text.split(": ")]
            ],
            [work / max(self.mult_adds, 1) for *_, work in rows],
            [f"{work / 1e6:,.1f} M ({work / max(self.mult_adds, 1):.1%})" for *_, work in rows],
        )


def summary(
    model: nn.Module,
    input_size: Sequence[int] = (1, 3, 224, 224),
    *,
    depth: int = 3,
    col_names: Sequence[str] = ("output_size", "num_params"),
    col_width: int = 25,
) -> ModelSummary:
    """Return torchinfo's summary, computed on the meta device and with its unit put right.

    Of a transformer, torchinfo's mult-adds are too few: it counts a linear layer once for each
    image and not for each token, and leaves out the products inside attention.

    torchinfo 1.8.0 writes ``(Units.GIGABYTES)`` for ``(G)`` on Python 3.11 and later. Its totals
    are the same on the meta device, which needs no memory for the numbers themselves.

    Args:
        model: any module that takes one tensor.
        input_size: (N, C, H, W).
        depth: levels of the tree in the table.
        col_names: torchinfo's columns, such as "kernel_size" and "mult_adds".
        col_width: of each of these columns, in characters.

    Returns:
        A ``ModelSummary``; it prints as torchinfo's table.

    Raises:
        ValueError: an input that the model cannot take, or an unknown column.

    Example:
        >>> summary(nn.Sequential(nn.Conv2d(3, 8, 3)), (1, 3, 8, 8)).parameters
        224
    """
    import torchinfo
    from torchinfo.enums import ColumnSettings

    known = [column.value for column in ColumnSettings]
    col_names = texts("col_names", col_names)
    for column in col_names:
        one_of("torchinfo column", column, known)
    depth, col_width = whole("depth", depth, 1), whole("col_width", col_width, 1, 200)
    size = tuple(whole_numbers("input_size", input_size, 0))
    copy_, empty = on_meta(model), _empty(model, size)
    try:
        # torchinfo draws a random input, on the meta device too: the caller's random state is kept.
        with torch.random.fork_rng(devices=[]):
            found = torchinfo.summary(
                copy_,
                input_data=empty,
                depth=depth,
                col_names=tuple(col_names),
                col_width=col_width,
                device="meta",
                mode="eval",
                verbose=0,
            )
    except RuntimeError:
        _refuse(copy_, empty)
        raise
    return ModelSummary(
        size,
        found.total_params,
        found.total_mult_adds,
        found.total_input,
        found.total_output_bytes,
        found.total_param_bytes,
        _with_units(str(found)),
        tuple(_work_of_each(found.summary_list)),
    )


def _refuse(model: nn.Module, empty: torch.Tensor) -> None:
    """Say which input the model cannot take in plain words, and none of torchinfo's."""
    try:
        output_shapes(model, empty)
    except ValueError as refusal:
        raise refusal from None


def _work_of_each(
    rows: Sequence[Any],
) -> list[tuple[int, str, tuple[int, ...], int]]:
    """Sum torchinfo's mult-adds over what is inside each module; it gives them for leaves only."""
    work = [row.macs if row.is_leaf_layer else 0 for row in rows]
    for i, row in enumerate(rows):
        if not row.is_leaf_layer:
            ends = (j for j in range(i + 1, len(rows)) if rows[j].depth <= row.depth)
            inside = rows[i + 1 : next(ends, len(rows))]
            work[i] = sum(r.macs for r in inside if r.is_leaf_layer)
    return [
        (row.depth, f"{row.var_name}: {row.class_name}", tuple(row.output_size or ()), macs)
        for row, macs in zip(rows, work, strict=True)
    ]


def _with_units(text: str) -> str:
    for name, symbol in (("MEGABYTES", "M"), ("GIGABYTES", "G"), ("TERABYTES", "T")):
        text = text.replace(f"(Units.{name})", f"({symbol})")
    return text
