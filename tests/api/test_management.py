"""Dead letters, rejections, senders, and the trail that management writes leave."""

from collections.abc import Callable
from uuid import uuid4

import asyncpg
import pytest

from service.db.ids import uuid7
from tests.api.conftest import Call, Get, Reach, Send, problem_of
from tests.support.postgres import run_apart
from tests.support.waiting import wait_blocking


@pytest.fixture
def rejected(api_database: str) -> Callable[[bytes], str]:
    """Put a rejected message into the table, as a broker's transport does; its id."""

    def store(raw: bytes) -> str:
        async def insert() -> str:
            connection = await asyncpg.connect(api_database)
            try:
                return str(
                    await connection.fetchval(
                        """INSERT INTO rejection (id, at, source, reason, problems, raw, size)
                        VALUES ($1, now(), 'rabbit:notifications', 'broken',
                            '[{"field": "", "problem": "is broken", "code": "json_invalid"}]', $2, $3) RETURNING id""",
                        uuid7(),
                        raw,
                        len(raw),
                    )
                )
            finally:
                await connection.close()

        return run_apart(insert())

    return store


def test_dead_letters_are_counted_then_redriven(call: Call, send: Send, reach: Reach, nowhere: str) -> None:
    mine = [send(sender="WEBHOOK", to=f"{nowhere}/redrive/{i}") for i in range(3)]
    for notification in mine:
        reach(notification, "failed")
    counted = call("POST", "/v1/dead-letters/redrive", {"filter": {"sender": "WEBHOOK"}, "dry_run": True})
    assert counted.status == 200
    found = counted.json()["deliveries"]
    assert found >= 3
    assert (
        call("POST", "/v1/dead-letters/redrive", {"filter": {"sender": "NONE"}, "dry_run": True}).json()[
            "deliveries"
        ]
        == 0
    )
    limited = {"filter": {"sender": "WEBHOOK", "limit": 2}, "dry_run": True}
    assert call("POST", "/v1/dead-letters/redrive", limited).json() == {"deliveries": 2, "dry_run": True}
    driven = call("POST", "/v1/dead-letters/redrive", {"filter": {"sender": "WEBHOOK"}})
    assert driven.json() == {"deliveries": found, "dry_run": False}
    for notification in mine:
        reach(notification, "failed")


def test_redrive_wants_a_filter(call: Call) -> None:
    problem = problem_of(call("POST", "/v1/dead-letters/redrive", {}), 422, "invalid_request")["problems"][0]
    assert (problem["field"], problem["code"]) == ("filter", "missing")


def test_a_rejected_message_is_shown_whole_and_replayed_when_corrected(
    call: Call, get: Get, rejected: Callable[[bytes], str], reach: Reach
) -> None:
    rejection = rejected(b'{"title": "x"}')
    assert rejection in [item["id"] for item in get("/v1/rejections")["items"]]
    shown = get(f"/v1/rejections/{rejection}")
    assert (shown["body"], shown["encoding"], shown["size"], shown["truncated"]) == (
        '{"title": "x"}',
        "utf-8",
        14,
        False,
    )
    assert shown["problems"] == [{"field": "", "problem": "is broken", "code": "json_invalid"}]
    problem_of(call("POST", f"/v1/rejections/{rejection}/replay"), 409, "still_rejected")
    problem_of(call("POST", f"/v1/rejections/{rejection}/replay", {"title": "still"}), 422, "invalid_request")
    corrected = {"title": "x", "body": "mended", "sender": "CONSOLE"}
    taken = call("POST", f"/v1/rejections/{rejection}/replay", corrected)
    assert taken.status == 202
    assert reach(taken.json()["id"], "sent")["body"] == "mended"
    assert get(f"/v1/rejections/{rejection}")["notification_id"] == taken.json()["id"]
    again = call("POST", f"/v1/rejections/{rejection}/replay", corrected)
    assert (again.status, again.json()["id"]) == (200, taken.json()["id"])


def test_binary_junk_is_shown_as_base64(get: Get, rejected: Callable[[bytes], str]) -> None:
    shown = get(f"/v1/rejections/{rejected(bytes([0xFF, 0x00]))}")
    assert (shown["body"], shown["encoding"]) == ("/wA=", "base64")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/replay")])
def test_a_rejection_that_does_not_exist(call: Call, method: str, path: str) -> None:
    problem_of(call(method, f"/v1/rejections/{uuid4()}{path}"), 404, "not_found")


def test_senders_are_listed_with_what_they_can_do(get: Get) -> None:
    senders = {sender["name"]: sender for sender in get("/v1/senders")["items"]}
    assert senders["CONSOLE"]["state"] == "works"
    assert senders["TG"]["state"] == "off"
    assert "TG_BOT_TOKEN" in senders["TG"]["reason"]
    assert senders["WEBHOOK"]["capabilities"]["deduplicates"] is True
    assert senders["TG"]["health"] is None
    assert senders["CONSOLE"]["health"] == {"status": "ok", "detail": ""}
    assert senders["CONSOLE"]["pacing"] == {"next_at": None}


