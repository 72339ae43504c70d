"""Messages that could not become notifications: kept whole, reported, replayable."""

import asyncio
import base64
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import orjson

from service.contract import FieldProblem, RejectedMessage
from service.db.database import TRANSIENT, Database
from service.db.ids import uuid7

log = logging.getLogger(__name__)

EVENT_BODY_BYTES = 16_384
"""What a `RejectedMessage` carries of the body: brokers refuse messages of a megabyte."""
REASON_MAX_CHARS = 2_000

_STORE = """
WITH kept AS (
    INSERT INTO rejection (id, at, source, reason, problems, raw, size)
    VALUES ($1, $2, $3, $4, $5::text::json, $6, $7)
    ON CONFLICT (id) DO NOTHING RETURNING id
)
INSERT INTO outbox (transport, channel, types, subjects, bodies)
SELECT transport, 'rejected', ARRAY['rejected'], ARRAY[$1::text], ARRAY[$8::text]
FROM unnest($9::text[]) AS transport, kept
"""


class Rejections:
    """Writes the `rejection` table. `keep_bytes`: of a larger message only the beginning is kept."""

    def __init__(self, database: Database, *, transports: Sequence[str], keep_bytes: int) -> None:
        self._database = database
        self._transports = list(transports)
        self._keep_bytes = keep_bytes

    async def store(self, raw: bytes, *, source: str, problems: Sequence[FieldProblem]) -> UUID:
        """Keep it and put the report into the outbox, in one commit. Waits out an outage."""
        rejection = _describe(raw, source=source, problems=problems)
        arguments = (
            rejection.id,
            rejection.time,
            source,
            rejection.reason,
            orjson.dumps([problem.model_dump() for problem in problems]).decode(),
            raw[: self._keep_bytes],
            len(raw),
            rejection.model_dump_json(),
            self._transports,
        )
        delay = 0.1
        while True:
            try:
                await self._database.pool.execute(_STORE, *arguments)
            except TRANSIENT as error:
                log.warning("a rejection waits for the database: %s", error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)
            else:
                return rejection.id


def _describe(raw: bytes, *, source: str, problems: Sequence[FieldProblem]) -> RejectedMessage:
    beginning = raw[:EVENT_BODY_BYTES]
    try:
        # A cut may fall inside a character; what is left of it is dropped.
        text = beginning.decode("utf-8", "ignore" if len(raw) > len(beginning) else "strict")
        body, encoding = text, "utf-8"
    except UnicodeDecodeError:
        body, encoding = base64.b64encode(beginning).decode(), "base64"
    reason = "; ".join(f"{problem.field or 'message'}: {problem.problem}" for problem in problems)
    return RejectedMessage.model_validate(
        {
            "id": uuid7(),
            "time": datetime.now(UTC),
            "source": source,
            "reason": reason.replace("\0", "\\0")[:REASON_MAX_CHARS],
            "problems": tuple(problems),
            "body": body,
            "encoding": encoding,
            "size": len(raw),
            "truncated": len(raw) > len(beginning),
        }
    )
