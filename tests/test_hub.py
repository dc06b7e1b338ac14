"""The hub for a class: closed until chosen, the student's work kept, and one real hub at work."""

import asyncio
import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest

pytest.importorskip("jupyterhub", reason="Colab's environment has no hub")
yaml = pytest.importorskip("yaml")

from nbformat.v4 import new_code_cell, new_notebook  # noqa: E402
from traitlets.config import Config  # noqa: E402
from traitlets.config.loader import PyFileConfigLoader  # noqa: E402

from benchmarks.hub import plan, report  # noqa: E402
from labs.hub import run, settings  # noqa: E402
from labs.hub.before_class import everybody  # noqa: E402
from labs.hub.client import Browser, Refused  # noqa: E402
from labs.hub.run import LocalHub  # noqa: E402
from labs.hub.start import LIST, copy_material  # noqa: E402
from tools.browser import REQUIRED  # noqa: E402

HERE = settings.HERE
VALUES = yaml.safe_load((HERE / "values.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (HERE / "Dockerfile").read_text(encoding="utf-8")
NEWEST = max(report.RESULTS.glob("*.json"), default=None)
REAL = {"VIZHELPERS_HUB_AUTHENTICATOR": "pam", "VIZHELPERS_HUB_SPAWNER": "docker"}


# ---------------------------------------------------------------- closed by default


def configured(
    monkeypatch: pytest.MonkeyPatch, folder: Path, students: str = "ada admin\nbob\n", **more: str
) -> Config:
    """Load jupyterhub_config.py with some variables."""
    for name in [name for name in os.environ if name.startswith(settings.PREFIX)]:
        monkeypatch.delenv(name)
    (folder / "students.txt").write_text(students)
    where = {"STATE": str(folder / "state"), "STUDENTS": str(folder / "students.txt")}
    for name, value in where.items():
        monkeypatch.setenv(settings.PREFIX + name, value)
    for name, value in more.items():
        monkeypatch.setenv(name, value)
    return PyFileConfigLoader("jupyterhub_config.py", path=str(HERE)).load_config()


def test_the_hub_does_not_start_without_an_authenticator() -> None:
    variables = {k: v for k, v in os.environ.items() if not k.startswith(settings.PREFIX)}
    command = [sys.executable, str(HERE / "serve.py"), "-f", str(HERE / "jupyterhub_config.py")]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "does not start: VIZHELPERS_HUB_AUTHENTICATOR is not set" in done.stderr
    assert "python -m labs.hub" in done.stderr, "no way on"


@pytest.mark.parametrize(
    "name",
    [
        "dummy",
        "jupyterhub.auth.DummyAuthenticator",
        "null",
        "shared-password",
        "native",
        "firstuse",
    ],
)
def test_an_authenticator_that_takes_anybody_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="is none for a class"):
        configured(monkeypatch, tmp_path, VIZHELPERS_HUB_AUTHENTICATOR=name)


@pytest.mark.parametrize("students", ["", "# nobody yet\n", "ada teacher\n", "ada admin now\n"])
def test_a_list_without_students_is_refused(
    students: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="This hub does not start"):
        configured(monkeypatch, tmp_path, students, **REAL)


@pytest.mark.parametrize("spawner", ["simple", "localprocess", "dokcer"])
def test_a_spawner_that_keeps_nobody_apart_is_refused(
    spawner: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="docker or systemd"):
        configured(monkeypatch, tmp_path, **{**REAL, "VIZHELPERS_HUB_SPAWNER": spawner})


@pytest.mark.parametrize("spawner", ["docker", "systemd"])
def test_only_the_list_comes_in_and_only_loopback_is_open(
    spawner: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    c = configured(monkeypatch, tmp_path, **{**REAL, "VIZHELPERS_HUB_SPAWNER": spawner})
    assert c.Authenticator.allowed_users == {"ada", "bob"}
    assert c.Authenticator.admin_users == {"ada"}
    assert c.Authenticator.allow_all is False and c.Authenticator.allow_existing_users is False
    assert c.LocalAuthenticator.create_system_users is False
    for address in (c.JupyterHub.bind_url, c.JupyterHub.hub_bind_url):
        assert address.startswith("http://127.0.0.1:")
    assert not c.JupyterHub.cleanup_servers and not c.JupyterHub.cleanup_proxy
    assert c.ConfigurableHTTPProxy.should_start is False
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


@pytest.mark.parametrize("spawner", ["docker", "systemd"])
def test_limits_and_the_culler_are_set(
    spawner: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    c = configured(monkeypatch, tmp_path, **{**REAL, "VIZHELPERS_HUB_SPAWNER": spawner})
    assert c.JupyterHub.spawner_class == spawner
    assert (c.Spawner.mem_limit, c.Spawner.cpu_limit) == (settings.MEMORY, settings.CPU)
    (culler,) = c.JupyterHub.services
    assert f"--timeout={settings.CULL_AFTER}" in culler["command"]
    scopes = {role["name"]: role["scopes"] for role in c.JupyterHub.load_roles}
    assert "delete:servers" in scopes["idle-culler"] and "admin:users" not in str(scopes)
    if spawner == "docker":
        assert c.DockerSpawner.extra_host_config["pids_limit"] == settings.PROCESSES
        assert c.DockerSpawner.volumes == {"course-{username}": settings.HOME}
    else:
        assert c.SystemdSpawner.readonly_paths == ["/"]
        assert c.SystemdSpawner.unit_extra_properties["TasksMax"] == str(settings.PROCESSES)


@pytest.mark.parametrize(
    "module, name", [("dockerspawner", "DockerSpawner"), ("systemdspawner", "SystemdSpawner")]
)
def test_every_option_of_the_spawner_exists(
    module: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spawner = getattr(pytest.importorskip(module), name)
    kind = module.removesuffix("spawner")
    c = configured(monkeypatch, tmp_path, **{**REAL, "VIZHELPERS_HUB_SPAWNER": kind})
    known = set(spawner.class_traits(config=True))
    assert set(c[name]) and set(c[name]) <= known
    assert set(c.Spawner) <= known


# ---------------------------------------------------------------- the same everywhere


def test_the_image_and_the_config_have_the_same_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    c = configured(monkeypatch, tmp_path, **REAL)
    image = f"{settings.IMAGE}:{settings.TAG}"
    assert c.DockerSpawner.image == image and f"-t {image} " in DOCKERFILE
    assert json.loads(re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[1]) == c.Spawner.cmd
    account = f"useradd --uid {settings.UID} --create-home --home-dir {settings.HOME} "
    assert account in DOCKERFILE and f"WORKDIR {settings.HOME}\n" in DOCKERFILE
    assert f"ENV COURSE_MATERIAL={settings.MATERIAL}\n" in DOCKERFILE
    assert f"/material {settings.MATERIAL}\n" in DOCKERFILE
    assert "--torch-backend=cpu" in DOCKERFILE and "--compile-bytecode" in DOCKERFILE
    # The student's account comes last, when all that is read-only belongs to root.
    last = [line.split()[0] for line in DOCKERFILE.splitlines() if line[:1].isupper()][-3:]
    assert last == ["USER", "WORKDIR", "CMD"]


def test_every_file_that_the_image_copies_is_there() -> None:
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (settings.ROOT / source).exists(), source


def test_kubernetes_has_the_same_image_command_and_limits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    c = configured(monkeypatch, tmp_path, **REAL)
    student = VALUES["singleuser"]
    assert student["image"] == {"name": settings.IMAGE, "tag": settings.TAG}
    assert student["cmd"] == c.Spawner.cmd
    assert student["defaultUrl"] == c.Spawner.default_url
    assert student["memory"] == {"limit": settings.MEMORY, "guarantee": settings.MEMORY_GUARANTEE}
    assert student["cpu"] == {"limit": settings.CPU, "guarantee": settings.CPU_GUARANTEE}
    assert student["startTimeout"] == settings.START_TIMEOUT
    assert student["storage"]["homeMountPath"] == settings.HOME
    assert (student["uid"], student["fsGid"]) == (settings.UID, settings.GID)
    assert student["extraEnv"]["COURSE_MATERIAL"] == settings.MATERIAL
    assert VALUES["cull"]["timeout"] == settings.CULL_AFTER
    assert VALUES["cull"]["every"] == settings.CULL_EVERY


def test_kubernetes_is_closed_too() -> None:
    config = VALUES["hub"]["config"]
    assert config["JupyterHub"]["authenticator_class"] == "null", "the chart's own is dummy"
    assert config["Authenticator"]["allow_all"] is False
    assert VALUES["proxy"]["service"]["type"] == "ClusterIP"


# What the chart's schema (Zero to JupyterHub 4) allows, as far as it is used here.
CHART: dict[str, Any] = {
    "hub": {"config": {"JupyterHub": dict, "Authenticator": dict}},
    "proxy": {"service": {"type": str}},
    "singleuser": {
        "image": {"name": str, "tag": str},
        "cmd": list,
        "defaultUrl": str,
        "startTimeout": int,
        "uid": int,
        "fsGid": int,
        "memory": {"limit": str, "guarantee": str},
        "cpu": {"limit": (int, float), "guarantee": (int, float)},
        "storage": {"capacity": str, "homeMountPath": str},
        "cloudMetadata": {"blockWithIptables": bool},
        "extraEnv": dict,
    },
    "cull": {"enabled": bool, "timeout": int, "every": int},
    "prePuller": {"hook": {"enabled": bool}, "continuous": {"enabled": bool}},
    "scheduling": {"userScheduler": {"enabled": bool}},
}


def unknown_to_the_chart(
    values: dict[str, Any], known: dict[str, Any], where: str = ""
) -> list[str]:
    found = []
    for key, value in values.items():
        kind = known.get(key)
        if isinstance(kind, dict) and isinstance(value, dict):
            found += unknown_to_the_chart(value, kind, f"{where}{key}.")
        elif kind is None or isinstance(kind, dict) or not isinstance(value, kind):
            found.append(f"{where}{key}")
    return found


def test_kubernetes_values_use_only_what_the_chart_knows() -> None:
    assert unknown_to_the_chart(VALUES, CHART) == []
    assert unknown_to_the_chart({"cull": {"timout": 1, "every": "5"}}, CHART) == [
        "cull.timout",
        "cull.every",
    ]


# ---------------------------------------------------------------- the student's work is kept


def files(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != LIST)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found}


@pytest.fixture
def course(tmp_path: Path) -> SimpleNamespace:
    """Material with two files, and a student who has been given them."""
    material, student = tmp_path / "material", tmp_path / "student"
    (material / "labs").mkdir(parents=True)
    (material / "one.ipynb").write_text("one, 1")
    (material / "labs/two.ipynb").write_text("two, 1")
    for path in (material / "one.ipynb", material / "labs/two.ipynb"):
        path.chmod(0o444)
    done = copy_material(material, student)
    assert done.new == ["labs/two.ipynb", "one.ipynb"]

    def change(name: str, text: str) -> None:
        (material / name).unlink(missing_ok=True)
        (material / name).write_text(text)

    return SimpleNamespace(material=material, student=student, change=change)


def test_new_files_come_and_can_be_written(course: SimpleNamespace) -> None:
    assert files(course.student) == {"one.ipynb": "one, 1", "labs/two.ipynb": "two, 1"}
    assert os.stat(course.student / "one.ipynb").st_mode & stat.S_IWUSR
    course.change("three.ipynb", "three, 1")
    assert copy_material(course.material, course.student).new == ["three.ipynb"]
    assert (
        copy_material(course.material, course.student)
        == type(copy_material(course.material, course.student))()
    )


def test_what_the_student_did_not_touch_follows_the_course(course: SimpleNamespace) -> None:
    for version in ("one, 2", "one, 3"):
        course.change("one.ipynb", version)
        assert copy_material(course.material, course.student).updated == ["one.ipynb"]
        assert files(course.student)["one.ipynb"] == version


def test_the_students_work_stays_and_each_new_version_is_put_beside_it_once(
    course: SimpleNamespace,
) -> None:
    (course.student / "one.ipynb").write_text("my work")
    (course.student / "mine.txt").write_text("my own")
    assert copy_material(course.material, course.student).beside == []
    course.change("one.ipynb", "one, 2")
    assert copy_material(course.material, course.student).beside == ["one.new.ipynb"]
    (course.student / "one.new.ipynb").write_text("my work on the new one")
    assert copy_material(course.material, course.student).beside == []
    course.change("one.ipynb", "one, 3")
    assert copy_material(course.material, course.student).beside == ["one.new-2.ipynb"]
    found = files(course.student)
    assert found["one.ipynb"] == "my work" and found["mine.txt"] == "my own"
    assert found["one.new.ipynb"] == "my work on the new one"
    assert found["one.new-2.ipynb"] == "one, 3"


def test_a_deleted_file_comes_again_and_a_withdrawn_one_stays(course: SimpleNamespace) -> None:
    (course.student / "one.ipynb").unlink()
    (course.material / "labs/two.ipynb").unlink()
    assert copy_material(course.material, course.student).new == ["one.ipynb"]
    assert files(course.student)["labs/two.ipynb"] == "two, 1"


@pytest.mark.parametrize("lost", ["", "not json", "[]"])
def test_nothing_is_overwritten_when_the_list_is_lost(lost: str, course: SimpleNamespace) -> None:
    (course.student / "one.ipynb").write_text("my work")
    (course.student / LIST).write_text(lost)
    course.change("one.ipynb", "one, 2")
    copy_material(course.material, course.student)
    assert files(course.student)["one.ipynb"] == "my work"
    assert files(course.student)["one.new.ipynb"] == "one, 2"


def test_a_link_or_a_folder_in_the_way_is_left_alone(
    course: SimpleNamespace, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("not the course's")
    (course.student / "one.ipynb").unlink()
    (course.student / "one.ipynb").symlink_to(elsewhere)
    (course.student / "labs/two.ipynb").unlink()
    (course.student / "labs/two.ipynb").mkdir()
    course.change("one.ipynb", "one, 2")
    course.change("labs/two.ipynb", "two, 2")
    done = copy_material(course.material, course.student)
    assert elsewhere.read_text() == "not the course's"
    assert (course.student / "labs/two.ipynb").is_dir()
    assert done.beside == ["labs/two.new.ipynb", "one.new.ipynb"]


def test_a_file_in_the_place_of_a_folder_is_told_and_the_rest_is_copied(
    course: SimpleNamespace,
) -> None:
    (course.student / "labs/two.ipynb").unlink()
    (course.student / "labs").rmdir()
    (course.student / "labs").write_text("my own")
    course.change("one.ipynb", "one, 2")
    done = copy_material(course.material, course.student)
    assert done.updated == ["one.ipynb"] and len(done.skipped) == 1
    assert files(course.student)["labs"] == "my own"


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
        asyncio.run(asyncio.wait_for(day_at_the_hub(hub), 120))
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
        told = await kernel.run(f"mine = {number}; import os; print(os.environ['OMP_NUM_THREADS'])")
        assert (told.text, told.error) == ("1\n", "")
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
    made = plan.planned(data, 300)
    # 300 x (400 + 100) private, 412 shared, 100 for the hub
    assert made.memory == pytest.approx((300 * 500 + 412 + 100) / 1024)
    assert made.early == pytest.approx(300 * 6 / plan.EARLY)
    assert made.cold == pytest.approx(300 * 6 / plan.COLD)
    # 2 seconds in 10 minutes, then 12 in 20: the second is the busier
    assert made.reading == pytest.approx(300 * 12 / 1200)
    assert made.cores == 12 and made.server[0] == 16
    assert made.server[1] == 192 and made.server[1] >= made.with_room
    assert made.first_notebook == pytest.approx(300 * 2 / 16)


def test_readme_shows_the_newest_measurement_without_an_error() -> None:
    if NEWEST is None:
        pytest.skip("nothing was measured yet")
    data = json.loads(NEWEST.read_text(encoding="utf-8"))
    text = report.README.read_text(encoding="utf-8")
    shown = text.split(report.BEGIN)[1].split(report.END)[0].strip()
    assert shown == report.published(data)
    assert all(plan.seen(one)["errors"] == 0 for one in data["classes"].values())
    assert all(not one["errors"] for one in data["faults"]) and len(data["faults"]) == 5


def test_a_students_limit_holds_what_was_measured() -> None:
    if NEWEST is None:
        pytest.skip("nothing was measured yet")
    data = json.loads(NEWEST.read_text(encoding="utf-8"))
    assert settings.MEMORY == "2G"
    for one in data["classes"].values():
        for moment in one["moments"]:
            held = moment["servers"]["pss"] + moment["kernels"]["pss"]
            assert 1.5 * held / one["students"] < 2048
