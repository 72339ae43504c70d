"""`/docs` and `/docs/asyncapi`: the contracts for people. Everything they load comes from this service."""

import asyncio
import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from service.api.asyncapi_plain import plain_page

STATIC = Path(__file__).parent / "static"
SWAGGER = Path(str(files("fastapi_swagger.resources")))
COMPONENT = STATIC / "asyncapi"
"""The AsyncAPI component, which is fetched and not kept in the repository; `make pages`."""

ASSETS = {
    "swagger-ui.css": SWAGGER / "swagger-ui.css",
    "swagger-ui-bundle.js": SWAGGER / "swagger-ui-bundle.js",
    "openapi-page.js": STATIC / "docs" / "openapi-page.js",
    "asyncapi.css": COMPONENT / "default.min.css",
    "asyncapi.js": COMPONENT / "index.js",
    "asyncapi-page.js": STATIC / "docs" / "asyncapi-page.js",
    "plain.css": STATIC / "docs" / "plain.css",
}
CACHE = {"Cache-Control": "public, max-age=3600"}
_POLICY = (
    "default-src 'none'; script-src 'self'{scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": _POLICY.format(scripts=""),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# The component's parser compiles JSON Schemas to functions.
COMPONENT_HEADERS = {**PAGE_HEADERS, "Content-Security-Policy": _POLICY.format(scripts=" 'unsafe-eval'")}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{assets}/{style}">
</head>
<body>
<div id="page"></div>
<script src="{assets}/{library}"></script>
<script src="{assets}/{script}"></script>
</body>
</html>
"""


def add_docs_pages(api: FastAPI, asyncapi_json: Callable[[], str]) -> None:
    """Add the pages to an application that serves `/openapi.json`. They need no API key; their calls do.

    `asyncapi_json` is asked at the first visit: it takes a second, which no start has to wait for.
    """
    made = cache(asyncapi_json)

    async def openapi_page() -> HTMLResponse:
        # Addresses are relative, so that the pages work behind a prefix as well.
        html = _PAGE.format(
            title=f"{api.title}: HTTP",
            assets="docs/assets",
            style="swagger-ui.css",
            library="swagger-ui-bundle.js",
            script="openapi-page.js",
        )
        return HTMLResponse(html, headers=PAGE_HEADERS)

    async def asyncapi_page() -> HTMLResponse:
        if not ASSETS["asyncapi.js"].exists():
            document: dict[str, Any] = json.loads(await asyncio.to_thread(made))
            return HTMLResponse(plain_page(document), headers=PAGE_HEADERS)
        html = _PAGE.format(
            title=f"{api.title}: messages",
            assets="assets",
            style="asyncapi.css",
            library="asyncapi.js",
            script="asyncapi-page.js",
        )
        return HTMLResponse(html, headers=COMPONENT_HEADERS)

    async def asyncapi_document() -> Response:
        return Response(await asyncio.to_thread(made), media_type="application/json")

    async def front() -> RedirectResponse:
        return RedirectResponse("docs")

    async def asset(name: Annotated[str, PathParameter()]) -> FileResponse:
        path = ASSETS.get(name)
        if path is None or not path.exists():
            raise HTTPException(404)
        return FileResponse(path, headers=CACHE)

    for address, page in (
        ("/", front),
        ("/docs", openapi_page),
        ("/docs/asyncapi", asyncapi_page),
        ("/docs/asyncapi.json", asyncapi_document),
        ("/docs/assets/{name}", asset),
    ):
        api.add_api_route(address, page, include_in_schema=False, response_model=None)
