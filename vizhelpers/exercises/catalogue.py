"""All exercises, in the order of the notebooks."""

from vizhelpers.exercises.definitions import (
    n01_print,
    n02_torchinfo,
    n03_kernels,
    n04_hooks,
    n05_cam,
    n06_flashtorch,
    n07_your_model,
)
from vizhelpers.exercises.exercise import Exercise

_ROOMS = (n01_print, n02_torchinfo, n03_kernels, n04_hooks, n05_cam, n06_flashtorch, n07_your_model)

EXERCISES: dict[str, Exercise] = {one.key: one for room in _ROOMS for one in room.EXERCISES}
