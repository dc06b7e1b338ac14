"""The layers of a model at which a class activation map makes sense."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vizhelpers.inputs.request import HasTensor, input_tensor
from vizhelpers.passes.dry import dry_run
from vizhelpers.passes.forward import evaluating, forward
from vizhelpers.passes.hooks import watching_calls
from vizhelpers.passes.maps import arranged
from vizhelpers.passes.sizes import input_size

_FEW = 3  # layers; with fewer than these the blocks are inside one of them
_ATTENTION = re.compile("attention|attn", re.IGNORECASE)


class LayersForCam(NamedTuple):
    """Names of the layers whose output is maps of several cells, in the order of execution.

    Attributes:
        every: all of them, parts of blocks included.
        blocks: those at which a class activation map makes sense.
    """

    every: list[str]
    blocks: list[str]


def cam_layers(model: nn.Module, sample: HasTensor | Tensor | None = None) -> list[str]:
    """Return the names of the layers for class activation maps, in the order of execution.

    These are whole blocks rather than their parts. Layers without a kernel or weight matrix, such
    as pooling, activation and normalisation, are left out, since their maps are nearly those of
    the layer before; only a normalisation behind the last block is kept, whose maps the head reads.
    Layers that the class scores do not depend on are left out too: a vision transformer's head
    reads the class token alone, so the last layer is the one before the last attention.

    Args:
        model: any module that takes one tensor.
        sample: a ``Sample``, or a tensor (N, C, H, W), of which only the shape is used; None finds
            an input size that the model runs on (``sizes.input_size``).

    Returns:
        Dotted paths. The last one is the default layer of ``cam``, ``cam_sweep`` and
        ``explore_cam``.

    Raises:
        ValueError: no layer has maps of more than one cell; the model cannot run on the sample,
            or on any common input size.

    Example:
        >>> cam_layers(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()))
        ['0', '2']
    """
    x = None if sample is None else input_tensor(model, sample)
    return layers_for_cam(model, input_size(model) if x is None else tuple(x.shape)).blocks


def layers_for_cam(model: nn.Module, size: Sequence[int]) -> LayersForCam:
    """Return the layers of a model with maps, for an input of this size, (N, C, H, W).

    Raises:
        ValueError: there is none; the model cannot run on the size.
    """
    found = dry_run(model, [size], _of_one_pass)
    if not found.every:
        raise ValueError(
            f"No layer of this {type(model).__name__} has maps for an input of shape {tuple(size)}:"
            " a class activation map needs a layer that runs once and has an output with channels,"
            " rows and columns, of more than one cell. viz.capture returns a layer's output,"
            " whatever its shape."
        )
    return found


@dataclass
class _Run:
    """One module's run in a forward pass.

    Attributes:
        module: what ran.
        start: position of its start among all starts and ends.
        end: position of its end.
        shape: its output as maps, (N, C, h, w); None if these are no maps of several cells.
        extra: tokens in its output that belong to no cell, such as a class token.
        single: it ran once.
    """

    module: nn.Module
    start: int
    end: int = -1
    shape: tuple[int, ...] | None = None
    extra: int = 0
    single: bool = True


def _of_one_pass(model: nn.Module, x: Tensor) -> LayersForCam:
    """Run a model once, and return its layers with maps."""
    runs, output = _runs(model, x)
    with_maps = {name: r for name, r in runs.items() if r.shape and r.single}
    every = sorted(with_maps, key=lambda name: with_maps[name].end)
    # What starts here is the last to read maps: what it and later layers put out is not for a CAM.
    reader = min((r.start for r in _readers(runs, output)), default=None)
    before = [n for n in every if reader is None or with_maps[n].end < reader]
    return LayersForCam(every, _blocks({n: runs[n].module for n in before or every}))


def _runs(model: nn.Module, x: Tensor) -> tuple[dict[str, _Run], Any]:
    """Return the run of each submodule, its last one if there are several, and the output."""
    runs: dict[nn.Module, _Run] = {}
    clock = count()

    def enter(module: nn.Module, args: Any) -> None:
        runs[module] = _Run(module, next(clock), single=module not in runs)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        run = runs[module]
        run.end = next(clock)
        maps = arranged(model, output, x) if isinstance(output, Tensor) and x.ndim == 4 else None
        if maps is not None and maps.shape[2] * maps.shape[3] > 1:
            run.shape = tuple(maps.shape)
            run.extra = output.shape[1] - maps.shape[2] * maps.shape[3] if output.ndim == 3 else 0

    with torch.no_grad(), evaluating(model), watching_calls(model, leave, enter):
        output = forward(model, x)
    return {name: runs[m] for name, m in model.named_modules() if name and m in runs}, output


def _readers(runs: Mapping[str, _Run], output: Any) -> Iterator[_Run]:
    """Yield the layers behind which outputs are no maps for a CAM, though they are maps."""
    # The last layer with weights, if it puts out a map for each class, as SqueezeNet's does.
    weighted = [run for run in runs.values() if _has_kernel(run.module)]
    last = max(weighted, key=lambda run: run.start, default=None)
    classes = output.shape[1] if isinstance(output, Tensor) and output.ndim > 1 else None
    if last and last.shape and last.shape[1] == classes:
        yield last
    # Behind the last attention a class token's row depends on no other token.
    attentions = [run for run in runs.values() if _ATTENTION.search(type(run.module).__name__)]
    if attentions and any(run.extra for run in runs.values()):
        yield max(attentions, key=lambda run: run.start)


def _blocks(modules: Mapping[str, nn.Module]) -> list[str]:
    """Return the outermost layers with kernels, and the normalisation after them."""
    worth = [n for n, m in modules.items() if type(m) is not nn.Sequential and _has_kernel(m)]
    worth = worth or list(modules)
    depth = {n: sum(n.startswith(f"{other}.") for other in worth) for n in worth}
    levels = ([n for n in worth if depth[n] <= level] for level in range(max(depth.values()) + 1))
    blocks = next((names for names in levels if len(names) >= _FEW), worth)
    names = list(modules)
    after = names[names.index(blocks[-1]) + 1 :]
    normalisations = [n for n in after if next(modules[n].parameters(), None) is not None]
    return blocks + normalisations[-1:]


def _has_kernel(module: nn.Module) -> bool:
    """Return whether a module has a kernel or weight matrix, not only a factor per channel."""
    return any(parameter.ndim > 1 for parameter in module.parameters())
