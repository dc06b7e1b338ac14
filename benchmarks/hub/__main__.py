"""Measure a class at the hub: ``uv run python -m benchmarks.hub --students 20``.

It starts a real JupyterHub with its proxy, real servers and kernels on loopback, sends what the
students' browsers send, and ends every process. Linux only: only Linux tells which pages processes
share. Run nothing else meanwhile.
"""

import argparse
import json
import signal
import time

from benchmarks.hub import classroom, report
from benchmarks.hub.notebooks import read_notebook
from labs.hub.run import Missing

NOTEBOOKS = ("01_print", "04_hooks")


def main() -> None:
    """Measure, print and, with ``--publish``, write; exit with 1 where a student saw an error."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hub", description=__doc__)
    parser.add_argument("--students", type=int, default=20, help="about 0.7 GB of memory each")
    parser.add_argument("--publish", action="store_true", help="write the README's tables")
    options = parser.parse_args()
    if options.students < 1:
        parser.error("a class has at least one student")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end the hub, as Ctrl-C does
    start = time.monotonic()
    notebooks = [read_notebook(name) for name in NOTEBOOKS]
    try:
        steps = classroom.measure(notebooks, options.students)
    except (Missing, TimeoutError) as error:
        parser.exit(2, f"{str(error) or 'The class took too long.'}\n")
    except ExceptionGroup as group:
        errors = "".join(f"    {str(error)[:500]}\n" for error in group.exceptions[:5])
        parser.exit(1, f"{group.message}, such as:\n{errors}")
    data = report.document(steps, time.monotonic() - start)
    print(report.published(data))
    if options.publish:
        report.RESULT.write_text(json.dumps(data) + "\n", encoding="utf-8")
        report.publish(data)


if __name__ == "__main__":
    main()
