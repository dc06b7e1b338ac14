"""The live view: a widget that draws a scene on a canvas, in ``view.js``."""

from pathlib import Path

import anywidget
import traitlets

HERE = Path(__file__).parent


class StackView(anywidget.AnyWidget):
    """Frames on a canvas. A change of position is drawn in the browser, without the kernel.

    Attributes:
        scene: the payload of a ``Scene``; it is sent once, bytes as bytes.
        i0: position on the first axis; a linked slider moves it in the browser.
        i1: position on the second axis.
        i2: position on the third axis.
        blend: share of the map over the photograph, in percent; 100 shows the map alone, pixel by
            pixel.
        own_scale: 0 for the scale of the stack, 1 for a scale for each frame.
        grid: 1 to show all frames as thumbnails below the picture.
        busy: text that says what is being computed, or "".
        progress: share of it that is done, 0..1; negative if unknown.
        message: text of an error, or "".
    """

    # Given a path, anywidget would watch the file, and never free a closed view.
    _esm = (HERE / "view.js").read_text(encoding="utf-8")
    _css = (HERE / "view.css").read_text(encoding="utf-8")

    scene = traitlets.Dict().tag(sync=True)
    i0 = traitlets.Int(0).tag(sync=True)
    i1 = traitlets.Int(0).tag(sync=True)
    i2 = traitlets.Int(0).tag(sync=True)
    blend = traitlets.Int(100).tag(sync=True)
    own_scale = traitlets.Int(0).tag(sync=True)
    grid = traitlets.Int(0).tag(sync=True)
    busy = traitlets.Unicode("").tag(sync=True)
    progress = traitlets.Float(-1.0).tag(sync=True)
    message = traitlets.Unicode("").tag(sync=True)
