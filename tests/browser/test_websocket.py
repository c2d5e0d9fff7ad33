"""A real browser (Debian's chromium, headless) with cookies, origins, subprotocols and tickets."""

import asyncio
import itertools
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.whole.conftest import Start, start
from tests.integration.whole.sockets import ROUTES, sockets

__all__ = ["start"]

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no `chromium` on PATH (Debian: apt-get install chromium)"
)

# Opens a WebSocket, says hello; gives what came back, or the close code.
OPEN = """
new Promise(resolve => {
  const socket = new WebSocket(%s);
  socket.onopen = () => socket.send("hello");
  socket.onmessage = event => {
    resolve("got " + event.data + " " + socket.protocol);
    socket.close();
  };
  socket.onclose = event => resolve("closed " + event.code);
})
"""


@dataclass
class Browser:
    """A browser, by its debugging protocol."""

    socket: aiohttp.ClientWebSocketResponse
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    page: str = ""

    async def tell(self, method: str, **parameters: Any) -> Any:
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self.page:
            message["sessionId"] = self.page
        await self.socket.send_json(message)
        async with asyncio.timeout(30):
            while True:
                answer = await self.socket.receive_json()
                if answer.get("id") == number:
                    assert "error" not in answer, answer
                    return answer["result"]

    async def evaluate(self, expression: str) -> Any:
        told = await self.tell(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        return told["result"].get("value", told)

    async def visit(self, url: str) -> None:
        await self.tell("Page.navigate", url=url)
        async with asyncio.timeout(30):
            while await self.evaluate("location.href + document.readyState") != url + "complete":
                await asyncio.sleep(0.05)


@asynccontextmanager
async def browsing(folder: Path) -> AsyncIterator[Browser]:
    assert CHROMIUM is not None
    child = await asyncio.create_subprocess_exec(
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert child.stderr is not None
        url = ""
        async with asyncio.timeout(60):
            while not url:
                line = (await child.stderr.readline()).decode()
                assert line, "chromium ended"
                if line.startswith("DevTools listening on "):
                    url = line.split()[-1]
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            browser = Browser(socket)
            target = await browser.tell("Target.createTarget", url="about:blank")
            attached = await browser.tell(
                "Target.attachToTarget", targetId=target["targetId"], flatten=True
            )
            browser.page = attached["sessionId"]
            yield browser
    finally:
        child.kill()
        await child.communicate()


@pytest.mark.timeout(180)
async def test_a_browser(start: Start, tmp_path: Path) -> None:
    assert sys.platform == "linux"
    routes = [
        {"path": "/page", "access": "public"},
        *({**route, "websocket": {"origins": []}} for route in ROUTES if route["path"] == "/ws"),
    ]
    async with sockets(start, routes=routes) as (whole, app), browsing(tmp_path) as browser:
        port = whole.url.rpartition(":")[2]
        bob = whole.tokens["bob"]
        await browser.tell("Network.enable")
        await browser.tell("Network.setCookie", name="sidecar_session", value=bob, url=whole.url)
        here = f"ws://127.0.0.1:{port}/ws"

        await browser.visit(whole.url + "/page")
        assert await browser.evaluate(OPEN % f'"{here}"') == "got hello "
        assert "cookie" not in app.heads[-1]
        ticket = await browser.evaluate(
            'fetch("/_sidecar/tickets", {method: "POST", body: JSON.stringify({path: "/ws"})})'
            ".then(answer => answer.json()).then(told => told.ticket)"
        )
        with_ticket = f'"{here}?sidecar_ticket={ticket}"'
        assert await browser.evaluate(OPEN % with_ticket) == "got hello "
        assert app.targets[-1] == "/ws"
        assert await browser.evaluate(OPEN % with_ticket) == "closed 1006", "it was used"

        # Another origin, and yet the browser sends the cookie: cookies know no ports.
        await browser.visit(app.url + "/page")
        assert await browser.evaluate(OPEN % f'"{here}"') == "closed 1006"
        assert app.targets.count("/ws") == 2

        # Another host: no cookie. A page that knows a token can show it.
        there = f"ws://localhost:{port}/ws"
        await browser.visit(f"http://localhost:{port}/page")
        assert await browser.evaluate(OPEN % f'"{there}"') == "closed 1006"
        shown = f'"{there}", ["sidecar.bearer.{bob}"]'
        assert await browser.evaluate(OPEN % shown) == f"got hello sidecar.bearer.{bob}"
        shown = f'"{there}", ["sidecar.bearer.{bob}", "chat"]'
        assert await browser.evaluate(OPEN % shown) == "got hello chat"
