"""What the browser tests, the slider benchmark and README's figures stand on.

Jupyter servers and the two front ends, a panel's controls on any page, and its pixels read back.
"""

import base64
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import numpy as np
from nbformat.v4 import new_code_cell, new_notebook

import vizhelpers

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Frame, Locator, Page

REQUIRED = os.environ.get("VIZHELPERS_BROWSER") == "required"
# The wire rounds a value to one of 256 levels, so a colour may be its neighbour in the table.
ONE_LEVEL = 3  # the greatest step between neighbours in viridis; 2 in the diverging table


def chromium() -> str | None:
    """Return where Chromium is, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


@contextmanager
def launched() -> Iterator["Browser"]:
    """Start Chromium and stop it again."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


def complaints(context: "BrowserContext", errors: list[str]) -> None:
    """Let a list fill with the errors of all pages of a context."""

    def listen(told: "ConsoleMessage") -> None:
        # ipywidgets 7 says this where a cell runs again, and closes its box, before the front end
        # has drawn the first one's children: nobody sees them any more.
        closed_early = "Could not add child view to box" in told.text
        if told.type == "error" and not closed_early:
            errors.append(f"console: {told.text} {told.location}")

    context.on("console", listen)
    context.on("weberror", lambda told: errors.append(f"page: {told.error}"))


def count_buffers(context: "BrowserContext") -> None:
    """Let pages remember, weakly, each buffer that a view of its bytes was made of."""
    context.add_init_script("""
        window.buffers = new Set();
        window.DataView = new Proxy(DataView, { construct(target, args) {
            window.buffers.add(new WeakRef(args[0]));
            return Reflect.construct(target, args);
        } });
    """)


def kept_by(page: "Page") -> dict[str, int]:
    """Return what is in a page's memory after what is free was freed.

    Returns:
        ``canvases`` in the document; ``nodes`` in memory; ``detached``, elements of panels that
        are in no document; ``buffers``, how many of those that ``count_buffers`` saw.
    """
    session = page.context.new_cdp_session(page)
    for _ in range(2):
        session.send("HeapProfiler.collectGarbage")
    nodes = session.send("Memory.getDOMCounters")["nodes"]
    kind = session.send("Runtime.evaluate", {"expression": "HTMLElement.prototype"})["result"]
    found = session.send("Runtime.queryObjects", {"prototypeObjectId": kind["objectId"]})
    count = """function() {
        const isPart = element => element instanceof HTMLElement
            && !Object.hasOwn(element, "constructor") && /\\bvz-/.test(element.className);
        return this.filter(element => isPart(element) && !element.isConnected).length;
    }"""
    about = {"objectId": found["objects"]["objectId"], "returnByValue": True}
    detached = session.send("Runtime.callFunctionOn", {"functionDeclaration": count, **about})
    session.detach()
    return {
        "canvases": page.locator("canvas").count(),
        "nodes": nodes,
        "detached": detached["result"]["value"],
        "buffers": page.evaluate(_LIVE_BUFFERS),
    }


_LIVE_BUFFERS = """() => new Set(
    [...window.buffers].map(buffer => buffer.deref()).filter(Boolean)).size"""


# ---------------------------------------------------------------- Jupyter


@dataclass(frozen=True)
class Front:
    """What differs between the front ends. Scripts take the position of a cell.

    Attributes:
        command: of ``jupyter``.
        path: of a notebook's page; ``{}`` is the notebook's name.
        settings: of the server, besides those that both have.
        handle: what a key moves in a slider.
        ready: whether a kernel is there.
        run: run one cell, without waiting.
        count: the number that stands beside a cell that ran; anything else while it runs.
        last: whether the slider in a row stands at its end.
        restart: restart the kernel.
    """

    command: str
    path: str
    settings: tuple[str, ...]
    handle: str
    ready: str
    run: str
    count: str
    last: str
    restart: str


