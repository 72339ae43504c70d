"""Sending over HTTP, and what can be seen and done afterwards."""

from typing import Any
from uuid import uuid4

import pytest

from tests.api.conftest import BATCH_ITEMS, Call, Get, Reach, Send, problem_of

SEED = {"title": "Backup failed", "body": "disk full", "sender": "CONSOLE"}


def test_the_seeds_message_is_accepted_sent_and_seen(call: Call, get: Get, reach: Reach) -> None:
    answer = call("POST", "/v1/notifications", SEED)
    assert answer.status == 202
    receipt = answer.json()
    assert receipt["duplicate"] is False
    assert answer.headers["location"] == f"/v1/notifications/{receipt['id']}"
    seen = reach(receipt["id"], "sent")
    assert (seen["title"], seen["body"], seen["source"], seen["priority"]) == (
        "Backup failed",
        "disk full",
        "http",
        "normal",
    )
    (delivery,) = seen["deliveries"]
    assert (delivery["sender"], delivery["address"], delivery["attempt"]) == ("CONSOLE", "console", 1)
    detail = get(f"/v1/deliveries/{delivery['id']}")
    assert [event["type"] for event in detail["events"]] == ["accepted", "sent"]
    assert [attempt["attempt"] for attempt in detail["attempts"]] == [1]


def test_the_same_id_is_answered_with_the_first_result(call: Call) -> None:
    body = {**SEED, "id": f"order-{uuid4()}"}
    first, again = call("POST", "/v1/notifications", body), call("POST", "/v1/notifications", body)
    assert (first.status, again.status) == (202, 200)
    assert again.json() == {**first.json(), "duplicate": True}
    assert "location" not in again.headers
    other = call("POST", "/v1/notifications", {**body, "body": "something else"})
    assert problem_of(other, 409, "id_conflict")["problems"][0]["field"] == "id"


def test_a_producer_finds_its_notification_by_its_own_id(call: Call, get: Get, send: Send) -> None:
    own = f"order-{uuid4()}"
    sent = send(id=own)
    assert [item["id"] for item in get(f"/v1/notifications?request_id={own}")["items"]] == [sent]


@pytest.mark.parametrize(
    ("changes", "status", "code", "field"),
    [
        ({"sender": "NOPE"}, 422, "invalid_request", "sender"),
        ({"bdy": "x"}, 422, "invalid_request", "bdy"),
        ({"body": " "}, 422, "invalid_request", "body"),
        ({"title": "x" * 1001}, 422, "invalid_request", "title"),
        ({"send_at": "tomorrow"}, 422, "invalid_request", "send_at"),
        ({"sender": "WEBHOOK"}, 409, "no_address", "to"),
        ({"sender": "WEBHOOK", "to": "no address"}, 409, "invalid_address", "to"),
        ({"sender": ["CONSOLE", "WEBHOOK"], "to": "x"}, 409, "conflicting_fields", "to"),
    ],
)
def test_what_cannot_be_taken_is_answered_with_the_field(
    call: Call, changes: dict[str, Any], status: int, code: str, field: str
) -> None:
    answer = call("POST", "/v1/notifications", {**SEED, **changes})
    assert problem_of(answer, status, code)["problems"][0]["field"] == field


def test_a_sender_that_is_off_says_why(call: Call) -> None:
    answer = call("POST", "/v1/notifications", {**SEED, "sender": "TG"})
    assert "TG_BOT_TOKEN" in problem_of(answer, 409, "sender_off")["detail"]


def test_an_unknown_sender_is_answered_with_those_that_exist(call: Call) -> None:
    detail = problem_of(
        call("POST", "/v1/notifications", {**SEED, "sender": "NOPE"}), 422, "invalid_request"
    )["detail"]
    assert "accepted: " in detail
    assert "CONSOLE" in detail


