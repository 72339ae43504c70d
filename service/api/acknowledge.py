"""`/acknowledge/{token}`: the page behind the button of a message that escalates.

GET never changes anything, since programs that look at messages follow links too.
"""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

from service.access.links import LinkError
from service.api.deps import ApiDeps, Deps
from service.api.pages import form, page, wrong_page
from service.delivery.wording import ACKNOWLEDGE

router = APIRouter(prefix=f"/{ACKNOWLEDGE}", include_in_schema=False)


@router.get("/{token}")
async def show(request: Request, deps: Deps, token: str) -> HTMLResponse:
    """Ask whether the message was seen, or say that it was said."""
    delivery_id = _delivery(deps, token)
    if isinstance(delivery_id, LinkError):
        return wrong_page(request, deps, delivery_id)
    found = await deps.listing.delivery(delivery_id)
    if found is None:
        return wrong_page(request, deps, LinkError(expired=False))
    return _page(request, deps, done=found[0]["acknowledged_at"] is not None)


@router.post("/{token}")
async def act(request: Request, deps: Deps, token: str) -> HTMLResponse:
    """The reader has seen it: nobody else is told."""
    delivery_id = _delivery(deps, token)
    if isinstance(delivery_id, LinkError):
        return wrong_page(request, deps, delivery_id)
    if not await deps.operations.acknowledge(delivery_id):
        return wrong_page(request, deps, LinkError(expired=False))
    return _page(request, deps, done=True)


def _delivery(deps: ApiDeps, token: str) -> int | LinkError:
    try:
        return int(deps.links.read(ACKNOWLEDGE, token))
    except LinkError as error:
        return error


def _page(request: Request, deps: ApiDeps, *, done: bool) -> HTMLResponse:
    language = deps.localisation.negotiate(request.headers.get("accept-language", ""))
    words = deps.localisation.translator(language)
    if done:
        return page(language, words.gettext("Thank you, it is acknowledged"), "")
    return page(
        language, words.gettext("Have you seen this message?"), form("?", words.gettext("Acknowledge"))
    )
