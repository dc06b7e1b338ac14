"""The types of what Python sends to ``view.js``, and of what ``view.js`` answers.

``view.js`` declares the same types under the same names in JSDoc; ``tests/test_wire_types.py``
compares them field by field.
"""

from typing import Literal, TypedDict


class AxisData(TypedDict):
    """An axis of the frames: its name and its labels."""

    name: str
    labels: list[str]


class BarData(TypedDict):
    """A row of a bar chart: its cells, the length of its bar (0 or more), the text behind it."""

    cells: list[str]
    length: float
    text: str


class BarsData(TypedDict):
    """A bar chart; ``marked`` is the index of the emphasised row, or -1."""

    kind: Literal["bars"]
    title: str
    rows: list[BarData]
    marked: int


class CurveData(TypedDict):
    """A curve over 0, 1, 2, …; ``marked`` and ``gaps`` are indices of ``values``.

    JSON has no NaN: a value that is not finite is replaced, and ``gaps`` holds its index.
    """

    kind: Literal["curve"]
    title: str
    values: list[float]
    marked: int
    xlabel: str
    ylabel: str
    gaps: list[int]


ChartData = BarsData | CurveData


class SceneData(TypedDict):
    """Frames and charts, as ``wire.pack`` returns them.

    The bytes of all frames stand one after another in ``data``; in ``fine`` stands the second byte
    of each value, if there is one. Other lists have an entry for each frame, but ``charts`` may
    have a single row for all frames.
    """

    scale: Literal["sequential", "diverging", "rgb"]
    sizes: list[list[int]]  # height and width
    data: bytes
    fine: bytes
    lo: list[float]
    hi: list[float]
    gaps: list[bool]
    limits: list[list[float]]  # low and high end of the colour scale
    group: str  # "all", "frame", or the axis along which frames share limits
    axes: list[AxisData]
    titles: list[str]
    name: str
    unit: str
    note: str
    factor: int  # by which each side of the frames was reduced
    lut: bytes  # 256 RGB colours
    base: bytes  # the photograph, RGB
    base_size: list[int]  # height and width
    charts: list[list[ChartData]]
    photograph: bool  # show the photograph beside the map


class ControlData(TypedDict):
    """A control that sets a trait of the view: a range of integers, or a choice of labels."""

    trait: str
    name: str
    kind: Literal["range", "choice"]
    labels: list[str]
    low: int
    high: int
    step: int


class ViewState(TypedDict):
    """The traits of the view that controls set."""

    i0: int
    i1: int
    i2: int
    blend: int
    own_scale: int
    grid: int


class PageState(ViewState):
    """The view of a saved page at its start, and the index of its scene."""

    scene: int


class PageData(TypedDict):
    """A saved page. In its scenes ``{"blob": i}`` stands for the bytes ``blobs[i]``, as base64."""

    requests: list[AxisData]
    scenes: list[SceneData]
    controls: list[list[ControlData]]
    state: PageState
    blobs: list[str]


class Message(TypedDict):
    """A message: "stop" and "ping" go to the kernel, which answers a "ping" by a "pong"."""

    type: Literal["stop", "ping", "pong"]
