"""Score-CAM and Ablation-CAM: pytorch-grad-cam's own, on a copy of the model.

They change the input, or the layer, once for every channel, and watch the logit. That takes seconds
for one map. pytorch-grad-cam replaces a layer on the way, and leaves it replaced where it is
interrupted: so it gets a copy, which ends with the call, and never the model itself.
"""

import contextlib
import copy
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vizhelpers.classes import class_scores
from vizhelpers.inputs import bare
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
    """
    scores = class_scores(output, [index for indices in classes for index in indices])
    own = _clean_copy(model)

    def one(layer: str, n: int, index: int) -> Tensor:
        # Ablation-CAM's weights are shares of the logit: of none there are none.
        if method == "ablationcam" and scores[n, index] == 0:
            return torch.zeros(maps[layer].shape[2:])
        image = slice(n, n + 1)
        return _perturbed(own, x[image], layer, maps[layer][image], index, method)

    return {
        layer: [
            torch.stack([one(layer, n, index) for n, index in enumerate(indices)])
            for indices in classes
        ]
        for layer in maps
    }


def _perturbed(
    model: nn.Module, x: Tensor, layer: str, maps: Tensor, target: int, method: str
) -> Tensor:
    """Return the map (h, w) of one image (1, C, H, W); ``model`` is a copy that may be changed."""
    # Here and not at the top: pytorch-grad-cam takes seconds to import.
    from pytorch_grad_cam import AblationCAM, ScoreCAM
    from pytorch_grad_cam.ablation_layer import AblationLayer
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    passes = math.ceil(maps.shape[1] / _BATCH[method]) + (method == "ablationcam")
    own = _Counted(model, passes)
    at = [own.model.get_submodule(layer)]
    if method == "scorecam":
        engine = ScoreCAM(own, at)
    else:  # its default layer is one object for all calls, and keeps the last one's activations
        engine = AblationCAM(own, at, ablation_layer=AblationLayer(), batch_size=_BATCH[method])
    engine.activations_and_grads.release()  # its hooks would keep every pass
    with torch.no_grad(), _without_second_bar():
        found = engine.get_cam_image(
            x.float(), at[0], [ClassifierOutputTarget(target)], maps.float().cpu().numpy(), None
        )
    return torch.from_numpy(found[0]).float().relu()


def _clean_copy(model: nn.Module) -> nn.Module:
    """Return a copy in float32 and eval mode, with no in-place operation behind a layer.

    pytorch-grad-cam keeps a reference to the layer's output, which an in-place ReLU would rewrite.
    """
    own = copy.deepcopy(bare(model)).float().eval().requires_grad_(False)
    for module in own.modules():
        if getattr(module, "inplace", False) is True:
            setattr(module, "inplace", False)  # noqa: B010 (nn.Module has no such attribute)
    return own


class _Counted(nn.Module):
    """A model that tells whoever watches how many of its forward passes are done."""

    def __init__(self, model: nn.Module, passes: int) -> None:
        super().__init__()
        self.model = model
        self._ticks: Iterator[Any] = steps(range(passes), "pass")

    def forward(self, x: Tensor) -> Tensor:
        next(self._ticks, None)  # raises Cancelled where the watcher wants no more
        return self.model(x)


@contextlib.contextmanager
def _without_second_bar() -> Iterator[None]:
    """Keep pytorch-grad-cam's bar off the screen where a panel shows its own."""
    if not watched():
        yield
        return
    with contextlib.redirect_stderr(io.StringIO()):
        yield
