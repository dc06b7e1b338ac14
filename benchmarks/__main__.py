"""Time the package against the document's code and its peers: ``uv run python -m benchmarks``.

All sides of a row are timed in turn in one run, so that a busy machine slows them alike.
Nothing here is a test: a time is a measurement of this machine; what can be compared are ratios.
"""

import argparse
import datetime
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("agg")

from tqdm import tqdm

from benchmarks import gradients, growth, pictures, processes, report, sliders
from benchmarks.measure import FULL, QUICK, Budget, Result
from vizhelpers.inputs.errors import unknown

ROWS: dict[str, Callable[[Budget], Result]] = {
    **pictures.ROWS,
    **gradients.ROWS,
    **processes.ROWS,
    **sliders.ROWS,
}
# Left out where nobody waits for it: other processes, browsers, and what takes a second a call.
SLOW = {
    *processes.ROWS,
    *sliders.ROWS,
    "sweep-VGG-11",
    "sweep-ResNet-18",
    "ascent-middle",
    "ascent-late",
}


def chosen(only: Sequence[str], quick: bool) -> list[str]:
    """Return the names of the rows and curves to measure, in the table's order.

    Raises:
        ValueError: no such row; the text names the nearest.
    """
    names = [*ROWS, *growth.CURVES]
    for name in only:
        if name not in names:
            raise unknown("row", name, names)
    return [name for name in names if (name in only if only else not (quick and name in SLOW))]


def main() -> None:
    """Measure, print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a rough answer within a minute")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="one row")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of the report")
    parser.add_argument(
        "--publish", action="store_true", help="of a full run, write README's table too"
    )
    options = parser.parse_args()
    try:
        names = chosen(options.only, options.quick)
    except ValueError as error:
        parser.error(str(error))
    budget, start = QUICK if options.quick else FULL, time.perf_counter()
    results, curves = measure(names, budget)
    facts = {
        **report.machine(),
        "device": "cpu",
        "quick": options.quick,
        "command": " ".join([report.COMMAND, *(["--quick"] if options.quick else [])]),
        "date": datetime.date.today().isoformat(),
        "seconds": time.perf_counter() - start,
    }
    print(report.full_table(results))
    if curves:
        print(f"\n{report.growth_table(curves)}")
    if options.only:
        return  # a part of a table would replace the whole
    print(f"\nWritten: {report.write(results, curves, facts, options.out)}")
    if not options.quick:
        growth.draw(curves).savefig(growth.IMAGE)
        print(f"Drawn: {growth.IMAGE}")
    if options.publish and not options.quick:
        report.publish(results)


def measure(names: Sequence[str], budget: Budget) -> tuple[list[Result], list[growth.Curve]]:
    """Measure rows and curves one after the other, under a progress bar."""
    results, curves = [], []
    with tqdm(names, unit="row") as bar, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peers': old hooks, old arguments
        for name in bar:
            bar.set_postfix_str(name)
            if name in growth.CURVES:
                curves.append(growth.measured(name, budget))
            elif name in sliders.ROWS and not sliders.possible():
                bar.write(f"{name}: left out, there is no Chromium or no playwright here.")
            else:
                results.append(ROWS[name](budget))
    return results, curves


if __name__ == "__main__":
    main()
