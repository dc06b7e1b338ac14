"""The widgets of a scene's axes and colours, linked to the view in the browser."""

from collections.abc import Mapping
from typing import NamedTuple, cast

import ipywidgets as widgets

from vizhelpers.view.live.controls import (
    Control,
    adjust,
    controls_of,
    fits,
    free,
    linked_trait,
    widget_for,
    within,
)
from vizhelpers.view.live.scene import Scene
from vizhelpers.view.live.view import StackView
from vizhelpers.view.live.wire_types import ViewState

TRAITS = tuple(ViewState.__annotations__)


class Linked(NamedTuple):
    """A widget, the control that it serves, and its link to the view."""

    control: Control
    widget: widgets.Widget
    link: widgets.Widget


class Axes:
    """Widgets that move a view through the frames of its scene without the kernel.

    Attributes:
        linked: trait of the view -> the widget that moves it. A widget is hidden while the
            scene does not have its axis.
    """

    def __init__(self, view: StackView, start: Mapping[str, int]) -> None:
        """Create no widget yet.

        Args:
            view: the view to move.
            start: axis name, or trait of the view -> its first position; -1 is the last.
        """
        self._view, self._start = view, dict(start)
        self.linked: dict[str, Linked] = {}

    @property
    def by_name(self) -> dict[str, widgets.Widget]:
        """Control name -> ipywidget."""
        return {linked.control.name: linked.widget for linked in self.linked.values()}

    def show(self, scene: Scene, jumps: Mapping[str, int] | None = None) -> None:
        """Send a scene to the view, and fit the widgets to it.

        Args:
            scene: the new scene.
            jumps: axis -> its new position, -1 is the last; other axes stay at their labels.
        """
        jumping, starting = (_by_trait(given, scene) for given in (jumps or {}, self._start))
        positions = {}
        for control in controls_of(scene):
            trait = control.trait
            if trait in jumping:
                position = jumping[trait]
            elif trait in self.linked:
                position = self._kept(control)
            else:
                position = starting.get(trait, getattr(self._view, trait))
            positions[trait] = within(control, position)
        with self._view.hold_sync():
            self._view.scene = dict(scene.payload())
            for trait, position in positions.items():
                setattr(self._view, trait, position)
        for control in controls_of(scene):
            widget = self._fit(control, positions[control.trait])
            setattr(widget, linked_trait(widget), positions[control.trait])
        for trait, linked in self.linked.items():
            linked.widget.layout.display = None if trait in positions else "none"

    def _kept(self, control: Control) -> int:
        """Return the position of the label at which the axis stands, or of its current number."""
        widget = self.linked[control.trait].widget
        if control.kind == "choice" and isinstance(widget, widgets.Dropdown):
            labels = list(control.labels)
            return labels.index(widget.value) if widget.value in labels else 0
        return int(getattr(widget, linked_trait(widget)) or 0)

    def _fit(self, control: Control, position: int) -> widgets.Widget:
        """Return the widget of a control: the previous one adjusted, or a new one."""
        known = self.linked.get(control.trait)
        if known and fits(known.widget, control):
            adjust(known.widget, control)
            self.linked[control.trait] = known._replace(control=control)
            return known.widget
        if known:
            free(known.widget, known.link)
        widget = widget_for(control, position)
        link = widgets.jslink((widget, linked_trait(widget)), (self._view, control.trait))
        self.linked[control.trait] = Linked(control, widget, link)
        return widget

    def state(self) -> ViewState:
        """Return trait of the view -> position, as the widgets in the kernel have it."""
        state = {trait: int(getattr(self._view, trait)) for trait in TRAITS}
        for trait, linked in self.linked.items():
            state[trait] = int(getattr(linked.widget, linked_trait(linked.widget)) or 0)
        return cast(ViewState, state)

    def close(self) -> None:
        """Close the widgets and their links."""
        for linked in self.linked.values():
            free(linked.widget, linked.link)


def _by_trait(positions: Mapping[str, int], scene: Scene) -> dict[str, int]:
    """Return trait -> position for a mapping whose keys are axis names or traits."""
    traits = {axis: f"i{i}" for i, axis in enumerate(scene.axes)}
    return {traits.get(name, name): position for name, position in positions.items()}
