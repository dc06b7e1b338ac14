"""``use_gpu``: FlashTorch moves the user's model; we move a copy, for one call."""

import torch
from torch import Tensor, nn

from vizhelpers.passes.copies import copy_model


def placed(model: nn.Module, x: Tensor, use_gpu: bool) -> tuple[nn.Module, Tensor]:
    """Return copies of model and input on CUDA, or both unchanged.

    Args:
        model: any module; it is not modified.
        x: network input (N, C, H, W).
        use_gpu: use CUDA; without a CUDA device both stay where they are, as in FlashTorch.
    """
    if not (use_gpu and torch.cuda.is_available()):
        return model, x
    return copy_model(model, _on_cuda, hooks=True), x.cuda()


def _on_cuda(tensor: Tensor) -> Tensor:
    moved = tensor.detach().cuda()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(moved, requires_grad=tensor.requires_grad)
    return moved
