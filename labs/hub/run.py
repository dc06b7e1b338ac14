"""Start the proxy and the hub on this machine, and stop them: for a trial and for tests."""

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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from jupyterhub.utils import random_port

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONFIG = HERE / "jupyterhub_config.py"
PREFIX = "VIZHELPERS_HUB_"
LOOPBACK = "127.0.0.1"
INSTALL_PROXY = "npm install --no-save --prefix .cache/js configurable-http-proxy"
START_TIMEOUT = 60  # seconds


class Missing(Exception):
    """JupyterHub's proxy is not installed; the message says how to install it."""


def proxy_program() -> str | None:
    """Return the path of JupyterHub's proxy, or None."""
    own = ROOT / ".cache" / "js" / "node_modules" / ".bin"
    return shutil.which("configurable-http-proxy", path=f"{own}{os.pathsep}{os.environ['PATH']}")


class LocalHub:
    """A proxy and a hub as two processes of this account, which stop when the context ends.

    Browsers open ``address``; all students have ``password``; ``token`` is for the REST API.
    """

    def __init__(
        self,
        state: Path,
        students: Sequence[str],
        *,
        port: int | None = None,
        repository: str = "",
        config: Path = CONFIG,
    ) -> None:
        """Choose ports and secrets; nothing is started.

        Args:
            state: folder of the database, the logs and the students' homes.
            students: names that may log in.
            port: of the proxy; an unused one if None.
            repository: address or path of the course's git repository; none if empty.
            config: JupyterHub's configuration file.

        Raises:
            Missing: JupyterHub's proxy is not installed.
        """
        self.program = proxy_program() or ""
        if not self.program:
            raise Missing(
                "JupyterHub's proxy is missing. Install Node 20 or newer with npm, then run in the "
                f"repository:\n    {INSTALL_PROXY}"
            )
        self.state, self.config = state.resolve(), config
        self.password, self.token = secrets.token_urlsafe(9), secrets.token_hex()
        self.port, self.api_port = port or random_port(), random_port()
        self.address = f"http://{LOOPBACK}:{self.port}"
        self.hub_address = f"http://{LOOPBACK}:{random_port()}"
        self.proxy: subprocess.Popen[bytes] | None = None
        self.hub: subprocess.Popen[bytes] | None = None
        settings = {
            "TRIAL_STUDENTS": ",".join(students),
            "TRIAL_PASSWORD": self.password,
            "TRIAL_TOKEN": self.token,
            "COURSE_REPOSITORY": repository,
            "STATE": str(self.state),
            "ADDRESS": self.address,
            "INTERNAL_ADDRESS": self.hub_address,
            "PROXY_API": f"http://{LOOPBACK}:{self.api_port}",
        }
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
            **{PREFIX + name: value for name, value in settings.items()},
            "CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(),
        }

    def __enter__(self) -> "LocalHub":
        """Start the proxy and the hub."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self.start_proxy()
            self.start_hub()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start_proxy(self) -> None:
        """Start the proxy and wait until it answers; raise RuntimeError if it cannot."""
        try:
            socket.create_server((LOOPBACK, self.port)).close()
        except OSError as error:  # otherwise the answer would be another program's
            raise RuntimeError(f"Port {self.port} cannot be used: {error}.") from error
        command = [self.program, f"--ip={LOOPBACK}", f"--port={self.port}"]
        command += [f"--api-ip={LOOPBACK}", f"--api-port={self.api_port}"]
        hub = self.hub_address
        command += [f"--default-target={hub}", f"--error-target={hub}/hub/error"]
        self._start("proxy", command, f"{self.address}/", highest=599)

    def start_hub(self) -> None:
        """Start the hub and wait until it answers through the proxy."""
        command = [sys.executable, "-m", "jupyterhub", "-f", str(self.config)]
        self._start("hub", command, f"{self.address}/hub/api/", highest=200)

    def _start(self, name: str, command: list[str], address: str, highest: int) -> None:
        path = self.state / f"{name}.log"
        with path.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.state,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this process only, which stops both
            )
        setattr(self, name, process)
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end and process.poll() is None:
            try:
                with urllib.request.urlopen(address, timeout=5):
                    return
            except urllib.error.HTTPError as error:
                if error.code <= highest:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"The {name} did not start:\n{path.read_text(errors='replace')[-3000:]}")

    def end(self, name: str, signal_number: int = signal.SIGTERM) -> None:
        """Stop the proxy or the hub and wait; students' servers keep running."""
        process: subprocess.Popen[bytes] | None = getattr(self, name)
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal_number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __exit__(self, *_: object) -> None:
        """Let the hub stop the students' servers and itself, then stop the proxy."""
        if self.hub is not None and self.hub.poll() is None:
            request = urllib.request.Request(
                f"{self.hub_address}/hub/api/shutdown",
                data=b'{"servers": true, "proxy": false}',
                headers={"Authorization": f"token {self.token}"},
            )
            with suppress(OSError, subprocess.TimeoutExpired):
                urllib.request.urlopen(request, timeout=30).close()
                self.hub.wait(60)
        self.end("hub")
        self.end("proxy")