def test_an_account_is_a_sender_of_its_own(
    call: Call, get: Get, send: Send, reach: Reach, nowhere: str
) -> None:
    (audit,) = (sender for sender in get("/v1/senders")["items"] if sender["name"] == "WEBHOOK:audit")
    assert (audit["channel"], audit["account"], audit["state"]) == ("WEBHOOK", "audit", "works")
    assert (audit["limits"]["rate"], audit["limits"]["concurrency"]) == (50, None)
    try:
        call("POST", "/v1/senders/WEBHOOK:audit/pause", {"reason": "try"})
        waiting = send(sender="WEBHOOK:audit", to="https://example.com/hook")
        states = {sender["name"]: sender["state"] for sender in get("/v1/senders")["items"]}
        assert (states["WEBHOOK"], states["WEBHOOK:audit"]) == ("works", "paused")
        assert reach(waiting, "queued")["deliveries"][0]["sender"] == "WEBHOOK:audit"
        call("POST", f"/v1/notifications/{waiting}/cancel")
    finally:
        call("POST", "/v1/senders/WEBHOOK:audit/resume")
    contact = {"sender": "WEBHOOK:audit", "address": "https://example.com/hook"}
    refused = problem_of(
        call("PUT", "/v1/recipients/of-accounts", {"contacts": [contact]}), 409, "invalid_contact"
    )
    assert (
        refused["problems"][0]["problem"] == "WEBHOOK:audit uses the contacts of WEBHOOK; accepted: WEBHOOK"
    )


def test_a_paused_sender_keeps_its_messages_until_it_is_resumed(
    call: Call, get: Get, send: Send, reach: Reach
) -> None:
    paused = call("POST", "/v1/senders/CONSOLE/pause", {"reason": "new paper roll"})
    try:
        assert paused.json()["state"] == "paused"
        waiting = send(body="wait")
        (console,) = (sender for sender in get("/v1/senders")["items"] if sender["name"] == "CONSOLE")
        assert (console["reason"], console["queue"]["waiting"]) == ("new paper roll", 1)
        assert console["queue"]["oldest_due_at"] is not None
        assert reach(waiting, "queued")["deliveries"][0]["attempt"] == 0
        ready = call("GET", "/health/ready", key=None).json()
        assert ready["status"] == "degraded"
        assert "new paper roll" in ready["parts"]["sender CONSOLE"]["detail"]
        told = call("POST", "/v1/notifications/explain", {"body": "x", "sender": "CONSOLE"}).json()
        assert told["rendered"][0]["state"] == "paused"
    finally:
        resumed = call("POST", "/v1/senders/CONSOLE/resume")
    assert resumed.json()["state"] == "works"
    reach(waiting, "sent")


def test_a_test_message_takes_the_way_of_every_message(call: Call, reach: Reach) -> None:
    answer = call("POST", "/v1/senders/CONSOLE/test")
    assert answer.status == 202
    assert reach(answer.json()["id"], "sent")["priority"] == "high"
    to = call("POST", "/v1/senders/CONSOLE/test", {"to": "desk 3"})
    assert reach(to.json()["id"], "sent")["deliveries"][0]["address"] == "desk 3"
    problem_of(call("POST", "/v1/senders/WEBHOOK/test"), 409, "no_address")
    problem_of(call("POST", "/v1/senders/TG/test"), 409, "sender_off")
    problem_of(call("POST", "/v1/senders/NOPE/test"), 404, "not_found")


def test_every_management_write_leaves_an_audit_entry(call: Call, get: Get, send: Send) -> None:
    waiting = send(send_at="2900-01-01T00:00:00Z")
    call("POST", f"/v1/notifications/{waiting}/cancel")
    call("POST", f"/v1/notifications/{waiting}/retry")
    call("POST", "/v1/senders/WEBHOOK/pause", {"reason": "audit"})
    call("POST", "/v1/senders/WEBHOOK/resume")
    missing = uuid4()
    call("DELETE", f"/v1/keys/{missing}")
    entries = get("/v1/audit?limit=5")["items"]
    assert [(entry["action"], entry["target"], entry["outcome"]) for entry in entries] == [
        ("key.revoke", str(missing), "not_found"),
        ("sender.resume", "WEBHOOK", "done"),
        ("sender.pause", "WEBHOOK", "done"),
        ("notification.retry", waiting, "done"),
        ("notification.cancel", waiting, "done"),
    ]
    assert {entry["actor"] for entry in entries} == {"key:ADMIN_API_KEY:admin"}
    assert entries[2]["details"] == {"reason": "audit"}
    assert entries[4]["details"] == {"cancelled": 1}


def test_metrics_and_health_need_no_key(call: Call) -> None:
    assert call("GET", "/health_check", key=None).json() == {"status": "ok"}
    assert call("GET", "/health/live", key=None).status == 200
    ready = wait_blocking(
        lambda: call("GET", "/health/ready", key=None).json()["status"] == "ok", message="ready"
    )
    assert ready
    metrics = call("GET", "/metrics", key=None)
    assert metrics.headers["content-type"].startswith("text/plain")
    assert b"notifications_accepted_total" in metrics.body
