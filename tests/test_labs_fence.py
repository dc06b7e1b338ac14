"""What the fence around students' code holds, tried from inside by a submission of the tiny lab."""

import ast
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

pytest.importorskip("nbgrader", reason="marking needs the course's tools; Colab has none")

import tiny_lab

from labs.fence.bubblewrap import ROOT, Fence, Limits, NoFence, python_files
from labs.grading.marking import Marker

pytest_plugins = ("tiny_marking",)
FULL = tiny_lab.POINTS
RAISED = ", in your line: raise ValueError(found)"


def report(by: Marker, code: str, **changed: str) -> str:
    """Return what a student's function reports: the text of the error that it raises."""
    body = "".join(f"    {line}\n" for line in code.splitlines())
    looks = f"def double(x):\n{body}    raise ValueError(found)"
    score = by.score(tiny_lab.handed_in(double=looks, **changed))
    assert score.points == FULL | {"test_double": 0.0}
    failure = score.failures["test_double"]
    assert failure.kind == "ValueError", failure.words
    return failure.words.removeprefix("double: ").removesuffix(RAISED)


SEARCH = """
import gc, glob, os, sys
found = "nothing"
secret = " ".join(["only", "the", "source", "knows", "this"])  # or it would find itself
for place in (PLACES, *sys.path, "/tmp", "/room", "/lab", "/proc/1/root/tmp"):
    for path in (place, *glob.glob(place + "/*.ipynb"), *glob.glob(place + "/gradebook.db")):
        try:
            text = open(path, errors="replace").read()
        except OSError:
            continue
        if secret in text:
            found = path
for one in gc.get_objects():
    values = one.values() if type(one) is dict else one if type(one) in (list, tuple) else ()
    if any(type(value) is str and secret in value for value in list(values)):
        found = "memory"
"""


def test_neither_solution_nor_hidden_test_nor_gradebook_can_be_found(by: Marker) -> None:
    course = by.lab.path.parents[2]
    places = [
        str(path) for path in (by.lab.path, by.lab.path.parent, course, course / "gradebook.db")
    ]
    assert all(os.path.exists(place) for place in places)  # from here, they can
    assert report(by, SEARCH.replace("PLACES", ", ".join(map(repr, places)))) == "nothing"


def test_the_search_above_finds_a_secret_that_is_there(by: Marker) -> None:
    holds = f"here = ['{tiny_lab.SECRET}']\nanswer = 42"
    assert report(by, SEARCH.replace("PLACES", "'/nowhere'"), answer=holds) == "memory"


def test_a_worker_is_another_user_with_no_rights_and_no_way_to_more(by: Marker) -> None:
    look = """
lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
kinds = ("Uid", "NoNewPrivs", "Pid", "CapPrm", "CapEff", "CapBnd", "CapAmb")
found = " ".join(lines[kind].split()[0] for kind in kinds)
"""
    user, no_new_privileges, process, *capabilities = report(by, look).split()
    assert int(user) != os.getuid()
    assert no_new_privileges == "1"
    assert int(process) < 20  # one of its own processes, which are all it sees
    assert [int(mask, 16) for mask in capabilities] == [0] * 4


def test_a_worker_reaches_no_network_not_even_this_machine(by: Marker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=lambda: server.accept(), daemon=True).start()
        with socket.create_connection(("127.0.0.1", port), 5):  # it listens
            pass
        look = f"""
import socket
found = ""
for address in (("127.0.0.1", {port}), ("192.0.2.1", 80)):
    try:
        socket.create_connection(address, 1)
        found += "connected "
    except OSError as e:
        found += e.__class__.__name__ + " "
"""
        assert "connected" not in report(by, look)


def test_a_worker_writes_nowhere_but_into_its_room_which_is_small_and_goes(
    by: Marker, tmp_path: Path
) -> None:
    look = f"""
import os, sys, tempfile, vizhelpers
found, package = "", os.path.dirname(vizhelpers.__file__)
for place in ({str(tmp_path)!r}, {str(ROOT)!r}, sys.prefix, package, "/usr"):
    try:
        open(place + "/left-behind", "w")
        found += place
    except OSError:
        pass
written = 0
try:
    for n in range(1000):
        with open(f"{{tempfile.gettempdir()}}/{{n}}", "wb") as f:
            written += f.write(bytes(1 << 20))
except OSError:
    pass
found += f"; {{written >> 20}}"
"""
    where, megabytes = report(by, look).split("; ")
    assert where == "" and 12 <= int(megabytes) <= 16  # of 16
    assert (
        report(by, "import os, tempfile\nfound = '0' in os.listdir(tempfile.gettempdir())")
        == "False"
    )


