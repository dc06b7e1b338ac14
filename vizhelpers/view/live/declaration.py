"""What a panel is: its controls, and one function that computes a scene from their values.

Options, bounds and starts of a control may be functions. The parameters of such a function are
named after controls that are declared before this one; it is called with their values.
"""

import inspect
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import ipywidgets as widgets

from vizhelpers.view.live.controls import int_slider, wide
from vizhelpers.view.live.scene import Scene

Value = TypeVar("Value")
Values = Mapping[str, Any]
Depends: TypeAlias = Value | Callable[..., Value]


@dataclass(frozen=True)
class Request:
    """A control of which each change needs another scene.

    Attributes:
        name: the parameter of the declaration's ``compute`` that takes the control's value.
        label: text beside the control; "" stands for the name.
        offline: values that a saved page offers besides the current one.
        jump: axis -> position to which it moves when a reader changes this control; -1 is the last.
    """

    name: str
    label: str = field(default="", kw_only=True)
    offline: Depends[Sequence[Any]] = field(default=(), kw_only=True)
    jump: Mapping[str, int] = field(default_factory=dict, kw_only=True)

    @property
    def text(self) -> str:
        """The text beside the control."""
        return self.label or self.name

    def widget(self, values: Values) -> widgets.Widget:
        """Return the ipywidget at its start.

        Args:
            values: values of the controls before this one.
        """
        raise NotImplementedError

    def settle(self, widget: widgets.Widget, values: Values, changed: bool) -> None:
        """Update the options or bounds of the ipywidget.

        Args:
            widget: the ipywidget, from ``self.widget``.
            values: values of the controls before this one.
            changed: whether a reader changed this control since the last call.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Choice(Request):
    """A menu.

    Attributes:
        options: labels, or (text, value) pairs.
        start: the first value; the first option if ``start`` is no option.
        upload: takes the value of a ``FileUpload`` and returns a new option to choose; raises an
            exception whose text is shown. If given, an upload button stands above the controls.
        hide_single: hide the menu if it has one option only.
    """

    options: Depends[Sequence[Any]]
    start: Depends[Any] = None
    upload: Callable[[Any], Any] | None = None
    hide_single: bool = False

    def widget(self, values: Values) -> widgets.Dropdown:
        """Return a dropdown at ``start``."""
        dropdown = widgets.Dropdown(description=self.text, **wide())
        self.settle(dropdown, values, changed=False)
        return dropdown

    def settle(self, widget: widgets.Dropdown, values: Values, changed: bool) -> None:
        """Update the options; keep the value if it is still an option, else choose the start."""
        options = list(resolved(self.options, values))
        if list(widget.options) != options:
            possible = [value for _, value in pairs(options)]
            preferred = (widget.value, resolved(self.start, values), possible[0])
            widget.options = options
            widget.value = next(value for value in preferred if value in possible)
        hidden = self.hide_single and len(options) == 1
        widget.layout.display = "none" if hidden else None


@dataclass(frozen=True)
class Range(Request):
    """A slider over whole numbers.

    Attributes:
        bounds: (least, greatest) value.
        start: the first value; limited to the bounds.
    """

    bounds: Depends[tuple[int, int]]
    start: Depends[int] = 0

    def widget(self, values: Values) -> widgets.IntSlider:
        """Return a slider at ``start``."""
        low, high = resolved(self.bounds, values)
        start = max(low, min(resolved(self.start, values), high))
        slider = int_slider(self.text, start, low, high)
        slider.disabled = low == high
        return slider

    def settle(self, widget: widgets.IntSlider, values: Values, changed: bool) -> None:
        """Update the bounds; move the value inside them; disable a slider with one value only."""
        low, high = resolved(self.bounds, values)
        # First the union of old and new bounds: min must never exceed max.
        widget.min, widget.max = min(low, widget.max), max(high, widget.min)
        widget.min, widget.max = low, high
        widget.disabled = low == high


@dataclass(frozen=True)
class Search(Request):
    """A text box with suggestions, empty at the start.

    Attributes:
        suggestions: the texts to suggest. The browser's own suggestions match inside words
            ("education" for "cat"); ``view.js`` suggests texts that contain the typed words.
        accepts: whether a text is usable; a function whose parameters may include this control. An
            unusable text is cleared when a reader changes another control: otherwise that change
            would fail as well.
        placeholder: shown in the empty box.
    """

    suggestions: Depends[Sequence[str]]
    accepts: Callable[..., bool]
    placeholder: str = ""

    def widget(self, values: Values) -> widgets.Combobox:
        """Return an empty text box."""
        box = widgets.Combobox(
            options=resolved(self.suggestions, values),
            placeholder=self.placeholder,
            description=self.text,
            continuous_update=False,
            **wide(),
        )
        box.add_class("vizhelpers-search")
        return box

    def settle(self, widget: widgets.Combobox, values: Values, changed: bool) -> None:
        """Update the suggestions; clear an unusable text, unless it has just been typed."""
        widget.options = resolved(self.suggestions, values)
        text = widget.value
        if text and not changed and not resolved(self.accepts, {**values, self.name: text}):
            widget.value = ""


def _unchanging() -> None:
    """Return the version of scenes that depend on their controls only."""


@dataclass(frozen=True)
class Declaration:
    """A panel: what it offers, and what it shows.

    Attributes:
        title: one line that says what is shown.
        compute: returns the scene; its parameters are the names of all controls.
        controls: in the order in which they are displayed; each may depend on those before it.
        start: axis name, or trait of ``StackView`` -> its position at the start; -1 is the last.
        version: returns another value when computed scenes are out of date, such as after the model
            was trained.
    """

    title: str
    compute: Callable[..., Scene]
    controls: Sequence[Request] = ()
    start: Mapping[str, int] = field(default_factory=dict)
    version: Callable[[], Hashable] = _unchanging


def resolved(given: Any, values: Values) -> Any:
    """Return ``given``, or its result for the values of the controls that its parameters name.

    Raises:
        TypeError: a parameter is named after none of the controls in ``values``.
    """
    if not callable(given):
        return given
    names = list(inspect.signature(given).parameters)
    unknown = [name for name in names if name not in values]
    if unknown:
        raise TypeError(
            f"{getattr(given, '__name__', given)}({', '.join(names)}): {', '.join(unknown)} is no "
            f"control before this one. Possible: {', '.join(values) or 'none'}."
        )
    # By position: a call by keyword would have another entry in an lru_cache.
    return given(*(values[name] for name in names))


def pairs(options: Iterable[Any]) -> list[tuple[str, Any]]:
    """Return (text, value) of each option of a ``Choice``."""
    return [pair if isinstance(pair, tuple) else (str(pair), pair) for pair in options]
