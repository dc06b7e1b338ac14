"""JupyterHub for a class on one server; README.md beside this file says how to use it.

It is closed: it does not start before an authenticator and a list of students are chosen, nobody
signs up by himself, and it listens on this machine only. Put a web server with TLS before it.

Which part enforces what:

| | docker | systemd | simple (the try) |
|---|---|---|---|
| students apart | containers | accounts of this machine | no |
| memory of a student | cgroup | cgroup (MemoryMax) | no |
| memory of one kernel | kernel.py | kernel.py | kernel.py |
| processor | cgroup | cgroup (CPUQuota) | no |
| number of processes | cgroup | cgroup (TasksMax) | no |
| disk | no (docker's storage driver) | no (quota of the file system) | no |
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from labs.hub import settings
from labs.hub.settings import PREFIX

c = get_config()  # noqa: F821  JupyterHub gives it
try:
    chosen = settings.read_settings(os.environ)
except settings.NotReady as reason:
    sys.exit(f"This hub does not start: {reason}")
chosen.state.mkdir(mode=0o700, parents=True, exist_ok=True)

# ---------------------------------------------------------------- who comes in

c.JupyterHub.authenticator_class = chosen.authenticator
c.Authenticator.allow_all = False
c.Authenticator.allowed_users = set(chosen.students.names)
c.Authenticator.admin_users = set(chosen.students.admins)
# Whom the list no longer names is no longer let in, though the database knows him.
c.Authenticator.allow_existing_users = False
c.LocalAuthenticator.create_system_users = False
if chosen.trying:
    c.SharedPasswordAuthenticator.user_password = chosen.password

# ---------------------------------------------------------------- where it listens

# The proxy is a process of its own: students' work goes through it while the hub restarts.
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = os.environ.get(PREFIX + "PROXY_API", "http://127.0.0.1:8001")
# With this the hub looks at the proxy's routes too: a proxy that was restarted has none, and
# JupyterHub's own 300 seconds would be a good part of a lesson.
c.JupyterHub.last_activity_interval = 10
c.JupyterHub.bind_url = os.environ.get(PREFIX + "ADDRESS", "http://127.0.0.1:8000")
c.JupyterHub.hub_bind_url = os.environ.get(PREFIX + "INSIDE", "http://127.0.0.1:8081")
c.JupyterHub.cleanup_servers = False
c.JupyterHub.cleanup_proxy = False
c.JupyterHub.db_url = f"sqlite:///{chosen.state / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(chosen.state / "cookie_secret")
c.JupyterHub.shutdown_on_logout = False

# ---------------------------------------------------------------- a student's server

c.JupyterHub.spawner_class = chosen.spawner
c.Spawner.default_url = "/lab"
c.Spawner.mem_limit = settings.MEMORY
c.Spawner.cpu_limit = settings.CPU
c.Spawner.start_timeout = settings.START_TIMEOUT
c.Spawner.http_timeout = settings.START_TIMEOUT
c.JupyterHub.concurrent_spawn_limit = 0  # all of a class at once; the time-out is long enough

if chosen.spawner == "docker":
    c.Spawner.cmd = ["python", f"{settings.COURSE}/hub/start.py"]
    c.DockerSpawner.image = f"{settings.IMAGE}:{settings.TAG}"
    c.DockerSpawner.remove = True  # the container; the student's volume stays
    c.DockerSpawner.volumes = {"course-{username}": settings.HOME}
    if os.environ.get(PREFIX + "MATERIAL"):  # newer than the image's
        c.DockerSpawner.read_only_volumes = {str(chosen.material): settings.MATERIAL}
    c.DockerSpawner.network_name = os.environ.get(PREFIX + "NETWORK", "course")
    c.DockerSpawner.use_internal_ip = True
    c.DockerSpawner.extra_host_config = {
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "pids_limit": settings.PROCESSES,
        "memswap_limit": settings.MEMORY,
    }
else:
    c.Spawner.cmd = [sys.executable, str(settings.HERE / "start.py")]
    c.Spawner.environment = {"COURSE_MATERIAL": str(chosen.material)}
if chosen.spawner == "systemd":
    c.SystemdSpawner.user_workingdir = "/home/{USERNAME}"
    c.SystemdSpawner.username_template = "{USERNAME}"
    c.SystemdSpawner.isolate_tmp = True
    c.SystemdSpawner.isolate_devices = True
    c.SystemdSpawner.disable_user_sudo = True
    c.SystemdSpawner.readonly_paths = ["/"]
    c.SystemdSpawner.readwrite_paths = ["/home/{USERNAME}"]
    c.SystemdSpawner.unit_extra_properties = {
        "TasksMax": str(settings.PROCESSES),
        "MemorySwapMax": "0",
        "ProtectProc": "invisible",
    }
if chosen.spawner == "simple":
    c.SimpleLocalProcessSpawner.home_dir_template = str(chosen.state / "home" / "{username}")
    c.Spawner.http_timeout = c.Spawner.start_timeout = 120
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # in a container that has no other user
        c.Spawner.args = ["--allow-root"]

# ---------------------------------------------------------------- what looks after it

c.JupyterHub.services = [
    {
        "name": "idle-culler",
        "command": [
            sys.executable,
            "-m",
            "jupyterhub_idle_culler",
            f"--timeout={settings.CULL_AFTER}",
            f"--cull-every={settings.CULL_EVERY}",
        ],
    }
]
c.JupyterHub.load_roles = [
    {
        "name": "idle-culler",
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
        "services": ["idle-culler"],
    }
]
token = os.environ.get(PREFIX + "TOKEN")
if token:  # for labs.hub.before_class, which starts servers before the students come
    c.JupyterHub.services += [{"name": "before-class", "api_token": token}]
    scopes = ["list:users", "read:servers", "servers", "access:servers"]
    scopes += ["shutdown"] if chosen.trying else []
    c.JupyterHub.load_roles += [
        {"name": "before-class", "scopes": scopes, "services": ["before-class"]}
    ]