def test_memory_ends_the_function_and_not_the_machine(by: Marker) -> None:
    # Large pieces, so that what is left after the last one suffices for the answer.
    grab = "def double(x):\n    return len([bytearray(1 << 24) for _ in range(2000)])"
    score = Marker(by.lab, fence=by.fence, seconds=10).score(tiny_lab.handed_in(double=grab))
    assert score.points == FULL | {"test_double": 0.0}
    assert score.failures["test_double"].kind == "MemoryError"


BOMB = """
import os, time
def double(x):
    for _ in range(200):
        try:
            if not os.fork():
                time.sleep(60)
        except OSError as e:
            raise ValueError("no more processes")
    time.sleep(60)
"""
SHARE = """
import os, time
def double(x):
    for _ in range(8):
        if not os.fork():
            held = bytearray(150 << 20)
            time.sleep(60)
    time.sleep(60)
"""
ANONYMOUS = """
import mmap, time
def double(x):
    held = [mmap.mmap(-1, 100 << 20) for _ in range(10)]
    for one in held:
        for at in range(0, len(one), 4096):
            one[at] = 1
    time.sleep(60)
"""
SOCKETS = """
import os, socket, time
def double(x):
    held, full = [], 0
    while full < 8:
        if not os.fork():
            for _ in range(200):
                one = socket.socketpair()
                held.append(one)
                one[0].setblocking(False)
                one[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
                try:
                    while True:
                        one[0].send(bytes(100_000))
                except BlockingIOError:
                    pass
            time.sleep(60)
        full += 1
    time.sleep(60)
"""
FILES = """
import os, time
def double(x):
    for place in ("/tmp", "/room", "/dev/shm"):
        for n in range(500):
            try:
                with open(f"{place}/{n}", "wb") as f:
                    f.write(bytes(1 << 20))
            except OSError:
                break
    raise ValueError(sum(os.path.getsize(f"{p}/{n}") for p in ("/tmp", "/room", "/dev/shm")
                         for n in range(500) if os.path.isfile(f"{p}/{n}")) >> 20)
"""


def test_children_cannot_become_too_many(by: Marker) -> None:
    by = Marker(by.lab, fence=Fence(replace(by.fence.limits, memory=4 << 30)), seconds=20)
    score = by.score(tiny_lab.handed_in(double=BOMB))
    assert score.failures["test_double"].words.startswith("double: no more processes")
    assert score.points == FULL | {"test_double": 0.0}


@pytest.mark.parametrize("attack", [SHARE, ANONYMOUS, SOCKETS])
def test_no_way_of_holding_memory_is_without_a_limit(by: Marker, attack: str) -> None:
    if by.fence.lacks:
        pytest.skip(f"no cgroup may be written to on this machine: {by.fence.lacks}")
    limits = by.fence.limits
    patient = Marker(by.lab, fence=Fence(limits), seconds=6)
    score = patient.score(tiny_lab.handed_in(double=attack))
    assert "used more than 500 MB of memory" in score.failures["test_double"].words
    assert score.points == FULL | {"test_double": 0.0}


def test_what_is_written_to_memory_disks_has_a_limit(by: Marker) -> None:
    score = by.score(tiny_lab.handed_in(double=FILES))
    held = score.failures["test_double"].words.removeprefix("double: ").split(",")[0]
    assert 12 <= int(held) <= 3 * 16


def test_two_runs_at_once_have_two_users_and_none_is_seen_by_the_other(by: Marker) -> None:
    look = ["sh", "-c", "id -u; ls /proc | grep -c '^[0-9]'; sleep 3"]
    runs = [by.fence.start(look, stdout=subprocess.PIPE) for _ in range(2)]
    seen = [run.process.stdout.readline() for run in runs if run.process.stdout]
    for run in runs:
        run.end()
    assert len(set(seen)) == (2 if os.geteuid() == 0 else 1)


BUSY = """
import os, sys, time
end = time.time() + 4
for _ in range(int(sys.argv[1]) - 1):
    if not os.fork():
        os.setsid()
        break
while time.time() < end:
    pass
print(time.process_time(), flush=True)
"""


