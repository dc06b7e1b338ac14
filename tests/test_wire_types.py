"""The types of what crosses the wire: the same in Python, in ``view.js``, and in the data."""

import json
import re
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np
import pytest

import vizhelpers as viz
from vizhelpers.view.charts import Bars, Curve
from vizhelpers.view.live import html, view, wire_types
from vizhelpers.view.live.controls import controls_of
from vizhelpers.view.live.pages import page_of_stack
from vizhelpers.view.live.scene import Scene

TYPES = {name: kind for name, kind in vars(wire_types).items() if is_typeddict(kind)}
SOURCE = (view.HERE / "view.js").read_text(encoding="utf-8")
PLAIN = {str: "string", int: "number", float: "number", bool: "boolean", bytes: "Bytes"}


def in_jsdoc(kind: Any) -> str:
    """Return a Python type as JSDoc writes it."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " | ".join(map(json.dumps, parts))
    if origin is UnionType:
        return " | ".join(map(in_jsdoc, parts))
    if origin is list:
        entry = in_jsdoc(parts[0])
        return f"({entry})[]" if get_origin(parts[0]) is UnionType else f"{entry}[]"
    return PLAIN.get(kind) or kind.__name__


def different(source: str) -> list[str]:
    """Return the names of the types that JavaScript source declares otherwise, or not at all."""
    source = " ".join(re.sub(r"^ \* ?", "", source, flags=re.MULTILINE).split())
    declared = {name: text for text, name in re.findall(r"@typedef \{(\{.*?\})\} (\w+)", source)}
    expected = {
        name: "{ "
        + ", ".join(f"{k}: {in_jsdoc(v)}" for k, v in get_type_hints(kind).items())
        + " }"
        for name, kind in TYPES.items()
    }
    return [name for name, text in expected.items() if declared.get(name) != text]


def test_python_and_javascript_declare_the_same_fields_with_the_same_types() -> None:
    assert len(TYPES) >= 9
    assert different(SOURCE) == []


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("factor: number", "factor: string", "SceneData"),
        ("photograph: boolean", "photo: boolean", "SceneData"),
        ("xlabel: string,", "", "CurveData"),
        ("marked: number }} BarsData", "marked: number, unit: string }} BarsData", "BarsData"),
        ('"range" | "choice"', '"range"', "ControlData"),
        ("}} Message", "}} Answer", "Message"),
    ],
)
def test_a_field_that_is_changed_in_javascript_alone_is_noticed(
    old: str, new: str, name: str
) -> None:
    assert SOURCE.count(old) == 1
    assert different(SOURCE.replace(old, new)) == [name]


def conforms(value: Any, kind: Any) -> bool:
    """Return whether data have a type, field by field and entry by entry."""
    origin, parts = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        fields = get_type_hints(kind)
        return set(value) == set(fields) and all(conforms(value[k], v) for k, v in fields.items())
    if origin is Literal:
        return value in parts
    if origin is UnionType:
        return any(conforms(value, part) for part in parts)
    if origin is list:
        return type(value) is list and all(conforms(entry, parts[0]) for entry in value)
    return type(value) is kind or (kind is float and type(value) is int)


def stack(**more: Any) -> viz.ImageStack:
    frames = np.array([[[0, np.nan], [2, 3]], [[1, 2], [3, 90]]], dtype=np.float32)
    return viz.ImageStack(frames, {"layer": np.array([3, 4])}, **more)


CHARTS = [
    [Bars("B", [("cat", "x")], [np.float32(0.5)], ["1/2"]), Curve("C", [1, np.nan], 0, "", "")]
]
SCENES = {
    "maps": Scene([stack()]),
    "clipped maps on a photograph, with charts": Scene(
        [stack(vmax=1.0, base=np.zeros((3, 4, 3), np.uint8))], charts=CHARTS, photograph=True
    ),
    "pictures": Scene([viz.ImageStack(np.zeros((2, 3, 4, 3), np.uint8), {"i": "ab"}, scale="rgb")]),
    "charts alone": Scene(charts=CHARTS),
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_a_scene_and_its_controls_have_their_types(scene: Scene) -> None:
    assert conforms(scene.payload(), wire_types.SceneData)
    for control in controls_of(scene):
        assert conforms(control.wire(), wire_types.ControlData)


def test_a_field_of_another_type_would_be_noticed() -> None:
    scene = SCENES["maps"].payload()
    for field, wrong in {"factor": 1.5, "titles": ["a", 1], "scale": "grey", "sizes": 3}.items():
        assert not conforms({**scene, field: wrong}, wire_types.SceneData)
    assert not conforms({**scene, "more": 1}, wire_types.SceneData)


def test_a_page_has_its_type_once_its_blobs_are_put_in_place() -> None:
    text = html.as_html(page_of_stack(stack(base=np.zeros((3, 4, 3), np.uint8))))
    page = json.loads(re.search(r'id="page">(.*?)</script>', text)[1])
    for scene in page["scenes"]:
        blobs = {key: b"" for key, value in scene.items() if isinstance(value, dict)}
        assert sorted(blobs) == ["base", "data", "fine", "lut"]
        scene.update(blobs)
    assert conforms(page, wire_types.PageData)


def test_the_state_of_a_page_consists_of_traits_of_the_view() -> None:
    traits = set(wire_types.ViewState.__annotations__)
    assert traits < set(view.StackView.class_trait_names(sync=True))
