"""What a browser does at a hub: log in, press the button, open a notebook, run its cells.

The load test's students are made of this, and so is ``before_class``, which presses the button for
them. One cell at a time is sent over the kernel's websocket, as JupyterLab does.
"""

import asyncio
import json
import re
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp
from yarl import URL

JSON = dict[str, Any]
DEAD = {"execution_state": "dead"}
CONNECTING = 60  # seconds; a kernel that has not started yet answers late


@dataclass
class Outcome:
    """What running one cell came to.

    Attributes:
        seconds: from sending it until the kernel was idle again.
        pictures: how many PNGs it showed.
        first_picture: ``time.monotonic()`` when the first of them arrived.
        text: what it printed.
        error: the exception's name and text; or that the kernel died.
    """

    seconds: float = 0.0
    pictures: int = 0
    first_picture: float | None = None
    text: str = ""
    error: str = ""


class Kernel:
    """A notebook's kernel, over a websocket that is opened again when it breaks.

    It listens all the time, as a page does: a server ends a connection that answers no ping.
    """

    def __init__(self, browser: "Browser", identity: str) -> None:
        """Take a kernel that runs; the connection is opened with the first cell.

        Args:
            browser: whose cookies open it.
            identity: the kernel's.
        """
        self.browser, self.id, self.session = browser, identity, uuid.uuid4().hex
        self.reconnected = 0
        self._gone = False
        self._told: asyncio.Queue[JSON] = asyncio.Queue()
        self._open = asyncio.Event()
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._listener: asyncio.Task[None] | None = None

    async def run(self, code: str, *, timeout: float = 300) -> Outcome:
        """Run a cell and wait until the kernel is idle again.

        Raises:
            TimeoutError: it took longer.
        """
        message = uuid.uuid4().hex
        start, done = time.monotonic(), Outcome()
        async with asyncio.timeout(timeout):
            while not self._told.empty():  # of an earlier cell
                self._told.get_nowait()
            await self._send(self._request(message, code))
            if self._gone:
                return Outcome(error="the kernel is gone")
            while not self._heard(await self._told.get(), message, done):
                pass
        done.seconds = time.monotonic() - start
        return done

    def _request(self, message: str, code: str) -> JSON:
        header = {"msg_id": message, "msg_type": "execute_request", "session": self.session}
        header |= {"username": self.browser.name, "version": "5.3", "date": ""}
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
        content |= {"user_expressions": {}, "stop_on_error": True}
        return {
            "header": header,
            "parent_header": {},
            "metadata": {},
            "channel": "shell",
            "content": content,
        }

    def _heard(self, told: JSON, message: str, done: Outcome) -> bool:
        """Take one message; True when the cell is over."""
        kind, content = told["msg_type"], told["content"]
        state = content.get("execution_state")
        if kind == "status" and state in ("restarting", "autorestarting", "dead"):
            done.error = f"the kernel is {state}"
            return True
        if told.get("parent_header", {}).get("msg_id") != message:
            return False
        if kind in ("display_data", "execute_result") and "image/png" in content["data"]:
            done.pictures += 1
            done.first_picture = done.first_picture or time.monotonic()
        elif kind == "stream":
            done.text += content["text"]
        elif kind == "error":
            done.error = f"{content['ename']}: {content['evalue']}"
        return kind == "status" and state == "idle"

    async def _send(self, request: JSON) -> None:
        self._listener = self._listener or asyncio.create_task(self._listen())
        while True:
            await self._open.wait()
            if self._gone:
                return
            try:
                assert self._socket is not None
                await self._socket.send_str(json.dumps(request))
                return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)  # the listener opens it again

    async def _listen(self) -> None:
        """Hear everything; where the connection breaks, open it again, as JupyterLab does."""
        where = f"{self.browser.base}api/kernels/{self.id}/channels?session_id={self.session}"
        while True:
            try:
                # What the kernel said meanwhile is kept by the server for the same session.
                async with asyncio.timeout(CONNECTING):
                    self._socket = await self.browser.http.ws_connect(
                        where, headers=self.browser.headers(), max_msg_size=0
                    )
            except (aiohttp.ClientError, TimeoutError) as error:
                if getattr(error, "status", 0) == 404:  # the kernel is gone, for good
                    self._told.put_nowait({"msg_type": "status", "content": DEAD})
                    self._gone = True
                    self._open.set()
                    return
                await asyncio.sleep(0.5)
                continue
            self._open.set()
            async for told in self._socket:
                if told.type is aiohttp.WSMsgType.TEXT:
                    self._told.put_nowait(json.loads(told.data))
            self._open.clear()
            self.reconnected += 1

    async def close(self) -> None:
        """Close the connection; the kernel goes on."""
        if self._listener is not None:
            self._listener.cancel()
            with suppress(asyncio.CancelledError):
                await self._listener
        if self._socket is not None:
            await self._socket.close()


