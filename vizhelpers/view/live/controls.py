"""The controls that move a view through a scene: ipywidgets in a notebook, HTML in a saved page."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import ipywidgets as widgets

from vizhelpers.view.live.scene import Scene
from vizhelpers.view.live.wire_types import ControlData

_SCALES = ("shared", "each frame its own")
_NAMES = {"out": "output channel", "in": "input channel"}


@dataclass(frozen=True)
class Control:
    """A control that sets one trait of the view to an integer.

    Attributes:
        trait: a trait of ``StackView``, such as "i0".
        name: the text beside the control.
        kind: "range", a slider from ``low`` to ``high``, or "choice", a menu of labels.
        labels: the options of a choice; empty for a range.
        low: least value of a range.
        high: greatest value of a range.
        step: step of a range.
    """

    trait: str
    name: str
    kind: str
    labels: Sequence[str] = ()
    low: int = 0
    high: int = 0
    step: int = 1

    def wire(self) -> ControlData:
        """Return the data from which ``view.js`` creates an HTML control."""
        return cast(ControlData, {**asdict(self), "labels": list(self.labels)})


def controls_of(scene: Scene) -> list[Control]:
    """Return a control for each axis that has several labels, then those of the colours."""
    controls = [
        _axis(f"i{i}", name, labels)
        for i, (name, labels) in enumerate(scene.axes.items())
        if len(labels) > 1
    ]
    maps = bool(scene.stacks) and scene.scale != "rgb"
    several = sum(map(len, scene.stacks)) > 1
    if maps and scene.stacks[0].base is not None:
        controls.append(Control("blend", "overlay strength", "range", high=100, step=5))
    if maps and several and scene.group != "frame":
        controls.append(Control("own_scale", "colour scale", "choice", _SCALES))
    if several:
        controls.append(Control("grid", "show", "choice", ("one frame", "all frames below it")))
    return controls


def _axis(trait: str, axis: str, labels: Sequence[Any]) -> Control:
    name = _NAMES.get(axis, axis)
    if list(labels) == list(range(len(labels))):
        return Control(trait, name, "range", high=len(labels) - 1)
    return Control(trait, name, "choice", [str(label) for label in labels])


def widget_for(control: Control, value: int) -> widgets.Widget:
    """Return an ipywidget for a control, at ``value``."""
    value = within(control, value)
    if control.kind == "range":
        return int_slider(control.name, value, control.low, control.high, control.step)
    return widgets.Dropdown(
        options=list(control.labels), index=value, description=control.name, **wide()
    )


def linked_trait(widget: widgets.Widget) -> str:
    """Return the integer trait of an ipywidget to link with the view's trait."""
    return "index" if isinstance(widget, widgets.Dropdown) else "value"


def limit(control: Control) -> int:
    """Return the greatest value of a control."""
    return control.high if control.kind == "range" else len(control.labels) - 1


def within(control: Control, position: int) -> int:
    """Return a position limited to the control's bounds; a negative position means the last."""
    return limit(control) if position < 0 else max(control.low, min(position, limit(control)))


def fits(widget: widgets.Widget, control: Control) -> bool:
    """Return whether an existing ipywidget is of the control's kind."""
    return isinstance(widget, widgets.Dropdown) == (control.kind == "choice")


def adjust(widget: widgets.Widget, control: Control) -> None:
    """Update the bounds or options of an ipywidget; it keeps its label if that is still offered."""
    widget.description = control.name
    if control.kind == "range":
        widget.max = control.high
    elif list(widget.options) != list(control.labels):
        label = widget.value
        widget.options = list(control.labels)
        if label in control.labels:
            widget.value = label


def int_slider(label: str, value: int, low: int, high: int, step: int = 1) -> widgets.IntSlider:
    """Return a slider over whole numbers, wide enough to reach each of them."""
    return widgets.IntSlider(value=value, min=low, max=high, step=step, description=label, **wide())


def wide() -> dict[str, Any]:
    """Return style and layout that align all controls of a panel."""
    return {"style": {"description_width": "9em"}, "layout": {"width": "36em"}}


def free(widget: widgets.Widget, link: Any = None) -> None:
    """Close a widget with its layout, its style and its link."""
    for part in (link, getattr(widget, "layout", None), getattr(widget, "style", None), widget):
        if part is not None:
            part.close()
