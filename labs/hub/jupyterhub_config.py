"""JupyterHub for a class on one server with docker. README.md lists the environment variables.

The hub is closed: it starts only when an authenticator and a list of students are chosen, and only
names of the list may log in. It listens on this machine; put a web server with TLS in front.
"""

import os
import sys
from pathlib import Path

PREFIX = "VIZHELPERS_HUB_"
# These authenticators cannot tell one student from another: they accept any password, share one
# password, or give a student's name to the first person who uses it.
UNSAFE = ("dummy", "null", "sharedpassword", "native", "firstuse")
HERE = Path(__file__).resolve().parent

c = get_config()  # noqa: F821  JupyterHub defines it
chosen = {k.removeprefix(PREFIX): v.strip() for k, v in os.environ.items() if k.startswith(PREFIX)}


def required(name: str, meaning: str) -> str:
    """Return a chosen value, or exit with a message that names the variable."""
    return chosen.get(name) or sys.exit(
        f"This hub does not start: {PREFIX}{name} is not set ({meaning}). See labs/hub/README.md."
    )


# ---------------------------------------------------------------- who may log in

trial = "TRIAL_PASSWORD" in chosen  # set by `python -m labs.hub`
if trial:
    c.JupyterHub.authenticator_class = "shared-password"
    c.SharedPasswordAuthenticator.user_password = required("TRIAL_PASSWORD", "of all students")
    lines = [[name] for name in required("TRIAL_STUDENTS", "names, separated by commas").split(",")]
else:
    authenticator = required("AUTHENTICATOR", "how students log in, such as generic-oauth")
    if any(name in authenticator.lower().replace("-", "") for name in UNSAFE):
        sys.exit(f"This hub does not start: {authenticator!r} does not tell students apart.")
    c.JupyterHub.authenticator_class = authenticator
    try:
        text = Path(required("STUDENTS", "a file with one name a line")).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"This hub does not start: the list of students cannot be read: {error}.")
    lines = [words for line in text.splitlines() if (words := line.partition("#")[0].split())]
for words in lines:
    if words[1:] not in ([], ["admin"]):
        sys.exit(f"This hub does not start: {' '.join(words)!r} is not NAME or NAME admin.")
if not lines:
    sys.exit("This hub does not start: the list of students is empty, so nobody could log in.")
c.Authenticator.allow_all = False
c.Authenticator.allow_existing_users = False  # a name removed from the list cannot log in again
c.Authenticator.allowed_users = {words[0] for words in lines}
c.Authenticator.admin_users = {words[0] for words in lines if words[1:]}

# ---------------------------------------------------------------- hub and proxy

# The proxy is a process of its own, so students' pages keep working while the hub restarts.
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = chosen.get("PROXY_API", "http://127.0.0.1:8001")
c.JupyterHub.cleanup_servers = False
c.JupyterHub.cleanup_proxy = False
# At this interval, in seconds, the hub also checks the proxy's routes. A restarted proxy has none.
c.JupyterHub.last_activity_interval = 10
c.JupyterHub.bind_url = chosen.get("ADDRESS", "http://127.0.0.1:8000")
c.JupyterHub.hub_bind_url = chosen.get("INTERNAL_ADDRESS", "http://172.30.0.1:8081")
state = Path(chosen.get("STATE", "/srv/jupyterhub"))
c.JupyterHub.db_url = f"sqlite:///{state / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(state / "cookie_secret")

# ---------------------------------------------------------------- a student's server

c.Spawner.default_url = "/lab"
c.Spawner.mem_limit = "2G"
c.Spawner.cpu_limit = 1.0
c.Spawner.start_timeout = c.Spawner.http_timeout = 300  # a whole class presses the button at once
c.JupyterHub.concurrent_spawn_limit = 0
c.Spawner.environment = {
    name: chosen.get(name, "") for name in ("COURSE_REPOSITORY", "COURSE_BRANCH")
}
if trial:  # processes of this account: students are not kept apart, and no limit is enforced
    c.JupyterHub.spawner_class = "simple"
    c.SimpleLocalProcessSpawner.home_dir_template = str(state / "home" / "{username}")
    c.Spawner.cmd = ["sh", str(HERE / "start.sh"), "jupyterhub-singleuser"]
    c.Spawner.environment |= {
        "JUPYTER_CONFIG_PATH": str(HERE / "jupyter"),
        "JUPYTER_PATH": str(HERE / "jupyter"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    if os.geteuid() == 0:
        c.Spawner.args = ["--allow-root"]
    c.JupyterHub.services = [{"name": "trial", "api_token": required("TRIAL_TOKEN", "for tests")}]
    scopes = ["list:users", "servers", "access:servers", "shutdown"]
    c.JupyterHub.load_roles = [{"name": "trial", "scopes": scopes, "services": ["trial"]}]
else:
    c.JupyterHub.spawner_class = "docker"
    c.DockerSpawner.image = chosen.get("IMAGE", "vizhelpers-course")
    c.DockerSpawner.remove = (
        True  # removes the container; the volume with the student's files stays
    )
    c.DockerSpawner.volumes = {"course-{username}": "/home/student"}
    if chosen.get("COURSE_REPOSITORY", "").startswith("/"):  # a git repository on this server
        c.DockerSpawner.read_only_volumes = dict([[chosen["COURSE_REPOSITORY"]] * 2])
    c.DockerSpawner.network_name = "course"
    c.DockerSpawner.use_internal_ip = True
    c.DockerSpawner.extra_host_config = {
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "pids_limit": 256,
        "memswap_limit": "2G",
    }