LAB = Front(
    command="lab",
    # A workspace for each notebook: a page would restore what another one has opened.
    path="lab/workspaces/{0}/tree/{0}.ipynb",
    settings=("--LabApp.expose_app_in_browser=True",),
    handle=".noUi-handle",
    ready="""() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status
        === 'idle'""",
    # `void`: to wait for the promise of a run has no time limit, to wait for its end has.
    run="""cell => {
        jupyterapp.shell.currentWidget.content.activeCellIndex = cell;
        void jupyterapp.commands.execute('notebook:run-cell');
    }""",
    count="cell => jupyterapp.shell.currentWidget.content.widgets[cell].model.executionCount",
    last="""row => {
        const handle = row.querySelector('.noUi-handle');
        return handle.getAttribute('aria-valuenow') === handle.getAttribute('aria-valuemax');
    }""",
    restart="() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()",
)
CLASSIC = Front(
    command="notebook",
    path="notebooks/{0}.ipynb",
    settings=("--NotebookApp.token=", "--NotebookApp.password="),
    handle=".ui-slider-handle",
    ready="() => window.Jupyter?.notebook?.kernel?.widget_manager && !Jupyter.notebook.kernel_busy",
    run="cell => void Jupyter.notebook.execute_cells([cell])",
    count="cell => Jupyter.notebook.get_cell(cell).input_prompt_number",
    last="row => row.querySelector('.ui-slider-handle').style.left === '100%'",
    restart="() => new Promise(done => Jupyter.notebook.kernel.restart(done))",
)


def front() -> Front:
    """Return the front end that is installed."""
    return LAB if find_spec("jupyterlab") is not None else CLASSIC


@contextmanager
def served(folder: Path, where: Front) -> Iterator[str]:
    """Serve a folder on loopback; yields the address. Nothing of the user's settings counts."""
    port = _free_port()
    own = {key: str(folder / f".{key.lower()}") for key in ("JUPYTER_CONFIG_DIR", "IPYTHONDIR")}
    # The package that the test process has. One thread: a pool's threads wait by turning, and two
    # processes with two each on two cores take ten times as long; and sums are the same.
    package = str(Path(vizhelpers.__file__).parents[1])
    environment = {**os.environ, **own, "PYTHONPATH": package, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jupyter", where.command, "--no-browser", "--allow-root"]
    command += [f"--port={port}", "--ip=127.0.0.1", *where.settings]
    command += ["--ServerApp.token=", "--ServerApp.password="]
    _ask_for_no_news(folder / ".jupyter_config_dir")
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(f"{address}/api", process, folder / "server.log")
            yield address
        finally:
            process.terminate()
            process.wait(20)


def _ask_for_no_news(config: Path) -> None:
    """Keep JupyterLab from asking the reader, and a server in the network, about its news."""
    path = config / "lab/user-settings/@jupyterlab/apputils-extension"
    path.mkdir(parents=True)
    (path / "notification.jupyterlab-settings").write_text(
        '{"fetchNews": "false", "checkForUpdates": false}'
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=1)
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the server did not answer:\n{log.read_text()}")


def write_notebook(path: Path, cells: Sequence[str]) -> None:
    """Write a notebook of code cells."""
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, path)


class Notebook:
    """A notebook's page in a front end."""

    def __init__(self, page: "Page", where: Front, address: str, name: str) -> None:
        """Open it, and wait for its kernel."""
        self.page, self.front = page, where
        page.set_default_timeout(60_000)
        page.goto(f"{address}/{where.path.format(name)}")
        page.wait_for_function(where.ready)

    def start(self, cell: int) -> Any:
        """Run a cell without waiting; returns the number beside it."""
        before = self.number(cell)
        self.page.evaluate(self.front.run, cell)
        return before

    def run(self, cell: int) -> None:
        """Run a cell and wait for its end."""
        before = self.start(cell)
        done = f"([cell, old]) => {{ const now = ({self.front.count})(cell); {_IS_NEW} }}"
        self.page.wait_for_function(done, arg=[cell, before])

    def restart(self) -> None:
        """Restart the kernel, without asking."""
        self.page.evaluate(self.front.restart)

    def number(self, cell: int) -> Any:
        """Return the number beside a cell; no number while it runs."""
        return self.page.evaluate(self.front.count, cell)

    def run_until_shown(self, cell: int) -> "Panel":
        """Run a panel's cell; a second time where the front end was not ready for a widget yet.

        The classic notebook draws all outputs anew once its widget manager has started, and loses
        a view that was drawn before.
        """
        from playwright.sync_api import TimeoutError as Late

        for patience in (10_000, 10_000, 40_000):
            self.run(cell)
            try:
                self.page.locator(".vz-root[data-frame]").wait_for(timeout=patience)
                break
            except Late:
                if patience == 40_000:
                    raise
        return Panel(self.page, self.front)


_IS_NEW = "return typeof now === 'number' && now !== old;"


# ---------------------------------------------------------------- a panel on a page


@dataclass(frozen=True)
class Control:
    """A control as a reader finds it.

    Attributes:
        at: its position among all rows of the page.
        name: its label.
        kind: "choice", "range" or "text".
        value: the text that it shows.
        options: the texts of a choice.
        last: whether it stands at its end.
    """

    at: int
    name: str
    kind: str
    value: str
    options: tuple[str, ...] = ()
    last: bool = False


