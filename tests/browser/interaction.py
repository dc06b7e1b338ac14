"""Actions of a reader: move each control of a panel, point at a pixel."""

import re

import numpy as np
import pytest
from expected_pictures import maps_of

from tools import browser
from tools.browser import Expected, Oracle, Panel, State

TYPED = {"another class": "tench"}
ELSEWHERE = {"show"}  # changes what is below the picture, not the picture


def move_everything(panel: Panel, oracle: Oracle) -> list[str]:
    """Move each control forth and back; each time the picture changes to the expected one."""
    state, before = panel.settle(oracle)
    for name in list(state):
        control = state[name]
        there, back = keys_for(control)
        panel.move(control, there)
        old = None if name in ELSEWHERE else before
        moved, _ = panel.settle(oracle, lambda new, old=old: old is None or differ(old, new))
        assert moved[name].value != control.value, f"{name} did not move"
        panel.move(moved[name], back)
        state, before = panel.settle(oracle)
        assert state[name].value == control.value, f"{name} did not come back"
    return list(state)


def keys_for(control: browser.Control) -> tuple[str, str]:
    if control.kind == "text":
        return TYPED[control.name], ""
    forth, back = ("Down", "Up") if control.kind == "choice" else ("Right", "Left")
    keys = f"Arrow{forth}", f"Arrow{back}"
    return keys[::-1] if control.last else keys


def differ(one: Expected, other: Expected) -> bool:
    told = [(found.rows, found.scale) for found in (one, other)]
    return told[0] != told[1] or not np.array_equal(one.picture, other.picture)


READS = "text => document.querySelector('.vz-readout').textContent.startsWith(text)"


def frame_of(state: State) -> np.ndarray:
    stack = maps_of(state.text("photograph", "cat"), state.text("layer"))
    return stack.frames[state.number("channel")]


def point_at(panel: Panel, row: int, column: int, shape: tuple[int, ...]) -> None:
    """Move the mouse to the middle of one pixel of the map."""
    panel.map.scroll_into_view_if_needed()
    box = panel.map.bounding_box()
    x = box["x"] + (column + 0.5) / shape[1] * box["width"]
    y = box["y"] + (row + 0.5) / shape[0] * box["height"]
    panel.map.page.mouse.move(x, y)


def told(panel: Panel) -> tuple[int, int, float]:
    found = re.match(r"row (\d+), column (\d+): (\S+) \(activation\)", panel.text("readout"))
    assert found, panel.text("readout")
    return int(found[1]), int(found[2]), float(found[3])


def near(frame: np.ndarray, row: int, column: int) -> object:
    """Return a value with the tolerance of 1/255 of the frame's range and of four digits."""
    return pytest.approx(float(frame[row, column]), abs=float(np.ptp(frame)) / 255, rel=5e-4)