class Refused(Exception):
    """A server answered with an error."""


class Browser:
    """One student's browser, or the teacher's program with a token, at a hub."""

    def __init__(self, address: str, name: str, token: str = "") -> None:
        """Nothing is asked yet.

        Args:
            address: of the proxy.
            name: of the student.
            token: of a service that may act for the student; without one, ``log_in`` first.
        """
        self.address, self.name, self.token = address.rstrip("/"), name, token
        self.hub = f"{self.address}/hub/"
        self.base = f"{self.address}/user/{name}/"
        self.http: aiohttp.ClientSession

    async def __aenter__(self) -> "Browser":
        """Open it."""
        self.http = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True),  # cookies of an address without a name
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=600),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.http.close()

    def headers(self) -> dict[str, str]:
        """Return what a page's own requests carry."""
        if self.token:
            return {"Authorization": f"token {self.token}"}
        cookies = self.http.cookie_jar.filter_cookies(URL(self.base))
        mark = cookies["_xsrf"].value if "_xsrf" in cookies else ""
        return {"X-XSRFToken": mark, "Origin": self.address, "Referer": f"{self.base}lab"}

    async def log_in(self, password: str) -> None:
        """Fill in the hub's form.

        Raises:
            Refused: wrong name or password.
        """
        page = await self._text("GET", f"{self.hub}login")
        mark = re.search(r'name="_xsrf" value="([^"]+)"', page)
        form = {"username": self.name, "password": password, "_xsrf": mark[1] if mark else ""}
        async with self.http.post(f"{self.hub}login", data=form, allow_redirects=False) as answer:
            if answer.status != 302:
                raise Refused(f"{self.name} was not let in: {answer.status}")

    async def start_server(self) -> None:
        """Press "Start my server", and wait until its page can be opened.

        Raises:
            Refused: the hub could not start it.
        """
        if self.token:
            where = f"{self.hub}api/users/{self.name}/server"
            await self._text("POST", where, headers=self.headers())
        else:
            await self._text("GET", f"{self.hub}spawn/{self.name}")
        await self._progress()
        if not self.token:
            await self._text("GET", f"{self.base}lab")

    async def _progress(self) -> None:
        """Follow the hub's progress bar to its end."""
        where = f"{self.hub}api/users/{self.name}/server/progress"
        async with self.http.get(where, headers=self.headers()) as answer:
            if answer.status != 200:
                raise Refused(f"{where}: {answer.status} {await answer.text()}")
            async for line in answer.content:
                if line.startswith(b"data:"):
                    event = json.loads(line[5:])
                    if event.get("failed"):
                        raise Refused(event["message"])
                    if event.get("ready"):
                        return
        raise Refused(f"the hub stopped telling of {self.name}'s server")

    async def open_notebook(self, path: str) -> Kernel:
        """Read a notebook and start its kernel, or find the one that it has."""
        await self.api("GET", f"contents/{path}?content=1")
        wish = {"path": path, "name": "", "type": "notebook", "kernel": {"name": "python3"}}
        session = await self.api("POST", "sessions", wish)
        return Kernel(self, session["kernel"]["id"])

    async def close_notebook(self, path: str) -> None:
        """Close a notebook and its kernel."""
        for session in await self.api("GET", "sessions"):
            if session["path"] == path:
                await self.api("DELETE", f"sessions/{session['id']}")

    async def save(self, path: str, content: JSON) -> None:
        """Save a notebook."""
        await self.api(
            "PUT", f"contents/{path}", {"type": "notebook", "format": "json", "content": content}
        )

    async def api(self, method: str, path: str, data: Mapping[str, Any] | None = None) -> Any:
        """Ask the student's server.

        Raises:
            Refused: it did not do it.
        """
        headers = self.headers()
        text = await self._text(method, f"{self.base}api/{path}", json=data, headers=headers)
        return json.loads(text) if text else None

    async def _text(self, method: str, where: str, **more: Any) -> str:
        async with self.http.request(method, where, **more) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise Refused(f"{method} {where}: {answer.status} {text[:500]}")
            return text
