"""What all panels are made of: controls, one live view, and a thread for what needs the model."""

import base64
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import wraps
from itertools import product
from pathlib import Path
from typing import Any, ParamSpec

import ipywidgets as widgets
from matplotlib.figure import Figure
from traitlets import TraitError

from vizhelpers.explore.identity import key_of_call
from vizhelpers.view.canvas import to_png
from vizhelpers.view.live.controls import (
    Control,
    adjust,
    controls_of,
    fits,
    limit,
    linked_trait,
    options_of,
    widget_for,
)
from vizhelpers.view.live.html import Page, save_html
from vizhelpers.view.live.progress import Cancelled, watching
from vizhelpers.view.live.scene import Scene
from vizhelpers.view.live.view import StackView
from vizhelpers.view.live.wire import LARGEST
from vizhelpers.view.live.worker import Worker

P = ParamSpec("P")
Controls = Mapping[str, widgets.Widget]
_KEPT = 24  # scenes
_log = logging.getLogger(__name__)
_open: dict[Hashable, "Panel"] = {}


class Panel:
    """Controls above a view.

    Controls of two kinds: *requests* need the model, so a change is computed in a thread of the
    panel's own and shown when it is there; *axes* move through frames that the browser has
    already, so the kernel is not asked. An error becomes a message above the picture that was
    there before, and names the requests that this picture answers. Viewers that run no widgets
    (GitHub, a PDF) show a PNG of the state at display.

    Attributes:
        title: one line that says what is shown.
        requests: the ipywidgets that ask for another scene, by name.
        controls: these and the axes' ones, by name.
        view: the ``StackView``.
        scene: what it shows.
        box: all of it, as one widget.
    """

    def __init__(
        self,
        title: str,
        compute: Callable[..., Scene],
        requests: Controls | None = None,
        *,
        adapt: Callable[[Controls], None] | None = None,
        start: Mapping[str, int] | None = None,
        still: Callable[[Scene, Sequence[int]], Figure] | None = None,
        offline: Mapping[str, Sequence[Any]] | None = None,
        jumps: Mapping[str, tuple[str, int]] | None = None,
        version: Callable[[], Hashable] | None = None,
        extra: Sequence[widgets.Widget] = (),
    ) -> None:
        """Compute and show the first scene at once; later ones in the panel's thread.

        Args:
            title: one line that says what is shown; the plain text of the panel.
            compute: makes the scene from the requests' values, given by name.
            requests: named ipywidgets with a ``value``.
            adapt: called before each scene is computed; sets bounds and options of requests that
                depend on other requests, such as the classes to a photograph.
            start: where axes and other traits of the view begin, such as ``{"i0": 131}``.
            still: draws the PNG, where the scene's own figure is not what should be seen.
            offline: for ``save_html``, which values of which request are computed beforehand.
            jumps: request -> (trait of the view, where it goes when the request changes): a class
                that was typed is the first of those on offer, and is wanted at once. -1 is the
                last.
            version: returns another value when scenes that were computed are out of date, as after
                the model was trained on.
            extra: widgets that stand above the requests, such as an upload button. The trait
                ``complaint`` of one is shown as a message.
        """
        self.title = title
        self.requests = dict(requests or {})
        self.controls: dict[str, widgets.Widget] = dict(self.requests)
        self.view = StackView()
        self._compute, self._adapt, self._still = compute, adapt, still
        self._version = version or (lambda: None)
        self._offline, self._jumps = dict(offline or {}), dict(jumps or {})
        self._worker = Worker()
        self._scenes: OrderedDict[tuple[Any, ...], Scene] = OrderedDict()
        self._by_trait: dict[str, tuple[widgets.Widget, Any]] = {}
        self._start = dict(start or {})
        self._lock = threading.RLock()  # between what is wanted and what is shown
        self._complaint = ""  # of an extra widget
        self._going_back = False  # ``stop`` sets the requests to what is shown
        self._extra = tuple(extra)
        self._row = widgets.VBox([*self._extra, *self.requests.values()])
        self.box = widgets.VBox([self._row, self.view])
        self._settle()
        self._shown_values = self._values()
        self.scene = self._scene_for(self._shown_values)
        self._show(self.scene)
        self._line = f"{title} [{', '.join(self.controls)}]"
        for control in self.requests.values():
            control.observe(self._changed, names="value")
        for widget in [*self._extra, *self.requests.values()]:
            widget.add_class("vizhelpers-request")  # view.js: it needs the kernel
        for widget in self._extra:
            if widget.has_trait("complaint"):
                widget.observe(self._complained, names="complaint")
        self.view.on_msg(self._told)

    # ------------------------------------------------------------ requests

    def _values(self) -> dict[str, Any]:
        return {name: control.value for name, control in self.requests.items()}

    def _scene_for(self, values: Mapping[str, Any]) -> Scene:
        """Return a scene from the cache, or compute and keep it."""
        key = (self._version(), *values.values())
        if key not in self._scenes:
            self._scenes[key] = self._compute(**values)
            while len(self._scenes) > _KEPT:
                self._scenes.popitem(last=False)
        self._scenes.move_to_end(key)
        return self._scenes[key]

    def _changed(self, change: Any) -> None:
        if self._worker.runs_here() or self._going_back:
            return  # set by the panel itself, not by a reader
        with self._lock:
            self._complaint = ""
            self.view.busy = f"Computing: {self.title} …"
            self.view.progress = -1.0
            self._worker.submit(self._answer)

    def _complained(self, change: Any) -> None:
        with self._lock:
            self._complaint = self.view.message = change["new"]

    def _answer(self, wanted: Callable[[], bool]) -> None:
        """Compute what the requests ask for now; runs in the worker's thread."""

        def report(what: str, done: int, total: int) -> bool:
            if wanted() and total > 2:
                self.view.progress = done / total
            return wanted()

        message = ""
        try:
            with watching(report):
                self._settle()
                values = self._values()
                scene = self._scene_for(values)
            with self._lock:
                if wanted():
                    old, self._shown_values = self._shown_values, values
                    jumping = [j for name, j in self._jumps.items() if values[name] != old[name]]
                    self._show(scene, dict(jumping))
        except Cancelled:
            pass
        except (ValueError, TypeError) as error:
            message = str(error)
        except Exception as error:
            # A fault of the code: nobody would see an exception that a thread raises.
            message = f"{type(error).__name__}: {error}"
            _log.exception("panel %r failed", self.title)
        with self._lock:
            if wanted():
                if message:
                    end = "" if message.endswith((".", "?", "!")) else "."
                    message = f"{message}{end} {self._what_is_shown()}"
                self.view.message, self.view.busy = message or self._complaint, ""

    def _what_is_shown(self) -> str:
        """Return a sentence that names the requests whose control and picture differ."""
        texts = []
        for name, value in self._shown_values.items():
            control = self.requests[name]
            if value not in (control.value, ""):
                known = {v: text for text, v in _pairs(control)}
                texts.append(f"{control.description or name} {known.get(value, value)!r}")
        shown = f": it shows {', '.join(texts)}" if texts else ""
        return f"The picture has not changed{shown}."

    def _settle(self) -> None:
        """Let bounds and options of requests follow other requests."""
        self._version()
        if self._adapt is not None:
            self._adapt(self.requests)

    def _told(self, view: Any, content: Any, buffers: Any) -> None:
        """Act on a message from the browser."""
        kind = content.get("type") if isinstance(content, dict) else None
        if kind == "stop":
            self.stop()
        elif kind == "ping":  # the view asks whether this kernel still runs
            self.view.send({"type": "pong"})

    def stop(self) -> None:
        """Give up what is being computed; the picture stays, and the controls return to it."""
        with self._lock:
            self._worker.cancel()
            self._going_back = True
            self._go_back()
            self._going_back = False
            self.view.message = self.view.busy = ""
            # Once more when the job has ended: until then it may give options to the controls.
            self._worker.submit(self._settle_back)

    def _settle_back(self, wanted: Callable[[], bool]) -> None:
        """Set the requests and their bounds to what is shown; runs in the worker's thread."""
        with self._lock:
            if wanted():
                self._go_back()
                self._settle()
                self._go_back()

    def _go_back(self) -> None:
        """Set the requests to what is shown, as far as their options hold it; compute nothing."""
        for name, value in self._shown_values.items():
            try:
                self.requests[name].value = value
            except TraitError:  # an option of another network, until the options follow
                continue

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is being computed; False where ``timeout`` seconds were too few."""
        return self._worker.wait(timeout)

    @property
    def message(self) -> str:
        """What went wrong, or ""."""
        return str(self.view.message)

    # ------------------------------------------------------------ what is shown

    def _show(self, scene: Scene, jumping: Mapping[str, int] | None = None) -> None:
        self.scene = scene
        needed = controls_of(scene)
        positions = {control.trait: self._position(control) for control in needed}
        for control in needed:
            if jumping and control.trait in jumping:
                to = jumping[control.trait]
                positions[control.trait] = to if to >= 0 else limit(control)
        with self.view.hold_sync():
            self.view.scene = scene.payload()
            for trait, position in positions.items():
                setattr(self.view, trait, position)
        for control in needed:
            self._control(control, positions[control.trait])
            widget = self._by_trait[control.trait][0]
            setattr(widget, linked_trait(widget), positions[control.trait])
        for trait, (widget, _) in self._by_trait.items():
            widget.layout.display = None if trait in positions else "none"

    def _position(self, control: Control) -> int:
        """Return where a control stands in the new scene: on its old label where that is there."""
        known = self._by_trait.get(control.trait)
        if known is None:
            first = self._start.get(control.trait, getattr(self.view, control.trait))
            return max(control.low, min(first, limit(control)))
        value = getattr(known[0], linked_trait(known[0])) or 0
        if control.kind == "choice" and isinstance(known[0], widgets.Dropdown):
            labels = list(control.labels)
            return labels.index(known[0].value) if known[0].value in labels else 0
        return max(control.low, min(value, limit(control)))

    def _control(self, control: Control, position: int) -> None:
        """Make, adjust or replace the widget of a control, and link it to the view's trait."""
        known = self._by_trait.get(control.trait)
        if known and fits(known[0], control):
            adjust(known[0], control)
            return
        if known:
            free(known[0], known[1])
            self.controls = {k: w for k, w in self.controls.items() if w is not known[0]}
        widget = widget_for(control, position)
        # In the browser: a slider moves the view without the kernel.
        link = widgets.jslink((widget, linked_trait(widget)), (self.view, control.trait))
        self._by_trait[control.trait] = (widget, link)
        self.controls[control.name] = widget
        rows = [widget for widget, _ in self._by_trait.values()]
        self._row.children = [*self._extra, *self.requests.values(), *rows]

    def _state(self) -> dict[str, int]:
        """Return the view's traits as its controls have them, in the kernel."""
        state = {trait: int(getattr(self.view, trait)) for trait in _TRAITS}
        for trait, (widget, _) in self._by_trait.items():
            state[trait] = int(getattr(widget, linked_trait(widget)) or 0)
        return state

    def figure(self) -> Figure:
        """Return what the panel shows as a matplotlib figure."""
        state = self._state()
        chosen = [state[f"i{i}"] for i in range(len(self.scene.axes))]
        if self._still is not None:
            return self._still(self.scene, chosen)
        return self.scene.figure(chosen, blend=state["blend"], own=bool(state["own_scale"]))

    def save_html(self, path: str | Path, *, largest: int = LARGEST) -> Path:
        """Write the panel as one HTML file whose controls work without a kernel or a network.

        Everything that the file can show is computed now: the requests' values that the panel
        names for it, and every frame of each scene.

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
        """Return what ``save_html`` writes."""
        now = self._shown_values
        choices = {name: self._offline_choices(name, now[name]) for name in self.requests}
        found: dict[tuple[Any, ...], Scene] = {}
        while not self._computed(choices, now, found):
            pass  # a choice was left out
        values = [tuple(v for _, v in row) for row in product(*choices.values())]
        scenes = [found[row] for row in values]
        return Page(
            name=self.title,
            png=self._png(),
            requests={
                self.requests[name].description or name: [text for text, _ in row]
                for name, row in choices.items()
            },
            scenes=[scene.payload(max(largest // len(scenes), 1)) for scene in scenes],
            controls=[[control.wire() for control in controls_of(scene)] for scene in scenes],
            state={**self._state(), "scene": values.index(tuple(now.values()))},
        )

    def _computed(
        self,
        choices: dict[str, list[tuple[str, Any]]],
        now: Mapping[str, Any],
        found: dict[tuple[Any, ...], Scene],
    ) -> bool:
        """Compute the scene of each combination of choices, and return whether all are there.

        Where the model refuses one, such as the original CAM, the choice that led to it is left
        out of ``choices``.
        """
        for row in product(*choices.values()):
            values = {name: value for name, (_, value) in zip(choices, row, strict=True)}
            key = tuple(values.values())
            try:
                found[key] = found.get(key) or self._scene_for(values)
            except ValueError:
                other = [name for name in choices if values[name] != now[name]]
                if not other:
                    raise
                last = other[-1]
                choices[last] = [pair for pair in choices[last] if pair[1] != values[last]]
                return False
        return True

    def _offline_choices(self, name: str, now: Any) -> list[tuple[str, Any]]:
        texts = {value: text for text, value in _pairs(self.requests[name])}
        wanted = [now, *(value for value in self._offline.get(name, ()) if value != now)]
        if all(isinstance(value, int) for value in wanted):
            wanted = sorted(wanted)
        return [(texts.get(value, str(value)), value) for value in wanted]

    # ------------------------------------------------------------ display

    def __repr__(self) -> str:
        """Return one line that does not depend on the controls, so that outputs compare equal."""
        return self._line

    def _png(self) -> bytes:
        return to_png(self.figure())

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Offer the live widget, and beside it the picture for viewers that run no widgets.

        This belongs to the panel and not to the box in it: ipywidgets 7 would display the box by
        ``_ipython_display_``, which sends no picture.
        """
        if self._compute is _closed:
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

    def close(self) -> None:
        """Stop the work, free the widgets, and drop all references to models and photographs."""
        for key in [key for key, panel in _open.items() if panel is self]:
            del _open[key]
        self._worker.cancel()
        self._scenes.clear()
        self._compute, self._adapt, self._still = _closed, None, None
        self._version = lambda: None
        # JupyterLab keeps the models of closed widgets, each with its last two states: small ones.
        self.view.scene = {}
        self.view.progress = 1.0
        for widget, link in self._by_trait.values():
            free(widget, link)
        for widget in [*self._extra, *self.requests.values(), self._row, self.view, self.box]:
            free(widget)
            widget.unobserve_all()


