"""Try the hub on this machine: ``uv run python -m labs.hub``.

It listens on this machine only, and students are not kept apart: for a trial, not for a class.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from labs.hub.run import ROOT, LocalHub, Missing
from tools.publish import PublishError, publish


def main() -> None:
    """Start the hub, print how to log in, and stop everything at Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m labs.hub", description=__doc__)
    parser.add_argument("--students", type=int, default=3, help="how many names may log in")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--state", type=Path, default=ROOT / ".cache" / "hub")
    parser.add_argument("--repository", help="of the course's files; the student edition if absent")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop_once)
    names = [f"student{number}" for number in range(1, options.students + 1)]
    try:
        repository = options.repository or commit_student_edition(options.state.resolve())
        with LocalHub(options.state, names, port=options.port, repository=repository) as hub:
            sys.stdout.write(
                f"\nA hub for a trial: {hub.address}\n"
                f"    user      {names[0]}, or any up to {names[-1]}\n"
                f"    password  {hub.password}\n"
                f"Students' files and logs: {hub.state}. Stop it with Ctrl-C.\n"
            )
            sys.stdout.flush()
            signal.pause()
    except (Missing, PublishError, RuntimeError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.stdout.write("\nEverything has been stopped; students' files are kept.\n")


def stop_once(*_: object) -> None:
    """Raise KeyboardInterrupt; ignore further signals, so that stopping is not interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def commit_student_edition(state: Path) -> str:
    """Write the student edition, commit it to ``state/course.git`` and return that path."""
    repository = state / "course.git"
    if not repository.exists():
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", repository], check=True)
    with tempfile.TemporaryDirectory() as folder:
        publish("https://hub.example.org/course", Path(folder) / "published", site=False)
        tree = Path(folder) / "published" / "student"
        git = ["git", f"--git-dir={repository}", f"--work-tree={tree}"]
        git += ["-c", "user.name=course", "-c", "user.email=course@localhost"]
        for step in (["add", "--all"], ["commit", "-q", "--allow-empty", "--message=Course"]):
            subprocess.run([*git, *step], check=True)
    return str(repository)


if __name__ == "__main__":
    main()
