"""What crosses the wire: bytes that say what the frames say, colours that both ends agree on."""

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vizhelpers as viz
from vizhelpers.view.charts import Bars, Curve
from vizhelpers.view.colour import table
from vizhelpers.view.live.html import Page, as_html
from vizhelpers.view.live.scene import Scene
from vizhelpers.view.live.wire import Contents, pack, quantise
from vizhelpers.view.live.wire_types import PageState, SceneData

COLOURS = Path(__file__).parent / "js" / "colours.mjs"


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def packed(frames: list[np.ndarray], largest: int = 10**6, **more: Any) -> SceneData:
    contents = Contents(
        frames,
        axes={"channel": range(len(frames))},
        titles=[f"channel {i}" for i in range(len(frames))],
        limits=[(-5000.0, 5000.0)] * len(frames),
        scale="sequential",
        group="all",
    )
    return pack(replace(contents, **more), largest)


def read_back(payload: SceneData) -> list[np.ndarray]:
    """Return the frames as the browser reads them."""
    levels = np.frombuffer(payload["data"], dtype=np.uint8).astype(np.float64)
    last = 255
    if payload["fine"]:
        levels = 256 * levels + np.frombuffer(payload["fine"], dtype=np.uint8)
        last = 65535
    frames, at = [], 0
    rows = [payload[key] for key in ("sizes", "lo", "hi", "gaps")]
    for (height, width), low, high, gap in zip(*rows, strict=True):
        frame = levels[at : at + height * width].reshape(height, width)
        top = last - 3 if gap else last
        values = low + frame / top * (high - low)
        for i, special in enumerate((-np.inf, np.inf, np.nan)):
            values[frame == top + 1 + i] = special
        frames.append(values)
        at += height * width
    assert at == len(levels), "there are bytes that belong to no frame"
    return frames


# ------------------------------------------------------------ values


def test_the_range_of_a_frame_takes_all_levels() -> None:
    levels, low, high = quantise(np.array([[-2.0, 0.0], [1.0, 3.0]], dtype=np.float32))
    assert (low, high) == (-2.0, 3.0)
    assert levels.dtype == np.uint8
    assert levels.tolist() == [[0, 102], [153, 255]]


def test_a_weak_channel_beside_a_strong_one_is_read_back_within_half_a_level_of_its_own() -> None:
    strong, weak = 1000 * noise(9, 7), 0.001 * noise(9, 7, seed=1)
    for frame, found in zip([strong, weak], read_back(packed([strong, weak])), strict=True):
        wrong = np.abs(found - frame).max()
        assert 0 < wrong <= 0.5001 * np.ptp(frame) / 255
    assert len(set(packed([strong, weak])["data"][63:])) > 40, "the weak channel kept few levels"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_read_back_as_it_is_and_leaves_the_others_alone(
    bad: float, clip: bool
) -> None:
    frame = noise(5, 5)
    frame[2, 3] = bad
    payload = packed([frame, noise(5, 5)], limits=[(-0.1, 0.1) if clip else (-9, 9)] * 2)
    assert (payload["fine"] != b"", payload["gaps"]) == (clip, [True, False])
    assert "no number" in payload["note"]
    finite = frame[np.isfinite(frame)]
    assert (payload["lo"][0], payload["hi"][0]) == (finite.min(), finite.max())
    found = read_back(payload)[0]
    np.testing.assert_array_equal(found[~np.isfinite(frame)], [bad])
    np.testing.assert_allclose(found, frame, atol=0.51 * np.ptp(finite) / 252)


@pytest.mark.filterwarnings("error")
def test_a_frame_without_a_finite_number_has_none_in_the_browser() -> None:
    payload = packed([np.full((2, 2), np.nan, dtype=np.float32)])
    assert (payload["lo"], payload["hi"]) == ([0.0], [0.0])
    assert np.isnan(read_back(payload)[0]).all()


def test_where_all_is_finite_and_nothing_clipped_nothing_more_is_sent() -> None:
    payload = packed([noise(5, 5)])
    assert (payload["fine"], payload["gaps"], payload["note"]) == (b"", [False], "")
    assert payload["data"] == quantise(noise(5, 5))[0].tobytes()


