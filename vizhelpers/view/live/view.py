"""The live view: one widget that draws a stack on a canvas, in ``view.js``."""

from pathlib import Path

import anywidget
import traitlets

HERE = Path(__file__).parent


class StackView(anywidget.AnyWidget):
    """Frames on a canvas. Everything that moves is drawn in the browser; the kernel is not asked.

    Attributes:
        scene: what to draw, as ``wire.pack`` and the charts give it; sent once, bytes as bytes.
        i0: position on the first axis; moved in the browser, by a slider linked to it.
        i1: position on the second.
        i2: position on the third.
        blend: share of the map where it is laid on the photograph, in percent; 100 shows the map
            alone, pixel by pixel.
        own_scale: 0 for the stack's own scale, 1 for a scale of each frame's own.
        grid: 1 to show all frames as thumbnails below the picture.
        busy: what is being computed, or "".
        progress: how much of it is done, 0..1; below 0 where nobody knows.
        message: what went wrong, or "".
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
