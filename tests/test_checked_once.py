"""An argument is validated once, at the public door; no check is repeated on its way inwards."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from types import FrameType, FunctionType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vizhelpers as viz
from vizhelpers.inputs import arguments, classes, layers, modules, subject

LABELS = [f"class {i}" for i in range(5)]
FUNCTIONS = [
    *(f for f in vars(arguments).values() if isinstance(f, FunctionType) and f.__name__[0] != "_"),
    modules.unwrapped,
    subject.input_tensor,
    layers.path_of,
    layers.paths_of,
    classes.listed_labels,
]
METHODS = [(classes.ClassNames, "index"), (classes.ClassNames, "indices"), (torch, "isfinite")]
OF_STACKS = {f.__code__ for f in vars(viz.ImageStack).values() if isinstance(f, FunctionType)}
Counts = Counter[tuple[Any, ...]]


def _known_by(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, type(None))) else id(value)


def _within_a_stack() -> bool:
    """A sweep makes a stack for each layer, and a stack checks what it is made of."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code not in OF_STACKS:
        frame = frame.f_back
    return frame is not None


def _counted(function: Callable[..., Any], counts: Counts, kept: list[Any]) -> Callable[..., Any]:
    @wraps(function)
    def counting(*args: Any, **kwargs: Any) -> Any:
        if not _within_a_stack():
            values = [*args, *(kwargs[name] for name in sorted(kwargs))]
            kept.extend(values)  # so that no id is used again
            counts[function.__name__, *map(_known_by, values)] += 1
        return function(*args, **kwargs)

    return counting


@contextmanager
def checks() -> Iterator[Counts]:
    """Count the calls of each function that validates, with each set of arguments."""
    counts: Counts = Counter()
    kept: list[Any] = []
    places = METHODS + [
        (module, name)
        for key, module in list(sys.modules.items())
        if key.startswith("vizhelpers.")
        for name, value in list(vars(module).items())
        if isinstance(value, FunctionType) and value in FUNCTIONS
    ]
    with pytest.MonkeyPatch.context() as patch:
        for place, name in places:
            patch.setattr(place, name, _counted(getattr(place, name), counts, kept))
        yield counts


def repeated(counts: Counter[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [key for key, count in counts.items() if count > 1]


Call = Callable[[nn.Module, Tensor], object]
CALLS: dict[str, Call] = {
    "predict": lambda m, x: viz.predict(m, x, 3, labels=LABELS),
    "capture": lambda m, x: viz.capture(m, x, ["0", "2"]),
    "feature_maps": lambda m, x: viz.feature_maps(m, x, "2", channels=[1, 2]),
    "feature_maps of two": lambda m, x: viz.feature_maps(m, {"a": x, "b": x + 1}, "2"),
    "kernels": lambda m, x: viz.kernels(m, "0", random_seed=3),
    "cam": lambda m, x: viz.cam(m, x, "2", target="class 3", labels=LABELS),
    "cam_sweep": lambda m, x: viz.cam_sweep(
        m, x, layers=["0", "2"], targets=["class 3", 1, None], labels=LABELS
    ),
    "scorecam": lambda m, x: viz.cam(m, x, "2", target=1, method="scorecam"),
    "ablationcam": lambda m, x: viz.cam(m, x, "2", target=1, method="ablationcam"),
    "saliency": lambda m, x: viz.saliency(m, x, target="class 3", labels=LABELS),
    "guided": lambda m, x: viz.saliency(m, x, target=1, method="guided"),
    "smoothgrad": lambda m, x: viz.saliency(m, x, target=1, method="smoothgrad", passes=3),
    "integrated_gradients": lambda m, x: viz.saliency(
        m, x, target=1, method="integrated_gradients", passes=3
    ),
    "activation_maximization": lambda m, x: viz.activation_maximization(
        m, "0", channels=[1, 2], steps=4, size=16
    ),
    "module_tree": lambda m, x: viz.module_tree(m, 1, input_size=(2, 3, 12, 13)),
    "summary": lambda m, x: viz.summary(m, (2, 3, 12, 13)),
    "cam_layers": lambda m, x: viz.cam_layers(m, x),
    "layer_names": lambda m, x: viz.layer_names(m),
    "get_layer": lambda m, x: viz.get_layer(m, "2"),
    "class_index": lambda m, x: viz.class_index(m, "class 3", labels=LABELS),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_argument_is_checked_twice(name: str, tiny: nn.Module, noise: Tensor) -> None:
    CALLS[name](tiny, noise)  # imports run code of their own
    with checks() as counts:
        CALLS[name](tiny, noise)
    assert counts["unwrapped", id(tiny)] == 1, "the model was not checked"
    assert [key for key in repeated(counts) if key[0] != "isfinite"] == []


def test_many_passes_check_no_more_than_few(tiny: nn.Module, noise: Tensor) -> None:
    numbers = []
    for passes in (2, 20):
        with checks() as counts:
            viz.saliency(tiny, noise, target=1, method="smoothgrad", passes=passes)
        numbers.append(counts.total())
    assert numbers[0] == numbers[1] > 0


def test_a_second_check_is_noticed(tiny: nn.Module, noise: Tensor) -> None:
    with checks() as counts:
        subject.input_tensor(tiny, noise)
        subject.input_tensor(tiny, noise)
    assert [key[0] for key in repeated(counts)] == ["input_tensor", "isfinite"]


def test_the_values_of_an_input_are_read_once(tiny: nn.Module, noise: Tensor) -> None:
    with checks() as counts:
        viz.saliency(tiny, noise, target=1, method="integrated_gradients", passes=5)
    assert counts["isfinite", id(noise)] == 1


def test_every_function_that_takes_a_model_is_here() -> None:
    covered = {name.split(" ")[0] for name in CALLS}
    others = {"load_model", "prepare"}  # one makes a model, the other makes its input
    public = {name for name in viz.__all__ if not name.startswith("explore_")}
    takes_model = {name for name in public if _first_argument(name) == "model"}
    assert takes_model - covered <= others
    assert takes_model & covered == {name for name in covered if name in public}


def _first_argument(name: str) -> str:
    function = getattr(viz, name)
    if not isinstance(function, FunctionType):
        return ""
    return next(iter(signature(function).parameters), "")


def test_the_request_keeps_what_it_was_given(tiny: nn.Module, noise: Tensor) -> None:
    checked = subject.validated(nn.DataParallel(tiny), noise, labels=LABELS)
    assert checked.model is tiny and torch.equal(checked.x, noise)
    assert checked.view is None and list(checked.classes.names) == LABELS