class State(dict[str, Control]):
    """The visible controls by name."""

    def text(self, name: str, default: str = "") -> str:
        """Return what a control shows; the default where it is not there."""
        return self[name].value if name in self else default

    def number(self, name: str, default: int = 0) -> int:
        """Return where a slider stands."""
        return int(float(self[name].value)) if name in self else default


@dataclass(frozen=True)
class Expected:
    """What a panel must show, computed without it.

    Attributes:
        picture: (H, W, 3) uint8, the map's pixels; None for a panel without a picture.
        tolerance: how far a colour may be off, of 255.
        title: part of the line below the picture.
        scale: the end of the words below the colour bar.
        rows: the texts of all tables; None where they are not compared.
        curve: the value at the mark of a curve; None where there is no curve.
    """

    picture: np.ndarray | None = None
    tolerance: int = ONE_LEVEL
    title: str = ""
    scale: str = ""
    rows: Sequence[Sequence[str]] | None = None
    curve: float | None = None

    def wire(self) -> dict[str, Any]:
        """Return what ``_DIFFERENCE`` takes."""
        rows = None if self.rows is None else [list(row) for row in self.rows]
        found: dict[str, Any] = {
            "title": self.title,
            "scale": self.scale,
            "rows": rows,
            "curve": self.curve,
        }
        if self.picture is not None:
            pixels = np.ascontiguousarray(self.picture).tobytes()
            found["size"] = list(self.picture.shape[:2])
            found["pixels"] = base64.b64encode(pixels).decode("ascii")
            found["tolerance"] = self.tolerance
        return found


Oracle = Callable[[State], Expected]

_ROWS = ".widget-inline-hbox, .vz-control"
_CONTROLS = """rows => rows.map((row, at) => {
    const name = (row.querySelector(".widget-label") ?? row.firstChild).textContent.trim();
    const found = { at, name, options: [], last: false, shown: row.offsetParent !== null };
    const select = row.querySelector("select");
    if (select) {
        // ipywidgets writes hard spaces
        const options = [...select.options].map(option => option.text.replaceAll("\u00a0", " "));
        const [value, last] = [options[select.selectedIndex] ?? "", options.at(-1)];
        return { ...found, kind: "choice", value, options, last: value === last };
    }
    const range = row.querySelector("input[type=range]");
    if (range) {
        const { value, max } = range;
        return { ...found, kind: "range", value, last: value === max };
    }
    const readout = row.querySelector(".widget-readout");
    if (!readout) return { ...found, kind: "text", value: row.querySelector("input").value };
    return { ...found, kind: "range", value: readout.textContent, last: (LAST)(row) };
})"""

# "" where the panel shows what is expected, otherwise what is wrong.
_DIFFERENCE = """expected => {
    const root = document.querySelector(".vz-root");
    if (!root) return "there is no panel";
    if (root.getAttribute("aria-busy") !== "false") return "it computes";
    if (root.querySelector(".vz-message").textContent) return "it shows a message";
    const title = root.querySelector(".vz-title").textContent;
    if (!title.includes(expected.title)) return `the title is ${title}`;
    const scale = root.querySelector(".vz-scale")?.textContent ?? "";
    if (!scale.endsWith(expected.scale)) return `the scale is ${scale}`;
    const rows = [...root.querySelectorAll(".vz-bars tr")].map(
        row => [...row.cells].map(cell => cell.textContent.trim()));
    if (expected.rows && JSON.stringify(rows) !== JSON.stringify(expected.rows))
        return `the tables are ${JSON.stringify(rows)}`;
    if (expected.curve !== null) {
        const label = root.querySelector(".vz-curve").getAttribute("aria-label");
        const told = Number(label.split(": ").at(-1));
        if (!(Math.abs(told - expected.curve) <= 0.006 * Math.abs(expected.curve)))
            return `the curve is at ${told}`;
    }
    if (!expected.size) return "";
    const canvas = root.querySelector(".vz-map canvas");
    const [height, width] = expected.size;
    const times = canvas.width / width;
    if (!times || !Number.isInteger(times) || canvas.height !== height * times)
        return `the canvas is ${canvas.height} x ${canvas.width}`;
    const shown = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const right = Uint8Array.from(atob(expected.pixels), c => c.charCodeAt(0));
    let [worst, where] = [0, ""];
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) for (let c = 0; c < 3; c++) {
        const [row, column] = [y, x].map(place => Math.floor((place + 0.5) * times));
        const off = Math.abs(shown[4 * (row * canvas.width + column) + c]
            - right[3 * (y * width + x) + c]);
        if (off > worst) [worst, where] = [off, `row ${y}, column ${x}`];
    }
    return worst > expected.tolerance ? `a colour is off by ${worst} of 255 at ${where}` : "";
}"""


