"""Score-CAM and Ablation-CAM: change the input or the layer for each channel, and watch the logit.

That takes seconds for one map. Score-CAM is pytorch-grad-cam's. Ablation-CAM is a hook here, since
pytorch-grad-cam replaces the layer in the model, and leaves it replaced where it is interrupted.
"""

import contextlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vizhelpers.classes import class_scores
from vizhelpers.inputs import dtype_of
from vizhelpers.layers import replacing
from vizhelpers.maps import as_maps
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

    Outside a panel a progress bar is shown; in one, the panel's serves, and stops the work.

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
        ValueError: a class that the model does not have.
    """
    asked = [index for indices in classes for index in indices]
    scores = class_scores(output, asked, images=len(x)).float()
    cams = _score_cams if method == "scorecam" else _ablation_cams
    found: dict[str, list[Tensor]] = {}
    for layer, of_layer in maps.items():
        # For each image its own classes, all of them at once.
        of_images = [
            cams(model, x[n : n + 1], layer, of_layer[n : n + 1], [c[n] for c in classes], row)
            for n, row in enumerate(scores)
        ]
        found[layer] = [torch.stack(of_class) for of_class in zip(*of_images, strict=True)]
    return found


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
    found = []
    for index in indices:
        # Of a logit of zero there are no shares.
        whole = scores[index] if scores[index] else scores.new_tensor(torch.inf)
        weights = (scores[index] - without_each[:, index]) / whole
        found.append(torch.tensordot(weights, maps, dims=1).relu().cpu())
    return found


def _with_bar(batches: range) -> Iterator[int]:
    """Yield the batches; tell whoever watches, or show a progress bar where nobody does."""
    ticks = steps(batches, "pass")
    if watched():
        return ticks
    from tqdm import tqdm

    return iter(tqdm(ticks, total=len(batches)))


def _score_cams(
    model: nn.Module, x: Tensor, layer: str, maps: Tensor, indices: Sequence[int], scores: Tensor
) -> list[Tensor]:
    """Return Score-CAM's map (h, w) of each class of one image."""
    # Here and not at the top: pytorch-grad-cam takes seconds to import.
    from pytorch_grad_cam import ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    found = []
    for index in indices:
        runner = _Counted(model, math.ceil(maps.shape[1] / _BATCH["scorecam"]))
        engine = ScoreCAM(runner, [])  # no layer: it would leave hooks there
        target, values = ClassifierOutputTarget(index), maps.float().cpu().numpy()
        with torch.no_grad(), _without_second_bar():
            cam = engine.get_cam_image(x.float(), None, [target], values, None)
        found.append(torch.from_numpy(cam[0]).float().relu())
    return found


class _Counted(nn.Module):
    """What pytorch-grad-cam takes for the model: runs it, and tells a watcher how far it is."""

    def __init__(self, model: nn.Module, passes: int) -> None:
        super().__init__()
        weight = next(model.parameters(), torch.empty(0, device="cpu"))
        self._device = nn.Parameter(torch.empty(0, device=weight.device))  # it asks for the first
        self._model = [model]  # in a list: it puts all registered parts in eval mode, for good
        self._ticks: Iterator[Any] = steps(range(passes), "pass")

    def forward(self, x: Tensor) -> Tensor:
        """Return the rows of scores in float32, (N, classes)."""
        next(self._ticks, None)  # raises Cancelled where the watcher wants no more
        (model,) = self._model
        with evaluating(model):
            x = x.to(dtype_of(model))
            return class_scores(forward(model, x), images=len(x)).float()


@contextlib.contextmanager
def _without_second_bar() -> Iterator[None]:
    """Keep pytorch-grad-cam's bar off the screen where a panel shows its own."""
    if not watched():
        yield
        return
    with contextlib.redirect_stderr(io.StringIO()):
        yield
