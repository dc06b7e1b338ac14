"""The controls of a scene, declared once: ipywidgets in a notebook, HTML in a saved page."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import ipywidgets as widgets

from vizhelpers.view.live.scene import Scene

_SCALES = ("shared", "each frame its own")
_NAMES = {"out": "output channel", "in": "input channel"}


@dataclass(frozen=True)
class Control:
    """Something that moves one trait of the view, an integer.

    Attributes:
        trait: of ``StackView``, such as "i0".
        name: what a reader calls it.
        kind: "range", a slider from low to high, or "choice", one of the labels.
        labels: of a choice; empty for a range.
        low: least value of a range.
        high: greatest value.
        step: of a range.
    """

    trait: str
    name: str
    kind: str
    labels: Sequence[str] = ()
    low: int = 0
    high: int = 0
    step: int = 1

    def wire(self) -> dict[str, Any]:
        """Return what ``view.js`` makes an HTML control of."""
        return {**asdict(self), "labels": list(self.labels)}


def controls_of(scene: Scene) -> list[Control]:
    """Return the controls of a scene: one for each axis that varies, and for its colours."""
    found = [
        _axis(f"i{i}", name, labels)
        for i, (name, labels) in enumerate(scene.axes.items())
        if len(labels) > 1
    ]
    maps = bool(scene.stacks) and scene.scale != "rgb"
    several = sum(map(len, scene.stacks)) > 1
    if maps and scene.stacks[0].base is not None:
        found.append(Control("blend", "overlay strength", "range", high=100, step=5))
    if maps and several and scene.group != "frame":
        found.append(Control("own_scale", "colour scale", "choice", _SCALES))
    if several:
        found.append(Control("grid", "show", "choice", ("one frame", "all frames below it")))
    return found


def _axis(trait: str, axis: str, labels: Sequence[Any]) -> Control:
    name = _NAMES.get(axis, axis)
    if list(labels) == list(range(len(labels))):
        return Control(trait, name, "range", high=len(labels) - 1)
    return Control(trait, name, "choice", [str(label) for label in labels])


def widget_for(control: Control, value: int) -> widgets.Widget:
    """Return the ipywidget of a control, at ``value``."""
    value = max(control.low, min(value, limit(control)))
    if control.kind == "range":
        return int_slider(control.name, value, control.low, control.high, control.step)
    return widgets.Dropdown(
        options=list(control.labels), index=value, description=control.name, **wide()
    )


def linked_trait(widget: widgets.Widget) -> str:
    """Return the trait of an ipywidget that moves the view's: a number in both."""
    return "index" if isinstance(widget, widgets.Dropdown) else "value"


def limit(control: Control) -> int:
    """Return the greatest value of a control."""
    return control.high if control.kind == "range" else len(control.labels) - 1


def fits(widget: widgets.Widget, control: Control) -> bool:
    """Whether an ipywidget that is there already can serve a control."""
    return isinstance(widget, widgets.Dropdown) == (control.kind == "choice")


def adjust(widget: widgets.Widget, control: Control) -> None:
    """Give an ipywidget the bounds or the options of a control; it keeps its place if it can."""
    if control.kind == "range":
        widget.max = control.high
    elif list(widget.options) != list(control.labels):
        label = widget.value
        widget.options = list(control.labels)
        if label in control.labels:
            widget.value = label


def offer(widget: widgets.Dropdown, options: Sequence[str], start: str) -> None:
    """Give a dropdown these options; it stays on its value where it can, and else goes to start."""
    if list(widget.options) != list(options):
        value = widget.value if widget.value in options else start
        widget.options = list(options)
        widget.value = value


def int_slider(label: str, value: int, low: int, high: int, step: int = 1) -> widgets.IntSlider:
    """Return a slider over whole numbers, wide enough to hit each of them."""
    return widgets.IntSlider(value=value, min=low, max=high, step=step, description=label, **wide())


def dropdown(label: str, options: Any, value: Any = None) -> widgets.Dropdown:
    """Return a dropdown; ``options`` is a list, or (text, value) pairs."""
    kwargs = {} if value is None else {"value": value}
    return widgets.Dropdown(options=options, description=label, **kwargs, **wide())


def wide() -> dict[str, Any]:
    """Return style and layout that all controls of a panel share, so that they stand in line."""
    return {"style": {"description_width": "9em"}, "layout": {"width": "36em"}}


def options_of(widget: widgets.Widget) -> list[tuple[str, Any]]:
    """Return (text, value) of each choice that a dropdown offers."""
    options = widget.options
    pairs = options.items() if isinstance(options, Mapping) else options
    return [pair if isinstance(pair, tuple) else (str(pair), pair) for pair in pairs]
