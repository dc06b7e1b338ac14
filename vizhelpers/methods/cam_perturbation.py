"""Score-CAM and Ablation-CAM: mask the input or a channel, and measure the change in the logit.

One map takes seconds. Score-CAM is pytorch-grad-cam's. Ablation-CAM is implemented here, with a
hook: pytorch-grad-cam replaces the layer in the model, and does not restore it when interrupted.
"""

import contextlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vizhelpers.inputs.modules import dtype_of
from vizhelpers.passes.forward import evaluating, forward
from vizhelpers.passes.hooks import replacing
from vizhelpers.passes.maps import as_maps
from vizhelpers.passes.outputs import class_scores
from vizhelpers.view.live.progress import steps, watched

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

    Progress is shown in the panel, whose Stop button works, or else as a progress bar.

    Args:
        model: a classifier.
        x: images (N, C, H, W).
        maps: ``{layer: activations}``, each (N, channels, h, w).
        classes: for each class to explain, its index for each image.
        output: the model's output for ``x``.
        method: "scorecam" or "ablationcam".

    Returns:
        ``{layer: maps}``, one (N, h, w) for each class, float32 on the CPU, not negative.

    Raises:
        ValueError: a class that the model does not have.
    """
    indices_of_all = [index for indices in classes for index in indices]
    scores = class_scores(output, indices_of_all, images=len(x)).float()
    cams = _score_cams if method == "scorecam" else _ablation_cams
    of_layers: dict[str, list[Tensor]] = {}
    for layer, of_layer in maps.items():
        # All classes of one image at once.
        of_images = [
            cams(model, x[n : n + 1], layer, of_layer[n : n + 1], [c[n] for c in classes], row)
            for n, row in enumerate(scores)
        ]
        of_layers[layer] = [torch.stack(of_class) for of_class in zip(*of_images, strict=True)]
    return of_layers


def _ablation_cams(
    model: nn.Module, x: Tensor, layer: str, maps: Tensor, indices: Sequence[int], scores: Tensor
) -> list[Tensor]:
    """Return Ablation-CAM's map (h, w) of each class of one image.

    A channel's weight is the share of the logit that is lost when the channel is set to zero.
    """
    maps, kept = maps[0].float(), []
    batches = range(0, len(maps), _BATCH["ablationcam"])
    for start in _with_bar(batches):
        channels = range(start, min(start + _BATCH["ablationcam"], len(maps)))
        batch = x.repeat(len(channels), 1, 1, 1)

        def without(output: Tensor, batch: Tensor = batch, channels: range = channels) -> Tensor:
            output = output.clone()
            as_maps(model, layer, output, batch)[range(len(batch)), list(channels)] = 0
            return output

        with torch.no_grad(), evaluating(model), replacing(model, layer, without):
            kept.append(class_scores(forward(model, batch), images=len(batch)).float())
    without_each = torch.cat(kept)  # (channels, classes)
    cams = []
    for index in indices:
        # A logit of 0 has no shares: division by infinity makes the weights 0.
        whole = scores[index] if scores[index] else scores.new_tensor(torch.inf)
        weights = (scores[index] - without_each[:, index]) / whole
        cams.append(torch.tensordot(weights, maps, dims=1).relu().cpu())
    return cams


def _with_bar(batches: range) -> Iterator[int]:
    """Yield the batches, and report progress to the panel or show a progress bar."""
    ticks = steps(batches, "pass")
    if watched():
        return ticks
    from tqdm import tqdm

    return iter(tqdm(ticks, total=len(batches)))


def _score_cams(
    model: nn.Module, x: Tensor, layer: str, maps: Tensor, indices: Sequence[int], scores: Tensor
) -> list[Tensor]:
    """Return Score-CAM's map (h, w) of each class of one image."""
    # pytorch-grad-cam takes seconds to import.
    from pytorch_grad_cam import ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    cams = []
    for index in indices:
        runner = _Counted(model, math.ceil(maps.shape[1] / _BATCH["scorecam"]))
        engine = ScoreCAM(runner, [])  # no layer: it would leave hooks there
        target, values = ClassifierOutputTarget(index), maps.float().cpu().numpy()
        with torch.no_grad(), _without_second_bar():
            cam = engine.get_cam_image(x.float(), None, [target], values, None)
        cams.append(torch.from_numpy(cam[0]).float().relu())
    return cams


class _Counted(nn.Module):
    """Run a model for pytorch-grad-cam, and report progress to the panel."""

    def __init__(self, model: nn.Module, passes: int) -> None:
        super().__init__()
        weight = next(model.parameters(), torch.empty(0, device="cpu"))
        self._device = nn.Parameter(
            torch.empty(0, device=weight.device)
        )  # it reads the first one's device
        self._model = [model]  # in a list: it leaves submodules in eval mode
        self._ticks: Iterator[Any] = steps(range(passes), "pass")

    def forward(self, x: Tensor) -> Tensor:
        """Return the rows of scores in float32, (N, classes)."""
        next(self._ticks, None)  # raises Cancelled after Stop
        (model,) = self._model
        with evaluating(model):
            x = x.to(dtype_of(model))
            return class_scores(forward(model, x), images=len(x)).float()


@contextlib.contextmanager
def _without_second_bar() -> Iterator[None]:
    """Hide pytorch-grad-cam's progress bar if a panel shows its own."""
    if not watched():
        yield
        return
    with contextlib.redirect_stderr(io.StringIO()):
        yield
