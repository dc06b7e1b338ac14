"""The measurements as a table, as Markdown and as JSON, with the machine that made them."""

import dataclasses
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.growth import Curve
from benchmarks.measure import FLOOR, OURS, Result, Spread

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
COMMAND = "uv run python -m benchmarks"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
PACKAGES = (
    "torch",
    "torchvision",
    "matplotlib",
    "numpy",
    "pillow",
    "ipywidgets",
    "anywidget",
    "grad-cam",
    "torchcam",
    "flashtorch",
    "captum",
    "ipython",
    "jupyterlab",
)


def machine() -> dict[str, Any]:
    """Return what a reader must know of the machine to read the numbers."""
    return {
        "cores": os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def digits(value: float) -> str:
    """Return a number with three digits that count, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _spread(spread: Spread, unit: str) -> str:
    text = f"{digits(spread.median)} {unit}"
    if spread.count == 1:
        return text
    return f"{text} ({digits(spread.low)} to {digits(spread.high)}, {spread.count} times)"


def verdict(result: Result, other: str) -> str:
    """Return one ratio, with its goal where it has one."""
    goal = result.goals.get(other)
    text = f"{digits(result.ratio(other))} x {other}"
    if goal is None:
        return text
    met = "met" if result.ratio(other) >= goal else "**missed**"
    return f"{text} (goal {digits(goal)}: {met})"


def _met(result: Result) -> str:
    return "**missed**" if result.missed() else "met"


def full_table(results: Sequence[Result]) -> str:
    """Return every measurement with its spread, as Markdown."""
    lines = [
        "| what | vizhelpers | the others | ratio | floor | above the floor |",
        "|---|---|---|---|---|---|",
    ]
    for one in results:
        others = "; ".join(f"{o}: {_spread(one.sides[o], one.unit)}" for o in one.others())
        ratios = "; ".join(verdict(one, other) for other in one.others())
        if one.limit is not None:
            own = f"goal: at most {one.limit:g} {one.unit}, {_met(one)}"
            ratios = "; ".join(filter(None, [ratios, own]))
        floor = f"{one.floor}: {_spread(one.sides[FLOOR], one.unit)}" if FLOOR in one.sides else ""
        above = f"{digits(one.above_floor() or 0)} x" if floor else ""
        ours = _spread(one.sides[OURS], one.unit)
        lines.append(f"| {one.name} | {ours} | {others} | {ratios} | {floor} | {above} |")
    notes = [f"- {one.name}: {one.note}." for one in results if one.note]
    return "\n".join([*lines, "", *notes])


def growth_table(curves: Sequence[Curve]) -> str:
    """Return the fitted powers, as Markdown."""
    lines = ["| grows with | side | power of time | the work's own |", "|---|---|---|---|"]
    for curve in curves:
        for name, line in curve.lines.items():
            what = f"{curve.name}, {curve.xlabel}"
            lines.append(f"| {what} | {name} | {line.exponent():.2f} | {curve.work:g} |")
    return "\n".join(lines)


def ratios_table(results: Sequence[Result]) -> str:
    """Return what README shows: ratios, goals, and how far above the floor; no absolute times."""
    lines = ["| what | how many times better | times above the floor |", "|---|---|---|"]
    for one in results:
        ratios = "; ".join(verdict(one, other) for other in one.others())
        above = one.above_floor()
        floor = f"{digits(above)} ({one.floor})" if above else ""
        if one.limit is not None:
            ratios = "; ".join(filter(None, [ratios, f"its own goal: {_met(one)}"]))
        lines.append(f"| {one.name} | {ratios} | {floor} |")
    return "\n".join(lines)


def markdown(results: Sequence[Result], curves: Sequence[Curve], facts: dict[str, Any]) -> str:
    """Return the whole report."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    head = (
        f"Made by `{facts['command']}` on {facts['date']} in {facts['seconds']:.0f} s: "
        f"{facts['platform']}, {facts['cores']} cores, {facts['torch threads']} threads of torch, "
        f"Python {facts['python']}; {versions}.\n\n"
        "Medians, in brackets the smallest and the largest. All sides of a row were timed in turn "
        "in one run, imports and memory in processes of their own. Rows of pictures compared their "
        "numbers first. The floor is what the machine needs for the part of the work that cannot "
        "be saved."
    )
    parts = [f"# Benchmarks, {facts['device']}", head, full_table(results)]
    if curves:
        parts += ["## Growth", growth_table(curves)]
    return "\n\n".join(parts) + "\n"


def write(
    results: Sequence[Result], curves: Sequence[Curve], facts: dict[str, Any], folder: Path
) -> Path:
    """Write Markdown and JSON side by side, and return the Markdown's path."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = "-quick" if facts["quick"] else ""
    path = folder / f"{facts['date']}-{facts['device']}{kind}.md"
    path.write_text(markdown(results, curves, facts), encoding="utf-8")
    data = {
        **facts,
        "results": [dataclasses.asdict(one) for one in results],
        "growth": [dataclasses.asdict(one) for one in curves],
    }
    path.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return path


def read_results(path: Path) -> list[Result]:
    """Return the rows of a JSON file that ``write`` wrote."""
    rows = json.loads(path.read_text(encoding="utf-8"))["results"]
    return [
        Result(**{**row, "sides": {k: Spread(**v) for k, v in row["sides"].items()}})
        for row in rows
    ]


def publish(results: Sequence[Result]) -> None:
    """Write the table of ratios into README, between its marks."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    README.write_text(f"{before}{BEGIN}\n{ratios_table(results)}\n{END}{after}", encoding="utf-8")
