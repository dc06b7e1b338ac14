"""What all panels are made of: named controls, a picture, and a line for what went wrong."""

import base64
import html
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from vizhelpers.view.static import to_png

Controls = Mapping[str, widgets.Widget]


class Panel:
    """Controls above a picture that is drawn again whenever one of them changes.

    An error becomes a message under the controls, in place of the picture; the controls stay
    alive. Viewers that run no widgets (GitHub, a PDF) show the picture as it is when the panel is
    displayed.

    Attributes:
        controls: the ipywidgets by name; ``panel.controls["layer"].value = ...`` moves one.
        picture: the ``ipywidgets.Image`` that holds the PNG.
        message: what went wrong, or "".
        box: all of it, as one widget.
    """

    def __init__(
        self,
        title: str,
        controls: Controls,
        draw: Callable[..., Figure],
        adapt: Callable[[Controls], None] | None = None,
    ) -> None:
        """Show ``draw(**values)``.

        Args:
            title: one line that says what is shown; the plain text of the panel.
            controls: named ipywidgets with a ``value``.
            draw: makes the picture from the controls' values, given by name.
            adapt: called before each drawing; sets bounds and options that depend on other
                controls, such as the number of channels of the chosen layer.
        """
        self.title = title
        self.controls = dict(controls)
        self._draw = draw
        self._adapt = adapt
        self._adapting = False
        self.message = ""
        self.picture = widgets.Image(format="png", layout={"max_width": "100%"})
        self._note = widgets.HTML()
        self.box = widgets.VBox([*self.controls.values(), self._note, self.picture])
        for control in self.controls.values():
            control.observe(self._changed, names="value")
        self.redraw()

    def _changed(self, change: Any) -> None:
        if not self._adapting:
            self.redraw()

    def redraw(self) -> None:
        """Draw the picture for the controls' present values, or show why it cannot be drawn."""
        try:
            self._adapt_controls()
            values = {name: control.value for name, control in self.controls.items()}
            self.picture.value = to_png(self._draw(**values))
            self._say("")
        except (ValueError, TypeError) as error:
            # The old picture would be taken for the answer to the new question.
            self.picture.value = b""
            self._say(str(error))

    def _adapt_controls(self) -> None:
        """Let dependent bounds follow without drawing for each of them."""
        if self._adapt is None:
            return
        self._adapting = True
        try:
            self._adapt(self.controls)
        finally:
            self._adapting = False

    def _say(self, message: str) -> None:
        self.message = message
        self._note.value = f'<p role="alert">⚠ {html.escape(message)}</p>' if message else ""
        self.picture.layout.display = "none" if message else ""

    def __repr__(self) -> str:
        """Return one line that does not depend on the controls, so that outputs compare equal."""
        return f"{self.title} [{', '.join(self.controls)}]"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Offer the live widget, and beside it the picture for viewers that run no widgets.

        This belongs to the panel and not to the box in it: ipywidgets 7 would display the box by
        ``_ipython_display_``, which sends no picture.
        """
        bundle: dict[str, Any] = {"text/plain": repr(self)}
        if self.picture.value:
            bundle["image/png"] = base64.b64encode(self.picture.value).decode("ascii")
        bundle["application/vnd.jupyter.widget-view+json"] = {
            "version_major": 2,
            "version_minor": 0,
            "model_id": self.box.model_id,
        }
        return bundle

    def close(self) -> None:
        """Free the widgets, in the kernel and in the browser."""
        for widget in [self.box, *self.box.children]:
            parts = (widget.layout, getattr(widget, "style", None), widget)
            for part in filter(None, parts):
                part.close()


def int_slider(label: str, value: int, low: int, high: int, step: int = 1) -> widgets.IntSlider:
    """Return a slider over whole numbers, wide enough to hit each of them."""
    return widgets.IntSlider(
        value=value, min=low, max=high, step=step, description=label, **_wide()
    )


def dropdown(label: str, options: Any, value: Any = None) -> widgets.Dropdown:
    """Return a dropdown; ``options`` is a list, or (text, value) pairs."""
    kwargs = {} if value is None else {"value": value}
    return widgets.Dropdown(options=options, description=label, **kwargs, **_wide())


def _wide() -> dict[str, Any]:
    return {"style": {"description_width": "8em"}, "layout": {"width": "34em"}}
