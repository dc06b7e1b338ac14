"""The shell of all panels: controls, a live view, and a thread for the work of the model."""

import base64
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from vizhelpers.view.canvas import to_png
from vizhelpers.view.live.axes import Axes
from vizhelpers.view.live.controls import controls_of, free
from vizhelpers.view.live.declaration import Declaration
from vizhelpers.view.live.html import Page, save_html
from vizhelpers.view.live.pages import every_scene, title_of_stack
from vizhelpers.view.live.progress import Cancelled, watching
from vizhelpers.view.live.requests import Requests
from vizhelpers.view.live.scene import Scene, Stack
from vizhelpers.view.live.view import StackView
from vizhelpers.view.live.wire import LARGEST
from vizhelpers.view.live.wire_types import Message
from vizhelpers.view.live.worker import Worker

_KEPT = 24  # scenes in the cache
_CLOSED = "This panel is closed. Run its cell again."
_log = logging.getLogger(__name__)


class Panel:
    """Controls above a view, from a ``Declaration``.

    There are two kinds of controls. A change of a *request* needs the model: the scene is computed
    in the panel's thread and shown when it is complete. *Axes* move through frames that are in the
    browser already, without the kernel. An error becomes a message above the previous picture, and
    names the requests to which this picture belongs. Viewers without widgets (GitHub, a PDF) show a
    PNG of the state at display.

    Attributes:
        title: one line that says what is shown.
        view: the ``StackView``.
        scene: the scene that is shown.
        box: the widget that holds the controls and the view.
    """

    def __init__(self, declaration: Declaration) -> None:
        """Compute and show the first scene; later ones are computed in the panel's thread."""
        self.title = declaration.title
        self._declaration = declaration
        self.view = StackView()
        self._requests = Requests(declaration.controls)
        self._axes = Axes(self.view, declaration.start)
        self._worker = Worker()
        self._scenes: OrderedDict[tuple[Any, ...], Scene] = OrderedDict()
        self._lock = threading.RLock()  # for the requests and the state of the view
        self._failed_upload = ""  # message
        self._going_back = False  # ``stop`` is setting the requests
        self._closing: list[Callable[[], object]] = []
        self._row = widgets.VBox(self._requests.column())
        self.box = widgets.VBox([self._row, self.view])
        try:
            self._settle()
            self._shown_values = self._requests.values()
            self._show(self._scene_for(self._shown_values))
        except BaseException:
            self.close()
            raise
        self._line = f"{self.title} [{', '.join(self.controls)}]"
        self._requests.observe(self._changed, self._refuse_upload)
        self.view.on_msg(self._receive)

    @property
    def requests(self) -> dict[str, widgets.Widget]:
        """The ipywidgets of the declared controls, by name."""
        return self._requests.widgets

    @property
    def controls(self) -> dict[str, widgets.Widget]:
        """The ipywidgets of all controls, by name: requests, then axes."""
        return {**self._requests.widgets, **self._axes.by_name}

    # ------------------------------------------------------------ requests

    def _scene_for(self, values: Mapping[str, Any]) -> Scene:
        """Return a scene from the cache, or compute and cache it."""
        key = (self._declaration.version(), *values.values())
        if key not in self._scenes:
            self._scenes[key] = self._declaration.compute(**values)
            while len(self._scenes) > _KEPT:
                self._scenes.popitem(last=False)
        self._scenes.move_to_end(key)
        return self._scenes[key]

    def _settle(self) -> None:
        """Update the options and bounds of the requests, for the models as they are now."""
        self._declaration.version()
        self._requests.settle()

    def _changed(self, change: Any) -> None:
        """Start to compute the scene of the new values."""
        if self._worker.runs_here() or self._going_back:
            return  # the panel itself changed the control
        with self._lock:
            self._failed_upload = ""
            self.view.busy = f"Computing: {self.title} …"
            self.view.progress = -1.0
            self._worker.submit(self._answer)

    def _refuse_upload(self, message: str) -> None:
        with self._lock:
            self._failed_upload = self.view.message = message

    def _answer(self, newest: Callable[[], bool]) -> None:
        """Compute and show the scene of the current values; runs in the worker's thread.

        Args:
            newest: returns False when this job is no longer the newest.
        """

        def report(what: str, done: int, total: int) -> bool:
            if newest() and total > 2:
                self.view.progress = done / total
            return newest()

        message = ""
        try:
            with watching(report):
                self._settle()
                values = self._requests.values()
                scene = self._scene_for(values)
            with self._lock:
                if newest():
                    jumps = self._requests.jumps(self._shown_values, values)
                    self._shown_values = values
                    self._show(scene, jumps)
        except Cancelled:
            pass
        except (ValueError, TypeError) as error:
            message = str(error)
        except Exception as error:
            # An error in the code. Python would not display an exception of this thread.
            message = f"{type(error).__name__}: {error}"
            _log.exception("panel %r failed", self.title)
        with self._lock:
            if newest():
                if message:
                    message = self._with_what_is_shown(message)
                self.view.message, self.view.busy = message or self._failed_upload, ""

    def _with_what_is_shown(self, message: str) -> str:
        """Return the message, and the requests whose value differs from that of the picture."""
        end = "" if message.endswith((".", "?", "!")) else "."
        different = self._requests.differences(self._shown_values)
        shown = f": it shows {different}" if different else ""
        return f"{message}{end} The picture has not changed{shown}."

    def _receive(self, view: Any, content: Any, buffers: Any) -> None:
        """Handle a message from the browser."""
        kind = content.get("type") if isinstance(content, dict) else None
        if kind == "stop":
            self.stop()
        elif kind == "ping":  # the view checks whether the kernel runs
            self.view.send(Message(type="pong"))

    def stop(self) -> None:
        """Cancel the computation; the picture stays, and the controls return to its values."""
        with self._lock:
            self._worker.cancel()
            self._going_back = True
            self._requests.go_to(self._shown_values)
            self._going_back = False
            self.view.message = self.view.busy = ""
            # Repeat it when the job has ended: until then the job may change the options.
            self._worker.submit(self._settle_back)

    def _settle_back(self, newest: Callable[[], bool]) -> None:
        """Return the requests and their options to the picture's; runs in the worker's thread."""
        with self._lock:
            if newest():
                self._requests.go_to(self._shown_values)
                self._settle()
                self._requests.go_to(self._shown_values)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the computation ends; return False after ``timeout`` seconds."""
        return self._worker.wait(timeout)

    @property
    def message(self) -> str:
        """The error that the panel displays, or ""."""
        return str(self.view.message)

    # ------------------------------------------------------------ display

    def _show(self, scene: Scene, jumps: Mapping[str, int] | None = None) -> None:
        """Show a scene, and display a widget for each of its axes."""
        self.scene = scene
        self._axes.show(scene, jumps)
        column = (*self._requests.column(), *self._axes.by_name.values())
        if self._row.children != column:
            self._row.children = column

    def figure(self) -> Figure:
        """Return what the panel shows as a matplotlib figure."""
        state = self._axes.state()
        chosen = [state["i0"], state["i1"], state["i2"]][: len(self.scene.axes)]
        return self.scene.figure(chosen, blend=state["blend"], own=bool(state["own_scale"]))

    def save_html(self, path: str | Path, *, largest: int = LARGEST) -> Path:
        """Write the panel as one HTML file; its controls need no kernel and no internet connection.

        All that the file can show is computed now: a scene for each combination of the values that
        the declaration names for it, with every frame.

        Args:
            path: file to write.
            largest: bytes of frames in the file; more are reduced, and the page says so.

        Returns:
            The path.

        Raises:
            ValueError: the folder does not exist.
        """
        return save_html(self.page(largest=largest), Path(path))

    def page(self, *, largest: int = LARGEST) -> Page:
        """Return the page that ``save_html`` writes."""
        now = self._shown_values
        choices, scenes = every_scene(self._requests.offline(now), now, self._scene_for)
        share = max(largest // len(scenes), 1)
        return Page(
            name=self.title,
            png=self._png(),
            requests={
                self._requests.label(name): [text for text, _ in options]
                for name, options in choices.items()
            },
            scenes=[scene.payload(share) for scene in scenes.values()],
            controls=[[c.wire() for c in controls_of(scene)] for scene in scenes.values()],
            state={**self._axes.state(), "scene": list(scenes).index(tuple(now.values()))},
        )

    def __repr__(self) -> str:
        """Return one line that does not depend on the controls, so that outputs compare equal."""
        return self._line

    def _png(self) -> bytes:
        return to_png(self.figure())

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the live widget, and its picture for viewers without widgets.

        This is a method of the panel, not of its box: ipywidgets 7 would display the box by
        ``_ipython_display_``, which sends no picture.
        """
        if self._declaration.compute is _closed:
            return {"text/plain": _CLOSED}, {}
        bundle: dict[str, Any] = {"text/plain": repr(self)}
        if png := self._png():
            bundle["image/png"] = base64.b64encode(png).decode("ascii")
        bundle["application/vnd.jupyter.widget-view+json"] = {
            "version_major": 2,
            "version_minor": 0,
            "model_id": self.box.model_id,
        }
        # anywidget's own metadata: Colab needs it to load a widget that is not built in.
        display = self.view._repr_mimebundle_()
        return bundle, display[1] if display else {}

    # ------------------------------------------------------------ closing

    def on_close(self, callback: Callable[[], object]) -> None:
        """Register a function that is called once, when the panel is closed."""
        self._closing.append(callback)

    def close(self) -> None:
        """Stop the work, free the widgets, and drop all references to models and photographs."""
        while self._closing:
            self._closing.pop()()
        self._worker.cancel()
        self._scenes.clear()
        self._declaration = Declaration(self.title, _closed)
        # JupyterLab keeps the last two states of closed widgets: make these small.
        self.view.scene = {}
        self.view.progress = 1.0
        self._axes.close()
        self._requests.close()
        for widget in (self._row, self.view, self.box):
            free(widget)
            widget.unobserve_all()


def _closed(**values: Any) -> Scene:
    raise ValueError(_CLOSED)


def panel_of_stack(stack: Stack, *, photograph: bool = False) -> Panel:
    """Return a panel that shows the frames of one stack.

    Args:
        stack: the stack.
        photograph: show the stack's photograph beside the map.
    """
    scene = Scene([stack], photograph=photograph)
    start = {"blend": round(100 * stack.blend)}
    return Panel(Declaration(title_of_stack(stack), lambda: scene, start=start))
