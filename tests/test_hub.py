"""The hub's configuration: closed by default, options that exist, equal limits everywhere."""

import importlib.metadata
import os
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jupyterhub", reason="Colab's environment has no hub")
yaml = pytest.importorskip("yaml")
jsonschema = pytest.importorskip("jsonschema")

from dockerspawner import DockerSpawner  # noqa: E402
from jupyterhub.app import JupyterHub  # noqa: E402
from jupyterhub.auth import Authenticator  # noqa: E402
from jupyterhub.proxy import ConfigurableHTTPProxy  # noqa: E402
from traitlets.config import Config  # noqa: E402
from traitlets.config.loader import PyFileConfigLoader  # noqa: E402

from labs.hub.run import HERE, PREFIX  # noqa: E402

VALUES = yaml.safe_load((HERE / "values.yaml").read_text(encoding="utf-8"))
COMPOSE = yaml.safe_load((HERE / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (HERE / "Dockerfile").read_text(encoding="utf-8")
REFUSED = "This hub does not start"


def load(
    monkeypatch: pytest.MonkeyPatch, folder: Path, students: str = "Ada admin\nbob\n", **more: str
) -> Config:
    """Load jupyterhub_config.py as a server does, with more or other variables."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    (folder / "students.txt").write_text(students, encoding="utf-8")
    chosen = {"AUTHENTICATOR": "generic-oauth", "STUDENTS": str(folder / "students.txt")} | more
    for name, value in chosen.items():
        monkeypatch.setenv(PREFIX + name, value)
    return PyFileConfigLoader("jupyterhub_config.py", path=str(HERE)).load_config()


# ---------------------------------------------------------------- closed by default


@pytest.mark.parametrize("missing", ["AUTHENTICATOR", "STUDENTS"])
def test_the_hub_names_what_is_not_chosen(
    missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for empty in ("", "  "):
        with pytest.raises(SystemExit, match=rf"{REFUSED}: {PREFIX}{missing} is not set .*README"):
            load(monkeypatch, tmp_path, **{missing: empty})


@pytest.mark.parametrize(
    "name",
    [
        "dummy",
        "Dummy",
        "jupyterhub.auth.DummyAuthenticator",
        "null",
        "jupyterhub.auth.NullAuthenticator",
        "shared-password",
        "jupyterhub.authenticators.shared.SharedPasswordAuthenticator",
        "native",
        "firstuse",
        "firstuseauthenticator.FirstUseAuthenticator",
    ],
)
def test_authenticators_that_do_not_tell_students_apart_are_refused(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=f"{REFUSED}.*does not tell students apart"):
        load(monkeypatch, tmp_path, AUTHENTICATOR=name)


@pytest.mark.parametrize("text", ["", "# nobody yet\n", "ada teacher\n", "ada admin now\n"])
def test_a_list_without_valid_names_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=REFUSED):
        load(monkeypatch, tmp_path, text)
    with pytest.raises(SystemExit, match=f"{REFUSED}.*cannot be read"):
        load(monkeypatch, tmp_path, STUDENTS=str(tmp_path / "absent"))
    (tmp_path / "latin").write_bytes("Zoë\n".encode("latin-1"))
    with pytest.raises(SystemExit, match=f"{REFUSED}.*cannot be read"):
        load(monkeypatch, tmp_path, STUDENTS=str(tmp_path / "latin"))


def test_only_the_list_may_log_in_and_only_loopback_is_public(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    c = load(monkeypatch, tmp_path, "\ufeffAda admin # teacher\n\nbob\n")
    assert c.Authenticator.allowed_users == {"Ada", "bob"}
    assert c.Authenticator.admin_users == {"Ada"}
    assert c.Authenticator.allow_all is False and c.Authenticator.allow_existing_users is False
    assert c.JupyterHub.bind_url == "http://127.0.0.1:8000"
    assert c.JupyterHub.spawner_class == "docker"
    assert not c.JupyterHub.cleanup_servers and not c.JupyterHub.cleanup_proxy
    assert "services" not in c.JupyterHub, "only a trial has a token"
    host = c.DockerSpawner.extra_host_config
    assert host["cap_drop"] == ["ALL"] and host["security_opt"] == ["no-new-privileges"]


# ---------------------------------------------------------------- options that exist


@pytest.mark.parametrize("variables", [{}, {"TRIAL_PASSWORD": "x" * 9}])
def test_every_option_exists(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trial = {"TRIAL_STUDENTS": "ada", "TRIAL_TOKEN": "t"} if variables else {}
    c = load(monkeypatch, tmp_path, **variables, **trial)
    classes = {
        "JupyterHub": JupyterHub,
        "Authenticator": Authenticator,
        "ConfigurableHTTPProxy": ConfigurableHTTPProxy,
        "Spawner": DockerSpawner,
        "DockerSpawner": DockerSpawner,
    }
    assert set(c) - {"SharedPasswordAuthenticator", "SimpleLocalProcessSpawner"} <= set(classes)
    for name in set(c) & set(classes):
        assert set(c[name]) <= set(classes[name].class_traits(config=True)), name


def test_a_repository_on_the_server_is_mounted_and_an_address_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    c = load(monkeypatch, tmp_path, COURSE_REPOSITORY="/srv/course.git", COURSE_BRANCH="main")
    assert c.DockerSpawner.read_only_volumes == {"/srv/course.git": "/srv/course.git"}
    passed = {"COURSE_REPOSITORY": "/srv/course.git", "COURSE_BRANCH": "main"}
    assert c.Spawner.environment == passed
    c = load(monkeypatch, tmp_path, COURSE_REPOSITORY="https://example.org/course.git")
    assert "read_only_volumes" not in c.DockerSpawner


# ---------------------------------------------------------------- the images


def test_images_copy_only_the_package_and_the_hubs_own_files() -> None:
    sources = re.findall(r"^COPY (\S+) ", DOCKERFILE, re.MULTILINE)
    assert sorted(sources) == ["dist/*.whl", "hub/jupyter", "hub/start.sh"]
    assert not re.search(r"^ADD ", DOCKERFILE, re.MULTILINE)
    assert (HERE / "start.sh").is_file() and (HERE / "jupyter").is_dir()


def test_the_student_is_not_root_and_the_home_is_the_volume(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    volumes = load(monkeypatch, tmp_path).DockerSpawner.volumes
    assert volumes == {"course-{username}": VALUES["singleuser"]["storage"]["homeMountPath"]}
    (home,) = volumes.values()
    user = f"useradd --uid {VALUES['singleuser']['uid']} --create-home --home-dir {home} "
    assert user in DOCKERFILE
    last = [line for line in DOCKERFILE.splitlines() if line[:1].isupper()][-4:]
    assert last == [
        "USER student",
        f"WORKDIR {home}",
        'ENTRYPOINT ["sh", "/opt/course/start.sh"]',
        'CMD ["jupyterhub-singleuser"]',
    ]


def test_hub_and_proxy_use_the_same_addresses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    c = load(monkeypatch, tmp_path)
    command = COMPOSE["services"]["proxy"]["command"]
    assert f"--default-target={c.JupyterHub.hub_bind_url} " in command
    assert f"--error-target={c.JupyterHub.hub_bind_url}/hub/error" in command
    assert "--ip=127.0.0.1 --port=8000 --api-ip=127.0.0.1 --api-port=8001" in command
    assert c.ConfigurableHTTPProxy.api_url == "http://127.0.0.1:8001"
    example = (HERE / "hub.env.example").read_text(encoding="utf-8")
    names = re.findall(rf"^{PREFIX}(\w+)=", example, re.MULTILINE)
    assert names == ["AUTHENTICATOR", "STUDENTS", "COURSE_REPOSITORY", "COURSE_BRANCH"]


# ---------------------------------------------------------------- Kubernetes


def test_kubernetes_has_the_same_limits_and_is_closed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    c, student = load(monkeypatch, tmp_path), VALUES["singleuser"]
    assert student["image"]["name"] == c.DockerSpawner.image
    assert student["defaultUrl"] == c.Spawner.default_url
    assert student["memory"]["limit"] == c.Spawner.mem_limit
    assert student["cpu"]["limit"] == c.Spawner.cpu_limit
    assert student["startTimeout"] == c.Spawner.start_timeout
    config = VALUES["hub"]["config"]
    assert config["JupyterHub"]["authenticator_class"] == "null", "the chart's own is dummy"
    assert config["Authenticator"]["allow_all"] is False
    assert set(config["Authenticator"]) <= set(Authenticator.class_traits(config=True))
    assert VALUES["proxy"]["service"]["type"] == "ClusterIP"


def branch(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


TEXT, NUMBER, COUNT = {"type": "string"}, {"type": "number"}, {"type": "integer"}
# The chart's own schema is validated by helm at each install and refuses unknown keys. It is not
# part of this repository; these are the keys used here, as that schema declares them.
CHART = branch(
    hub=branch(config={"type": "object"}),
    proxy=branch(service=branch(type={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]})),
    singleuser=branch(
        image=branch(name=TEXT, tag=TEXT),
        defaultUrl=TEXT,
        startTimeout=COUNT,
        uid=COUNT,
        fsGid=COUNT,
        memory=branch(limit=TEXT, guarantee=TEXT),
        cpu=branch(limit=NUMBER, guarantee=NUMBER),
        storage=branch(capacity=TEXT, homeMountPath=TEXT),
        extraEnv={"type": "object"},
    ),
)


def test_kubernetes_values_are_valid_for_the_chart() -> None:
    jsonschema.validate(VALUES, CHART)
    for wrong in (
        {"cul": {}},
        {"singleuser": {"memory": {"limt": "2G"}}},
        {"singleuser": {"startTimeout": "300"}},
        {"proxy": {"service": {"type": "Public"}}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, CHART)


def test_importing_jsonschema_compiles_no_grammar() -> None:
    """pyproject.toml's override-dependencies leaves out what takes a second of each start."""
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.distribution("rfc3987-syntax")
