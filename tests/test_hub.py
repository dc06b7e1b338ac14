"""The hub for a class is closed until it is configured; image, config and chart agree."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jupyterhub", reason="Colab's environment has no hub")
yaml = pytest.importorskip("yaml")

from traitlets.config import Config  # noqa: E402
from traitlets.config.loader import PyFileConfigLoader  # noqa: E402

from labs.hub import settings  # noqa: E402

HERE = settings.HERE
VALUES = yaml.safe_load((HERE / "values.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (HERE / "Dockerfile").read_text(encoding="utf-8")
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


@pytest.fixture(params=["docker", "systemd"])
def c(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Config:
    """Return the configuration of a real hub with each kind of spawner."""
    return configured(monkeypatch, tmp_path, **{**REAL, "VIZHELPERS_HUB_SPAWNER": request.param})


def test_only_the_list_comes_in_and_only_loopback_is_open(c: Config, tmp_path: Path) -> None:
    assert c.Authenticator.allowed_users == {"ada", "bob"}
    assert c.Authenticator.admin_users == {"ada"}
    assert c.Authenticator.allow_all is False and c.Authenticator.allow_existing_users is False
    assert c.LocalAuthenticator.create_system_users is False
    for address in (c.JupyterHub.bind_url, c.JupyterHub.hub_bind_url):
        assert address.startswith("http://127.0.0.1:")
    assert not c.JupyterHub.cleanup_servers and not c.JupyterHub.cleanup_proxy
    assert c.ConfigurableHTTPProxy.should_start is False
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_limits_and_the_culler_are_set(c: Config) -> None:
    assert (c.Spawner.mem_limit, c.Spawner.cpu_limit) == (settings.MEMORY, settings.CPU)
    (culler,) = c.JupyterHub.services
    assert f"--timeout={settings.CULL_AFTER}" in culler["command"]
    scopes = {role["name"]: role["scopes"] for role in c.JupyterHub.load_roles}
    assert "delete:servers" in scopes["idle-culler"] and "admin:users" not in str(scopes)
    if c.JupyterHub.spawner_class == "docker":
        assert c.DockerSpawner.extra_host_config["pids_limit"] == settings.PROCESSES
        assert c.DockerSpawner.volumes == {"course-{username}": settings.HOME}
    else:
        assert c.JupyterHub.spawner_class == "systemd"
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
    unknown = []
    for key, value in values.items():
        kind = known.get(key)
        if isinstance(kind, dict) and isinstance(value, dict):
            unknown += unknown_to_the_chart(value, kind, f"{where}{key}.")
        elif kind is None or isinstance(kind, dict) or not isinstance(value, kind):
            unknown.append(f"{where}{key}")
    return unknown


def test_kubernetes_values_use_only_what_the_chart_knows() -> None:
    assert unknown_to_the_chart(VALUES, CHART) == []
    assert unknown_to_the_chart({"cull": {"timout": 1, "every": "5"}}, CHART) == [
        "cull.timout",
        "cull.every",
    ]
