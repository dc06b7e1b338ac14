"""What the fence around students' code holds, tried from inside by a submission of the tiny lab.

Where this machine has no namespaces, tests that need them are skipped and say so.
"""

import os
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("nbgrader", reason="marking needs the course's tools; Colab has none")

import tiny_lab

from labs.grading.marking import Marker
from labs.grading.zygote import ROOT

pytest_plugins = ("tiny_marking",)
FULL = tiny_lab.POINTS


def report(by: Marker, code: str, **changed: str) -> str:
    """Return what a student's function reports: the text of the error that it raises."""
    body = "".join(f"    {line}\n" for line in code.splitlines())
    looks = f"def double(x):\n{body}    raise ValueError(found)"
    score = by.score(tiny_lab.handed_in(double=looks, **changed))
    assert score.points == FULL | {"test_double": 0.0}
    kind, words, _ = score.failures["test_double"]
    assert kind == "ValueError", words
    return words.removeprefix("double: ")


SEARCH = """
import gc, glob, os, sys
found = "nothing"
secret = " ".join(["only", "the", "source", "knows", "this"])  # or it would find itself
for place in (PLACES, *sys.path, "/tmp", "/room/course", "/room/student", "/proc/1/root/tmp"):
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


def test_neither_solution_nor_hidden_test_nor_gradebook_can_be_found(
    by: Marker, fenced: None
) -> None:
    course = by.lab.path.parents[2]
    places = [
        str(path) for path in (by.lab.path, by.lab.path.parent, course, course / "gradebook.db")
    ]
    assert all(os.path.exists(place) for place in places)  # from here, they can
    assert report(by, SEARCH.replace("PLACES", ", ".join(map(repr, places)))) == "nothing"


def test_the_search_above_finds_a_secret_that_is_there(by: Marker) -> None:
    holds = f"here = ['{tiny_lab.SECRET}']\nanswer = 42"
    assert report(by, SEARCH.replace("PLACES", "'/nowhere'"), answer=holds) == "memory"


def test_a_worker_is_another_user_with_no_rights_and_no_way_to_more(
    by: Marker, fenced: None
) -> None:
    look = """
lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
kinds = ("Uid", "NoNewPrivs", "Pid", "CapPrm", "CapEff", "CapBnd", "CapAmb")
found = " ".join(lines[kind].split()[0] for kind in kinds)
"""
    user, no_new_privileges, process, *capabilities = report(by, look).split()
    assert int(user) != os.getuid()
    assert no_new_privileges == "1"
    assert process == "1"  # the first of its own processes, which are all it sees
    assert [int(mask, 16) for mask in capabilities] == [0] * 4


def test_a_worker_reaches_no_network_not_even_this_machine(by: Marker, fenced: None) -> None:
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
    by: Marker, fenced: None, tmp_path: Path
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
    assert report(by, "import os, tempfile\nfound = str(os.listdir(tempfile.gettempdir()))") == "[]"


def test_memory_ends_the_function_and_not_the_machine(by: Marker) -> None:
    # Large pieces, so that what is left after the last one suffices for the answer.
    grab = "def double(x):\n    return len([bytearray(1 << 24) for _ in range(2000)])"
    score = by.score(tiny_lab.handed_in(double=grab))
    assert score.points == FULL | {"test_double": 0.0}
    assert score.failures["test_double"][0] == "MemoryError"


def test_children_cannot_share_out_the_memory_or_become_too_many(
    by: Marker, fenced: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = """
import os, time
def double(x):
    for _ in range(200):
        try:
            if not os.fork():
                time.sleep(60)
        except OSError:  # the limit of this user; root of a user's own namespace has none
            raise ValueError("started more than 24 processes")
    time.sleep(60)
"""
    share = """
import os, time
def double(x):
    for _ in range(8):
        if not os.fork():
            held = bytearray(150 << 20)
            time.sleep(60)
    time.sleep(60)
"""
    monkeypatch.setattr(by, "seconds", 20)
    roomy = replace(by.limits, memory=4 << 30)  # the pages of 24 children count before they write
    for attack, limits, words in (
        (bomb, roomy, "more than 24 processes"),
        (share, by.limits, "used more than 500 MB of memory"),
    ):
        monkeypatch.setattr(by, "limits", limits)
        score = by.score(tiny_lab.handed_in(double=attack))
        assert words in score.failures["test_double"][1]
        assert score.points == FULL | {"test_double": 0.0}


def test_a_worker_cannot_make_namespaces_or_look_into_other_processes(
    by: Marker, fenced: None
) -> None:
    if os.uname().machine not in ("x86_64", "aarch64"):
        pytest.skip("calls are closed on two kinds of machine only")
    look = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
found = str([libc.unshare(0x10000000), libc.ptrace(0, 0, 0, 0), libc.memfd_create(b"m", 0)])
"""
    assert report(by, look) == "[-1, -1, -1]"
