"""The updates of a bot as rows: stored before Telegram hears that they came, taken one by one in each lane."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from service.db.database import Connection

ERROR_MAX_CHARS = 500
LANE_MAX_CHARS = 64
PAUSE_SECONDS = (0.2, 1.0, 5.0)
LOCK_CLASS = 0x626F7400
"""The first half of the advisory locks under which one process at a time works on a lane."""

_STORE = """
INSERT INTO bot_update (bot, id, lane, state, body, attempts, due_at, at)
SELECT $1, g.id, g.lane, 'waiting', g.body, 0, now(), now()
FROM unnest($2::bigint[], $3::text[], $4::bytea[]) AS g(id, lane, body)
ON CONFLICT DO NOTHING RETURNING lane
"""
_NEXT = """
SELECT id, body, attempts, due_at <= now() AS due FROM bot_update
WHERE bot = $1 AND lane = $2 AND state = 'waiting' ORDER BY id LIMIT 1 FOR UPDATE
"""
_DONE = """
UPDATE bot_update SET state = 'done', body = NULL, error = NULL, replies = $3::jsonb, due_at = now() WHERE bot = $1 AND id = $2
"""
_FAILED = """
UPDATE bot_update SET attempts = attempts + 1, error = $3, due_at = now() + $4 * interval '1 second',
    state = CASE WHEN attempts + 1 >= $5 THEN 'aside' ELSE 'waiting' END
WHERE bot = $1 AND id = $2 AND state = 'waiting' RETURNING state
"""
# From one lane to the next by the index, however much waits in each.
_LANES = """
WITH RECURSIVE lanes AS (
    SELECT (SELECT lane FROM bot_update WHERE bot = $1 AND state = 'waiting' AND lane >= $2 ORDER BY lane LIMIT 1) AS lane
    UNION ALL
    SELECT (SELECT lane FROM bot_update WHERE bot = $1 AND state = 'waiting' AND lane > l.lane ORDER BY lane LIMIT 1)
    FROM lanes l WHERE l.lane IS NOT NULL
)
SELECT lane FROM lanes WHERE lane IS NOT NULL LIMIT $3
"""
# Whoever takes replies has them for as long as they were left behind before.
_UNSAID = """
UPDATE bot_update SET due_at = now() WHERE (bot, id) = (
    SELECT bot, id FROM bot_update
    WHERE replies IS NOT NULL AND bot = $1 AND due_at < now() - $2 * interval '1 second'
    ORDER BY at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, replies
"""
_SAID = "UPDATE bot_update SET replies = NULL WHERE bot = $1 AND id = $2"
_FORGET = """
DELETE FROM bot_update WHERE (bot, id) IN (
    SELECT bot, id FROM bot_update
    WHERE at < now() - CASE state WHEN 'done' THEN $1 * interval '1 hour' ELSE $2 * interval '1 day' END
        AND at < now() - $1 * interval '1 hour' AND state <> 'waiting'
    ORDER BY at LIMIT $3)
"""
_ASIDE = """
SELECT count(*) FROM (
    SELECT 1 FROM bot_update WHERE bot = $1 AND state = 'aside' AND at > now() - interval '1 hour' LIMIT 1000) a
"""

# Where an update happened: fields that hold a message or a chat, the message's own first.
_HOLDERS = ("message", "edited_message", "callback_query", "my_chat_member")


@dataclass(frozen=True, slots=True)
class Waiting:
    """An update that is being handled; `attempts` failed before."""

    id: int
    body: bytes
    attempts: int


class Inbox:
    """The updates of the bot with that id. Every method works on the caller's connection."""

    def __init__(self, bot: int) -> None:
        self._bot = bot

    async def store(self, connection: Connection, updates: Sequence[Mapping[str, Any]]) -> set[str]:
        """Keep these updates; the lanes of those that are new."""
        rows = [(update["update_id"], lane_of(update), json.dumps(update).encode()) for update in updates]
        ids, lanes, bodies = zip(*rows, strict=True)
        fresh = await connection.fetch(_STORE, self._bot, ids, lanes, bodies)
        return {row["lane"] for row in fresh}

    async def take(self, connection: Connection, lane: str) -> Waiting | None:
        """The lane's next update, for the rest of the transaction. None: nothing is due, or another has the lane."""
        free = await connection.fetchval(
            "SELECT pg_try_advisory_xact_lock($1, hashtext($2))", LOCK_CLASS, f"{self._bot} {lane}"
        )
        row = await connection.fetchrow(_NEXT, self._bot, lane) if free else None
        return Waiting(row["id"], row["body"], row["attempts"]) if row is not None and row["due"] else None

    async def done(self, connection: Connection, update: Waiting, replies: Sequence[object]) -> None:
        """It is handled; the replies have to leave yet."""
        said = orjson.dumps(list(replies)).decode() if replies else None
        await connection.execute(_DONE, self._bot, update.id, said)

    async def failed(self, connection: Connection, update: Waiting, error: str, most: int) -> bool:
        """It could not be handled. True: it is put aside, after `most` times."""
        pause = PAUSE_SECONDS[min(update.attempts, len(PAUSE_SECONDS) - 1)]
        text = error.replace("\0", "")[:ERROR_MAX_CHARS]
        state = await connection.fetchval(_FAILED, self._bot, update.id, text, pause, most)
        return bool(state == "aside")

    async def said(self, connection: Connection, update_id: int) -> None:
        """Its replies have left, or nobody takes them."""
        await connection.execute(_SAID, self._bot, update_id)

    async def unsaid(self, connection: Connection, seconds: float) -> tuple[int, list[Any]] | None:
        """An update whose replies were left behind so long ago, and they: nobody else takes them for as long."""
        row = await connection.fetchrow(_UNSAID, self._bot, seconds)
        return None if row is None else (row["id"], orjson.loads(row["replies"]))

    async def lanes(self, connection: Connection, start: str, most: int) -> list[str]:
        """Those in which something waits, from that one on, in their order."""
        return [row["lane"] for row in await connection.fetch(_LANES, self._bot, start, most)]

    async def aside(self, connection: Connection) -> int:
        """How many of the last hour were put aside, counted up to a thousand."""
        return int(await connection.fetchval(_ASIDE, self._bot))

    async def forget(self, connection: Connection, *, hours: float, aside_days: float, most: int) -> None:
        """Remove what Telegram does not repeat any more, and what nobody looked at."""
        await connection.execute(_FORGET, hours, aside_days, most)


def lane_of(update: Mapping[str, Any]) -> str:
    """Within what an update keeps its place: a chat, or a topic of one. Those without a chat share a lane."""
    held = next((_inside(update, name) for name in _HOLDERS if name in update), {})
    message = _inside(held, "message") or held
    chat = _inside(message, "chat") or _inside(held, "from")
    lane = str(chat.get("id", ""))
    if message.get("is_topic_message"):
        lane += f":{message.get('message_thread_id')}"
    return lane[:LANE_MAX_CHARS]


def _inside(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, Mapping) else {}
