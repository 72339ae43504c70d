"""`/unsubscribe/{token}`: the page behind a signed link. It needs no key, no script and no other host.

GET never changes anything, since programs that look at mail follow links too. POST does, also without the
page: with the body that RFC 8058 prescribes, or any other.
"""

from gettext import NullTranslations
from html import escape

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

from service.access.links import LinkError
from service.api.deps import ApiDeps, Deps
from service.api.pages import form, page, wrong_page
from service.audience.unsubscribing import LINK_PURPOSE, Leaving, Unsubscribing, come_back, leave, look

# Both forms post to the page's own address, whatever prefix the service is behind.
_LEAVE, _UNDO = "?", "?undo"

router = APIRouter(prefix=f"/{LINK_PURPOSE}", include_in_schema=False)


@router.get("/{token}")
async def show(request: Request, deps: Deps, token: str) -> HTMLResponse:
    """What the link would do, or has done."""
    link = _link(deps, token)
    if isinstance(link, LinkError):
        return wrong_page(request, deps, link)
    async with deps.database.connection() as connection:
        leaving = await look(connection, link)
    return _link_page(request, deps, link, leaving)


@router.post("/{token}")
async def act(request: Request, deps: Deps, token: str) -> HTMLResponse:
    """Unsubscribe, or with `?undo` subscribe again. 200 for a program that posts as RFC 8058 says."""
    link = _link(deps, token)
    if isinstance(link, LinkError):
        return wrong_page(request, deps, link)
    undo = "undo" in request.query_params
    async with deps.database.transaction() as connection:
        await (come_back if undo else leave)(connection, link)
        leaving = await look(connection, link)
    if not undo:
        await deps.operations.respect(link.recipient_id)
    return _link_page(request, deps, link, leaving, undone=undo)


def _link(deps: ApiDeps, token: str) -> Unsubscribing | LinkError:
    try:
        return Unsubscribing.from_link(deps.links.read(LINK_PURPOSE, token))
    except LinkError as error:
        return error


def _link_page(
    request: Request, deps: ApiDeps, link: Unsubscribing, leaving: Leaving | None, *, undone: bool = False
) -> HTMLResponse:
    if leaving is None:
        return wrong_page(request, deps, LinkError(expired=False))
    spoken = deps.localisation.language(leaving.locale or deps.settings.audience.locale)
    language = spoken or deps.localisation.negotiate(request.headers.get("accept-language", ""))
    words = deps.localisation.translator(language)
    return page(language, _heading(words, leaving, undone=undone), _content(words, link, leaving))


def _heading(words: NullTranslations, leaving: Leaving, *, undone: bool) -> str:
    if leaving.done:
        return words.gettext("You are unsubscribed")
    if undone:
        return words.gettext("You are subscribed again")
    return words.gettext("Unsubscribe from these notifications?")


def _content(words: NullTranslations, link: Unsubscribing, leaving: Leaving) -> str:
    lines = []
    if link.category is not None:
        lines.append(f"{words.gettext('Category')}: {link.category}")
    if link.sender is not None:
        lines.append(f"{words.gettext('Channel')}: {link.sender}")
    if not lines:
        lines.append(words.gettext("All notifications, except important ones"))
    paragraphs = "\n".join(f"<p>{escape(line)}</p>" for line in lines)
    button = (
        form(_UNDO, words.gettext("Undo")) if leaving.done else form(_LEAVE, words.gettext("Unsubscribe"))
    )
    return f"{paragraphs}\n{button}"
