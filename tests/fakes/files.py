"""A server of files: `files` by path, as (media type, content); anything else is 404."""

from aiohttp import web

from tests.fakes.provider import FakeProvider, Received


class FakeFiles(FakeProvider):
    """The journal holds the paths that were asked for."""

    def __init__(self, files: dict[str, tuple[str, bytes]] | None = None) -> None:
        super().__init__()
        self.files = files or {}

    def url(self, path: str) -> str:
        return f"{self.base_url}/{path}"

    def take(self, request: Received, raw: bytes, *, accept: bool) -> web.Response:
        path = request.path.lstrip("/")
        self.journal.append(path)
        if request.method != "GET" or path not in self.files:
            return web.Response(status=404)
        media_type, content = self.files[path]
        return web.Response(body=content, headers={"content-type": media_type})