def test_a_clipped_scale_keeps_its_256_colours_and_the_true_values_above_it() -> None:
    frame = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    frame[0, 0] = 100.0
    payload = packed([frame], limits=[(0.0, 1.0)])
    (found,) = read_back(payload)
    assert found[0, 0] == 100.0
    np.testing.assert_allclose(found, frame, atol=0.51 * 100 / 65535)
    assert len({round(value * 255) for value in found.ravel()[1:]}) == 255
    coarse = quantise(frame)[0].ravel()[1:]
    assert len(set(coarse.tolist())) < 5, "one byte would have been enough"


@pytest.mark.filterwarnings("error")
def test_a_mean_over_a_gap_is_a_gap() -> None:
    frame = np.ones((4, 4), dtype=np.float32)
    frame[0, 0], frame[3, 2], frame[3, 3] = np.nan, np.inf, -np.inf
    payload = packed([frame], largest=4)
    np.testing.assert_array_equal(read_back(payload)[0], [[np.nan, 1], [1, np.nan]])


@pytest.mark.filterwarnings("error")
def test_a_constant_frame_is_read_back_exactly() -> None:
    (found,) = read_back(packed([np.full((3, 2), -0.75, dtype=np.float32)]))
    np.testing.assert_array_equal(found, np.full((3, 2), -0.75))


def test_the_widest_and_the_narrowest_range_of_float32_survive() -> None:
    edge = np.finfo(np.float32)
    for ends in ([edge.min, edge.max], [0.0, edge.smallest_subnormal]):
        levels, low, high = quantise(np.array([ends], dtype=np.float32))
        assert levels.tolist() == [[0, 255]]
        assert [low, high] == ends


# ------------------------------------------------------------ the payload


def test_frames_of_different_sizes_lie_one_after_another() -> None:
    frames = [noise(4, 6), noise(1, 1, seed=1), noise(3, 2, seed=2)]
    payload = packed(frames)
    assert payload["sizes"] == [[4, 6], [1, 1], [3, 2]]
    assert len(payload["data"]) == 24 + 1 + 6
    for frame, found in zip(frames, read_back(payload), strict=True):
        np.testing.assert_allclose(found, frame, atol=np.ptp(frame) / 255)


def test_a_frame_in_another_memory_order_is_sent_row_by_row() -> None:
    frame = noise(3, 5)
    assert packed([np.asfortranarray(frame)])["data"] == packed([frame])["data"]


def test_rgb_frames_are_sent_as_they_are() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    payload = packed(list(frames), scale="rgb")
    assert payload["data"] == frames.tobytes()
    assert payload["sizes"] == [[3, 4], [3, 4]]
    assert payload["lut"] == b""
    assert (payload["lo"], payload["hi"]) == ([0, 0], [255, 255])


def test_the_photograph_and_the_colour_table_are_sent_as_bytes() -> None:
    photograph = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    payload = packed([noise(2, 2)], base=np.asfortranarray(photograph), scale="diverging")
    assert payload["base"] == photograph.tobytes()
    assert payload["base_size"] == [5, 4]
    assert payload["lut"] == table("diverging").tobytes()


def test_without_a_photograph_none_is_sent() -> None:
    payload = packed([noise(2, 2)])
    assert (payload["base"], payload["base_size"]) == (b"", [])


def test_everything_but_the_bytes_is_json() -> None:
    spoilt = noise(2, 2)
    spoilt[0] = np.nan, np.inf
    payload = packed(
        [spoilt, noise(2, 2)],
        axes={"layer": np.array([3]), "class": ["cat", np.int64(7)]},
        limits=[(np.float32(-1), np.float32(2))] * 2,
    )
    kept = {key: value for key, value in payload.items() if not isinstance(value, bytes)}
    assert set(payload) - set(kept) == {"data", "fine", "lut", "base"}
    assert json.loads(json.dumps(kept, allow_nan=False)) == kept
    assert kept["axes"] == [
        {"name": "layer", "labels": ["3"]},
        {"name": "class", "labels": ["cat", "7"]},
    ]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_page_whose_frames_charts_and_values_are_no_numbers_is_json(wrong: float) -> None:
    frames = np.full((2, 2, 2), wrong, dtype=np.float32)
    stack = viz.ImageStack(frames, {"step": range(2)}, values=np.array([wrong, 1.0]))
    bars = Bars("B", [("cat",)], [wrong], ["?"])
    curve = Curve("C", [wrong, 1.0], 0, "step", "value")
    scene = Scene([stack], charts=[[bars, curve]])
    state = PageState(i0=0, i1=0, i2=0, blend=100, own_scale=0, grid=0, scene=0)
    page = Page("p", b"", {}, [scene.payload()], [[]], state)
    text = re.search(r'id="page">(.*?)</script>', as_html(page)).group(1)
    data = json.loads(text, parse_constant=pytest.fail)
    assert data["scenes"][0]["gaps"] == [True, True]
    assert data["scenes"][0]["limits"] == [[0, 0]] * 2


