"""The pages under /docs in a real browser: shown in full, with nothing from any other host."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from service.api import docs_pages
from service.contract import NotificationRequest
from service.transports.asyncapi import asyncapi_json
from tests.support.net import free_port
from tests.support.waiting import wait_blocking

BROWSER_SECONDS = 120
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--enable-logging=stderr",
    # Time of the page, not of the clock: it is over when the page has nothing left to do.
    "--virtual-time-budget=30000",
    "--window-size=1400,2000",
)


@dataclass(frozen=True)
class Shown:
    """What the browser made of a page."""

    dom: str
    console: list[str]
    requested: set[str]
    screenshot: Path


@contextmanager
def serving() -> Iterator[str]:
    """The pages over an API of one route, on a port of their own."""
    api = FastAPI(title="Notifications", docs_url=None, redoc_url=None)

    @api.post("/v1/notifications", summary="Send one notification")
    async def send(request: NotificationRequest) -> None: ...

    docs_pages.add_docs_pages(api, asyncapi_json)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(api, host="127.0.0.1", port=port, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_blocking(lambda: server.started, 20, "the pages are served")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


def show(url: str, folder: Path) -> Shown:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert browser, "no Chromium: apt-get install chromium"
    net_log, screenshot = folder / "net.json", folder / "page.png"
    command = [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}"]
    found = subprocess.run(
        [*command, f"--log-net-log={net_log}", "--dump-dom", url],
        capture_output=True,
        text=True,
        timeout=BROWSER_SECONDS,
        check=True,
    )
    subprocess.run(
        [*command, f"--screenshot={screenshot}", url],
        capture_output=True,
        timeout=BROWSER_SECONDS,
        check=True,
    )
    console = [line for line in found.stderr.splitlines() if ":CONSOLE:" in line]
    return Shown(found.stdout, console, _requests_of_the_page(net_log, url), screenshot)


def _requests_of_the_page(net_log: Path, url: str) -> set[str]:
    """What the page asked for; the browser's own requests have no origin."""
    origin = url.split("/docs", maxsplit=1)[0]
    events = json.loads(net_log.read_text())["events"]
    params = [event.get("params", {}) for event in events]
    return {item["url"] for item in params if "url" in item and item.get("initiator") == origin}


def assert_at_home(shown: Shown, base: str) -> None:
    assert shown.console == []
    assert shown.requested, "the browser's log has requests of the page"
    assert {url for url in shown.requested if not url.startswith(f"{base}/")} == set()
    # Not a blank one.
    assert shown.screenshot.stat().st_size > 15_000


def test_the_openapi_page(tmp_path: Path) -> None:
    with serving() as base:
        shown = show(f"{base}/docs", tmp_path)
        assert_at_home(shown, base)
        for text in ("Notifications", "/v1/notifications", "Send one notification"):
            assert text in shown.dom


def test_the_asyncapi_page(tmp_path: Path) -> None:
    with serving() as base:
        shown = show(f"{base}/docs/asyncapi", tmp_path)
        assert_at_home(shown, base)
        assert_shows_the_contract(shown)


def test_the_asyncapi_page_without_its_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(docs_pages.ASSETS, "asyncapi.js", tmp_path / "missing.js")
    with serving() as base:
        shown = show(f"{base}/docs/asyncapi", tmp_path)
        assert_at_home(shown, base)
        assert_shows_the_contract(shown)
        assert "<script" not in shown.dom


def assert_shows_the_contract(shown: Shown) -> None:
    for text in (
        "Publish one small message",
        "receiveNotificationFromRabbit",
        "sendEventToKafka",
        "NotificationRequest",
        "NotificationEvent",
        "RejectedMessage",
        "notifications.rejected",
        "Backup failed",
    ):
        assert text in shown.dom, text
