"""``use_gpu``: FlashTorch moves the user's model for good; we take a copy for one call."""

import copy

import torch
from torch import Tensor, nn


def placed(model: nn.Module, x: Tensor, use_gpu: bool) -> tuple[nn.Module, Tensor]:
    """Return model and input where the work is done: a CUDA copy of both, or as they are."""
    if not (use_gpu and torch.cuda.is_available()):
        return model, x
    return copy.deepcopy(model).cuda(), x.cuda()
