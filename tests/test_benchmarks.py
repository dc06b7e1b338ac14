"""The benchmarks' own arithmetic, and that README shows what was measured. Nothing is timed."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import vizhelpers as viz
from benchmarks import gradients, growth, pictures, report
from benchmarks.measure import FLOOR, OURS, QUICK, Budget, Result, Spread, in_turn

ROOT = Path(__file__).parents[1]
NEWEST = max(path for path in report.RESULTS.glob("*.json") if "quick" not in path.name)


def result(ours: float, **others: float) -> Result:
    sides = {OURS: ours, **others}
    return Result(
        "a row", {k: Spread.of([v]) for k, v in sides.items()}, goals={"peer": 10.0}, floor="a pass"
    )


def test_sides_are_timed_in_turn_after_a_round_to_warm_up() -> None:
    calls: list[str] = []
    sides = {name: lambda name=name: calls.append(name) for name in "ab"}
    found = in_turn(sides, Budget(rounds=3, seconds=0.02), times={"b": 1000.0})
    assert calls[:8] == list("abababab"), "one side was timed twice in a row"
    assert found["a"].count == found["b"].count
    assert found["a"].low <= found["a"].median <= found["a"].high
    assert found["b"].median > found["a"].median, "the factor of a side that does a part is lost"


def test_a_ratio_says_how_many_times_better_ours_is() -> None:
    row = result(2.0, peer=30.0, floor=0.5)
    assert row.ratio("peer") == 15.0
    assert row.above_floor() == 4.0
    assert row.others() == ["peer"]
    assert row.missed() == []


def test_a_missed_goal_is_shown_as_missed() -> None:
    row = result(4.0, peer=30.0)
    assert row.missed() == ["10 x peer"]
    assert "**missed**" in report.full_table([row])
    assert "**missed**" in report.ratios_table([row])
    assert "met" in report.ratios_table([result(2.0, peer=30.0)])


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_fitted_power_is_the_power(power: float) -> None:
    sizes = [1, 2, 4, 8, 16, 32]
    assert growth.fitted(sizes, [3 * size**power for size in sizes]) == pytest.approx(power)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a peak that can be set back")
def test_a_peak_is_seen_though_it_is_gone_when_the_call_ends() -> None:
    def passing() -> None:
        assert np.ones(50 << 17).sum() > 0  # 50 MB of float64

    assert 45 < growth.cost(passing)[1] < 60
    assert growth.cost(lambda: None)[1] < 5


@pytest.mark.parametrize("name", ["kernels", "maps"])
def test_a_row_refuses_sides_that_show_something_else(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = {"kernels": "kernels", "maps": "feature_maps"}[name]
    real = getattr(viz, what)

    def wrong(*args: object, **kwargs: object) -> viz.ImageStack:
        stack = real(*args, **kwargs)
        return replace(stack, frames=stack.frames + 1)

    monkeypatch.setattr(viz, what, wrong)
    with pytest.raises(AssertionError, match="other"):
        pictures.ROWS[name](QUICK)


def test_a_sweep_refuses_other_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    model: nn.Module = viz.load_model()
    sample = viz.prepare(model, "cat")
    wrong = viz.cam(model, sample, "features.12", target="espresso")
    monkeypatch.setattr(viz, "cam", lambda *args, **kwargs: wrong)
    with pytest.raises(AssertionError, match="another map"):
        gradients.check_maps(model, model, sample, "features.12")


def test_the_bare_passes_give_the_gradient() -> None:
    from benchmarks.peers import bare_gradients

    model = viz.load_model()
    x = viz.prepare(model, "cat").x
    (found,) = bare_gradients(gradients.frozen(model), x, [281])
    expected = viz.saliency(model, x, target=281).frames
    torch.testing.assert_close(found.abs().amax(dim=1).numpy(), expected)


def test_readme_shows_the_newest_measurement_and_its_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = text.split(report.BEGIN)[1].split(report.END)[0].strip()
    assert shown == report.ratios_table(report.read_results(NEWEST))
    assert report.COMMAND in text
    assert "images/growth.png" in text and growth.IMAGE.exists()
    facts = json.loads(NEWEST.read_text(encoding="utf-8"))
    assert facts["cores"] and facts["versions"]["torch"] and not facts["quick"]


def test_no_absolute_time_stands_in_readmes_table() -> None:
    shown = report.ratios_table(report.read_results(NEWEST))
    assert not re.search(r"\d (s|ms|MB)\b", shown), "an absolute number stands alone"


def test_the_report_says_the_machine_and_every_row() -> None:
    rows = report.read_results(NEWEST)
    text = NEWEST.with_suffix(".md").read_text(encoding="utf-8")
    assert all(f"| {row.name} |" in text for row in rows)
    assert "cores" in text and "torchcam" in text
    assert all(OURS in row.sides for row in rows)
    assert sum(FLOOR in row.sides for row in rows) == len(rows), "a row without its floor"
