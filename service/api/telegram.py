"""`POST /callbacks/telegram`: where Telegram posts the bot's updates when `BOT_MODE` is `webhook`.

https://core.telegram.org/bots/api#setwebhook: every call has the secret in a header. Any 2xx means that the
update is taken; it is posted again otherwise.
"""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.api.deps import Deps
from service.db.database import TRANSIENT

SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - a name
BODY_MAX_BYTES = 1024 * 1024
RETRY_SECONDS = 5

router = APIRouter(include_in_schema=False)


@router.post("/callbacks/telegram")
async def take_update(request: Request, deps: Deps) -> Response:
    """It is stored; whatever comes of it comes later."""
    if deps.webhook is None or not deps.webhook.knows(request.headers.get(SECRET_HEADER, "")):
        return Response(status_code=401)
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX_BYTES:
            return Response(status_code=413)
    try:
        taken = await deps.webhook.take(body)
    except TRANSIENT:
        return Response(status_code=503, headers={"Retry-After": str(RETRY_SECONDS)})
    return Response(status_code=200 if taken else 400)
