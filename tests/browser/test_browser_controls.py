"""Each control of each panel shows the picture that Python computes."""

import pytest
from expected_pictures import oracle_of
from interaction import move_everything
from small_notebooks import NAMES, PANELS, Opened, panel_of


@pytest.mark.parametrize("name", NAMES)
def test_every_control_shows_the_picture_that_python_computes(opened: Opened, name: str) -> None:
    oracle = oracle_of(PANELS[name])
    _, panel = opened(name)
    assert len(move_everything(panel, oracle)) >= 2


def test_a_panel_whose_picture_nothing_computes_is_named_with_the_way_on() -> None:
    with pytest.raises(AssertionError, match=r"viz\.explore_dreams: .*expected_pictures\.py"):
        oracle_of("viz.explore_dreams(model)")


def test_a_notebook_is_left_out_only_if_another_one_opens_its_panel() -> None:
    opened = {panel_of(PANELS[name]) for name in NAMES}
    assert {panel_of(cell) for cell in PANELS.values() if cell} == opened
