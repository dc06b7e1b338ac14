"""Each control of each panel shows the picture that Python computes."""

import pytest
from expected_pictures import ORACLES
from interaction import move_everything
from small_notebooks import NAMES, Opened


@pytest.mark.parametrize("name", NAMES)
def test_every_control_shows_the_picture_that_python_computes(opened: Opened, name: str) -> None:
    _, panel = opened(name)
    assert len(move_everything(panel, ORACLES[name])) >= 2
