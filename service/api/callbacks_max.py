"""`/callbacks/max`, and `/callbacks/max/news` for the account `MAX:news`: MAX's webhook, by which people start and stop the bot.

Every call has the secret of its subscription in a header. Where the update has the user and the chat is
unconfirmed. MAX repeats what was not answered with 200.
"""

import logging

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from service.access.links import LinkError
from service.api.callbacks import account_of, expected, read_event, same
from service.api.deps import ApiDeps, Deps
from service.audience.facts import revive, silence
from service.audience.linking import LINK_PURPOSE, Guest, use_link

log = logging.getLogger(__name__)

REASON = "the person stopped the bot"

router = APIRouter(prefix="/callbacks/max", include_in_schema=False)


@router.post("")
@router.post("/{account}")
async def max_update(request: Request, deps: Deps, account: str | None = None) -> PlainTextResponse:
    """Link a chat to whom its token names, revive or silence it. Once more changes nothing."""
    sender, settings = account_of(deps, "MAX", account)
    secret = expected(settings.max.webhook_secret, sender, "WEBHOOK_SECRET")
    if not same(request.headers.get("x-max-bot-api-secret"), secret):
        return PlainTextResponse("wrong secret", 403)
    match await read_event(request):
        case {"update_type": "bot_started", "user": {"user_id": int(user)}, "chat_id": int(chat), **more}:
            await _started(deps, sender, user, chat, more.get("payload"))
        case {
            "update_type": "bot_stopped" | "dialog_removed",
            "user": {"user_id": int(user)},
            "chat_id": int(chat),
        }:
            async with deps.database.transaction() as connection:
                await silence(connection, sender, *_addresses(user, chat), reason=REASON)
    return PlainTextResponse("ok")


async def _started(deps: ApiDeps, sender: str, user: int, chat: int, payload: object) -> None:
    link = _link(deps, payload)
    async with deps.database.transaction() as connection:
        await revive(connection, sender, *_addresses(user, chat))
        used = "linked" if link is None else await use_link(connection, link, Guest(sender, str(user)))
        if used not in ("linked", "again"):
            log.info("%s: a person started the bot with a link that was used, or is of nobody", sender)


def _link(deps: ApiDeps, payload: object) -> int | None:
    if not isinstance(payload, str) or not payload:
        return None
    try:
        return int(deps.links.read(LINK_PURPOSE, payload))
    except LinkError as error:
        log.info("MAX: a person started the bot with a token that links nobody: %s", error)
        return None


def _addresses(user: int, chat: int) -> tuple[str, str]:
    return str(user), f"chat:{chat}"
