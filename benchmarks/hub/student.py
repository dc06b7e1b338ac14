"""A student's browser, reduced to its requests: start the server, open a notebook, run its cells.

Cells are sent one at a time through the kernel's websocket, as JupyterLab does.
"""

import json
import time
from typing import Any

import aiohttp
from jupyter_client.jsonutil import json_default
from jupyter_client.session import Session

from benchmarks.hub.notebooks import Notebook


class Failed(Exception):
    """A student saw an error."""


def connect(token: str) -> aiohttp.ClientSession:
    """Return an HTTP session that acts with a token of the hub and raises ``Failed`` on errors."""

    async def check(response: aiohttp.ClientResponse) -> None:
        if response.status >= 400:
            text = (await response.text())[:300]
            raise Failed(f"{response.method} {response.url}: {response.status} {text}")

    return aiohttp.ClientSession(
        headers={"Authorization": f"token {token}"},
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        raise_for_status=check,
    )


class Student:
    """A student at a hub, with one notebook open at a time."""

    def __init__(self, http: aiohttp.ClientSession, address: str, name: str) -> None:
        """Store a session of ``connect``, the proxy's address, and the student's name there."""
        self.http, self.name = http, name
        self.hub = f"{address}/hub/api/users/{name}/server"
        self.server = f"{address}/user/{name}/"

    async def request(self, method: str, url: str, body: Any = None) -> bytes:
        """Send one request and return the answer's body."""
        async with self.http.request(method, url, json=body) as response:
            return await response.read()

    async def start_server(self) -> None:
        """Start the server, follow the hub's progress report, load JupyterLab's page."""
        await self.request("POST", self.hub)
        async with self.http.get(f"{self.hub}/progress") as report:
            async for line in report.content:
                event = json.loads(line[5:]) if line.startswith(b"data:") else {}
                if event.get("failed"):
                    raise Failed(f"{self.name}'s server: {event['message']}")
                if event.get("ready"):
                    break
        await self.request("GET", f"{self.server}lab")

    async def save(self, notebook: Notebook) -> None:
        """Save a notebook in the student's home; create it if it does not exist."""
        body = {"type": "notebook", "format": "json", "content": notebook.content}
        await self.request("PUT", f"{self.server}api/contents/{notebook.name}.ipynb", body)

    async def open_notebook(self, notebook: Notebook) -> None:
        """Read a notebook, start its kernel and connect to it."""
        path = f"{notebook.name}.ipynb"
        await self.request("GET", f"{self.server}api/contents/{path}")
        body = {"path": path, "name": "", "type": "notebook", "kernel": {"name": "python3"}}
        session = json.loads(await self.request("POST", f"{self.server}api/sessions", body))
        self.session = f"{self.server}api/sessions/{session['id']}"
        channels = f"{self.server}api/kernels/{session['kernel']['id']}/channels"
        self.socket = await self.http.ws_connect(channels, max_msg_size=0)

    async def run(self, code: str) -> tuple[float, float | None]:
        """Run a cell; return its seconds and ``time.monotonic()`` at its first PNG, or None.

        Raises:
            Failed: the cell raised, the kernel died or the connection ended.
        """
        content = {"code": code, "silent": False, "allow_stdin": False}
        request = {**Session().msg("execute_request", content), "channel": "shell"}
        start, picture, error = time.monotonic(), None, ""
        await self.socket.send_str(json.dumps(request, default=json_default))
        async for frame in self.socket:
            if frame.type is not aiohttp.WSMsgType.TEXT:  # a widget's data, as binary
                continue
            message = json.loads(frame.data)
            content = message["content"]
            state = content.get("execution_state") if message["msg_type"] == "status" else None
            if state in ("restarting", "autorestarting", "dead"):
                raise Failed(f"{self.name}'s kernel is {state}: {code[:100]!r}")
            if message["parent_header"].get("msg_id") != request["msg_id"]:
                continue
            if message["msg_type"] == "error":
                error = f"{content['ename']}: {content['evalue']}"[:200]
            if "image/png" in content.get("data", {}):
                picture = picture or time.monotonic()
            if state == "idle" and error:  # a request sent before this would be dropped
                raise Failed(f"{self.name} sees {error} in {code[:100]!r}")
            if state == "idle":
                return round(time.monotonic() - start, 3), picture
        raise Failed(f"{self.name}'s connection to the kernel ended in {code[:100]!r}")

    async def close_notebook(self) -> None:
        """Close the connection and end the kernel."""
        await self.socket.close()
        await self.request("DELETE", self.session)
