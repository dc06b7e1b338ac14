"""The load test of the hub: a small class at a real hub, and the tables of a measurement."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

pytest.importorskip("jupyterhub", reason="Colab's environment has no hub")

from nbformat.v4 import new_code_cell, new_notebook

from benchmarks.hub import report, tables
from benchmarks.hub.classroom import Step, cpu_seconds, measure
from benchmarks.hub.notebooks import Notebook, read_notebook
from benchmarks.hub.student import Failed, Student, connect
from labs.hub.run import INSTALL_PROXY, LocalHub, proxy_program
from tools.browser import REQUIRED

PICTURE = "from IPython.display import Image; Image(bytes(10), format='png')"


def notebook(name: str, *cells: str, minutes: int = 10) -> Notebook:
    return Notebook(name, new_notebook(cells=[new_code_cell(cell) for cell in cells]), minutes)


def need_proxy() -> None:
    if proxy_program() is None:
        text = f"JupyterHub's proxy is missing: {INSTALL_PROXY}"
        pytest.fail(text) if REQUIRED else pytest.skip(text)


# ---------------------------------------------------------------- a small class


def test_a_class_of_two_is_measured_and_leaves_no_process() -> None:
    need_proxy()
    before = set(psutil.Process().children(recursive=True))  # of other tests, in this process
    spend = "import time\nwhile time.process_time() < {}: pass"
    lesson = [
        notebook("first", PICTURE, spend.format(4) + "\nheld = bytearray(300 << 20)"),
        notebook("second", spend.format(2), PICTURE),
    ]
    # In a thread: a browser that other tests opened may keep an event loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        steps = pool.submit(measure, lesson, 2).result()
    assert [(step.name, len(step.waited), len(step.cells), len(step.cpu)) for step in steps] == [
        ("start", 2, 2, 2),
        ("first", 2, 4, 2),
        ("second", 2, 4, 2),
    ]
    start, first, second = steps
    assert max(start.waited) < min(first.waited), "the picture came before the page"
    # The first notebook's kernel has ended when the second is measured; its seconds still count.
    assert all(cpu > 4 for cpu in first.cpu)
    assert min(second.cpu) > min(first.cpu) + 1.9
    assert first.private > second.private + 500, "two arrays of 300 MB"
    assert 0 < second.private < second.pss and second.hub > 50
    left = set(psutil.Process().children(recursive=True)) - before
    assert not left, "something still runs"


def test_a_student_reports_every_error_of_a_cell_a_kernel_and_a_request(tmp_path: Path) -> None:
    need_proxy()

    async def lesson(hub: LocalHub) -> None:
        async with connect("wrong") as http:
            with pytest.raises(Failed, match="403"):
                await Student(http, hub.address, "ada").start_server()
        async with connect(hub.token) as http:
            with pytest.raises(Failed, match="404"):
                await Student(http, hub.address, "eve").start_server()
            ada = Student(http, hub.address, "ada")
            await ada.start_server()
            with pytest.raises(Failed, match="missing"):
                await ada.open_notebook(notebook("missing"))
            await ada.save(notebook("work"))
            await ada.open_notebook(notebook("work"))
            assert (await ada.run("x = 1"))[1] is None
            assert (await ada.run(PICTURE))[1] is not None
            with pytest.raises(Failed, match="ZeroDivisionError"):
                await ada.run("1 / 0")
            with pytest.raises(Failed, match="kernel is"):
                await ada.run("import os; os.kill(os.getpid(), 9)")
            await ada.socket.close()
            await ada.open_notebook(notebook("work"))
            endless = asyncio.create_task(ada.run("while True: pass"))
            await asyncio.sleep(1)
            await asyncio.to_thread(hub.end, "proxy", signal.SIGKILL)
            with pytest.raises(Failed, match="connection to the kernel ended"):
                await endless

    with LocalHub(tmp_path, ["ada"]) as hub, ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, asyncio.wait_for(lesson(hub), 120)).result()


def test_the_seconds_of_an_ended_child_count() -> None:
    spend = "import time\nwhile time.process_time() < 0.5: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {spend!r}])"
    code += "; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout and parent.stdout.readline()
        assert cpu_seconds([psutil.Process(parent.pid)]) >= 0.5
        parent.communicate("\n")


def test_a_notebook_of_the_course_has_its_cells_and_minutes_but_no_outputs() -> None:
    lesson = read_notebook("01_print")
    assert lesson.minutes > 0 and len(lesson.cells) > 10
    assert '"image/png"' not in json.dumps(lesson.content)
    with pytest.raises(FileNotFoundError):
        read_notebook("00_none")


# ---------------------------------------------------------------- the tables


def a_class() -> list[Step]:
    """Four students; each adds 500 MB, 412 MB are shared, and the hub holds 100 MB."""
    start = Step("start", waited=[1.0, 2.0, 3.0, 40.0], cells=[5.0] * 4, cpu=[6.0] * 4)
    first = Step("a", 10, [9.0] * 4, [0.5] * 8, [8.0] * 4, 1612, 1200, 90)
    second = Step("b", 20, [9.0] * 4, [0.5] * 12, [20.0, 20.0, 19.0, 21.0], 2412, 2000, 100)
    return [start, first, second]


def rows(table: str) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    return {first: rest for first, *rest in lines}


def test_the_class_table_shows_each_step_alone() -> None:
    shown = rows(tables.class_table(a_class()))
    assert shown["start"][:2] == ["2.00 / 40.0", "1"]
    # Seconds of the step alone: 8 - 6, 20 - 8.
    assert [shown[name][3] for name in ("start", "a", "b")] == ["6.00", "2.00", "12.0"]
    assert shown["b"][1:3] == ["3", "0.50 / 0.50"] and shown["b"][4:] == ["603", "500"]


def test_the_plan_is_the_measurements_arithmetic() -> None:
    plan = {name: row[0] for name, row in rows(tables.plan_table(a_class(), 300)).items()}
    assert plan["memory"] == "147 GB"  # (300 x 500 + 412 + 100) / 1024
    assert plan["memory with room"] == "184 GB"
    assert plan["cores to start all in advance"] == "3.00"  # 300 x 6 / 600
    assert plan["cores to start all at once"] == "15.0"  # 300 x 6 / 120
    # 2 seconds in 10 minutes, then 12 in 20: the second notebook is the busier.
    assert plan["cores while a notebook is read"] == "3.00"
    assert plan["the same with bursts"] == "12.0"
    assert plan["order"] == "16 cores, 192 GB"
    assert plan["if all press *Run All* at once"] == "37.5 s"  # 300 x 2 / 16


def test_readme_shows_the_stored_measurement() -> None:
    data = json.loads(report.RESULT.read_text(encoding="utf-8"))
    text = report.README.read_text(encoding="utf-8")
    assert text.split(report.BEGIN)[1].split(report.END)[0].strip() == report.published(data)


def test_publishing_replaces_what_stands_between_the_marks(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    for _ in range(2):
        data = report.document(a_class(), 61.2)
        report.publish(json.loads(json.dumps(data)), readme)
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith(f"{report.END}\nafter\n")
    assert "old" not in text and text.count("`uv run python -m benchmarks.hub --students 4`") == 1


def test_a_students_memory_limit_holds_what_was_measured() -> None:
    config = (report.README.parent / "jupyterhub_config.py").read_text(encoding="utf-8")
    limit = re.search(r'(?:MEMORY|mem_limit) = "(\d+)G"', config)
    assert limit, "the hub's configuration names no limit in GB"
    for step in json.loads(report.RESULT.read_text(encoding="utf-8"))["steps"]:
        assert 1.5 * step["pss"] / len(step["waited"]) < 1024 * int(limit[1])
