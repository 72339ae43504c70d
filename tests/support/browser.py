"""A headless Chromium, driven over its DevTools protocol."""

import asyncio
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.waiting import wait_until

START_SECONDS = 60.0
CALL_SECONDS = 30.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--remote-debugging-port=0",
    "about:blank",
)


class Page:
    """One tab. `events` are what the browser told of it, `problems` what went wrong in its scripts."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.events: list[dict[str, Any]] = []
        self._socket = socket
        self._session: str | None = None
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read())

    async def open_tab(self) -> None:
        tab = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=tab["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "ServiceWorker"):
            await self.call(f"{domain}.enable")

    async def call(self, method: str, *, browser: bool = False, **params: Any) -> dict[str, Any]:
        """Do it and return the result. Raises AssertionError for what the browser refuses."""
        number = next(self._ids)
        command = {"id": number, "method": method, "params": params}
        if self._session is not None and not browser:
            command["sessionId"] = self._session
        waiting = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json(command)
        async with asyncio.timeout(CALL_SECONDS):
            answer = await waiting
        assert "error" not in answer, (method, answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    async def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise's is waited for."""
        done = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def told(self, method: str) -> list[dict[str, Any]]:
        """What the browser told under that name."""
        return [event["params"] for event in self.events if event["method"] == method]

    @property
    def problems(self) -> list[Any]:
        thrown = [event["exceptionDetails"] for event in self.told("Runtime.exceptionThrown")]
        logged = [
            event["entry"] for event in self.told("Log.entryAdded") if event["entry"]["level"] == "error"
        ]
        workers = self.told("ServiceWorker.workerErrorReported")
        return [*thrown, *logged, *workers]

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        async for frame in self._socket:
            message = json.loads(frame.data)
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message)
            else:
                self.events.append(message)


@asynccontextmanager
async def browsing(folder: Path) -> AsyncIterator[Page]:
    """A tab of a browser of its own, whose profile is in `folder`."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "no Chromium: apt-get install chromium"
    process = await asyncio.create_subprocess_exec(
        found, *FLAGS, f"--user-data-dir={folder}",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port_file = folder / "DevToolsActivePort"
        await wait_until(
            lambda: port_file.exists() and len(port_file.read_text().split()) == 2, START_SECONDS
        )
        port, path = port_file.read_text().split()
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=0) as socket,
        ):
            page = Page(socket)
            try:
                await page.open_tab()
                yield page
            finally:
                await page.close()
    finally:
        process.terminate()
        await process.wait()