class Panel:
    """A panel on a page of Jupyter's, or on a saved page where ``where`` is None."""

    def __init__(self, page: "Page | Frame", where: Front | None = None) -> None:
        """Look at the only panel of a page."""
        self.page = page
        self._handle = f"{where.handle}, " if where else ""
        self._controls = _CONTROLS.replace("LAST", where.last if where else "row => false")
        rows = f"[...document.querySelectorAll({_ROWS!r})]"
        self._values = f"() => ({self._controls})({rows}).map(control => control.value)"

    @property
    def root(self) -> "Locator":
        """The view."""
        return self.page.locator(".vz-root")

    @property
    def map(self) -> "Locator":
        """The canvas of the picture."""
        return self.page.locator(".vz-map canvas")

    @property
    def grid(self) -> "Locator":
        """The canvas of all frames."""
        return self.page.locator(".vz-grid canvas")

    def text(self, name: str) -> str:
        """Return the text of one part of the view."""
        return self.page.locator(f".vz-{name}").inner_text()

    def state(self) -> State:
        """Read all visible controls."""
        rows = self.page.locator(_ROWS).evaluate_all(self._controls)
        shown = [row for row in rows if row.pop("shown")]
        controls = [Control(**{**row, "options": tuple(row["options"])}) for row in shown]
        return State({control.name: control for control in controls})

    def input(self, name: str) -> "Locator":
        """Return what takes the keys of a control."""
        row = self.page.locator(_ROWS).nth(self.state()[name].at)
        return row.locator(f"{self._handle}select, input").first

    def press(self, name: str, key: str) -> None:
        """Press a key on a control, and wait until it has moved."""
        self.move(self.state()[name], key)

    def move(self, control: Control, how: str) -> None:
        """Move a control by a key, or by a text and Enter, and wait until it has moved."""
        field = self.input(control.name)
        if control.kind == "text":
            field.fill(how)
        field.press("Enter" if control.kind == "text" else how)
        moved = f"([at, old]) => ({self._values})()[at] !== old"
        self.wait(moved, [control.at, control.value])

    def wait(self, condition: str, arg: Any = None) -> None:
        """Wait until a script's condition holds."""
        self.page.wait_for_function(condition, arg=arg, timeout=30_000)

    def difference(self, expected: Expected) -> str:
        """Return what is wrong now, or ""."""
        return self.page.evaluate(_DIFFERENCE, expected.wire())

    def settle(
        self,
        oracle: Oracle,
        changed: Callable[[Expected], bool] = lambda expected: True,
        seconds: float = 60,
    ) -> tuple[State, Expected]:
        """Wait until the panel shows what its controls say; returns both.

        What a control asks of the kernel arrives later than the control has moved, and may move
        others; so the controls are read again until they and the picture agree. A typed class is
        such a question: until the kernel has seen it, the menu of classes and the picture agree
        on the old one. ``changed`` tells an answer from what was there before.
        """
        deadline = time.monotonic() + seconds
        while True:
            state = self.state()
            expected, problem = self._compare(state, oracle)
            if expected and not problem and not changed(expected):
                problem = "the picture is the one from before"
            if expected and not problem and self.state() == state:
                return state, expected
            if time.monotonic() > deadline:
                told = {name: control.value for name, control in state.items()}
                raise AssertionError(f"{told}: {problem}")

    def _compare(self, state: State, oracle: Oracle) -> tuple[Expected | None, str]:
        try:
            expected = oracle(state)
        except (ValueError, IndexError) as error:
            # Controls that do not fit each other yet, such as an old channel of a new layer.
            now = self.page.evaluate(self._values)
            self._within(f"old => ({self._values})().join() !== old.join()", now)
            return None, str(error)
        if self._within(f"expected => ({_DIFFERENCE})(expected) === ''", expected.wire()):
            return expected, ""
        return expected, self.difference(expected)

    def _within(self, condition: str, arg: Any) -> bool:
        """Whether a condition holds within a quarter of a second."""
        from playwright.sync_api import TimeoutError as Late

        try:
            self.page.wait_for_function(condition, arg=arg, timeout=250)
        except Late:
            return False
        return True
