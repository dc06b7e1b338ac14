"""The layers of a model at which a class activation map makes sense."""

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from vizhelpers.inputs.modules import unwrapped
from vizhelpers.inputs.subject import HasTensor, input_tensor
from vizhelpers.passes.dry import dry_run
from vizhelpers.passes.forward import evaluating, forward
from vizhelpers.passes.hooks import watching_calls
from vizhelpers.passes.maps import arranged
from vizhelpers.passes.sizes import input_size

_FEW = 3  # layers; if there are fewer, the blocks are inside one of them
_ATTENTION = re.compile("attention|attn", re.IGNORECASE)


class LayersForCam(NamedTuple):
    """Dotted paths of layers with maps of several cells, in the order of execution.

    Attributes:
        every: all of them, parts of blocks included.
        blocks: those at which a class activation map makes sense.
    """

    every: list[str]
    blocks: list[str]


def cam_layers(model: nn.Module, sample: HasTensor | Tensor | None = None) -> list[str]:
    """Return the dotted paths of the layers for class activation maps, in the order of execution.

    Whole blocks are listed rather than their parts. Layers without a kernel or weight matrix, such
    as pooling, activation and normalisation, are left out, since their maps are nearly those of
    the layer before them. The exception is a normalisation after the last block: its maps are what
    the head reads. Maps that the head does not read are left out: a vision transformer's head reads
    only the class token, so the list ends before the last attention.

    Args:
        model: any module that takes one tensor.
        sample: a ``Sample``, or a tensor (N, C, H, W), of which only the shape is used; None finds
            an input size that the model runs on (``sizes.input_size``).

    Returns:
        At least one layer; the last one is the default of ``cam`` and ``explore_cam``.

    Raises:
        TypeError: ``model`` is not a module, or takes several inputs; ``sample`` is not a tensor.
        ValueError: no layer has maps of more than one cell; or the model cannot run on the sample,
            or without a sample on any common input size.

    Example:
        >>> head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
        >>> cam_layers(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), head))
        ['0', '2']
    """
    inside = unwrapped(model)
    size = None if sample is None else tuple(input_tensor(inside, sample).shape)
    return list(layers_for_cam(inside, size).blocks)


# The latest result for each model; a dry run takes up to three times as long as a Grad-CAM.
_latest: WeakKeyDictionary[nn.Module, tuple[Hashable, LayersForCam]] = WeakKeyDictionary()


def layers_for_cam(model: nn.Module, size: tuple[int, ...] | None) -> LayersForCam:
    """Return the layers with maps of several cells; the latest result for a model is cached.

    Args:
        model: the module inside ``torch.compile`` or ``DataParallel``.
        size: shape of the input, (N, C, H, W); None finds one.

    Raises:
        ValueError: as ``cam_layers``.
    """
    key = (size, _structure(model))
    known, layers = _latest.get(model, (None, None))
    if layers is None or known != key:
        tried = input_size(model) if size is None else size
        layers = dry_run(model, [tried], _of_one_pass)
        if not layers.every:
            raise ValueError(
                f"No layer of this {type(model).__name__} has maps for an input of shape "
                f"{tuple(tried)}. A class activation map needs a layer that runs once and whose "
                "output has channels, rows and columns, with more than one cell. viz.capture "
                "returns a layer's output, whatever its shape."
            )
        _latest[model] = key, layers
    return layers


def _structure(model: nn.Module) -> Hashable:
    """Return the path, class and settings of each layer, which training does not change."""
    return tuple(
        (path, type(layer), *(str(v) for k, v in vars(layer).items() if _is_setting(k, v)))
        for path, layer in model.named_modules()
    )


def _is_setting(name: str, value: Any) -> bool:
    return isinstance(value, (bool, int, float, str, tuple)) and name != "training"


@dataclass
class _Run:
    """A layer's call in a forward pass.

    Attributes:
        module: the layer.
        start: position of its start among the starts and ends of all layers.
        end: position of its end.
        single: whether it ran once.
        channels: number of its maps; 0 if it has none of several cells.
        extra: number of tokens that belong to no cell, such as a class token.
    """

    module: nn.Module
    start: int
    end: int = -1
    single: bool = True
    channels: int = 0
    extra: int = 0


def _of_one_pass(model: nn.Module, x: Tensor) -> LayersForCam:
    runs, output = _runs(model, x)
    with_maps = {name: run for name, run in runs.items() if run.channels and run.single}
    every = sorted(with_maps, key=lambda name: with_maps[name].end)
    if not every:
        return LayersForCam([], [])
    stop = min((run.start for run in _last_readers(runs, output)), default=None)
    read = [name for name in every if stop is None or with_maps[name].end < stop]
    return LayersForCam(every, _blocks({name: runs[name].module for name in read or every}))


def _runs(model: nn.Module, x: Tensor) -> tuple[dict[str, _Run], Any]:
    """Return the run of each layer (the last run, if there are several), and the model's output."""
    runs: dict[nn.Module, _Run] = {}
    clock = count()

    def enter(module: nn.Module, args: Any) -> None:
        runs[module] = _Run(module, next(clock), single=module not in runs)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        run = runs[module]
        run.end = next(clock)
        maps = arranged(model, output, x) if isinstance(output, Tensor) and x.ndim == 4 else None
        cells = 0 if maps is None else maps.shape[2] * maps.shape[3]
        if maps is not None and cells > 1:
            run.channels = maps.shape[1]
            run.extra = output.shape[1] - cells if output.ndim == 3 else 0

    with torch.no_grad(), evaluating(model), watching_calls(model, leave, enter):
        output = forward(model, x)
    return {name: runs[m] for name, m in model.named_modules() if name and m in runs}, output


def _last_readers(runs: Mapping[str, _Run], output: Any) -> Iterator[_Run]:
    """Yield the layers that are the last to read maps, though later layers may put out maps."""
    # A last layer that has one channel for each class puts out the class maps, as SqueezeNet's.
    kernels = [run for run in runs.values() if _has_kernel(run.module)]
    last = max(kernels, key=lambda run: run.start, default=None)
    scores = isinstance(output, Tensor) and output.ndim == 2
    if last and scores and output.shape[1] == last.channels:
        yield last
    # After the last attention, a class token no longer depends on the other tokens.
    attentions = [run for run in runs.values() if _ATTENTION.search(type(run.module).__name__)]
    if attentions and any(run.extra for run in runs.values()):
        yield max(attentions, key=lambda run: run.start)


def _blocks(modules: Mapping[str, nn.Module]) -> list[str]:
    """Return the outermost layers that have kernels, and a normalisation that follows the last."""
    names = list(modules)
    blocks = [n for n, m in modules.items() if type(m) is not nn.Sequential and _has_kernel(m)]
    blocks = blocks or names
    depth = {name: sum(name.startswith(f"{other}.") for other in blocks) for name in blocks}
    for level in range(max(depth.values()) + 1):
        outermost = [name for name in blocks if depth[name] <= level]
        if len(outermost) >= _FEW:
            break
    after = names[names.index(outermost[-1]) + 1 :]
    return outermost + [name for name in after if _only_scales(modules[name])][-1:]


def _has_kernel(module: nn.Module) -> bool:
    """Return whether a module has a kernel or weight matrix, a parameter of several axes."""
    return any(parameter.ndim > 1 for parameter in module.parameters())


def _only_scales(module: nn.Module) -> bool:
    """Return whether a module has parameters, and all of them are one number per channel."""
    return any(True for _ in module.parameters()) and not _has_kernel(module)
