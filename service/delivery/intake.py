"""Accepting requests: judge, plan, hand to the ledger's next group commit, answer after the commit."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

import asyncpg

from service.contract import Bounds, FieldProblem, NotificationRequest
from service.db.database import OUTAGE, Connection, Database
from service.db.ids import uuid7
from service.delivery import queries
from service.delivery.acceptance import write_in
from service.delivery.dedup import content_hash, explicit_key
from service.delivery.facts import NOTHING, load_facts, needs_facts
from service.delivery.ledger import Ledger
from service.delivery.metrics import Metrics
from service.delivery.planning import Facts, Plan, Planner, Refusal
from service.delivery.rejections import Rejections
from service.delivery.rows import Accepted, Entry, repeat_of
from service.errors import Unavailable
from service.settings import DeliverySettings, LimitSettings

__all__ = ["Accepted", "Intake", "Refusal", "Submission", "Written"]

T = TypeVar("T")

RETRY_AFTER_SECONDS = 5
OUTAGE_PAUSE_SECONDS = 1.0


@dataclass(slots=True)
class Submission:
    """A request on its way in. `source` names the way: http, rabbit:QUEUE, kafka:TOPIC/PARTITION/OFFSET.

    `dedup_key` is the transport's own identity of the message, used when the request has no `id`.
    """

    request: NotificationRequest
    source: str
    dedup_key: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What became of requests that were stored in a transaction of the caller's; `entries` are the new ones."""

    answers: Sequence[Accepted | Refusal]
    entries: Sequence[Entry]


