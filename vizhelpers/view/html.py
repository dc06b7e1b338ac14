"""One self-contained HTML file for a stack: sliders that need no network and no kernel."""

import base64
import hashlib
import html
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 44rem; padding: 0 1rem;
  color: #1b1b1b; background: #fff; }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #161616; } }
label { display: grid; grid-template-columns: 8rem 1fr 9rem; gap: .7rem; align-items: center; }
img { width: min(100%, 30rem); image-rendering: pixelated; display: block; margin-top: 1rem; }
"""
_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src 'sha256-$script_hash'; style-src 'sha256-$style_hash'; img-src data:">
<title>$name</title>
<style>$style</style>
</head>
<body>
<h1>$name</h1>
<p>$scale</p>
<form>$controls</form>
<img id="frame" alt="$title" src="$first">
<p id="title" role="status">$title</p>
<noscript><p>The sliders need JavaScript; without it this page shows the first of $count
frames.</p></noscript>
<script type="application/json" id="stack">$data</script>
<script type="module">$script</script>
</body>
</html>
""")


@dataclass(frozen=True)
class Page:
    """What a page shows: ready pictures (H, W, 3) uint8, a title for each, axes, name, scale."""

    pictures: Sequence[np.ndarray]
    titles: Sequence[str]
    axes: Mapping[str, Sequence[Any]]
    name: str
    scale: str


def save_html(page: Page, path: Path) -> Path:
    """Write the page; every text that came from outside is escaped.

    Raises:
        ValueError: the folder does not exist.
    """
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {str(path.parent)!r} to write {path.name} into.")
    assert math.prod(len(labels) for labels in page.axes.values()) == len(page.pictures)
    script = (files("vizhelpers.view") / "page.js").read_text(encoding="utf-8")
    frames = [_data_url(picture) for picture in page.pictures]
    axes = [{"name": name, "labels": list(map(str, labels))} for name, labels in page.axes.items()]
    data = json.dumps({"axes": axes, "titles": list(page.titles), "frames": frames})
    path.write_text(
        _PAGE.substitute(
            name=html.escape(page.name),
            title=html.escape(page.titles[0]),
            scale=html.escape(page.scale),
            controls="".join(map(_slider, range(len(axes)), axes)),
            first=frames[0],
            count=len(frames),
            # "</script>" in a title would end the element; JSON may write "<" as an escape.
            data=data.replace("<", "\\u003c"),
            script=script,
            style=_STYLE,
            script_hash=_sha256(script),
            style_hash=_sha256(_STYLE),
        ),
        encoding="utf-8",
    )
    return path


def _slider(position: int, axis: Mapping[str, Any]) -> str:
    last = len(axis["labels"]) - 1
    return (
        f"<label>{html.escape(axis['name'])}"
        f'<input type="range" min="0" max="{last}" value="0" data-axis="{position}">'
        f"<output>{html.escape(axis['labels'][0])}</output></label>"
    )


def _data_url(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
