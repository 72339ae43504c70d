"""Import of 100,000 recipients, of each format, and once more: how long, and how much memory it adds.

A call that only looks around runs meanwhile: its slowest answer tells how far an import holds up others.
"""

import asyncio
import csv
import http.client
import io
import json
import time
from collections.abc import Callable, Iterator

from tests.benchmarks import meters
from tests.benchmarks.figures import Figures, Goal
from tests.benchmarks.stage import Stage
from tests.support.service import API_KEY, Service

RECIPIENTS = 100_000
PATH = "/v1/recipients/import"
Pieces = Callable[[], Iterator[bytes]]
_AT_ONCE = 1_000
_PAUSE_SECONDS = 0.02


async def importing(stage: Stage, count: int, messages: int) -> tuple[Figures, list[Goal]]:
    """A new service and database each round; its process has done nothing before."""
    del messages
    figures = Figures()
    for _ in range(count):
        await _measure(stage, figures, "NDJSON", "application/x-ndjson", _ndjson)
        await _measure(stage, figures, "CSV", "text/csv", _csv)
    return figures, [
        Goal("import of 100,000, s", "NDJSON: s", at_most=60.0),
        Goal("its memory, MiB", "NDJSON: added memory MiB", at_most=64.0),
    ]


async def _measure(stage: Stage, figures: Figures, name: str, kind: str, pieces: Pieces) -> None:
    with stage.postgres.database() as url:
        service = Service(stage.folder, {"DATABASE_URL": url, "LOG_LEVEL": "WARNING"})
        await asyncio.to_thread(service.start)
        try:
            before = meters.peak_memory_mib([service.pid])
            for label in ("", ", again"):
                work = asyncio.create_task(asyncio.to_thread(_import, service, kind, pieces))
                slowest = await _look_around(service, work)
                seconds, report = await work
                assert report["refused"] == 0, report["refusals"][:3]
                assert report["unchanged" if label else "created"] == RECIPIENTS
                figures.add(f"{name}{label}: s", seconds)
                figures.add(f"{name}{label}: slowest other call ms", slowest * 1000)
            figures.add(f"{name}: added memory MiB", meters.peak_memory_mib([service.pid]) - before)
        finally:
            await asyncio.to_thread(service.close)


def _import(service: Service, kind: str, pieces: Pieces) -> tuple[float, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=600)
    began = time.monotonic()
    headers = {"X-API-Key": API_KEY, "Content-Type": kind}
    connection.request("POST", PATH, pieces(), headers, encode_chunked=True)
    answer = connection.getresponse()
    report = json.loads(answer.read())
    connection.close()
    assert answer.status == http.HTTPStatus.OK, report
    return time.monotonic() - began, report


async def _look_around(service: Service, work: "asyncio.Task[object]") -> float:
    slowest = 0.0
    while not work.done():
        began = time.monotonic()
        await service.acall("GET", "/v1/topics")
        slowest = max(slowest, time.monotonic() - began)
        await asyncio.sleep(_PAUSE_SECONDS)
    return slowest


def _ndjson() -> Iterator[bytes]:
    for start in range(0, RECIPIENTS, _AT_ONCE):
        rows = ({"external_id": f"user-{n}", **_profile(n)} for n in range(start, start + _AT_ONCE))
        yield "".join(json.dumps(row) + "\n" for row in rows).encode()


def _profile(number: int) -> dict[str, object]:
    return {
        "name": f"Person {number}",
        "locale": ("ru", "en-US", "ar")[number % 3],
        "time_zone": ("Europe/Moscow", "America/New_York", "Asia/Kolkata", "UTC")[number % 4],
        "attributes": {"plan": "pro", "number": number},
        "contacts": [
            {"sender": "CONSOLE", "address": f"desk-{number}"},
            {"sender": "TG", "address": str(100_000_000 + number)},
        ],
        "quiet_hours": "22:00-08:00",
    }


def _csv() -> Iterator[bytes]:
    yield b"external_id,name,locale,time_zone,quiet_hours,contact.CONSOLE,contact.TG,attributes.plan\n"
    for start in range(0, RECIPIENTS, _AT_ONCE):
        text = io.StringIO()
        writer = csv.writer(text)
        for number in range(start, start + _AT_ONCE):
            row = _profile(number)
            cells = [row[name] for name in ("name", "locale", "time_zone", "quiet_hours")]
            writer.writerow([f"user-{number}", *cells, f"desk-{number}", str(100_000_000 + number), "pro"])
        yield text.getvalue().encode()
