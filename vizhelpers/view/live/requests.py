"""The widgets of the controls that a panel declares."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import ipywidgets as widgets
from traitlets import TraitError

from vizhelpers.view.live.controls import free
from vizhelpers.view.live.declaration import Choice, Request, Values, pairs, resolved


class Requests:
    """An ipywidget for each declared control, and a button for each ``Choice`` with an upload.

    Attributes:
        widgets: control name -> ipywidget, in the declared order.
    """

    def __init__(self, declared: Sequence[Request]) -> None:
        """Create the widgets at their starts."""
        self._declared = {request.name: request for request in declared}
        self.widgets: dict[str, widgets.Widget] = {}
        for name, request in self._declared.items():
            self.widgets[name] = request.widget(self.values())
        self._settled = self.values()
        self._buttons = {
            name: widgets.FileUpload(accept="image/*", multiple=False, description="Your own")
            for name, request in self._declared.items()
            if isinstance(request, Choice) and request.upload
        }

    def observe(self, changed: Callable[[Any], None], failed: Callable[[str], None]) -> None:
        """Register callbacks.

        Args:
            changed: called when the value of a control changes.
            failed: called with the error's text when an uploaded file cannot be used.
        """
        for widget in self.widgets.values():
            widget.observe(changed, names="value")
        for name, button in self._buttons.items():
            button.observe(partial(self._upload, name, failed), names="value")
        for widget in self.column():
            widget.add_class("vizhelpers-request")  # for view.js: these need the kernel

    def column(self) -> list[widgets.Widget]:
        """Return all widgets in the order in which they are displayed."""
        return [*self._buttons.values(), *self.widgets.values()]

    def values(self) -> dict[str, Any]:
        """Return control name -> current value."""
        return {name: widget.value for name, widget in self.widgets.items()}

    def settle(self) -> None:
        """Update the options and bounds that depend on other controls."""
        values: dict[str, Any] = {}
        for name, widget in self.widgets.items():
            changed = widget.value != self._settled[name]
            self._declared[name].settle(widget, values, changed)
            values[name] = widget.value
        self._settled = values

    def go_to(self, values: Values) -> None:
        """Set the values of the controls, except for those that are not among the options."""
        for name, value in values.items():
            try:
                self.widgets[name].value = value
            except TraitError:  # an option of another network, until the options are settled
                continue

    def differences(self, values: Values) -> str:
        """Return a text such as "layer 'features.4', filter 3": other values than the controls'."""
        texts = []
        for name, value in values.items():
            if value not in (self.widgets[name].value, ""):
                shown = self._text_of(name, value)
                texts.append(f"{self._declared[name].text} {shown!r}")
        return ", ".join(texts)

    def jumps(self, before: Values, after: Values) -> dict[str, int]:
        """Return axis -> position for the axes that jump when these controls change."""
        changed = [r for name, r in self._declared.items() if before[name] != after[name]]
        return {axis: place for request in changed for axis, place in request.jump.items()}

    def offline(self, values: Values) -> dict[str, list[tuple[str, Any]]]:
        """Return control name -> (text, value) of each option of a saved page.

        Args:
            values: the current values; these are always among the options.
        """
        return {name: self._offline(request, values) for name, request in self._declared.items()}

    def _offline(self, request: Request, values: Values) -> list[tuple[str, Any]]:
        current = values[request.name]
        others = [value for value in resolved(request.offline, values) if value != current]
        offered = [current, *others]
        if all(isinstance(value, int) for value in offered):
            offered.sort()
        return [(str(self._text_of(request.name, value)), value) for value in offered]

    def _text_of(self, name: str, value: Any) -> Any:
        """Return the text of a menu's option, and the value itself for other controls."""
        widget = self.widgets[name]
        options = pairs(widget.options) if isinstance(widget, widgets.Dropdown) else []
        return next((text for text, option in options if option == value), value)

    def label(self, name: str) -> str:
        """Return the text beside a control."""
        return self._declared[name].text

    def _upload(self, name: str, failed: Callable[[str], None], change: Any) -> None:
        """Add an uploaded file to the options of a menu, and choose it."""
        if not change["new"]:
            return
        # Reset the value, so that uploading the same file again counts as a change.
        change["owner"].set_trait("value", type(change["new"])())
        choice = self._declared[name]
        assert isinstance(choice, Choice) and choice.upload
        try:
            option = choice.upload(change["new"])
        except Exception as error:  # errors in a widget's callback are not displayed
            failed(str(error))
            return
        widget = self.widgets[name]
        widget.options = list(resolved(choice.options, self.values()))
        widget.value = option

    def close(self) -> None:
        """Close the widgets, and drop the declared functions with all that they refer to."""
        for widget in self.column():
            free(widget)
            widget.unobserve_all()
        self._declared.clear()