_CLOSED = "This panel is closed. Run its cell again."


def _closed(**requests: Any) -> Scene:
    raise ValueError(_CLOSED)


def _pairs(control: widgets.Widget) -> list[tuple[str, Any]]:
    """Return (text, value) of each choice of a control; none if it has no hashable choices."""
    pairs = options_of(control) if hasattr(control, "options") else []
    return [(text, value) for text, value in pairs if isinstance(value, Hashable)]


_TRAITS = ("i0", "i1", "i2", "blend", "own_scale", "grid")


def page_of(title: str, scene: Scene, *, blend: int) -> Page:
    """Return the page of a panel without requests at its start; no view is made for it.

    Args:
        title: as a panel's.
        scene: what is shown.
        blend: share of the map over the photograph, in percent.
    """
    controls = controls_of(scene)
    if all(control.trait != "blend" for control in controls):
        blend = 100  # nothing lies under the map
    return Page(
        name=title,
        png=to_png(scene.figure([0] * len(scene.axes), blend=blend)),
        requests={},
        scenes=[scene.payload()],
        controls=[[control.wire() for control in controls]],
        state={**dict.fromkeys(_TRAITS, 0), "blend": blend, "scene": 0},
    )


def free(widget: widgets.Widget, link: Any = None) -> None:
    """Close a widget with its layout, its style and its link."""
    for part in (link, getattr(widget, "layout", None), getattr(widget, "style", None), widget):
        if part is not None:
            part.close()


def one_for_each_call(explore: Callable[P, Panel]) -> Callable[P, Panel]:
    """Let a function close the panel of an earlier call with equal arguments.

    A cell that runs again thereby replaces its panel. With ``keep=True`` nothing is closed. The
    key of a call refers to the arguments while the panel is open, so that no id is reused.
    """

    @wraps(explore)
    def replacing(*args: P.args, **kwargs: P.kwargs) -> Panel:
        panel = explore(*args, **kwargs)
        if not kwargs.get("keep"):
            key = key_of_call(explore, *args, **kwargs)
            if key in _open:
                _open[key].close()
            _open[key] = panel
        return panel

    return replacing
