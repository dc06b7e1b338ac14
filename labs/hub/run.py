"""Start the proxy and the hub on loopback, and stop them again: for a try, tests, measurements."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from labs.hub.settings import HERE, PREFIX, ROOT

CONFIG = HERE / "jupyterhub_config.py"
LOOPBACK = "127.0.0.1"
INSTALL_PROXY = "npm install --no-save --prefix .cache/js configurable-http-proxy"
PATIENCE = 60  # seconds that a proxy or a hub may take to answer


class Missing(Exception):
    """A program is not installed; the text says how to get it."""


def proxy_program() -> str | None:
    """Return where JupyterHub's proxy is, or None."""
    own = ROOT / ".cache" / "js" / "node_modules" / ".bin"
    return shutil.which("configurable-http-proxy", path=f"{own}{os.pathsep}{os.environ['PATH']}")


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind((LOOPBACK, 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class LocalHub:
    """A proxy and a hub, each a process of its own, which can be stopped and started alone."""

    def __init__(
        self,
        state: Path,
        students: Sequence[str],
        *,
        port: int | None = None,
        config: Path = CONFIG,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Choose ports and a password; nothing runs yet.

        Args:
            state: folder of the database, the logs and the students' homes.
            students: who may log in, all with the same password.
            port: of the proxy; a free one where it is None.
            config: the hub's; it must read what it does not set from ``labs/hub``.
            environment: more variables for the hub.

        Raises:
            Missing: there is no proxy or no hub.
        """
        if find_spec("jupyterhub") is None:
            raise Missing("jupyterhub is missing: run this with `.uv/bin/uv run`, as README says.")
        program = proxy_program()
        if program is None:
            raise Missing(
                "JupyterHub's proxy is missing. It needs Node 20 or newer. In the repository run:\n"
                f"    {INSTALL_PROXY}"
            )
        self.state, self.students, self.program = state.resolve(), list(students), program
        self.config, self.password, self.token = (
            config,
            secrets.token_urlsafe(9),
            secrets.token_hex(),
        )
        ports = free_ports(3)
        self.port, self.api_port, self.hub_port = port or ports[0], ports[1], ports[2]
        self.address = f"http://{LOOPBACK}:{self.port}"
        self.proxy: subprocess.Popen[bytes] | None = None
        self.hub: subprocess.Popen[bytes] | None = None
        self._variables = {
            **{key: value for key, value in os.environ.items() if not key.startswith(PREFIX)},
            "CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(),
            PREFIX + "TRY": "yes",
            PREFIX + "TRY_STUDENTS": ",".join(students),
            PREFIX + "TRY_PASSWORD": self.password,
            PREFIX + "STATE": str(self.state),
            PREFIX + "TOKEN": self.token,
            PREFIX + "ADDRESS": self.address,
            PREFIX + "INSIDE": f"http://{LOOPBACK}:{self.hub_port}",
            PREFIX + "PROXY_API": f"http://{LOOPBACK}:{self.api_port}",
            **(environment or {}),
        }

    def __enter__(self) -> "LocalHub":
        """Start both."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self.start_proxy()
            self.start_hub()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop both, and all servers of students."""
        self.stop()

    def start_proxy(self) -> None:
        """Start the proxy, and wait until it answers."""
        command = [self.program, f"--ip={LOOPBACK}", f"--port={self.port}"]
        command += [f"--api-ip={LOOPBACK}", f"--api-port={self.api_port}"]
        # A proxy that was restarted knows no student for some seconds. Without a default it leaves
        # their pages' connections without an answer; the hub refuses, and the page tries again.
        hub = f"http://{LOOPBACK}:{self.hub_port}"
        command += [f"--default-target={hub}", f"--error-target={hub}/hub/error"]
        self.proxy = self._start("proxy", command)
        self._wait_for(f"{self.address}/", self.proxy, "proxy")

    def start_hub(self) -> None:
        """Start the hub, and wait until it answers through the proxy."""
        command = [sys.executable, str(HERE / "serve.py"), "-f", str(self.config)]
        self.hub = self._start("hub", command)
        self._wait_for(f"{self.address}/hub/api/", self.hub, "hub", good=(200,))

    def _start(self, name: str, command: list[str]) -> "subprocess.Popen[bytes]":
        with (self.state / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.state,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C comes to this process, which ends them in order
            )

    def _wait_for(
        self,
        address: str,
        process: "subprocess.Popen[bytes]",
        name: str,
        good: Sequence[int] = (),
    ) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and process.poll() is None:
            try:
                with urllib.request.urlopen(address, timeout=5) as answer:
                    status = answer.status
            except urllib.error.HTTPError as error:
                status = error.code
            except OSError:
                status = 0
            if status and (not good or status in good):
                return
            time.sleep(0.1)
        raise RuntimeError(f"The {name} did not start:\n{self.log(name)[-3000:]}")

    def log(self, name: str) -> str:
        """Return what the proxy or the hub has written."""
        path = self.state / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def end(self, name: str, how: int = signal.SIGTERM) -> None:
        """End the proxy or the hub and wait; students' servers go on."""
        process: subprocess.Popen[bytes] | None = getattr(self, name)
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """Ask the hub to stop the students' servers and itself; then stop the proxy."""
        if self.hub is not None and self.hub.poll() is None:
            with suppress(OSError):
                self._ask("shutdown", {"servers": True, "proxy": False})
            with suppress(subprocess.TimeoutExpired):
                self.hub.wait(60)
        self.end("hub")
        self.end("proxy")

    def _ask(self, path: str, what: Mapping[str, object]) -> None:
        request = urllib.request.Request(
            f"http://{LOOPBACK}:{self.hub_port}/hub/api/{path}",
            data=json.dumps(what).encode(),
            headers={"Authorization": f"token {self.token}", "Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=30).close()
