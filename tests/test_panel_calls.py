"""A repeated call closes the panel of the call before; a closed panel frees what it referred to."""

import gc
import io
import threading
import weakref
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pytest
import torch
from panels import REQUESTS, build, small, uploaded
from PIL import Image
from torch import nn
from torchvision import models
from torchvision import transforms as v1
from torchvision.transforms import v2

import vizhelpers as viz
from vizhelpers.explore.identity import _open, content
from vizhelpers.view.live.panel import Panel


def alive() -> int:
    return len(widgets.Widget.get_manager_state()["state"])


@pytest.mark.parametrize("name", REQUESTS)
def test_close_frees_every_widget(name: str, model: nn.Module) -> None:
    before = alive()
    panel = build(name, model)
    assert alive() > before
    panel.close()
    assert alive() == before
    assert panel not in _open.values()


def test_running_a_cell_again_closes_its_predecessor(model: nn.Module) -> None:
    before = list(_open.values())  # of other tests
    viz.explore_kernels(model)
    once = alive()
    for _ in range(50):
        newest = viz.explore_kernels(model)
    assert alive() == once
    assert [panel for panel in _open.values() if panel not in before] == [newest]
    for other in (
        viz.explore_kernels(model, keep=True),
        viz.explore_kernels(model, layer="features.3.expand3x3"),
    ):
        assert alive() > once, "keep=True, and other arguments, leave the first one open"
        other.close()
    newest.close()


def is_open(panel: Panel) -> bool:
    return panel in _open.values() and panel.box.comm is not None


def close_all(opened: list[Panel]) -> None:
    for panel in opened:
        panel.close()


def test_models_made_in_a_loop_have_panels_that_all_stay() -> None:
    opened = []
    for _ in range(8):
        opened.append(viz.explore_kernels(small()))
        gc.collect()  # an id that is free is given to the next model
    assert all(map(is_open, opened))
    close_all(opened)


@pytest.mark.parametrize("kind", ["array", "PIL", "bytes", "tensor"])
def test_photographs_made_in_a_loop_have_panels_that_all_stay(kind: str, tiny: nn.Module) -> None:
    def made(level: int) -> object:
        array = np.full((16, 16, 3), level, np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "PNG")
        return {
            "array": array,
            "PIL": Image.fromarray(array),
            "bytes": buffer.getvalue(),
            "tensor": torch.from_numpy(array),
        }[kind]

    opened = []
    for level in range(0, 250, 50):
        opened.append(viz.explore_feature_maps(tiny, made(level), transform=TO_12))
        gc.collect()
    assert all(map(is_open, opened))
    newest = viz.explore_feature_maps(tiny, made(0), transform=TO_12)
    assert [is_open(panel) for panel in opened] == [False, True, True, True, True]
    close_all([newest, *opened[1:]])


TO_12 = v1.Compose([v1.Resize((12, 12)), v1.ToTensor()])


def test_other_arguments_leave_a_panel_open_and_the_same_ones_made_anew_do_not(
    tiny: nn.Module,
) -> None:
    def cell(side: int = 12, first: str = "a") -> Panel:
        transform = v1.Compose([v1.Resize((side, side)), v1.ToTensor()])
        picture = Image.new("RGB", (20, 20), "teal")
        labels = [first, *"bcde"]
        return viz.explore_cam(tiny, picture, transform=transform, labels=labels)

    opened = [cell(), cell(side=14), cell(first="z")]
    assert all(map(is_open, opened))
    again = cell()
    assert [is_open(panel) for panel in opened] == [False, True, True]
    close_all([again, *opened[1:]])


def test_an_argument_counts_however_it_is_passed(tiny: nn.Module) -> None:
    first = viz.explore_kernels(tiny, layer="0")
    second = viz.explore_kernels(layer="0", out=0, model=tiny)
    assert not is_open(first) and is_open(second)
    second.close()


def test_a_closed_panel_lets_go_of_model_and_photograph(tiny: nn.Module) -> None:
    net, picture = small(), Image.new("RGB", (20, 20))
    kept = [weakref.ref(net), weakref.ref(net[0].weight), weakref.ref(picture)]
    panel = viz.explore_feature_maps(net, picture, transform=TO_12)
    panel.close()
    del net, picture
    gc.collect()
    assert [reference() for reference in kept] == [None, None, None]
    with pytest.raises(ValueError, match="closed"):
        panel._scene_for(panel._shown_values)


def arguments(level: int) -> dict[str, object]:
    """Arguments as a cell makes them: anew each time, equal for an equal level."""
    array = np.full((4, 5), level, np.float32)
    return {
        "number": level,
        "text": f"{level}",
        "list": [str(level), "b"],
        "dict": {"a": (level, None)},
        "bytes": bytes([level]) * 99,
        "array": array,
        "view of an array": array[::2, ::-1],
        "tensor": torch.full((3,), level, dtype=torch.bfloat16),
        "PIL": Image.new("L", (9, 9), level),
        "upload": uploaded(bytes([level]) * 99)[0]["content"] if V8 else bytes([level]),
        "path": Path(f"{level}.png"),
        "v1": v1.Compose([v1.Resize(level), v1.ToTensor(), v1.Normalize([0.5], [level])]),
        "v2": v2.Compose([v2.Resize((level, level)), v2.ToImage()]),
        "Sequential": nn.Sequential(v1.Resize(level), v1.CenterCrop(3)),
        "preset": models.SqueezeNet1_1_Weights.DEFAULT.transforms(crop_size=level),
        "Lambda": v1.Lambda(lambda image: image.resize((level, level))),
        "function": lambda image: image.resize((level, level)),
    }


V8 = not widgets.__version__.startswith("7.")


@pytest.mark.parametrize("kind", arguments(1))
def test_arguments_are_compared_by_content(kind: str) -> None:
    first, same, other = (content(arguments(level)[kind]) for level in (32, 32, 48))
    assert first == same and hash(first) == hash(same)
    assert first != other


def test_what_has_no_content_to_compare_is_compared_by_identity() -> None:
    class Own:
        def __init__(self) -> None:
            self.lock = threading.Lock()

    for make in (Own, small, nn.ReLU, lambda: (i for i in range(2))):
        first, second = make(), make()
        assert content(first) == content(first) and content(first) != content(second)


def test_a_key_keeps_what_it_compares_by_identity() -> None:
    """The id of an object that is gone is given to another one."""
    net = small()
    alive, key = weakref.ref(net), content(net)
    del net
    gc.collect()
    assert alive() is not None
    del key
    gc.collect()
    assert alive() is None


def test_a_value_that_holds_itself_is_compared() -> None:
    def around() -> list[object]:
        found: list[object] = [1]
        found.append(found)
        return found

    assert content(around()) == content(around()) != content([1, [1]])