def test_a_batch_is_answered_item_by_item(call: Call, reach: Reach) -> None:
    items: list[Any] = [
        {**SEED, "title": "first"},
        {"title": "no body", "sender": "CONSOLE"},
        {**SEED, "sender": "TG"},
        "no object",
        {**SEED, "id": f"batch-{uuid4()}"},
    ]
    answer = call("POST", "/v1/notifications/batch", {"items": items})
    assert answer.status == 200
    results = answer.json()["items"]
    assert [result["accepted"] for result in results] == [True, False, False, False, True]
    assert [result["error"] and result["error"]["code"] for result in results] == [
        None, "invalid_request", "sender_off", "invalid_request", None
    ]  # fmt: skip
    assert results[4]["request_id"] == items[4]["id"]
    assert reach(results[0]["id"], "sent")["title"] == "first"
    again = call("POST", "/v1/notifications/batch", {"items": [items[4]]}).json()["items"][0]
    assert (again["id"], again["duplicate"]) == (results[4]["id"], True)


def test_a_batch_of_the_greatest_size_is_taken_and_one_more_is_not(call: Call) -> None:
    full = call("POST", "/v1/notifications/batch", {"items": [SEED] * BATCH_ITEMS})
    assert len({item["id"] for item in full.json()["items"]}) == BATCH_ITEMS
    over = call("POST", "/v1/notifications/batch", {"items": [SEED] * (BATCH_ITEMS + 1)})
    problem = problem_of(over, 422, "invalid_request")["problems"][0]
    assert problem["field"] == "items"
    assert f"at most {BATCH_ITEMS}" in problem["problem"]


def test_explain_shows_plan_and_text_and_stores_nothing(call: Call, get: Get) -> None:
    own = f"explained-{uuid4()}"
    body = {
        **SEED,
        "id": own,
        "sender": ["CONSOLE", "WEBHOOK"],
        "to": {"addresses": {"WEBHOOK": "http://127.0.0.1:9/x"}},
    }
    answer = call("POST", "/v1/notifications/explain", body)
    assert answer.status == 200
    told = answer.json()
    assert [(hop["sender"], hop["address"]) for hop in told["route"]] == [
        ("CONSOLE", "console"),
        ("WEBHOOK", "http://127.0.0.1:9/x"),
    ]
    assert "disk full" in told["rendered"][0]["texts"][0]
    assert get(f"/v1/notifications?request_id={own}")["items"] == []
    problem_of(
        call("POST", "/v1/notifications/explain", {**body, "sender": "TG", "to": None}), 409, "sender_off"
    )


def test_what_waits_can_be_cancelled(call: Call, send: Send, reach: Reach) -> None:
    waiting = send(send_at="2900-01-01T00:00:00Z")
    assert reach(waiting, "queued")["deliveries"][0]["due_at"].startswith("2900")
    cancelled = call("POST", f"/v1/notifications/{waiting}/cancel")
    assert (cancelled.status, cancelled.json()) == (200, {"cancelled": 1, "sending": 0, "finished": 0})
    reach(waiting, "cancelled")
    assert call("POST", f"/v1/notifications/{waiting}/cancel").json() == {
        "cancelled": 0,
        "sending": 0,
        "finished": 1,
    }


def test_what_failed_is_a_dead_letter_and_can_be_retried(
    call: Call, get: Get, send: Send, reach: Reach, nowhere: str
) -> None:
    failed = send(sender="WEBHOOK", to=f"{nowhere}/retry")
    (delivery,) = reach(failed, "failed")["deliveries"]
    detail = get(f"/v1/deliveries/{delivery['id']}")
    assert [event["type"] for event in detail["events"]] == ["accepted", "retrying", "failed"]
    assert [attempt["type"] for attempt in detail["attempts"]] == ["retrying", "failed"]
    assert detail["error"]["reason"]
    assert delivery["id"] in [item["id"] for item in get("/v1/dead-letters?sender=WEBHOOK")["items"]]
    assert call("POST", f"/v1/notifications/{failed}/retry").json() == {"requeued": 1}
    reach(failed, "failed")
    events = [event["type"] for event in get(f"/v1/deliveries/{delivery['id']}")["events"]]
    assert events[3] == "requeued"


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/cancel"), ("POST", "/retry")])
def test_a_notification_that_does_not_exist(call: Call, method: str, path: str) -> None:
    problem_of(call(method, f"/v1/notifications/{uuid4()}{path}"), 404, "not_found")
