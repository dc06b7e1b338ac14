"""Score-CAM and Ablation-CAM: pytorch-grad-cam's own.

They change the input, or the layer, once for every channel, and watch the logit. That takes seconds
for one map. Ablation-CAM replaces a layer on the way, and leaves it replaced where it is
interrupted: so it gets a copy, which ends with the call, and never the model itself.
"""

import contextlib
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vizhelpers.classes import class_scores
from vizhelpers.inputs import bare, dtype_of
from vizhelpers.layers import NotItself, is_plain, own_parts_only, twin
from vizhelpers.passes import evaluating, forward
from vizhelpers.progress import steps, watched

_BATCH = {"scorecam": 16, "ablationcam": 32}  # pytorch-grad-cam's own


def perturbation_cams(
    model: nn.Module,
    x: Tensor,
    maps: Mapping[str, Tensor],
    classes: Sequence[Sequence[int]],
    output: Any,
    method: str,
) -> dict[str, list[Tensor]]:
    """Return maps by Score-CAM (Wang et al. 2020) or Ablation-CAM (Desai and Ramaswamy 2020).

    Outside a panel, pytorch-grad-cam shows its own progress bar; in one, the panel's serves, and
    stops the work.

    Args:
        model: a classifier.
        x: images (N, C, H, W).
        maps: for each layer, by its dotted path, what it puts out for them, (N, channels, h, w).
        classes: class indices, one for each image.
        output: what the model puts out for them.
        method: "scorecam" or "ablationcam".

    Returns:
        For each layer a map (N, h, w) of each class, float32 on the CPU, nowhere negative.

    Raises:
        ValueError: a class that the model does not have; for "ablationcam" also a model that
            cannot be copied.
    """
    asked = [index for indices in classes for index in indices]
    scores = class_scores(output, asked, images=len(x))
    perturbed = _scored if method == "scorecam" else _ablated_on(_clean_copy(model, x, scores))

    def one(layer: str, n: int, index: int) -> Tensor:
        # Ablation-CAM's weights are shares of the logit: of none there are none.
        if method == "ablationcam" and scores[n, index] == 0:
            return torch.zeros(maps[layer].shape[2:])
        image = slice(n, n + 1)
        found = perturbed(model, x[image], layer, maps[layer][image].float(), index)
        return torch.from_numpy(found[0]).float().relu()

    return {
        layer: [
            torch.stack([one(layer, n, index) for n, index in enumerate(indices)])
            for indices in classes
        ]
        for layer in maps
    }


def _scored(model: nn.Module, x: Tensor, layer: str, maps: Tensor, index: int) -> Any:
    """Return Score-CAM's map (1, h, w); the model only runs, on masked images."""
    # Here and not at the top: pytorch-grad-cam takes seconds to import.
    from pytorch_grad_cam import ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    runner = _Counted(model, math.ceil(maps.shape[1] / _BATCH["scorecam"]))
    engine = ScoreCAM(runner, [])  # no layer: it would leave hooks there
    return _map_of(engine, x, None, ClassifierOutputTarget(index), maps)


def _ablated_on(own: nn.Module) -> Callable[..., Any]:
    """Return a function that makes Ablation-CAM's map (1, h, w) on a copy that may be changed."""

    def ablated(model: nn.Module, x: Tensor, layer: str, maps: Tensor, index: int) -> Any:
        from pytorch_grad_cam import AblationCAM
        from pytorch_grad_cam.ablation_layer import AblationLayer
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        size = _BATCH["ablationcam"]
        runner = _Counted(own, math.ceil(maps.shape[1] / size) + 1, owned=True)
        at = own.get_submodule(layer)
        # Its default layer is one object for all calls, and keeps the last one's activations.
        engine = AblationCAM(runner, [at], ablation_layer=AblationLayer(), batch_size=size)
        engine.activations_and_grads.release()  # its hooks would keep every pass
        with own_parts_only(own, model):
            return _map_of(engine, x, at, ClassifierOutputTarget(index), maps)

    return ablated


def _map_of(engine: Any, x: Tensor, layer: nn.Module | None, target: Any, maps: Tensor) -> Any:
    with torch.no_grad(), _without_second_bar():
        return engine.get_cam_image(x.float(), layer, [target], maps.cpu().numpy(), None)


def _clean_copy(model: nn.Module, x: Tensor, scores: Tensor) -> nn.Module:
    """Return a copy in float32 and eval mode, with no in-place operation behind a layer.

    pytorch-grad-cam keeps a reference to the layer's output, which an in-place ReLU would rewrite.
    """
    own = twin(model, _in_float32, hooks=True)
    for module in own.modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue  # it is the model's own
        module.training = False
        if getattr(module, "inplace", False) is True:
            setattr(module, "inplace", False)  # noqa: B010 (nn.Module has no such attribute)
    if not is_plain(model):
        _check_copy(model, own, x, scores)
    return own


def _check_copy(model: nn.Module, own: nn.Module, x: Tensor, scores: Tensor) -> None:
    try:
        with own_parts_only(own, model), torch.no_grad():
            output = class_scores(forward(own, x.float()), images=len(x))
        close = torch.allclose(output, scores.float(), rtol=1e-3, atol=1e-3)
    except (NotItself, ValueError, RuntimeError):
        close = False
    if not close:
        raise ValueError(
            f"Ablation-CAM replaces a layer on a copy of the model, and a copy of this "
            f"{type(bare(model)).__name__} does not compute the same: its forward or a hook refers "
            "to the original. method='scorecam' works on the model itself."
        )


def _in_float32(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point() or tensor.dtype == torch.float32:
        return tensor
    wide = tensor.detach().float()
    return nn.Parameter(wide, requires_grad=False) if isinstance(tensor, nn.Parameter) else wide


class _Counted(nn.Module):
    """What pytorch-grad-cam takes for the model: runs it, and tells a watcher how far it is."""

    def __init__(self, model: nn.Module, passes: int, *, owned: bool = False) -> None:
        """Run ``model`` for so many passes; it is registered as a part only where it is ``owned``.

        pytorch-grad-cam puts all parts in eval mode, for good.
        """
        super().__init__()
        weight = next(model.parameters(), torch.empty(0, device="cpu"))
        self._device = nn.Parameter(torch.empty(0, device=weight.device))  # it asks for the first
        self._model = model if owned else [model]
        self._dtype = dtype_of(model)
        self._ticks: Iterator[Any] = steps(range(passes), "pass")

    def forward(self, x: Tensor) -> Tensor:
        """Return the rows of scores in float32, (N, classes)."""
        next(self._ticks, None)  # raises Cancelled where the watcher wants no more
        model = self._model[0] if isinstance(self._model, list) else self._model
        with evaluating(model):
            return class_scores(forward(model, x.to(self._dtype)), images=len(x)).float()


@contextlib.contextmanager
def _without_second_bar() -> Iterator[None]:
    """Keep pytorch-grad-cam's bar off the screen where a panel shows its own."""
    if not watched():
        yield
        return
    with contextlib.redirect_stderr(io.StringIO()):
        yield
