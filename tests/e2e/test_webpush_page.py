"""The example page of docs/webpush in a real browser: it registers its worker, subscribes, and shows what is pushed.

No push service can be reached from here, so the browser's subscription is one of the fake's, and what the service
sends there is handed to the service worker by the browser's own tools, as a push service would.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from service.sender_settings import WebPushSettings
from service.senders.base import Button, Sent
from service.senders.webpush import WebPushSender
from tests.contract.sender_suite import message
from tests.fakes.webpush import PRIVATE_KEY, PUBLIC_KEY, Browser, FakePushService
from tests.support.browser import Page, browsing
from tests.support.service import ROOT
from tests.support.waiting import wait_until

FOLDER = ROOT / "docs" / "webpush"
KINDS = {".html": "text/html", ".js": "text/javascript"}
SUBSCRIBED = """
const subscription = {subscription};
let current = null;
PushManager.prototype.getSubscription = async () => current;
PushManager.prototype.subscribe = async (options) => {{
  window.asked = options;
  current = {{ toJSON: () => subscription, unsubscribe: async () => {{ current = null; return true; }} }};
  return current;
}};
"""


# Chromium forgets a notification that it is asked about before it is shown: so the worker says when it is.
TELLS = """
const show = ServiceWorkerRegistration.prototype.showNotification;
ServiceWorkerRegistration.prototype.showNotification = async function (...given) {
  await show.apply(this, given);
  for (const client of await self.clients.matchAll()) client.postMessage("shown");
};
"""
LISTENS = """
window.shown = 0;
navigator.serviceWorker.addEventListener("message", () => { window.shown += 1; });
navigator.serviceWorker.startMessages();
"""


class Site:
    """A web server with the page, and the calls for devices that come from it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.url = ""
        app = web.Application()
        app.router.add_get("/{name:[a-z]+[.](?:html|js)}", self._file)
        app.router.add_route("*", "/v1/{path:.*}", self._devices)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)

    async def start(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _file(self, request: web.Request) -> web.Response:
        path = FOLDER / request.match_info["name"]
        text = path.read_text().replace("PASTE-IT-HERE", PUBLIC_KEY)
        text += TELLS if path.name == "sw.js" else ""
        return web.Response(text=text, content_type=KINDS[path.suffix])

    async def _devices(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.calls.append((request.method, request.path, body))
        return (
            web.Response(status=204)
            if request.method == "DELETE"
            else web.json_response({"id": 7}, status=201)
        )


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    running = Site()
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def service() -> AsyncIterator[FakePushService]:
    async with FakePushService() as running:
        yield running


async def open_page(page: Page, site: Site, browser: Browser) -> None:
    await page.call("Browser.grantPermissions", browser=True, permissions=["notifications"], origin=site.url)
    script = SUBSCRIBED.format(subscription=browser.json) + LISTENS
    await page.call("Page.addScriptToEvaluateOnNewDocument", source=script)
    await page.call("Page.navigate", url=f"{site.url}/index.html")
    await says(page, "Notifications are off.")


async def says(page: Page, text: str) -> None:
    async def shown() -> bool:
        return bool(await page.run("document.getElementById('state')?.textContent ?? ''") == text)

    await wait_until(shown, 30, f"the page says {text!r}")


async def notifications(page: Page) -> list[dict[str, Any]]:
    script = """(async () => {
      const registration = await navigator.serviceWorker.ready;
      const shown = await registration.getNotifications();
      return JSON.stringify(shown.map(({ title, body, tag, data }) => ({ title, body, tag, data })));
    })()"""
    found: list[dict[str, Any]] = json.loads(await page.run(script))
    return found


async def push(page: Page, site: Site, data: dict[str, Any]) -> None:
    """Hand it to the service worker, as the browser does with what a push service brings."""
    await wait_until(lambda: _is_active(page), 30, "the worker is active")
    (registration,) = {
        registration["registrationId"]
        for event in page.told("ServiceWorker.workerRegistrationUpdated")
        for registration in event["registrations"]
        if registration["scopeURL"].startswith(site.url)
    }
    await page.call(
        "ServiceWorker.deliverPushMessage",
        origin=site.url,
        registrationId=registration,
        data=orjson.dumps(data).decode(),
    )


def _is_active(page: Page) -> bool:
    updates = [
        version for event in page.told("ServiceWorker.workerVersionUpdated") for version in event["versions"]
    ]
    return any(version["status"] == "activated" for version in updates)


@pytest.mark.process
async def test_the_page_registers_its_browser_and_shows_what_the_service_sends(
    site: Site, service: FakePushService, tmp_path: Path
) -> None:
    browser = service.subscribe()
    async with browsing(tmp_path) as page:
        await open_page(page, site, browser)
        await page.run("document.getElementById('subscribe').click()")
        await says(page, "Notifications are on.")
        asked = await page.run("JSON.stringify(window.asked)")
        assert json.loads(asked) == {"userVisibleOnly": True, "applicationServerKey": PUBLIC_KEY}
        (call,) = site.calls
        assert call[:2] == ("POST", "/v1/recipients/user-42/devices")
        device = call[2]
        assert (device["sender"], device["platform"]) == ("WEBPUSH", "web")

        settings = WebPushSettings.model_validate(
            {"private_key": PRIVATE_KEY, "subject": "mailto:push@example.com", "allow_private": True}
        )
        sender = WebPushSender(settings)
        address = sender.check_address(device["token"])
        told = message(
            address, title="Заказ", body="готов", buttons=(Button("Open", "https://shop.example/1"),)
        )
        for _ in range(2):
            assert isinstance(await sender.send(told), Sent)
        await sender.close()
        for received in service.pushes:
            await push(page, site, received.data)

        async def shown() -> bool:
            return bool(await page.run("window.shown") == 2)

        await wait_until(shown, 30, "the worker has shown both")
        (notification,) = await notifications(page)
        assert (notification["title"], notification["body"]) == ("Заказ", "готов")
        assert notification["tag"] == str(told.notification_id)
        assert notification["data"]["url"] == "https://shop.example/1"

        await page.run("document.getElementById('unsubscribe').click()")
        await says(page, "Notifications are off.")
        assert site.calls[-1][:2] == ("DELETE", "/v1/recipients/user-42/devices/7")
        assert page.problems == []


@pytest.mark.process
async def test_a_browser_that_knows_the_page_is_registered_again_at_each_visit(
    site: Site, service: FakePushService, tmp_path: Path
) -> None:
    async with browsing(tmp_path) as page:
        script = SUBSCRIBED.format(subscription=service.subscribe().json).replace(
            "let current = null", "let current = { toJSON: () => subscription }"
        )
        await page.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        await page.call("Page.navigate", url=f"{site.url}/index.html")
        await says(page, "Notifications are on.")
        assert [call[0] for call in site.calls] == ["POST"]
        assert page.problems == []
