"""The small pages behind signed links: without a key, a script or another host."""

from base64 import b64encode
from hashlib import sha256
from html import escape

from babel import Locale
from starlette.requests import Request
from starlette.responses import HTMLResponse

from service.access.links import LinkError
from service.api.deps import ApiDeps

_STYLE = """
:root { color-scheme: light dark; font: 1.1rem/1.5 system-ui, sans-serif; }
body { margin: 12vh auto; max-width: 32rem; padding: 0 1.2rem; }
h1 { font-size: 1.4rem; }
button { font: inherit; padding: .5rem 1.2rem; cursor: pointer; }
"""
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
    "Cache-Control": "no-store",
}
_PAGE = """<!doctype html>
<html lang="{lang}" dir="{direction}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
<h1>{heading}</h1>
{content}
</main>
</body>
</html>
"""


def form(action: str, label: str) -> str:
    """A button that posts to `action`, relative to the page, whatever prefix the service is behind."""
    return f'<form method="post" action="{action}"><button>{escape(label)}</button></form>'


def wrong_page(request: Request, deps: ApiDeps, error: LinkError) -> HTMLResponse:
    """The answer to a token that is not to be followed: 410 when it was once, else 404."""
    language = deps.localisation.negotiate(request.headers.get("accept-language", ""))
    words = deps.localisation.translator(language)
    if error.expired:
        return page(language, words.gettext("This link has expired"), "", 410)
    return page(language, words.gettext("This link does not work"), "", 404)


def page(language: str, heading: str, content: str, status: int = 200) -> HTMLResponse:
    """`content` is HTML, `heading` text."""
    html = _PAGE.format(
        lang=language,
        direction=Locale.parse(language, sep="-").text_direction,
        heading=escape(heading),
        style=_STYLE,
        content=content,
    )
    return HTMLResponse(html, status, headers={**_HEADERS, "Content-Language": language})
