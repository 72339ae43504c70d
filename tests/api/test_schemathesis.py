"""Schemathesis against the running service: every check, every phase, the stateful one included."""

import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from service.db.ids import uuid7
from tests.support.postgres import run_apart
from tests.support.service import API_KEY, ROOT, Service

EXAMPLES = 5
SEED = 20_261_123


@pytest.mark.slow
@pytest.mark.timeout(450)
def test_schemathesis_finds_nothing(service: Service, api_database: str, tmp_path: Path) -> None:
    run_apart(_store_rejections(api_database))
    run_apart(_store_tickets(api_database))
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{service.url}/openapi.json",
            "--header",
            f"X-API-Key: {API_KEY}",
            "--checks=all",
            "--phases=examples,coverage,fuzzing,stateful",
            f"--max-examples={EXAMPLES}",
            f"--seed={SEED}",
            "--continue-on-failure",
        ],
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


async def _store_tickets(dsn: str) -> None:
    """Something for the calls under /v1/tickets to find."""
    connection = await asyncpg.connect(dsn)
    for number in range(3):
        ticket = await connection.fetchval(
            """INSERT INTO ticket (sender, chat, name, locale, status, desk, topic, opened_at, warned, operator_id)
            VALUES ('TG', $1, 'Anna', 'en', 'open', '-1001', 'plain', now(), false, '20') RETURNING id""",
            f"9{number}",
        )
        await connection.execute(
            """INSERT INTO ticket_message (ticket_id, origin, toward, parts, state, ready_at, repeats, created_at)
            VALUES ($1, 'person', 'desk', '[{"kind": "text", "text": "Help"}]', 'sent', now(), 0, now())""",
            ticket,
        )
    await connection.close()


async def _store_rejections(dsn: str) -> None:
    """Something for the calls under /v1/rejections to find."""
    connection = await asyncpg.connect(dsn)
    for source, raw in (
        ("rabbit:notifications", b"\xff"),
        ("rabbit:notifications", b'{"body": "x"}'),
        ("rabbit:notifications", b'{"body": "x", "sender": "CONSOLE"}'),
        ("kafka-events:events", b'{"event": ""}'),
        ("kafka-events:events", b'{"event": "order.paid"}'),
    ):
        await connection.execute(
            """INSERT INTO rejection (id, at, source, reason, problems, raw, size)
            VALUES ($1, now(), $4, 'broken', '[]', $2, $3)""",
            uuid7(),
            raw,
            len(raw),
            source,
        )
    await connection.close()
