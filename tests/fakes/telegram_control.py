"""Steering the fake Bot API server over HTTP, for tests in another process."""

from collections import Counter
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

from tests.fakes.telegram_people import act
from tests.fakes.tiny_http import Request, response

if TYPE_CHECKING:
    from tests.fakes.telegram import FakeTelegram


def control(fake: "FakeTelegram", request: Request) -> bytes:
    """What `/control/…` answers; the paths are listed where the fake is."""
    name = request.path.removeprefix("/control/")
    values: dict[str, Any] = orjson.loads(request.body) if request.body else {}
    match request.method, name:
        case "GET", "counts":
            return _json(_counts(fake))
        case "GET", "journal":
            query = dict(parse_qsl(request.query))
            after = int(query.get("after", 0))
            items = fake.journal[after : after + int(query.get("limit", len(fake.journal)))]
            return _json({"items": [asdict(sent) for sent in items]})
        case "GET", "refused":
            return _json({"items": [asdict(call) for call in fake.refused]})
        case "GET", "answers":
            return _json(fake.callbacks)
        case "GET", "updates":
            waiting = fake.updates.webhook_info()["pending_update_count"]
            return _json({"served": fake.updates.served, "waiting": waiting, "pushes": fake.updates.pushes})
        case "POST", "act":
            return _json({"result": act(fake, values)})
        case "POST", "faults":
            fake.fault(**values)
        case "DELETE", "faults":
            fake.faults.clear()
        case "POST", "limits":
            fake.limits = replace(fake.limits, **values)
        case "POST", "chats":
            chat = fake.chat(values.pop("id"))
            if "topics" in values:
                values["topics"] = {int(key): state for key, state in values["topics"].items()}
            for field, value in values.items():
                setattr(chat, field, value)
        case "POST", "delay":
            fake.delay_seconds = float(values["seconds"])
        case "POST", "reset":
            fake.reset()
        case _:
            return _json({"error": f"no {request.method} {request.path}"}, status=404)
    return _json({})


def _counts(fake: "FakeTelegram") -> dict[str, Any]:
    messages = Counter((sent.chat, sent.text, sent.file) for sent in fake.journal)
    return {
        "calls": fake.calls,
        "accepted": len(fake.journal),
        "refused": len(fake.refused),
        "throttled": sum(call.status == 429 for call in fake.refused),
        "duplicates": len(fake.journal) - len(messages),
        "by_chat": Counter(str(sent.chat) for sent in fake.journal),
    }


def _json(value: Any, status: int = 200) -> bytes:
    return response(status, orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))
