"""What one server, the image and Kubernetes have in common: names, limits, the students' list.

``jupyterhub_config.py`` reads this file. ``Dockerfile`` and ``values.yaml`` cannot, so
``tests/test_hub.py`` holds them to it. The limits stand on the measurement in README.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# The image of a student's server.
IMAGE, TAG = "vizhelpers-course", "0.1.0"
HOME = "/home/student"
UID, GID = 1000, 1000
COURSE = "/opt/course"  # in the image: this folder's files, and the material
MATERIAL = f"{COURSE}/material"

# What a student may take. Server and kernel need about a third of the memory, and one core, since
# a kernel computes with one thread.
MEMORY = "2G"
MEMORY_GUARANTEE = "512M"
CPU = 1.0
CPU_GUARANTEE = 0.05
PROCESSES = 256

# Seconds. A server that nobody uses is stopped; what was saved stays.
CULL_AFTER = 3600
CULL_EVERY = 300
# A class of 300 may press the button in one minute: the last is served late, but is served.
START_TIMEOUT = 300

# Authenticators that do not tell one student from another, with the reason.
NOT_REAL = {
    "dummy": "it takes any name and any password",
    "null": "it lets nobody in",
    "shared-password": "with one password for all, each can be the other",
    "native": "its sign-up gives a student's name to whoever asks first",
    "firstuse": "it gives a student's name to whoever comes first",
}
PREFIX = "VIZHELPERS_HUB_"


class NotReady(Exception):
    """The hub must not start: what is missing, and the way on."""


@dataclass(frozen=True)
class Students:
    """Who may come in.

    Attributes:
        names: all of them.
        admins: those who may look after the others' servers.
    """

    names: frozenset[str]
    admins: frozenset[str]


def read_students(text: str) -> Students:
    """Read one name a line; ``admin`` behind a name makes it a teacher's; ``#`` begins a remark.

    Raises:
        NotReady: no name in it, or a line that is neither.
    """
    names, admins = set(), set()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) > 2 or words[1:] not in ([], ["admin"]):
            raise NotReady(f"line {number} of the list is {line!r}: expected NAME or NAME admin.")
        names.add(words[0])
        admins.update(words[:1] if words[1:] else [])
    if not names:
        raise NotReady("the list of students is empty, so nobody could log in.")
    return Students(frozenset(names), frozenset(admins))


@dataclass(frozen=True)
class Settings:
    """How this hub runs, from the environment.

    Attributes:
        trying: the simple spawner and one password for all, on loopback.
        authenticator: JupyterHub's name of it.
        spawner: "docker", "systemd" or, for a try, "simple".
        students: who may come in.
        state: folder of the hub's database and secrets.
        material: folder that is copied to each student.
        password: of a try.
    """

    trying: bool
    authenticator: str
    spawner: str
    students: Students
    state: Path
    material: Path
    password: str = ""


def _chosen(environment: Mapping[str, str], name: str, what: str) -> str:
    value = environment.get(PREFIX + name, "").strip()
    if not value:
        raise NotReady(f"{PREFIX}{name} is not set: {what}")
    return value


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings of the environment's variables.

    Raises:
        NotReady: something is not chosen, or does not go together.
    """
    state = Path(environment.get(PREFIX + "STATE") or ROOT / ".cache" / "hub").resolve()
    material = Path(environment.get(PREFIX + "MATERIAL") or state / "material").resolve()
    if environment.get(PREFIX + "TRY"):
        names = _chosen(environment, "TRY_STUDENTS", "names, with commas between them.").split(",")
        password = _chosen(environment, "TRY_PASSWORD", "without one anybody here could log in.")
        students = Students(frozenset(names), frozenset())
        return Settings(True, "shared-password", "simple", students, state, material, password)
    authenticator = _chosen(
        environment,
        "AUTHENTICATOR",
        "choose how students log in, such as pam (accounts of this machine) or generic-oauth (your "
        "institution); see labs/hub/README.md. For a try on this machine run python -m labs.hub.",
    )
    for name, reason in NOT_REAL.items():
        # By its short name or as a class: jupyterhub.auth.DummyAuthenticator.
        if name.replace("-", "") in authenticator.replace("-", "").lower():
            raise NotReady(
                f"{authenticator!r} is none for a class: {reason}; see labs/hub/README.md."
            )
    spawner = environment.get(PREFIX + "SPAWNER") or "docker"
    if spawner not in ("docker", "systemd"):
        raise NotReady(
            f"{PREFIX}SPAWNER is {spawner!r}: expected docker or systemd. The others do not keep "
            "students apart and enforce no limits."
        )
    listed = Path(_chosen(environment, "STUDENTS", "the file that lists who may log in."))
    try:
        text = listed.read_text(encoding="utf-8")
    except OSError as error:
        raise NotReady(f"the list of students could not be read: {error}.") from error
    return Settings(False, authenticator, spawner, read_students(text), state, material)