class Intake:
    """The one door for requests, whatever their way in."""

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        ledger: Ledger,
        rejections: Rejections,
        planner: Planner,
        database: Database,
        *,
        limits: LimitSettings,
        settings: DeliverySettings,
        metrics: Metrics,
        transports: Sequence[str],
        on_stored: Callable[[Sequence[Entry]], None],
    ) -> None:
        self.bounds = Bounds(
            title_chars=limits.title_chars,
            body_chars=limits.body_chars,
            params_bytes=limits.params_bytes,
            metadata_bytes=limits.metadata_bytes,
            buttons=limits.buttons,
            attachments=limits.attachments,
        )
        self._ledger = ledger
        self._rejections = rejections
        self._planner = planner
        self._database = database
        self._settings = settings
        self._metrics = metrics
        self._transports = list(transports)
        self._on_stored = on_stored

    async def accept(self, submission: Submission, *, wait: bool = False) -> Accepted | Refusal:
        """Store one request. With `wait` it waits for as long as an outage lasts; otherwise it raises
        `Unavailable` after `DELIVERY_INTAKE_TIMEOUT_SECONDS`.
        """
        return (await self.accept_many((submission,), wait=wait))[0]

    async def accept_many(
        self, submissions: Sequence[Submission], *, wait: bool = False
    ) -> list[Accepted | Refusal]:
        """Store many in their order; an answer for each, in the same order."""
        facts = await self._facts([submission.request for submission in submissions], wait=wait)
        now = datetime.now(UTC)
        judged = self._judge(submissions, facts, now)
        await self._commit([entry for entry in judged if isinstance(entry, Entry)], wait=wait)
        answers = [entry.answer.result() if isinstance(entry, Entry) else entry for entry in judged]
        if any(isinstance(answer, Refusal) for answer in answers):
            await self._recall(submissions, answers, wait=wait)
        return answers

    async def _recall(
        self, submissions: Sequence[Submission], answers: list[Accepted | Refusal], *, wait: bool
    ) -> None:
        """What would be refused now may be a repeat of what was accepted when a contact or template was there."""
        keys = {
            index: key
            for index, (submission, answer) in enumerate(zip(submissions, answers, strict=True))
            if isinstance(answer, Refusal) and (key := _key_of(submission)) is not None
        }
        if not keys:
            return
        first = await self._patiently(partial(self._first_answers, list(keys.values())), wait=wait)
        for index, key in keys.items():
            row = first.get(key)
            if row is not None and row["content_hash"] == content_hash(submissions[index].request):
                answers[index] = repeat_of(row)
                self._metrics.repeated()

    async def _first_answers(self, keys: list[str]) -> dict[str, asyncpg.Record]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(queries.FIND_REPEATED, keys, [])
        return {row["dedup_key"]: row for row in rows}

    async def accept_in(
        self, connection: Connection, submissions: Sequence[Submission], now: datetime
    ) -> Written:
        """Store many within the caller's transaction. When that is committed, hand the answer to `announce`.

        Each needs a `dedup_key` of its caller's: a request whose key was used is a repeat, whatever it says.
        """
        facts = await load_facts(connection, [submission.request for submission in submissions])
        judged = self._judge(submissions, facts, now)
        entries = [entry for entry in judged if isinstance(entry, Entry)]
        written = await write_in(connection, entries, now, transports=self._transports)
        return Written(
            [entry.answer.result() if isinstance(entry, Entry) else entry for entry in judged], written
        )

    def announce(self, written: Written) -> None:
        """What `accept_in` stored is committed: the engine looks at it."""
        for entry in written.entries:
            self._metrics.accepted(entry.source)
        self._on_stored(written.entries)

    async def plan(self, request: NotificationRequest) -> Plan | Refusal:
        """What would become of a request. Raises `Unavailable`."""
        facts = await self._facts((request,), wait=False)
        return self._planner.plan(request, facts, datetime.now(UTC))

    async def _facts(self, requests: Sequence[NotificationRequest], *, wait: bool) -> Facts:
        if not any(needs_facts(request) for request in requests):
            return NOTHING
        return await self._patiently(partial(self._load_facts, requests), wait=wait)

    async def _load_facts(self, requests: Sequence[NotificationRequest]) -> Facts:
        async with self._database.connection() as connection:
            return await load_facts(connection, requests)

    async def _patiently(self, ask: Callable[[], Awaitable[T]], *, wait: bool) -> T:
        """The answer of the database; an outage is waited out or said."""
        while True:
            try:
                return await ask()
            except OUTAGE:
                if not wait:
                    raise Unavailable(RETRY_AFTER_SECONDS) from None
                await asyncio.sleep(OUTAGE_PAUSE_SECONDS)

    async def _commit(self, entries: Sequence[Entry], *, wait: bool) -> None:
        """Return when each entry has its answer."""
        if not wait and self._ledger.waiting_entries + len(entries) > self._settings.intake_queue_rows:
            raise Unavailable(RETRY_AFTER_SECONDS, "too many requests wait for their commit")
        # Callers over HTTP make their next call after this one's answer: nothing comes while they wait.
        self._ledger.submit(entries, hurry=not wait)
        try:
            if wait:
                for entry in entries:
                    await entry.answer
            else:
                async with asyncio.timeout(self._settings.intake_timeout_seconds):
                    for entry in entries:
                        await entry.answer
        except TimeoutError:
            raise Unavailable(RETRY_AFTER_SECONDS) from None
        finally:
            for entry in entries:
                entry.answer.cancel()  # nobody waits any more: what is not under way is dropped

    async def reject(self, raw: bytes, *, source: str, problems: Sequence[FieldProblem]) -> UUID:
        """Keep a message that cannot become a notification, and report it. Waits out an outage."""
        self._metrics.rejected(source)
        return await self._rejections.store(raw, source=source, problems=problems)

    def _judge(self, submissions: Sequence[Submission], facts: Facts, now: datetime) -> list[Entry | Refusal]:
        loop = asyncio.get_running_loop()  # once: it is a system call
        judged: list[Entry | Refusal] = []
        for submission in submissions:
            request = submission.request
            planned = self._planner.plan(request, facts, now)
            if isinstance(planned, Refusal):
                judged.append(planned)
                continue
            key = _key_of(submission)
            fingerprint = None if key is None else content_hash(request)
            entry = Entry(
                uuid7(), request, planned, submission.source, key, fingerprint, loop.create_future()
            )
            judged.append(entry)
        return judged


def _key_of(submission: Submission) -> str | None:
    request_id = submission.request.id
    return submission.dedup_key if request_id is None else explicit_key(request_id)
