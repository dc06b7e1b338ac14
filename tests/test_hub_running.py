"""A hub at work on this machine: log in, run cells, restart the hub and the proxy, stop it."""

import asyncio
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import pytest

pytest.importorskip("jupyterhub", reason="Colab's environment has no hub")

import aiohttp
import psutil
from jupyterhub.utils import random_port
from nbformat.v4 import new_code_cell, new_notebook

from benchmarks.hub.notebooks import Notebook
from benchmarks.hub.student import Failed, Student, connect
from labs.hub import __main__ as trial
from labs.hub import run
from labs.hub.run import HERE, LocalHub
from tools.browser import REQUIRED

WORK = new_notebook(cells=[new_code_cell("1 + 1", id="first")])


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a course's git repository with one notebook."""
    folder = tmp_path_factory.mktemp("course")
    nbformat.write(WORK, folder / "work.ipynb")
    git = ["git", "-C", str(folder), "-c", "user.name=course", "-c", "user.email=c@localhost"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "Course"]):
        subprocess.run([*git, *command], check=True)
    return folder


@pytest.fixture(scope="module")
def hub(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    """Start a hub for two students; afterwards none of its processes may be left."""
    if run.proxy_program() is None:
        text = f"JupyterHub's proxy is missing: {run.INSTALL_PROXY}"
        pytest.fail(text) if REQUIRED else pytest.skip(text)
    state = tmp_path_factory.mktemp("hub")
    with LocalHub(state, ["ada", "bob"], repository=str(repository)) as hub:
        yield hub
    assert left_over(state) == []


def left_over(state: Path, patience: float = 5) -> list[str]:
    """Return what still runs of a hub; a kernel notices within a second that its server ended."""
    end = time.monotonic() + patience
    while (found := running(state)) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def running(state: Path) -> list[str]:
    """Return the command lines of processes that a hub with this state started."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(state) in text for text in (*process.environ().values(), process.cwd())):
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def in_thread(work: Coroutine[Any, Any, None], seconds: float = 90) -> None:
    """Run a coroutine although another test's browser may keep an event loop in this thread."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, asyncio.wait_for(work, seconds)).result()


async def log_in(http: aiohttp.ClientSession, hub: LocalHub, name: str, password: str) -> int:
    """Fill in the hub's form and return the answer's status."""
    async with http.get(f"{hub.address}/hub/login") as page:
        found = re.search(r'name="_xsrf" value="([^"]+)"', await page.text())
    assert found, "no form to log in"
    form = {"username": name, "password": password, "_xsrf": found[1]}
    async with http.post(f"{hub.address}/hub/login?next=/hub/home", data=form) as answer:
        return answer.status


def test_only_a_student_of_the_list_logs_in_and_reaches_only_the_own_server(hub: LocalHub) -> None:
    async def visit() -> None:
        for name, password in (("eve", hub.password), ("ada", "wrong"), ("ada", "")):
            async with aiohttp.ClientSession() as http:
                assert await log_in(http, hub, name, password) == 403
        async with connect(hub.token) as teacher:
            await started(teacher, hub, "bob")
        async with aiohttp.ClientSession() as http:
            assert await log_in(http, hub, "ada", hub.password) == 200
            async with http.get(f"{hub.address}/user/bob/api/contents") as answer:
                assert answer.status == 403

    in_thread(visit())


def test_kernels_outlive_the_hub_and_end_alone(hub: LocalHub) -> None:
    async def work() -> None:
        async with connect(hub.token) as http:
            ada, bob = await asyncio.gather(*(started(http, hub, name) for name in ("ada", "bob")))
            for number, student in enumerate((ada, bob)):
                await student.open_notebook(Notebook("course/work", WORK, 1))
                await student.run(f"mine = {number}; import os, time")
            await ada.run("assert os.environ['OMP_NUM_THREADS'] == '1'")

            slow = asyncio.create_task(ada.run("time.sleep(3); assert mine == 0"))
            await asyncio.to_thread(hub.end, "hub")
            await bob.run("assert mine == 1, 'the hub is not needed for work'")
            await asyncio.to_thread(hub.start_hub)
            await slow
            await ada.request("GET", f"{ada.server}lab")  # the page, opened again
            await ada.run("assert mine == 0")

            await ada.run("open('pid', 'w').write(str(os.getpid()))")
            pid = int((hub.state / "home/ada/course/pid").read_text())
            cell = asyncio.create_task(ada.run("time.sleep(60)"))
            await asyncio.sleep(0.3)
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(Failed, match="restarting"):
                await cell
            await bob.run("assert mine == 1, 'bob noticed'")

    in_thread(work())


def test_the_proxy_is_restarted_and_pages_reach_their_kernels_again(hub: LocalHub) -> None:
    async def work() -> None:
        async with connect(hub.token) as http:
            bob = await started(http, hub, "bob")
            await bob.open_notebook(Notebook("course/work", WORK, 1))
            await bob.run("mine = 1")
            await asyncio.to_thread(hub.end, "proxy")
            await asyncio.to_thread(hub.start_proxy)
            await reconnect(bob)
            await bob.run("assert mine == 1")

    in_thread(work())


async def started(http: aiohttp.ClientSession, hub: LocalHub, name: str) -> Student:
    """Return a student whose server runs; start it if it does not."""
    student = Student(http, hub.address, name)
    try:
        await student.start_server()
    except Failed as error:
        assert "already running" in str(error)
    return student


async def reconnect(student: Student) -> None:
    """Connect to the same kernel, as JupyterLab does, until the hub has restored the route."""
    end = time.monotonic() + 30
    while True:
        try:
            session = json.loads(await student.request("GET", student.session))
            channels = f"{student.server}api/kernels/{session['kernel']['id']}/channels"
            student.socket = await student.http.ws_connect(channels)
            return
        except (Failed, aiohttp.ClientError) as error:
            assert time.monotonic() < end, f"the proxy's routes were not restored: {error}"
            await asyncio.sleep(0.5)


def test_a_cell_that_needs_too_much_memory_raises_and_the_kernel_goes_on(hub: LocalHub) -> None:
    cell = """
mine = []
try:
    for _ in range(48):
        mine.append(bytearray(64 << 20))
except MemoryError:
    pass
else:
    raise AssertionError("3 GB of 2")
assert 1 << 30 < 64 * len(mine) << 20 < 2 << 30
"""

    async def work() -> None:
        async with connect(hub.token) as http:
            ada = await started(http, hub, "ada")
            await ada.open_notebook(Notebook("course/work", WORK, 1))
            await ada.run(cell)
            await ada.run("assert mine")
            await ada.close_notebook()

    in_thread(work())


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGHUP]])
def test_a_trial_that_is_interrupted_twice_leaves_no_process(
    signals: list[signal.Signals], hub: LocalHub, repository: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "labs.hub", f"--port={random_port()}", f"--state={tmp_path}"]
    command += [f"--repository={repository}"]
    with subprocess.Popen(command, cwd=run.ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if "Stop it with Ctrl-C" in line:
                    break
            assert len(running(tmp_path)) >= 2, "the proxy and the hub were not recognised"
            for number in signals:
                process.send_signal(number)
                time.sleep(0.2)
            readable, _, _ = select.select([process.stdout], [], [], 60)
            assert readable and "Everything has been stopped" in process.stdout.read()
        finally:
            process.terminate()
    assert left_over(tmp_path) == []


def test_the_trial_commits_each_student_edition_to_the_same_history(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    editions = iter([{"one.txt": "1", "two.txt": "2"}, {"one.txt": "new"}])

    def publish(address: str, folder: Path, *, site: bool) -> None:
        (folder / "student").mkdir(parents=True)
        for name, text in next(editions).items():
            (folder / "student" / name).write_text(text)

    monkeypatch.setattr(trial, "publish", publish)
    git = ["git", f"--git-dir={trial.commit_student_edition(tmp_path / 'new' / 'state')}"]
    assert trial.commit_student_edition(tmp_path / "new" / "state") == git[1].partition("=")[2]
    log = [*git, "log", "--format=", "--name-status"]
    shown = subprocess.run(log, capture_output=True, text=True, check=True).stdout.split("\n")
    assert [line.split() for line in shown if line] == [
        ["M", "one.txt"],
        ["D", "two.txt"],
        ["A", "one.txt"],
        ["A", "two.txt"],
    ]


def test_a_port_in_use_is_named(hub: LocalHub, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=f"Port {hub.port} cannot be used"):
        LocalHub(tmp_path, ["ada"], port=hub.port).__enter__()
    assert running(tmp_path) == []


def test_the_trial_says_how_to_install_the_proxy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "proxy_program", lambda: None)
    with pytest.raises(run.Missing, match=r"Node 20 .*\n.*npm install .* configurable-http-proxy"):
        LocalHub(tmp_path, ["ada"])
    page = (HERE / "README.md").read_text(encoding="utf-8")
    assert run.INSTALL_PROXY in page and "Node 20" in page and "npm" in page
