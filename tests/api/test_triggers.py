"""Triggers over REST."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.db.ids import uuid7
from tests.api.conftest import Call, Get, Reach, problem_of
from tests.faults.support import query
from tests.support.service import Service
from tests.support.waiting import wait_blocking

SAY = {"notification": {"body": "hello", "sender": "CONSOLE"}}


def rule(name: str, schedule: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"name": f"{name} {uuid7()}", "schedule": schedule, "action": SAY, **fields}


def made(call: Call, draft: dict[str, Any]) -> Any:
    answer = call("POST", "/v1/triggers", draft)
    assert answer.status == 201, answer.body
    return answer.json()


def soon(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


def test_a_trigger_fires_at_its_time_and_tells_what_it_made(call: Call, get: Get, reach: Reach) -> None:
    trigger = made(call, rule("once", {"kind": "once", "at": soon(seconds=1)}))
    assert (trigger["state"], trigger["runs"]) == ("active", 0)
    assert trigger["next_fire_at"] is not None

    def ended() -> Any:
        found = get(f"/v1/triggers/{trigger['id']}")
        return found if found["state"] == "finished" else None

    found = wait_blocking(ended, message="it has fired")
    assert (found["runs"], found["next_fire_at"], found["error"]) == (1, None, None)
    (run,) = get(f"/v1/triggers/{trigger['id']}/runs")["items"]
    assert run["outcome"] == "made"
    assert run["late_seconds"] >= 0
    notification = reach(run["notification_id"], "sent")
    assert notification["source"] == f"trigger:{trigger['id']}"


def test_an_event_fires_through_rest(call: Call, get: Get, reach: Reach) -> None:
    name = f"order.paid.{uuid7()}"
    schedule = {
        "kind": "event",
        "event": name,
        "conditions": [{"path": "data.total", "op": "ge", "value": 10}],
    }
    trigger = made(call, rule("paid", schedule))
    answer = call("POST", "/v1/events", {"event": name, "id": name, "data": {"total": 10}})
    assert answer.status == 202, answer.body
    assert answer.json() == {"repeat": False, "fired": 1, "waiting": 0, "cancelled": 0}
    again = call("POST", "/v1/events", {"event": name, "id": name, "data": {"total": 10}})
    assert (again.status, again.json()["repeat"]) == (200, True)
    assert call("POST", "/v1/events", {"event": name, "data": {"total": 9}}).json()["fired"] == 0
    (run,) = get(f"/v1/triggers/{trigger['id']}/runs")["items"]
    reach(run["notification_id"], "sent")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"event": "x", "dta": {}}, "dta"),
        ({"data": {}}, "event"),
        ({"event": "white space"}, "event"),
        ({"event": "x", "data": []}, "data"),
        ({"event": "x", "data": {"big": "x" * 70_000}}, "data"),
    ],
)
def test_a_wrong_event_is_refused_by_name(call: Call, body: Any, field: str) -> None:
    document = problem_of(call("POST", "/v1/events", body), 422, "invalid_request")
    assert [problem["field"] for problem in document["problems"]] == [field]


async def test_a_rejected_event_is_replayed_as_an_event_once(call: Call, get: Get, api_database: str) -> None:
    name = f"order.{uuid7().hex}"
    trigger = made(call, rule(f"on {name}", {"kind": "event", "event": name}))
    rejection, raw = uuid7(), b'{"event": "white space"}'
    await query(
        api_database,
        """INSERT INTO rejection (id, at, source, reason, problems, raw, size)
        VALUES ($1, now(), 'rabbit-events:x', 'broken', '[]', $2, 24)""",
        rejection,
        raw,
    )
    path = f"/v1/rejections/{rejection}"
    document = problem_of(call("POST", f"{path}/replay"), 409, "still_rejected")
    assert document["problems"][0]["field"] == "event"
    notification = {"title": "x", "body": "y", "sender": "CONSOLE"}
    document = problem_of(call("POST", f"{path}/replay", notification), 409, "still_rejected")
    assert "rabbit-events" in document["detail"]
    problem_of(call("POST", f"{path}/replay", {"event": ""}), 422, "invalid_request")
    assert get(path)["replayed_at"] is None
    taken = call("POST", f"{path}/replay", {"event": name})
    assert (taken.status, taken.json()) == (
        202,
        {"repeat": False, "fired": 1, "waiting": 0, "cancelled": 0},
    )
    shown = get(path)
    assert shown["replayed_at"] is not None
    assert shown["notification_id"] is None
    for corrected in ({"event": name}, {"event": name, "id": f"another {name}"}):
        again = call("POST", f"{path}/replay", corrected)
        assert (again.status, again.json()["repeat"]) == (200, True)
    assert len(get(f"/v1/triggers/{trigger['id']}/runs")["items"]) == 1


def test_management(call: Call, get: Get) -> None:
    draft = rule("daily", {"kind": "cron", "expression": "0 9 * * *", "zone": "Europe/Berlin"})
    trigger = made(call, draft)
    path = f"/v1/triggers/{trigger['id']}"
    assert get(path) == trigger
    problem_of(call("POST", "/v1/triggers", draft), 409, "name_taken")

    paused = call("POST", f"{path}/pause").json()
    assert (paused["state"], paused["next_fire_at"]) == ("paused", None)
    run = call("POST", f"{path}/fire").json()
    assert (run["outcome"], run["attempt"]) == ("made", 0)
    changed = {**draft, "schedule": {"kind": "interval", "every_seconds": 3600}}
    assert call("PUT", path, changed).json()["state"] == "paused"
    resumed = call("POST", f"{path}/resume").json()
    assert (resumed["state"], resumed["runs"], resumed["schedule"]) == ("active", 0, changed["schedule"])
    assert datetime.fromisoformat(resumed["next_fire_at"]) > datetime.now(UTC) + timedelta(minutes=50)

    listed = get("/v1/triggers?kind=interval&state=active&limit=500")["items"]
    assert trigger["id"] in [found["id"] for found in listed]
    assert all(found["schedule"]["kind"] == "interval" for found in listed)
    actions = [
        entry["action"] for entry in get("/v1/audit?limit=100")["items"] if entry["target"] == trigger["id"]
    ]
    assert actions == ["trigger.resume", "trigger.change", "trigger.fire", "trigger.pause"]

    assert call("DELETE", path).status == 204
    for method, where in (
        ("GET", path),
        ("DELETE", path),
        ("PUT", path),
        *(("POST", f"{path}/{verb}") for verb in ("pause", "resume", "fire", "preview")),
        ("GET", f"{path}/runs"),
    ):
        body = changed if method == "PUT" else None
        problem_of(call(method, where, body), 404, "not_found")


def test_lists_are_pages(call: Call, get: Get) -> None:
    triggers = [made(call, rule("page", {"kind": "event", "event": "page"}))["id"] for _ in range(3)]
    first = get("/v1/triggers?kind=event&limit=2")
    second = get(f"/v1/triggers?kind=event&limit=2&cursor={first['next']}")
    assert [found["id"] for found in first["items"] + second["items"]][:3] == triggers[::-1]
    for _ in range(3):
        call("POST", f"/v1/triggers/{triggers[0]}/fire")
    runs = get(f"/v1/triggers/{triggers[0]}/runs?limit=2")
    rest = get(f"/v1/triggers/{triggers[0]}/runs?limit=2&cursor={runs['next']}")
    ids = [run["id"] for run in runs["items"] + rest["items"]]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 3


def test_the_next_ten_runs_are_shown_before_a_rule_is_saved(call: Call) -> None:
    draft = rule(
        "preview",
        {"kind": "cron", "expression": "30 2 * * *", "zone": "Europe/Berlin"},
        start_at="2027-03-27T00:00:00Z",
    )
    shown = call("POST", "/v1/triggers/preview", draft).json()["runs"]
    assert len(shown) == 10
    assert [run["at"] for run in shown[:3]] == [
        "2027-03-27T01:30:00Z",
        "2027-03-28T01:00:00Z",
        "2027-03-29T00:30:00Z",
    ]
    trigger = made(call, draft)
    assert call("POST", f"/v1/triggers/{trigger['id']}/preview").json()["runs"] == shown


def test_an_event_by_hand(call: Call, get: Get) -> None:
    action = {"notification": {"body": "hello"}, "to_from": "recipient"}
    trigger = made(call, rule("hand", {"kind": "event", "event": "x"}, action=action))
    run = call("POST", f"/v1/triggers/{trigger['id']}/fire", {"recipient": "nobody-at-all"}).json()
    assert (run["outcome"], run["error"]) == ("failed", "to.recipient: 'nobody-at-all' is not a recipient")
    assert get(f"/v1/triggers/{trigger['id']}")["error"] == run["error"]
    other = made(call, rule("other", {"kind": "interval", "every_seconds": 9999}))
    problem_of(call("POST", f"/v1/triggers/{other['id']}/fire", {"recipient": "1"}), 409, "trigger_refused")


EVENT = {"kind": "event", "event": "x"}
MAIL = {"name": "n", "content": {"body": "x", "sender": "CONSOLE"}, "audience": {"everyone": True}}


@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        ({"schedule": {"kind": "cron", "expression": "* * * * 8"}}, "schedule.expression", "day of the week"),
        ({"schedule": {"kind": "cron", "expression": "0 0 31 2 *"}}, "schedule.expression", "never comes"),
        ({"schedule": {"kind": "cron", "expression": "* * * * *", "zone": "Mars"}}, "schedule.zone", "time zone"),
        ({"schedule": {"kind": "recipient-cron", "expression": "0 9 * * *"}}, "action.notification", "mailing"),
        ({"start_at": "2027-01-02T00:00:00Z", "end_at": "2027-01-01T00:00:00Z"}, "end_at", "later"),
        ({"action": {}}, "action", "either"),
        ({"action": {**SAY, "mailing": MAIL}}, "action", "either"),
        ({"action": {"notification": {"sender": "CONSOLE"}}}, "action.notification.body", "is required"),
        ({"action": {"notification": {"bdy": 1, **SAY["notification"]}}}, "action.notification.bdy", "not a field"),
        ({"action": {"notification": {"id": "1", **SAY["notification"]}}}, "action.notification.id", "without it"),
        ({"action": {**SAY, "to_from": "recipient"}}, "action", "event"),
        ({"schedule": EVENT, "action": {**SAY, "params_from": {"a": "data.a"}}}, "action.params_from", "template"),
        ({"schedule": {**EVENT, "cancel": {"event": "y"}}}, "schedule.cancel", "delay_seconds"),
        (
            {"schedule": {**EVENT, "conditions": [{"path": "data.a", "op": "gt", "value": [1]}]}},
            "schedule.conditions.0.value",
            "a number or text",
        ),
        ({"action": {"mailing": {**MAIL, "audience": {}}}}, "action.mailing.audience", "exactly one"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_named(
    call: Call, fields: dict[str, Any], field: str, text: str
) -> None:
    draft = {**rule("wrong", {"kind": "interval", "every_seconds": 60}), **fields}
    for path in ("/v1/triggers", "/v1/triggers/preview"):
        document = problem_of(call("POST", path, draft), 409, "trigger_refused")
        assert [problem["field"] for problem in document["problems"]] == [field]
        assert text in document["problems"][0]["problem"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"shedule": 1}, "shedule"),
        ({"schedule": {"kind": "interval", "every_seconds": 0}}, "schedule.every_seconds"),
        ({"schedule": {"kind": "hourly"}}, "schedule"),
        ({"misfire": {"policy": "maybe"}}, "misfire.policy"),
        ({"name": "two\nlines"}, "name"),
        ({"schedule": {**EVENT, "conditions": [{"path": "x.y", "op": "eq", "value": 1}]}}, "schedule"),
    ],
)
def test_what_breaks_the_schema_is_named(call: Call, fields: dict[str, Any], field: str) -> None:
    draft = {**rule("wrong", {"kind": "interval", "every_seconds": 60}), **fields}
    document = problem_of(call("POST", "/v1/triggers", draft), 422, "invalid_request")
    assert document["problems"][0]["field"].startswith(field)


def test_each_call_needs_its_scope(service: Service, call: Call) -> None:
    def key(*scopes: str) -> str:
        made = call("POST", "/v1/keys", {"name": "x", "scopes": list(scopes)}).json()
        return str(made["key"])

    draft = rule("scope", {"kind": "interval", "every_seconds": 60})
    sender, reader, manager = key("send"), key("read"), key("manage")
    assert service.call("POST", "/v1/events", {"event": "scope"}, key=sender).status == 202
    assert service.call("POST", "/v1/triggers/preview", draft, key=reader).status == 200
    assert service.call("POST", "/v1/triggers", draft, key=manager).status == 201
    for method, path, body, wrong in (
        ("POST", "/v1/events", {"event": "scope"}, reader),
        ("GET", "/v1/triggers", None, sender),
        ("POST", "/v1/triggers", draft, reader),
    ):
        problem_of(service.call(method, path, body, key=wrong), 403, "missing_scope")


def test_what_waits_with_an_event_about_a_person_is_exported_and_erased(call: Call, get: Get) -> None:
    name, person = f"order.made.{uuid7()}", f"buyer-{uuid7()}"
    trigger = made(call, rule("unpaid", {"kind": "event", "event": name, "delay_seconds": 3_600}))
    assert call("PUT", f"/v1/recipients/{person}", {}).status == 201
    event = {"event": name, "recipient": person, "data": {"total": 10}}
    assert call("POST", "/v1/events", event).json()["waiting"] == 1
    assert call("POST", "/v1/events", {**event, "recipient": "somebody else"}).json()["waiting"] == 1

    (waiting,) = get(f"/v1/recipients/{person}/export")["events"]
    assert (waiting["trigger"], waiting["event"]["data"]) == (trigger["name"], {"total": 10})
    assert call("DELETE", f"/v1/recipients/{person}").json()["events"] == 1
    assert get(f"/v1/triggers/{trigger['id']}")["waiting"] == 1
