"""Try the hub on this machine: ``uv run python -m labs.hub``.

Loopback only, and nothing keeps the students apart: for a look, not for a class.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

from labs.hub import material
from labs.hub.run import LocalHub, Missing
from labs.hub.settings import ROOT

STATE = ROOT / ".cache" / "hub"


def main() -> None:
    """Start, say how to log in, wait for Ctrl-C, stop everything."""
    parser = argparse.ArgumentParser(prog="python -m labs.hub", description=__doc__)
    parser.add_argument("--students", type=int, default=3, help="how many may log in")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--state", type=Path, default=STATE, help="folder of logs and homes")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: stop everything
    names = [f"student{number}" for number in range(1, options.students + 1)]
    try:
        hub = LocalHub(options.state, names, port=options.port)
        material.gather(hub.state / "material")
        with hub:
            sys.stdout.write(
                f"\nA hub for a try: {hub.address}\n"
                f"    user      {names[0]}, or any up to {names[-1]}\n"
                f"    password  {hub.password}\n"
                f"Students' files and logs: {hub.state}. End it with Ctrl-C.\n"
            )
            sys.stdout.flush()
            watch(hub)
    except Missing as missing:
        sys.exit(str(missing))
    except KeyboardInterrupt:
        sys.stdout.write("\nEverything has been stopped; students' files are kept.\n")


def watch(hub: LocalHub) -> None:
    """Start again what has ended, as systemd does on a server."""
    while True:
        time.sleep(1)
        for process, start in ((hub.proxy, hub.start_proxy), (hub.hub, hub.start_hub)):
            if process is not None and process.poll() is not None:
                start()


if __name__ == "__main__":
    main()
