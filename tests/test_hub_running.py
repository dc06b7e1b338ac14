"""One real hub at work, its kernels, and the plan for a class as computed from measurements."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import pytest

pytest.importorskip("jupyterhub", reason="Colab's environment has no hub")

from nbformat.v4 import new_code_cell, new_notebook

from benchmarks.hub import plan, report
from labs.hub import run, settings
from labs.hub.before_class import everybody
from labs.hub.client import Browser, Refused
from labs.hub.run import LocalHub
from tools.browser import REQUIRED

HERE = settings.HERE
NEWEST = max(report.RESULTS.glob("*.json"), default=None)


# ---------------------------------------------------------------- the kernel


def test_the_kernels_torchvision_works_without_the_compiler_and_leaves_its_place_free() -> None:
    code = """
import runpy, sys
kernel = runpy.run_path(sys.argv[1], run_name="kernel")
sys.meta_path.insert(0, kernel["DeferCompiler"]())
import torch, torchvision
assert "torch._dynamo" not in sys.modules, "nothing was deferred"
boxes = [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
x = torch.arange(64.0).reshape(1, 1, 8, 8)
print(torchvision.ops.roi_align(x, boxes, 2).flatten().tolist())
assert "torch._dynamo.utils" not in sys.modules, "the stand-in is left behind"
"""
    kernel = HERE / "jupyter/kernels/python3/kernel.py"
    command = [sys.executable, "-W", "ignore", "-c", code, str(kernel)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    # x[i, j] = 8 i + j is linear, so a bin's mean is its value at the centre: 1 or 3 in each axis.
    assert json.loads(done.stdout) == pytest.approx([8 * i + j for i in (1, 3) for j in (1, 3)])


def test_a_kernels_limit_is_its_students() -> None:
    code = """
import resource, runpy, sys
runpy.run_path(sys.argv[1], run_name="kernel")["limit_memory"](str(1 << 30))
try:
    held = [bytearray(64 << 20) for _ in range(32)]
except MemoryError:
    print("MemoryError", resource.getrlimit(resource.RLIMIT_DATA) == (1 << 30, 1 << 30))
"""
    kernel = HERE / "jupyter/kernels/python3/kernel.py"
    done = subprocess.run(
        [sys.executable, "-c", code, str(kernel)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["MemoryError", "True"], done.stderr


# ---------------------------------------------------------------- one real hub


def test_two_students_work_through_a_restart_of_the_hub(tmp_path: Path) -> None:
    if run.proxy_program() is None:
        text = f"JupyterHub's proxy is missing: {run.INSTALL_PROXY}"
        pytest.fail(text) if REQUIRED else pytest.skip(text)
    (tmp_path / "material").mkdir()
    notebook = new_notebook(cells=[new_code_cell("1 + 1", id="first")])
    nbformat.write(notebook, tmp_path / "material/work.ipynb")
    with LocalHub(tmp_path, ["ada", "bob"]) as hub:
        # In a thread: a browser that other tests opened may keep an event loop running in this one.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, asyncio.wait_for(day_at_the_hub(hub), 120)).result()
        servers = [hub.proxy, hub.hub]
    assert all(process.poll() is not None for process in servers), "something still runs"


async def day_at_the_hub(hub: LocalHub) -> None:
    async with Browser(hub.address, "ada") as ada, Browser(hub.address, "eve") as eve:
        for who, password in ((eve, hub.password), (ada, "wrong")):
            with pytest.raises(Refused):
                await who.log_in(password)
        # Bob's teacher starts his server for him; Ada presses the button herself.
        await ada.log_in(hub.password)
        early, _ = await asyncio.gather(
            everybody(hub.address, hub.token, "", 1, ["bob"]), ada.start_server()
        )
        assert early == {"bob": ""}
        async with Browser(hub.address, "bob") as bob:
            await bob.log_in(hub.password)
            await bob.start_server()
            with pytest.raises(Refused):  # not his own
                await Browser.api(with_base(bob, ada), "GET", "contents")
            await the_work(hub, ada, bob)


def with_base(who: Browser, of: Browser) -> Any:
    """A browser with one student's cookies at another's address."""
    other = Browser(who.address, of.name)
    other.http = who.http
    return other


async def the_work(hub: LocalHub, ada: Browser, bob: Browser) -> None:
    kernels = [await who.open_notebook("course/work.ipynb") for who in (ada, bob)]
    for number, kernel in enumerate(kernels):
        reply = await kernel.run(
            f"mine = {number}; import os; print(os.environ['OMP_NUM_THREADS'])"
        )
        assert (reply.text, reply.error) == ("1\n", "")
    work = new_notebook(cells=[new_code_cell("my work", id="first")])
    await ada.save("course/work.ipynb", work)
    slow = asyncio.create_task(kernels[0].run("import time; time.sleep(2); print(mine)"))
    await asyncio.to_thread(hub.end, "hub", signal.SIGTERM)
    assert (await kernels[1].run("print(mine)")).text == "1\n", "the hub is not needed for work"
    await asyncio.to_thread(hub.start_hub)
    assert (await slow).text == "0\n"
    await ada.start_server()  # the page again: the same server
    pid = int((await kernels[0].run("print(mine, os.getpid())")).text.split()[1])
    cell = asyncio.create_task(kernels[0].run("time.sleep(60)"))
    await asyncio.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    assert "restarting" in (await cell).error
    assert (await kernels[1].run("print(mine)")).text == "1\n", "Bob noticed"
    saved = nbformat.read(hub.state / "home/ada/course/work.ipynb", as_version=4)
    assert saved.cells[0].source == "my work"
    assert [kernel.reconnected for kernel in kernels] == [0, 0]
    for kernel in kernels:
        await kernel.close()


def test_the_try_says_how_to_get_the_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run, "proxy_program", lambda: None)
    with pytest.raises(run.Missing, match=r"npm install .* configurable-http-proxy"):
        LocalHub(tmp_path, ["ada"])
    assert run.INSTALL_PROXY in (HERE / "README.md").read_text(encoding="utf-8")


# ---------------------------------------------------------------- the plan


def a_class(students: int, private: float, cpu: list[float], before: float = 0.0) -> dict[str, Any]:
    """A measured class whose every student adds the same."""
    moments = []
    for done in cpu:
        kernels = {"private": private * students, "pss": private * students + 400}
        servers = {"private": 100.0 * students, "pss": 100.0 * students + 12}
        moments.append(
            {
                "servers": servers,
                "kernels": kernels,
                "students_cpu": done * students,
                "hub": {"pss": 100.0, "private": 90.0},
            }
        )
    return {
        "students": students,
        "minutes": [10, 20][: len(cpu)],
        "moments": moments,
        "before": before * students,
        "seats": [],
    }


def test_the_plan_is_the_measurements_arithmetic() -> None:
    data = {
        "classes": {
            "course": a_class(4, 400, [9.0, 21.0]),
            "in advance": a_class(4, 400, [8.0], before=6.0),
        }
    }
    planned = plan.planned(data, 300)
    # 300 x (400 + 100) private, 412 shared, 100 for the hub
    assert planned.memory == pytest.approx((300 * 500 + 412 + 100) / 1024)
    assert planned.early == pytest.approx(300 * 6 / plan.EARLY)
    assert planned.cold == pytest.approx(300 * 6 / plan.COLD)
    # 2 seconds in 10 minutes, then 12 in 20: the second is the busier
    assert planned.reading == pytest.approx(300 * 12 / 1200)
    assert planned.cores == 12 and planned.server[0] == 16
    assert planned.server[1] == 192 and planned.server[1] >= planned.with_room
    assert planned.first_notebook == pytest.approx(300 * 2 / 16)


def test_readme_shows_the_newest_measurement_without_an_error() -> None:
    if NEWEST is None:
        pytest.skip("nothing was measured yet")
    data = json.loads(NEWEST.read_text(encoding="utf-8"))
    text = report.README.read_text(encoding="utf-8")
    shown = text.split(report.BEGIN)[1].split(report.END)[0].strip()
    assert shown == report.published(data)
    assert all(plan.seen(measured)["errors"] == 0 for measured in data["classes"].values())
    assert all(not fault["errors"] for fault in data["faults"]) and len(data["faults"]) == 5


def test_a_students_limit_holds_what_was_measured() -> None:
    if NEWEST is None:
        pytest.skip("nothing was measured yet")
    data = json.loads(NEWEST.read_text(encoding="utf-8"))
    assert settings.MEMORY == "2G"
    for measured in data["classes"].values():
        for moment in measured["moments"]:
            held = moment["servers"]["pss"] + moment["kernels"]["pss"]
            assert 1.5 * held / measured["students"] < 2048
