"""Measure a class at the hub: ``uv run python -m benchmarks.hub --students 20``.

A real JupyterHub with its node proxy, real servers and kernels, one driver that does what the
students' browsers do; loopback only, and everything is ended. Linux only: only Linux says which
pages processes share.
"""

import argparse
import datetime
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.hub import faults, kernels, lessons, plan, report
from benchmarks.hub.classroom import Measured, hold
from labs.hub.run import Missing

NOTEBOOKS = ("01_print", "04_hooks")
MOST = 60  # students that one machine is asked to hold here
WEIGHTS = "squeezenet.pth"


def classes(students: int, compared: int, folder: Path) -> dict[str, Callable[[], Measured]]:
    """Return the classes to hold, by name; all but the first are as large as each other."""
    weights = folder / WEIGHTS
    first = lessons.course(NOTEBOOKS[:1])

    def held(lesson: lessons.Lesson, name: str, **how: bool) -> Callable[[], Measured]:
        size = students if name == "course" else compared
        state = folder / name.replace(" ", "-").replace(",", "")
        return lambda: hold(lesson, size, state, name=name, **how)

    return {
        "course": held(lessons.course(NOTEBOOKS), "course"),
        "course, first notebook": held(first, "course, first notebook"),
        "as installed": held(first, "as installed", stock=True),
        "in advance": held(first, "in advance", at_once=False),
        "document": held(lessons.document(weights), "document"),
        "vizhelpers": held(lessons.same_pictures(), "vizhelpers"),
    }


def measure(students: int, compared: int, folder: Path) -> dict[str, Any]:
    """Measure everything, one after the other."""
    lessons.write_weights(folder / WEIGHTS)
    found: dict[str, Any] = {"classes": {}}
    for name, call in classes(students, compared, folder).items():
        one = call()
        found["classes"][name] = asdict(one)
        seen = plan.seen(asdict(one))
        print(f"{name}: {one.seconds:.0f} s, {seen['errors']} errors", flush=True)
        for error in one.errors()[:5]:
            print(f"    {error[:300]}")
    found["kernels"], found["forked"] = kernels.measured(), kernels.forked()
    print("kernels: measured", flush=True)
    return found


def main() -> None:
    """Measure, print, write; exit with 1 where a student saw an error."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hub", description=__doc__)
    parser.add_argument("--students", type=int, default=20, help=f"at most {MOST}")
    parser.add_argument(
        "--compared", type=int, help="students of the compared classes; a third without it"
    )
    parser.add_argument("--faults", action="store_true", help="only try the faults")
    parser.add_argument("--publish", action="store_true", help="write labs/hub/README.md too")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of the report")
    options = parser.parse_args()
    compared = options.compared or max(1, options.students // 3)
    if not (1 <= options.students <= MOST and 1 <= compared <= MOST):
        parser.error(f"a class has 1 to {MOST} students here")
    start = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="hub-") as folder:
            data = {} if options.faults else measure(options.students, compared, Path(folder))
            tried = faults.tried(4, Path(folder) / "faults")
    except Missing as missing:
        parser.exit(2, f"{missing}\n")
    data["faults"] = [asdict(one) for one in tried]
    print(report.faults_table(data))
    wrong = [error for one in tried for error in one.errors]
    if not options.faults:
        arguments = f"--students {options.students} --compared {compared}"
        data = {
            **report.machine(),
            "command": f"{report.COMMAND} {arguments}",
            "date": datetime.date.today().isoformat(),
            "seconds": time.monotonic() - start,
            **data,
        }
        data = report.rounded(data)
        for table in (report.classes_table, report.kernels_table, report.plan_table):
            print(f"\n{table(data)}")
        print(f"\n{report.alternatives_table(data)}\n\nWritten: {report.write(data, options.out)}")
        if options.publish:
            report.publish(data)
        for one in data["classes"].values():
            wrong += [error for seat in one["seats"] for error in seat["errors"]]
    if wrong:
        parser.exit(1, f"{len(wrong)} errors, such as: {wrong[0][:500]}\n")


if __name__ == "__main__":
    main()
