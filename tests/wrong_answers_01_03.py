"""Wrong answers of notebooks 01 to 03 that compute the right values in a way the task forbids."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.nn.functional import conv2d as under_another_name

Answers = tuple[Any, ...]


# ------------------------------------------------------------------ 03
def convolve_by_library(x: Tensor, weight: Tensor, bias: float, stride: int) -> Tensor:
    return under_another_name(x[None], weight[None], stride=stride)[0, 0] + bias


def convolve_by_unfold(x: Tensor, weight: Tensor, bias: float, stride: int) -> Tensor:
    columns = F.unfold(x[None], weight.shape[1:], stride=stride)[0]
    width = (x.shape[2] - weight.shape[2]) // stride + 1
    return (weight.flatten() @ columns + bias).reshape(-1, width)


WRONG: dict[str, list[tuple[str, Callable[[], Answers]]]] = {
    "03.2": [
        ("a library convolves", lambda: (convolve_by_library,)),
        ("a library cuts the windows", lambda: (convolve_by_unfold,)),
    ],
}
