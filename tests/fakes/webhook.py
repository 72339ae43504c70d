"""A receiver of Standard Webhooks: verifies signatures with the official package and keeps a journal.

In a test: `async with FakeWebhook() as hook`, then `hook.url`, `hook.journal`, `hook.accepted`, `hook.fault(...)`.
On its own: `python -m tests.fakes.webhook --port 9000`, which prints `ready URL` and is steered as
`tests.fakes.provider` describes.
Calls go to any path. A POST that verifies is accepted with 200; others get 401.
"""

import argparse
import asyncio
import time
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.fakes.provider import FakeProvider, Received

SECRET = "whsec_ZmFrZS1yZWNlaXZlci1zZWNyZXQtb2YtMzItYnl0ZXM="


@dataclass(frozen=True)
class Call:
    """One call. `payload` is None when the signature or the body was wrong."""

    method: str
    path: str
    at: float
    headers: dict[str, str]
    body: str
    payload: dict[str, Any] | None
    accepted: bool

    @property
    def webhook_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def data(self) -> dict[str, Any]:
        """What the payload is about: the notification."""
        return {} if self.payload is None else self.payload["data"]


class FakeWebhook(FakeProvider):
    """One server on 127.0.0.1 that verifies with `secret`."""

    journal: list[Call]

    def __init__(self, secret: str = SECRET, *, port: int = 0) -> None:
        super().__init__(port=port)
        self._verifier = Webhook(secret)

    @property
    def url(self) -> str:
        return f"{self.base_url}/hook"

    @property
    def accepted(self) -> list[Call]:
        """The calls that had their effect, repeats included, in order."""
        return [call for call in self.journal if call.accepted]

    def take(self, request: Received, raw: bytes, *, accept: bool) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        payload = self._verified(raw, headers) if request.method == "POST" else None
        accepted = accept and payload is not None
        self.journal.append(
            Call(
                request.method, request.path_qs, time.time(), headers, raw.decode("utf-8", "replace"),
                payload, accepted,
            )
        )  # fmt: skip
        if payload is None:
            return web.json_response({"error": "signature"}, status=401)
        return web.Response(text="ok")

    def _verified(self, raw: bytes, headers: dict[str, str]) -> dict[str, Any] | None:
        try:
            payload = self._verifier.verify(raw, headers)
        except (WebhookVerificationError, ValueError):
            return None
        # The specification forbids dots in the id: they separate what is signed.
        return payload if isinstance(payload, dict) and "." not in headers["webhook-id"] else None


async def _serve(port: int, secret: str) -> None:
    async with FakeWebhook(secret, port=port) as hook:
        print(f"ready {hook.url}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--secret", default=SECRET)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.port, arguments.secret))


if __name__ == "__main__":
    main()
