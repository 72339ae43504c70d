"""`/callbacks/vk`, and `/callbacks/vk/news` for the account `VK:news`: VK's Callback API, by which people allow and deny messages of the community.

Every call has the secret in its body. The answer is the confirmation string, or literally `ok` (its wording is
unconfirmed); anything else makes VK repeat the call.
"""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from service.account_settings import account_prefix
from service.api.callbacks import account_of, expected, read_event, same
from service.api.deps import Deps
from service.audience.facts import revive, silence
from service.errors import NotFound

REASON = "the person denied messages of the community"

router = APIRouter(prefix="/callbacks/vk", include_in_schema=False)


@router.post("")
@router.post("/{account}")
async def vk_event(request: Request, deps: Deps, account: str | None = None) -> PlainTextResponse:
    """Confirm the address, or note what a person wants. Once more changes nothing."""
    sender, all_settings = account_of(deps, "VK", account)
    settings = all_settings.vk
    secret = expected(settings.callback_secret, sender, "CALLBACK_SECRET")
    event = await read_event(request)
    if not same(event.get("secret"), secret):
        return PlainTextResponse("wrong secret", 403)
    match event:
        case {"type": "confirmation"}:
            if settings.callback_confirmation is None:
                raise NotFound(f"{account_prefix(sender)}CALLBACK_CONFIRMATION is not set")
            return PlainTextResponse(settings.callback_confirmation)
        case {"type": "message_deny", "object": {"user_id": int(user)}}:
            async with deps.database.transaction() as connection:
                await silence(connection, sender, str(user), reason=REASON)
        case {"type": "message_allow", "object": {"user_id": int(user)}}:
            async with deps.database.transaction() as connection:
                await revive(connection, sender, str(user))
    return PlainTextResponse("ok")
