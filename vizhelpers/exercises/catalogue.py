"""``EXERCISES``: all exercises by key, in the order of the notebooks."""

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

_NOTEBOOKS = (n01_print, n02_torchinfo, n03_kernels, n04_hooks, n05_cam, n06_flashtorch)

EXERCISES: dict[str, Exercise] = {
    exercise.key: exercise
    for notebook in (*_NOTEBOOKS, n07_your_model)
    for exercise in notebook.EXERCISES
}
