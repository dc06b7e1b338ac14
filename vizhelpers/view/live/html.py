"""One self-contained HTML file: the live view and its controls, without network or kernel."""

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import cast

from vizhelpers.view.live.wire_types import ControlData, PageData, PageState, SceneData

_PAGE_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 60rem;
  padding: 0 1rem; }
h1 { font-size: 1.3rem; }
.vz-small { font-size: .85rem; }
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
<div id="panel"><noscript><p>The controls need JavaScript; this is the first picture.</p>
<img alt="$name" src="$png"></noscript></div>
<p class="vz-small">$megabytes MB. This page asks no server.</p>
<script type="application/json" id="page">$data</script>
<script type="module">$script</script>
</body>
</html>
""")
_MOUNT = '\nmount(document.getElementById("panel"), document.getElementById("page").textContent);\n'


@dataclass(frozen=True)
class Page:
    """The contents of a saved page.

    Attributes:
        name: the page's title.
        png: a picture of the first state, for readers without JavaScript.
        requests: name -> labels of each control that chooses the scene, slowest first.
        scenes: a scene for each combination of these labels.
        controls: the controls of each scene.
        state: the view's traits at the start, and the index of the first scene.
    """

    name: str
    png: bytes
    requests: Mapping[str, Sequence[str]]
    scenes: Sequence[SceneData]
    controls: Sequence[Sequence[ControlData]]
    state: PageState


def save_html(page: Page, path: Path) -> Path:
    """Write a page to a file and return its path; every text in it is escaped.

    Raises:
        ValueError: the folder does not exist.
    """
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {str(path.parent)!r} to write {path.name} into.")
    path.write_text(as_html(page), encoding="utf-8")
    return path


def as_html(page: Page) -> str:
    """Return a page as HTML; its policy allows only this script and this style, by their hashes."""
    script = _text("view.js") + _MOUNT
    style = _PAGE_STYLE + _text("view.css")
    data = _as_json(page)
    return _PAGE.substitute(
        name=html.escape(page.name),
        png="data:image/png;base64," + base64.b64encode(page.png).decode("ascii"),
        megabytes=f"{len(data) / 1e6:.1f}",
        data=data,
        script=script,
        style=style,
        script_hash=_sha256(script),
        style_hash=_sha256(style),
    )


def _as_json(page: Page) -> str:
    """Return the page's data; bytes that several scenes share, such as a photograph, occur once."""
    blobs: dict[bytes, int] = {}

    def without_bytes(scene: SceneData) -> SceneData:
        shared = {
            key: {"blob": blobs.setdefault(value, len(blobs))}
            for key, value in scene.items()
            if isinstance(value, bytes)
        }
        return cast(SceneData, {**scene, **shared})

    data: PageData = {
        "requests": [{"name": n, "labels": list(labels)} for n, labels in page.requests.items()],
        "scenes": [without_bytes(scene) for scene in page.scenes],
        "controls": [list(row) for row in page.controls],
        "state": page.state,
        "blobs": [base64.b64encode(blob).decode("ascii") for blob in blobs],
    }
    # "</script>" in a title would end the element; JSON may write "<" as an escape.
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c")


def _text(name: str) -> str:
    return (files("vizhelpers.view.live") / name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