# ------------------------------------------------------------ what is too large


def test_frames_that_just_fit_are_not_reduced() -> None:
    payload = packed([noise(4, 4), noise(4, 4)], largest=32)
    assert (payload["factor"], payload["note"]) == (1, "")
    assert payload["sizes"] == [[4, 4], [4, 4]]


def test_frames_that_do_not_fit_are_reduced_by_means_and_the_payload_says_so() -> None:
    frame = np.arange(16, dtype=np.float32).reshape(4, 4)
    payload = packed([frame, -frame], largest=31)
    assert payload["factor"] == 2
    assert "1/2" in payload["note"]
    assert payload["sizes"] == [[2, 2], [2, 2]]
    means = np.array([[2.5, 4.5], [10.5, 12.5]])
    for found, sign in zip(read_back(payload), (1, -1), strict=True):
        np.testing.assert_allclose(found, sign * means, atol=10 / 255)


def test_frames_are_reduced_until_they_fit() -> None:
    payload = packed([noise(55, 55), noise(8, 64, seed=1)], largest=250)
    assert payload["factor"] == 4
    assert payload["sizes"] == [[14, 14], [2, 16]]
    assert len(payload["data"]) <= 250


def test_a_reduced_rgb_frame_is_a_picture_still() -> None:
    frame = np.zeros((2, 2, 3), dtype=np.uint8)
    frame[0] = 103
    payload = packed([frame], scale="rgb", largest=4)
    assert payload["data"] == bytes([52, 52, 52])
    assert payload["sizes"] == [[1, 1]]


def test_where_nothing_is_left_to_take_away_the_factor_is_the_one_that_was_used() -> None:
    payload = packed([noise(4, 4), noise(1, 1)], largest=1)
    assert payload["sizes"] == [[1, 1], [1, 1]]
    assert payload["factor"] == 4


# ------------------------------------------------------------ the browser's colours and ours


@pytest.fixture(scope="module")
def pictures_of() -> Callable[[list[SceneData]], list[list[np.ndarray]]]:
    """Return what draws payloads with ``view.js``, in Node."""
    node = shutil.which("node")
    if node is None and os.environ.get("VIZHELPERS_BROWSER") == "required":
        pytest.fail("VIZHELPERS_BROWSER=required, and there is no node on the PATH.")
    if node is None:
        pytest.skip("no node on the PATH")

    def draw(payloads: list[SceneData]) -> list[list[np.ndarray]]:
        text = json.dumps(payloads, default=lambda raw: base64.b64encode(raw).decode("ascii"))
        command = [node, str(COLOURS)]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return [[_picture(one) for one in scene] for scene in json.loads(done.stdout)]

    return draw


def _picture(sent: dict[str, Any]) -> np.ndarray:
    rgba = np.frombuffer(base64.b64decode(sent["rgba"]), dtype=np.uint8)
    return rgba.reshape(*sent["size"], 4)


def expected_of(stack: viz.ImageStack) -> list[np.ndarray]:
    """Return the pictures as Python draws them, in the order of ``colours.mjs``."""
    own = stack
    if stack.scale != "rgb":
        own = replace(stack, scale_group="frame", vmin=None, vmax=None)
    return [
        chosen.colours(frame, blend)
        for frame in range(len(stack))
        for chosen in (stack, own)
        for blend in (1.0, 0.5)
    ]


PHOTOGRAPH = np.random.default_rng(5).integers(0, 256, (23, 31, 3), dtype=np.uint8)
# Frames of very different strength, so that the shared scale and a frame's own differ.
MAPS = noise(6, 7, 5) * np.array([1, 0.05, 3, 10, 0.5, 2], dtype=np.float32)[:, None, None]


