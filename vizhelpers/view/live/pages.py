"""The pages as which panels and stacks are saved."""

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

from vizhelpers.view.canvas import to_png
from vizhelpers.view.live.controls import controls_of
from vizhelpers.view.live.html import Page
from vizhelpers.view.live.scene import Scene, Stack

Choices = dict[str, list[tuple[str, Any]]]  # control name -> (text, value) of each option


def title_of_stack(stack: Stack) -> str:
    """Return the title of a stack's panel and page."""
    return f"{stack.name}: one frame at a time"


def page_of_stack(stack: Stack) -> Page:
    """Return the page of a stack's panel at its start, without creating a widget."""
    scene = Scene([stack])
    controls = controls_of(scene)
    overlay = any(control.trait == "blend" for control in controls)
    blend = round(100 * stack.blend) if overlay else 100
    return Page(
        name=title_of_stack(stack),
        png=to_png(scene.figure([0] * len(scene.axes), blend=blend)),
        requests={},
        scenes=[scene.payload()],
        controls=[[control.wire() for control in controls]],
        state={"i0": 0, "i1": 0, "i2": 0, "blend": blend, "own_scale": 0, "grid": 0, "scene": 0},
    )


def every_scene(
    choices: Choices, now: Mapping[str, Any], scene_for: Callable[[Mapping[str, Any]], Scene]
) -> tuple[Choices, dict[tuple[Any, ...], Scene]]:
    """Compute the scene of each combination of options.

    Args:
        choices: control name -> its options. An option whose scene raises a ``ValueError``, such as
            the original CAM for many models, is left out.
        now: the current values, which are among the options.
        scene_for: returns the scene of a combination of values.

    Returns:
        The remaining options, and {values: scene} in their order.

    Raises:
        ValueError: there is no scene for the current values.
    """
    choices, scenes = dict(choices), dict[tuple[Any, ...], Scene]()
    complete = False
    while not complete:
        complete = True
        for row in product(*choices.values()):
            values = {name: value for name, (_, value) in zip(choices, row, strict=True)}
            key = tuple(values.values())
            try:
                scenes[key] = scenes.get(key) or scene_for(values)
            except ValueError:
                other = [name for name in choices if values[name] != now[name]]
                if not other:
                    raise
                last = other[-1]
                choices[last] = [option for option in choices[last] if option[1] != values[last]]
                complete = False
                break
    rows = [tuple(value for _, value in row) for row in product(*choices.values())]
    return choices, {row: scenes[row] for row in rows}
