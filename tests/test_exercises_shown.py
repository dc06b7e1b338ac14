"""What a reader sees of the exercises: open answers, hints, solutions and stored progress."""

import itertools
import json
import re
import socket
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from exercise_answers import check
from torch import nn

import vizhelpers as viz
from vizhelpers.exercises import progress_file
from vizhelpers.exercises.catalogue import EXERCISES
from vizhelpers.exercises.exercise import is_open
from vizhelpers.exercises.verdict import Verdict

pytestmark = pytest.mark.usefixtures("empty_folder")


# ------------------------------------------------------------------ open answers
@pytest.mark.parametrize("answer", [..., None])
def test_an_answer_that_was_not_begun_is_open(answer: Any) -> None:
    def only_a_text(layer: nn.Module) -> int:
        """Only this."""

    def dots(layer: nn.Module) -> int: ...

    def text_and_dots(layer: nn.Module) -> int:
        """Both."""
        ...

    for open_answer in (answer, only_a_text, dots, text_and_dots):
        assert viz.check("01.2", open_answer).standing == "open", open_answer
    assert not Path(progress_file.FILE).exists(), "nothing was tried, so nothing is written"


def test_zero_is_an_answer() -> None:
    def zero(layer: nn.Module) -> int:
        return 0

    assert not is_open(0)
    assert not is_open(zero)
    assert viz.check("01.2", zero).standing == "wrong"


def test_half_an_answer_says_which_half_is_open() -> None:
    assert "the function is still open" in viz.check("04.1", 15, ...).text
    assert "the number on paper is still" in viz.check("04.1", ..., lambda layers: 1).text


def test_a_wrong_name_or_number_of_answers_is_an_error_with_the_way_on() -> None:
    with pytest.raises(ValueError, match=r"no exercise '03\.4'.*'03\.1'.*progress"):
        viz.check("03.4", 1)
    for call in (viz.hint, viz.solution):
        with pytest.raises(ValueError, match="no exercise"):
            call("3")
    with pytest.raises(
        ValueError, match=r"takes 2 answer.*number on paper, function.*1 were given"
    ):
        viz.check("04.1", 15)


# ------------------------------------------------------------------ hints and verdicts
def test_a_verdict_reads_without_colour_and_escapes_what_code_returned() -> None:
    verdict = Verdict("01.1", "wrong", "got <b>1</b>", "value")
    assert repr(verdict) == "✘ Not yet · 01.1: got <b>1</b>"
    shown = verdict._repr_html_()
    assert "&lt;b&gt;" in shown
    without_tags = re.sub(r"<[^>]*>", "", shown)
    assert without_tags == "✘ Not yet · 01.1: got &lt;b&gt;1&lt;/b&gt;"
    colours = {Verdict("1", s, "")._repr_html_().split("#")[1][:6] for s in ("right", "wrong")}
    assert len(colours) == 2


def test_hints_come_one_more_each_time_and_end_with_the_way_on() -> None:
    shown = [viz.hint("03.2").text for _ in range(4)]
    assert [text.count("**Hint") for text in shown] == [1, 2, 3, 3]
    assert all(later.startswith(text) for text, later in itertools.pairwise(shown))
    assert "viz.solution" in shown[2]
    assert "viz.solution" not in shown[1]


@pytest.mark.parametrize("key", EXERCISES)
def test_hints_do_not_repeat_and_the_why_is_shown(key: str) -> None:
    exercise = EXERCISES[key]
    assert len(set(exercise.hints)) == 3
    assert len(exercise.why) > 60
    assert exercise.why in viz.solution(key).text


# ------------------------------------------------------------------ progress
def solve(key: str = "04.1") -> Verdict:
    return check(key, EXERCISES[key].solution)


def test_progress_is_kept_in_a_file_beside_the_notebook() -> None:
    viz.check("04.1", 7, lambda layers: 7)
    solve()
    viz.hint("03.2")
    viz.solution("01.1")
    rows = json.loads(Path(progress_file.FILE).read_text(encoding="utf-8"))
    assert rows == {
        "01.1": {"hints": 0, "solution": True, "solved": False, "tries": 0},
        "03.2": {"hints": 1, "solution": False, "solved": False, "tries": 0},
        "04.1": {"hints": 0, "solution": False, "solved": True, "tries": 2},
    }
    table = viz.progress().text
    assert "| 04.1 | derive | how many pixels a cell sees | ✔ | 2 | 0 |  |" in table
    assert "| 01.1 | derive | a convolution's output shape | · | 0 | 0 | shown |" in table
    assert table.endswith(f"1 of {len(EXERCISES)} solved.")


def test_a_wrong_answer_later_does_not_undo_what_was_solved() -> None:
    solve()
    viz.check("04.1", 7, lambda layers: 7)
    assert f"1 of {len(EXERCISES)} solved" in viz.progress().text


def test_another_kernel_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    solve()
    monkeypatch.setattr(progress_file, "_in_memory", {})
    assert f"1 of {len(EXERCISES)} solved" in viz.progress().text


def test_in_colab_memory_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    solve()
    assert not list(Path.cwd().iterdir())
    assert f"1 of {len(EXERCISES)} solved" in viz.progress().text


def test_where_the_folder_takes_no_file_memory_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(Path, "write_text", refuse)
    assert solve()
    assert f"1 of {len(EXERCISES)} solved" in viz.progress().text


@pytest.mark.parametrize("text", ["no JSON", "[1, 2]", '{"04.1": 3}', "\udcff"])
def test_a_file_that_cannot_be_read_is_set_aside_and_not_lost(text: str) -> None:
    raw = text.encode("utf-8", "surrogateescape")
    Path(progress_file.FILE).write_bytes(raw)
    assert solve()
    assert f"1 of {len(EXERCISES)} solved" in viz.progress().text
    (aside,) = Path.cwd().glob("vizhelpers-progress-unreadable-*.json")
    assert aside.read_bytes() == raw


def test_a_file_that_was_edited_by_hand_breaks_nothing() -> None:
    Path(progress_file.FILE).write_text(
        '{"04.1": {"tries": "many", "hints": -5, "solved": 1}, "99.9": {}}'
    )
    assert f"0 of {len(EXERCISES)} solved" in viz.progress().text
    solve()
    viz.hint("04.1")
    assert "| ✔ | 1 | 1 |" in viz.progress().text
    assert "99.9" in Path(progress_file.FILE).read_text(encoding="utf-8"), "unknown rows stay"


def test_nothing_is_sent_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    solve()
    viz.hint("04.1")
    viz.solution("04.1")
    viz.progress()
