"""A service that Apprise reaches: its own `json://`, which posts title, message and type.

https://github.com/caronc/apprise/wiki/Notify_Custom_JSON
"""

import orjson
from aiohttp import web

from tests.fakes.provider import FakeProvider, Received

SECRET_PATH = "a-secret-path-of-the-service"


class FakeJsonService(FakeProvider):
    """`messages` are title and text as a person would read them, of the calls that were accepted."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    @property
    def url(self) -> str:
        """Its Apprise URL."""
        return f"json://{self.base_url.partition('://')[2]}/{SECRET_PATH}"

    def take(self, request: Received, raw: bytes, *, accept: bool) -> web.Response:
        call = orjson.loads(raw)
        self.journal.append(call)
        if request.path != f"/{SECRET_PATH}":
            return web.json_response({"error": "no such service"}, status=404)
        if accept:
            self.messages.append("\n".join(filter(None, (call["title"], call["message"]))))
        return web.json_response({})