def maps(frames: np.ndarray = MAPS, **more: Any) -> viz.ImageStack:
    axes = {"layer": ["a", "b"], "class": range(len(frames) // 2)}
    return viz.ImageStack(frames, axes, **{"base": PHOTOGRAPH, **more})


def flat(scale: str) -> viz.ImageStack:
    frames = np.array([-3.0, 0.0, 0.0, 3.0])[:, None, None].repeat(2, 1)
    return maps(frames, scale=scale, scale_group="frame")


def spoilt(**more: Any) -> viz.ImageStack:
    frames = MAPS.copy()
    frames[0, 1, 2], frames[1, 3, 0], frames[2, 6, 4] = np.nan, np.inf, -np.inf
    frames[3] = np.nan
    return maps(frames, **more)


SCENES = {
    "with gaps, sequential": [spoilt()],
    "with gaps, diverging": [spoilt(scale="diverging")],
    "with gaps, clipped": [spoilt(vmax=1.0)],
    "with gaps, a scale for each": [spoilt(scale_group="frame")],
    "clipped to a hundredth": [maps(np.abs(MAPS), vmax=0.3)],
    "sequential": [maps()],
    "sequential, all above zero": [maps(np.abs(MAPS) + 1)],
    "sequential, all below zero": [maps(-np.abs(MAPS) - 1)],
    "diverging": [maps(scale="diverging")],
    "one scale for each layer": [maps(scale="diverging", scale_group="layer")],
    "limits given": [maps(vmin=-50, vmax=70)],
    "no photograph": [maps(base=None)],
    "flat, sequential": [flat("sequential")],
    "flat, diverging": [flat("diverging")],
    "rgb": [viz.ImageStack(np.stack([PHOTOGRAPH, 255 - PHOTOGRAPH]), {"i": "ab"}, scale="rgb")],
    "sizes differ": [maps(noise(2, side, side + 3, seed=side)) for side in (1, 4, 9)],
    "scales differ": [maps(), maps(noise(6, 3, 4), scale="diverging")],
}


def scene_of(stacks: list[viz.ImageStack]) -> Scene:
    axes = {"stack": range(len(stacks)), **stacks[0].axes}
    return Scene(stacks, axes=axes if len(stacks) > 1 else {})


def one_level(scale: str) -> int:
    """Return how far neighbouring colours are apart: a value read back may be rounded to either."""
    return 0 if scale == "rgb" else int(np.abs(np.diff(table(scale).astype(int), axis=0)).max())


def test_colours_one_level_apart_cannot_be_told_apart() -> None:
    assert [one_level(scale) for scale in ("sequential", "diverging")] == [3, 2]


def test_the_browser_draws_the_colours_that_python_draws(
    pictures_of: Callable[[list[SceneData]], list[list[np.ndarray]]],
) -> None:
    scenes = {name: scene_of(stacks) for name, stacks in SCENES.items()}
    drawn = pictures_of([scene.payload() for scene in scenes.values()])
    for (name, scene), found in zip(scenes.items(), drawn, strict=True):
        stacks = [replace(stack, scale=scene.scale) for stack in scene.stacks]
        expected = [picture for stack in stacks for picture in expected_of(stack)]
        for i, (picture, wanted) in enumerate(zip(found, expected, strict=True)):
            assert picture.shape == (*wanted.shape[:2], 4), f"{name}, picture {i}"
            assert (picture[..., 3] == 255).all(), f"{name}, picture {i}"
            wrong = np.abs(picture[..., :3].astype(int) - wanted).max()
            assert wrong <= one_level(scene.scale), f"{name}, picture {i}: {wrong}"


@pytest.mark.parametrize("name", ["sequential", "diverging"])
def test_a_wrong_frame_scale_or_blend_would_be_seen_in_that_comparison(name: str) -> None:
    expected = expected_of(SCENES[name][0])
    shared, laid, own, laid_own = (expected[i::4] for i in range(4))
    for row in (shared, laid, own, laid_own):
        assert all(differ(one, other) for one, other in pairwise(row))
    # The strongest frame alone may decide the shared scale, which then is its own.
    assert sum(map(differ, shared, own)) >= len(shared) - 1
    assert sum(map(differ, laid, laid_own)) >= len(shared) - 1
    assert not any(one.shape == other.shape for one, other in zip(shared, laid, strict=True))


def differ(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.abs(one.astype(int) - other).max() > 2 * one_level("sequential"))