def test_many_busy_processes_of_one_run_leave_time_to_another(by: Marker) -> None:
    if by.fence.lacks:
        pytest.skip(f"no cgroup may be written to on this machine: {by.fence.lacks}")
    pair = [
        by.fence.start(["python", "-c", BUSY, processes], stdout=subprocess.PIPE)
        for processes in ("20", "1")
    ]
    many, one = (sum(map(float, run.process.communicate()[0].split())) for run in pair)
    for run in pair:
        run.end()
    assert one > many / 4, f"{one} s for one process, {many} s for twenty"


def test_only_python_the_environment_and_this_submission_are_there(by: Marker) -> None:
    """Not nbgrader's exchange, other people's homes, the configuration of this machine."""
    look = """
import os
found = [p for p in PLACES if os.path.exists(p)] + os.listdir("/etc") + os.listdir("/lab")
"""
    places = ["/usr/local/share", "/srv", "/var", "/home", "/mnt", "/opt", "/run", "/sys", "/boot"]
    shown = {
        part for path in [*python_files(), f"{ROOT}/x"] for part in map(str, Path(path).parents)
    }
    places = [place for place in places if place not in shown]
    places += [f"{ROOT}/labs/source", f"{ROOT}/labs/md", f"{ROOT}/tests", f"{ROOT}/.git"]
    found = report(by, look.replace("PLACES", repr(places)))
    allowed = {"alternatives", "fonts", "ld.so.cache", "localtime", "passwd", "group", "hosts"}
    assert set(ast.literal_eval(found)) <= allowed | {"table.txt"}


def test_a_run_ends_with_the_program_that_started_it_and_leaves_nothing(tmp_path: Path) -> None:
    """Also where that is killed and can tidy nothing up."""
    script = f"""
import subprocess, sys, time
sys.path.insert(0, {str(ROOT)!r})
from labs.fence.bubblewrap import Fence
run = Fence(files={{"table.txt": b"42"}}).start(["sleep", "987"], stdout=subprocess.PIPE)
time.sleep(0.5)
print("started", flush=True)
time.sleep(60)
"""
    before = set(os.listdir(tempfile.gettempdir()))
    program = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert program.stdout and program.stdout.readline() == b"started\n"
    assert fenced_sleeps()
    program.kill()
    program.wait()
    for _ in range(50):
        if not fenced_sleeps():
            break
        time.sleep(0.1)
    assert not fenced_sleeps()
    assert not [name for name in set(os.listdir(tempfile.gettempdir())) - before if "grade" in name]


def fenced_sleeps() -> list[int]:
    found = [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "987"]]
    return [process.pid for process in found]


@pytest.mark.parametrize(
    ("path", "words"),
    [("", "bwrap, setpriv, prlimit cannot be found. `apt-get install"), ("false", "cannot be sta")],
)
def test_without_bubblewrap_nothing_is_marked_and_the_way_on_is_named(
    path: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path:  # a bubblewrap that may not make namespaces
        (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions' >&2\nexit 1\n")
        (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}" + (f":{os.environ['PATH']}" if path else ""))
    with pytest.raises(NoFence, match=words):
        Fence(Limits()).try_it()


def test_a_worker_cannot_make_namespaces_or_look_into_other_processes(by: Marker) -> None:
    look = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
found = str([libc.unshare(0x10000000), libc.ptrace(0, 0, 0, 0), libc.memfd_create(b"m", 0)])
"""
    assert report(by, look) == "[-1, -1, -1]"


def test_a_worker_stays_the_first_that_the_system_ends_for_memory(by: Marker) -> None:
    look = """
import os
file = os.open("/proc/self/oom_score_adj", os.O_RDWR)
for value in (b"-1000", b"0"):
    try:
        os.write(file, value)
    except OSError:
        pass
found = os.pread(file, 9, 0).decode().strip()
"""
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    may_raise_limits = int(status["CapEff"], 16) >> 24 & 1  # CAP_SYS_RESOURCE; some roots lack it
    assert report(by, look) == ("1000" if may_raise_limits else "0")


def test_a_worker_opens_no_unusual_socket(by: Marker) -> None:
    look = """
import socket
found = "opened: "
for family, kind, protocol in ((40, 1, 0), (17, 3, 0), (38, 5, 0), (16, 3, 12), (16, 3, 9)):
    try:
        socket.socket(family, kind, protocol)
        found += f"{family} "
    except OSError:
        pass
for family in (1, 2, 10):  # these it may
    socket.socket(family, 1).close()
"""
    assert report(by, look) == "opened: "
