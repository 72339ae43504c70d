"""What the fault tests of mailings share: a crowd with chats, a mailing over REST, who got it how often."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from http import HTTPStatus
from typing import Any

from service.remote import events
from tests.faults.support import FULL, execute, query
from tests.support.service import Service
from tests.support.telegram import TelegramProcess
from tests.support.waiting import wait_until

FIRST_CHAT = 10_000
DEADLINE = 3_000 if FULL else 120
TEXT = "a mailing"


async def crowd(url: str, count: int) -> None:
    """So many recipients, each with a chat of their own."""
    await execute(
        url,
        f"""WITH made AS (
            INSERT INTO recipient (external_id, attributes, muted, created_at, updated_at)
            SELECT 'r' || n, '{{}}', false, now(), now() FROM generate_series(0, {count - 1}) AS n
            RETURNING id, external_id)
        INSERT INTO contact (recipient_id, sender, address, position, active)
        SELECT id, 'TG', (substr(external_id, 2)::bigint + {FIRST_CHAT})::text, 0, true FROM made;
        ANALYZE recipient, contact""",
    )


def chats(count: int) -> set[int]:
    return set(range(FIRST_CHAT, FIRST_CHAT + count))


class RestMailing:
    """A mailing to everyone, by the calls of a running service."""

    def __init__(self, service: Service, mailing_id: str) -> None:
        self.service = service
        self.id = mailing_id

    @classmethod
    async def start(cls, service: Service, **fields: Any) -> "RestMailing":
        draft = {
            "name": "m",
            "content": {"body": TEXT, "sender": "TG"},
            "audience": {"everyone": True},
            "limits": {"failed": 1, "blocked": 1},
            **fields,
        }
        answer = await service.acall("POST", "/v1/mailings", draft)
        assert answer.status == HTTPStatus.CREATED, answer.body
        mailing = cls(service, answer.json()["id"])
        await mailing.call("start")
        return mailing

    async def call(self, action: str, service: Service | None = None) -> Any:
        path = f"/v1/mailings/{self.id}/{action}"
        answer = await (service or self.service).acall("POST", path)
        assert answer.status == HTTPStatus.OK, answer.body
        return answer.json()

    async def progress(self) -> Any:
        answer = await self.service.acall("GET", f"/v1/mailings/{self.id}/progress")
        assert answer.status == HTTPStatus.OK, answer.body
        return answer.json()

    async def follow(self) -> AsyncIterator[Any]:
        """Its progress as its stream tells it, until the end."""
        assert self.service.api_key is not None
        path = f"/v1/mailings/{self.id}/progress/stream"
        told = events(self.service.url, self.service.api_key, path)
        while (progress := await asyncio.to_thread(next, told, None)) is not None:
            yield progress

    async def until(self, status: str, deadline: float = DEADLINE) -> Any:
        """Wait until it has ended like that; its progress."""

        async def ended() -> Any:
            now = await self.progress()
            return now if now["status"] == status and now["ended_at"] else None

        return await wait_until(ended, deadline, f"the mailing is {status}")


class Journal:
    """What the provider has accepted, read as it grows."""

    def __init__(self, telegram: TelegramProcess) -> None:
        self._telegram = telegram
        self.items: list[dict[str, Any]] = []

    async def read(self) -> list[dict[str, Any]]:
        """Everything until now."""
        while True:
            path = f"journal?after={len(self.items)}&limit=20000"
            found = (await asyncio.to_thread(self._telegram.control, "GET", path))["items"]
            self.items += found
            if len(found) < 20_000:
                return self.items

    async def until(self, count: int, deadline: float = DEADLINE) -> None:
        async def reached() -> bool:
            return len(await self.read()) >= count

        await wait_until(reached, deadline, f"{count} messages have arrived")

    async def by_chat(self) -> Counter[int]:
        return Counter(item["chat"] for item in await self.read() if item["text"] == TEXT)


async def kill_and_look(service: Service, journal: Journal, url: str, before: Counter[int]) -> Counter[int]:
    """SIGKILL; the chats that had got what the tables do not know as sent, unless that was known `before`."""
    await asyncio.to_thread(service.kill)
    await wait_until(lambda: _left(url, service), 20, "PostgreSQL has noticed the crash")
    await wait_until(_still(journal), 20, "the provider has read everything")
    rows = await query(url, "SELECT address FROM delivery WHERE status = 'sending'")
    sending = {int(row["address"]) for row in rows}
    known = await query(url, "SELECT address FROM delivery WHERE status = 'sent'")
    sent = {int(row["address"]) for row in known}
    got = await journal.by_chat()
    return Counter(
        chat for chat, times in got.items() if times > before[chat] and chat in sending and chat not in sent
    )


async def _left(url: str, service: Service) -> bool:
    rows = await query(
        url,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE $1",
        "notifications%",
    )
    return bool(rows[0][0] == 0)


def _still(journal: Journal) -> Callable[[], Any]:
    last = -1

    async def still() -> bool:
        nonlocal last
        before, last = last, len(await journal.read())
        return before == last

    return still


async def one_row_each(url: str, people: Iterable[int]) -> None:
    """Exactly one delivery for each of these chats."""
    rows = await query(
        url, "SELECT address, count(*) AS rows FROM delivery GROUP BY address HAVING count(*) <> 1"
    )
    assert not rows, f"{len(rows)} have more than one delivery"
    (count,) = await query(url, "SELECT count(DISTINCT recipient_id) AS people FROM delivery")
    assert count["people"] == len(set(people))
