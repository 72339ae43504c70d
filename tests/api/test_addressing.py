"""Sending to people and topics, in the words of a template; the page that acknowledges."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import uuid4

import pytest

from service.access.links import Links
from service.audience.preferences import SUPPRESSIONS
from service.contract import parse_request
from service.db.database import Database
from service.delivery.planning import RefusalCode
from service.delivery.wording import ACKNOWLEDGE
from tests.api.conftest import Call, Get, Reach, problem_of
from tests.support.order_paid import PAID_AT, TEMPLATE
from tests.support.postgres import run_apart
from tests.support.service import ROOT, Answer, Service
from tests.support.waiting import wait_blocking

NOTIFICATIONS = "/v1/notifications"
PARAMS = {"order": 17, "items": 5, "total": {"amount": "1234.50", "currency": "EUR"}, "at": PAID_AT}
RUSSIAN = "5 товаров, 1\xa0234,50\xa0€, 23 нояб. 23:30"
ADDRESS = "anna's terminal"
FAR = "2900-01-01T12:00:00Z"

Person = Callable[..., str]
Acknowledging = Callable[..., str]


@pytest.fixture
def person(call: Call) -> Person:
    """`person(locale="ru")`: the id of a new recipient, who is reached at CONSOLE unless told otherwise."""

    def put(**profile: Any) -> str:
        name = f"p.{uuid4().hex}"
        contacts = [{"sender": "CONSOLE", "address": ADDRESS}]
        assert call("PUT", f"/v1/recipients/{name}", {"contacts": contacts, **profile}).status == 201
        return name

    return put


@pytest.fixture
def template(call: Call) -> str:
    """The key of a new template, about an order that was paid."""
    key = f"order.{uuid4().hex}"
    assert call("PUT", f"/v1/templates/{key}", TEMPLATE).status == 200
    return key


@pytest.fixture
def topic(call: Call) -> Callable[..., str]:
    """`topic(anna, boris)`: the name of a new topic with these subscribers."""

    def put(*subscribers: str) -> str:
        name = f"t.{uuid4().hex}"
        assert call("PUT", f"/v1/topics/{name}", {"title": "News"}).status == 201
        for subscriber in subscribers:
            assert call("PUT", f"/v1/topics/{name}/subscribers/{subscriber}").status == 204
        return name

    return put


@pytest.fixture
def told(call: Call) -> Callable[..., Any]:
    """Send what is accepted; the receipt."""

    def post(**fields: Any) -> Any:
        answer = call("POST", NOTIFICATIONS, fields)
        assert answer.status == 202, answer.body
        return answer.json()

    return post


def _quiet_now() -> str:
    """Quiet hours that hold now in UTC, and for an hour or two yet."""
    now = datetime.now(UTC)
    return f"{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=2):%H:%M}"


def test_a_person_is_told_where_they_are_in_their_own_words(
    told: Callable[..., Any], reach: Reach, service: Service, person: Person, template: str
) -> None:
    anna = person(locale="ru", time_zone="Europe/Moscow")
    receipt = told(template=template, params=PARAMS, to={"recipient": anna}, category="orders")
    assert receipt["suppressed"] is None
    seen = reach(receipt["id"], "sent")
    assert (seen["template"], seen["params"], seen["recipient"], seen["topic"]) == (
        template, PARAMS, anna, None,
    )  # fmt: skip
    assert (seen["title"], seen["body"], seen["locale"]) == ("", "", None)
    assert [(hop["sender"], hop["address"]) for hop in seen["route"]] == [("CONSOLE", ADDRESS)]
    (delivery,) = seen["deliveries"]
    assert (delivery["sender"], delivery["address"], delivery["recipient"]) == ("CONSOLE", ADDRESS, anna)
    printed = service.logs().split(receipt["id"])[1].split("└─")[0]
    assert "│ Заказ 17 оплачен" in printed
    assert f"│ {RUSSIAN}" in printed


def test_without_a_sender_contacts_are_tried_in_their_order(
    told: Callable[..., Any], reach: Reach, person: Person, nowhere: str
) -> None:
    contacts = [{"sender": "WEBHOOK", "address": nowhere}, {"sender": "CONSOLE", "address": "a"}]
    anna = person(contacts=contacts)
    seen = reach(told(body="b", to={"recipient": anna})["id"], "sent")
    assert [(one["position"], one["sender"], one["status"]) for one in seen["deliveries"]] == [
        (0, "WEBHOOK", "failed"),
        (1, "CONSOLE", "sent"),
    ]
    named = reach(told(body="b", sender="CONSOLE", to={"recipient": anna})["id"], "sent")
    assert [one["sender"] for one in named["deliveries"]] == ["CONSOLE"]
    turned = reach(told(body="b", sender=["CONSOLE", "WEBHOOK"], to={"recipient": anna})["id"], "sent")
    assert [hop["sender"] for hop in turned["route"]] == ["CONSOLE", "WEBHOOK"]


def test_a_topic_reaches_its_subscribers_and_skips_who_does_not_want_it(
    told: Callable[..., Any], get: Get, person: Person, topic: Callable[..., str]
) -> None:
    anna, boris, nobody = person(), person(muted=True), person(contacts=[])
    name = topic(anna, boris, nobody)
    receipt = told(body="news", to={"topic": name})
    assert receipt["suppressed"] is None

    def ended() -> Any:
        seen = get(f"{NOTIFICATIONS}/{receipt['id']}")
        ends = [one["finished_at"] for one in seen["deliveries"]]
        return seen if len(ends) == 3 and all(ends) else None

    seen = wait_blocking(ended, message="three deliveries that ended")
    assert (seen["topic"], seen["recipient"], seen["route"]) == (name, None, [])
    assert {
        one["recipient"]: (one["status"], one["error"] and one["error"]["code"]) for one in seen["deliveries"]
    } == {
        anna: ("sent", None),
        boris: ("suppressed", "muted"),
        nobody: ("suppressed", "no_contact"),
    }


@pytest.mark.parametrize(
    ("profile", "category", "code"),
    [
        ({"muted": True}, None, "muted"),
        ({"mutes": [{"category": "news"}]}, "news", "category_muted"),
        ({"mutes": [{"sender": "CONSOLE"}]}, "news", "sender_muted"),
        ({"mutes": [{"category": "news", "sender": "CONSOLE"}]}, "news", "category_sender_muted"),
    ],
)
def test_what_is_not_wanted_is_suppressed_and_says_why_wherever_one_looks(
    call: Call, told: Callable[..., Any], get: Get, person: Person, profile: Any, category: Any, code: str
) -> None:
    fields = {"body": "b", "to": {"recipient": person(**profile)}, "category": category}
    receipt = told(**fields)
    assert receipt["suppressed"] == code
    (result,) = call("POST", f"{NOTIFICATIONS}/batch", {"items": [fields]}).json()["items"]
    assert (result["accepted"], result["suppressed"], result["error"]) == (True, code, None)
    for notification_id in (receipt["id"], result["id"]):
        seen = get(f"{NOTIFICATIONS}/{notification_id}")
        (delivery,) = seen["deliveries"]
        assert seen["status"] == delivery["status"] == "suppressed"
        assert (delivery["error"]["kind"], delivery["error"]["code"]) == ("suppressed", code)
        assert delivery["error"]["reason"].startswith("the recipient muted")
        detail = get(f"/v1/deliveries/{delivery['id']}")
        assert detail["attempts"] == []
        (event,) = detail["events"]
        assert (event["type"], event["error"]) == ("suppressed", delivery["error"])
    assert call("POST", f"{NOTIFICATIONS}/explain", fields).json()["suppressed"] == code


def test_what_one_sender_must_not_bring_another_one_may(
    told: Callable[..., Any], reach: Reach, person: Person, nowhere: str
) -> None:
    contacts = [{"sender": "WEBHOOK", "address": nowhere}, {"sender": "CONSOLE", "address": "a"}]
    anna = person(contacts=contacts, mutes=[{"sender": "WEBHOOK"}])
    receipt = told(body="b", to={"recipient": anna})
    assert receipt["suppressed"] is None
    assert [hop["sender"] for hop in reach(receipt["id"], "sent")["route"]] == ["CONSOLE"]


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"to": {"recipient": "nobody at all"}}, "unknown_recipient", "to.recipient"),
        ({"to": {"recipient": "ANNA"}, "sender": "WEBHOOK"}, "no_contact", "to.recipient"),
        ({"to": {"topic": "nothing"}}, "unknown_topic", "to.topic"),
        ({"to": {"recipient": "ANNA"}, "sender": "TG"}, "sender_off", "sender"),
    ],
)
def test_what_cannot_be_addressed_is_refused_by_its_field(
    call: Call, get: Get, person: Person, fields: dict[str, Any], code: str, field: str
) -> None:
    own = f"refused-{uuid4()}"
    if fields["to"].get("recipient") == "ANNA":
        fields = {**fields, "to": {"recipient": person()}}
    body = {"id": own, "body": "b", **fields}
    for path in (NOTIFICATIONS, f"{NOTIFICATIONS}/explain"):
        (problem,) = problem_of(call("POST", path, body), 409, code)["problems"]
        assert (problem["field"], problem["code"]) == (field, code)
    (result,) = call("POST", f"{NOTIFICATIONS}/batch", {"items": [body]}).json()["items"]
    assert (result["accepted"], result["error"]["code"]) == (False, code)
    assert get(f"{NOTIFICATIONS}?request_id={own}")["items"] == []


def test_an_inactive_contact_is_none(call: Call, get: Get, person: Person) -> None:
    anna = person()
    (contact,) = get(f"/v1/recipients/{anna}")["contacts"]
    deactivate = f"/v1/recipients/{anna}/contacts/{contact['id']}/deactivate"
    assert call("POST", deactivate, {"reason": "moved"}).status == 200
    problem_of(call("POST", NOTIFICATIONS, {"body": "b", "to": {"recipient": anna}}), 409, "no_contact")


def test_a_template_refuses_what_it_cannot_use_by_name(call: Call, person: Person, template: str) -> None:
    to = {"recipient": person()}
    unknown = call("POST", NOTIFICATIONS, {"template": "order.lost", "to": to})
    assert problem_of(unknown, 409, "unknown_template")["problems"][0]["field"] == "template"
    wrong = {"order": "17", "total": {"amount": "1"}, "at": PAID_AT, "ordr": 17}
    answer = call("POST", NOTIFICATIONS, {"template": template, "params": wrong, "to": to})
    problems = problem_of(answer, 409, "invalid_params")["problems"]
    assert {problem["field"] for problem in problems} == {
        "params.order", "params.items", "params.total", "params.ordr",
    }  # fmt: skip
    assert call("DELETE", f"/v1/templates/{template}").status in (200, 204)
    archived = call("POST", NOTIFICATIONS, {"template": template, "params": PARAMS, "to": to})
    problem_of(archived, 409, "unknown_template")


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"body": "b", "to": {"recipient": "a", "topic": "t"}}, 422, "invalid_request", "to"),
        ({"body": "b", "to": {}}, 422, "invalid_request", "to"),
        ({"body": "b", "to": {"person": "a"}}, 422, "invalid_request", "to.person"),
        ({"body": "b", "template": "x", "to": {"recipient": "a"}}, 409, "conflicting_fields", "template"),
        ({"body": "b", "params": {"a": 1}, "sender": "CONSOLE"}, 409, "conflicting_fields", "params"),
        ({"body": "b", "sender": "CONSOLE", "escalate_after": 60}, 409, "conflicting_fields", "escalate_after"),
        ({"body": "b", "to": {"recipient": "a"}, "escalate_after": 1}, 422, "invalid_request", "escalate_after"),
        ({"body": "b"}, 422, "invalid_request", "sender"),
        ({"to": {"recipient": "a"}}, 422, "invalid_request", "body"),
        ({"body": "b", "to": {"recipient": "a"}, "locale": "russian"}, 422, "invalid_request", "locale"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_its_field(
    call: Call, fields: dict[str, Any], status: int, code: str, field: str
) -> None:
    problems = problem_of(call("POST", NOTIFICATIONS, fields), status, code)["problems"]
    assert field in {problem["field"] for problem in problems}


def test_explain_shows_the_words_and_the_hour_and_sends_nothing(
    call: Call, get: Get, person: Person, template: str
) -> None:
    anna = person(locale="ru-RU", time_zone="Europe/Moscow")
    own = f"explained-{uuid4()}"
    fields = {"id": own, "template": template, "params": PARAMS, "to": {"recipient": anna}}
    plan = call("POST", f"{NOTIFICATIONS}/explain", fields).json()
    assert (plan["locale"], plan["send_at"], plan["suppressed"]) == ("ru-RU", None, None)
    (rendered,) = plan["rendered"]
    assert (rendered["sender"], rendered["address"]) == ("CONSOLE", ADDRESS)
    assert RUSSIAN in rendered["texts"][0]
    english = call("POST", f"{NOTIFICATIONS}/explain", {**fields, "locale": "en"}).json()
    assert english["locale"] == "en"
    assert "5 items, €1,234.50, 23 Nov 23:30" in english["rendered"][0]["texts"][0]
    assert get(f"{NOTIFICATIONS}?request_id={own}")["items"] == []
    assert get(f"/v1/recipients/{anna}/export")["deliveries"] == []


def test_quiet_hours_put_off_what_is_not_wanted_now(
    call: Call, told: Callable[..., Any], reach: Reach, person: Person
) -> None:
    fields = {"body": "b", "to": {"recipient": person(time_zone="UTC", quiet_hours=_quiet_now())}}
    plan = call("POST", f"{NOTIFICATIONS}/explain", fields).json()
    left = datetime.fromisoformat(plan["send_at"]) - datetime.now(UTC)
    assert timedelta(hours=1, minutes=50) < left <= timedelta(hours=2)
    receipt = told(**fields)
    (delivery,) = reach(receipt["id"], "queued")["deliveries"]
    assert abs(
        datetime.fromisoformat(delivery["send_at"]) - datetime.fromisoformat(plan["send_at"])
    ) < timedelta(minutes=1)
    assert call("POST", f"{NOTIFICATIONS}/{receipt['id']}/cancel").json()["cancelled"] == 1


def test_an_id_is_answered_with_the_first_result_whatever_came_since(
    call: Call, told: Callable[..., Any], person: Person
) -> None:
    anna = person()
    fields = {"id": f"order-{uuid4()}", "body": "b", "to": {"recipient": anna}}
    receipt = told(**fields)
    assert call("PUT", f"/v1/recipients/{anna}", {"muted": True}).status == 200
    again = call("POST", NOTIFICATIONS, fields)
    assert (again.status, again.json()) == (200, {**receipt, "duplicate": True})
    other = call("POST", NOTIFICATIONS, {**fields, "to": {"recipient": person()}})
    problem_of(other, 409, "id_conflict")


def test_a_topics_notification_is_cancelled_for_everybody(
    call: Call, told: Callable[..., Any], get: Get, person: Person, topic: Callable[..., str]
) -> None:
    receipt = told(body="later", to={"topic": topic(person(), person())}, send_at=FAR)
    path = f"{NOTIFICATIONS}/{receipt['id']}"
    wait_blocking(lambda: len(get(path)["deliveries"]) == 2, message="two deliveries that wait")
    assert call("POST", f"{path}/cancel").json() == {"cancelled": 2, "sending": 0, "finished": 0}
    assert [one["status"] for one in get(path)["deliveries"]] == ["cancelled"] * 2


@pytest.fixture
def acknowledging(api_database: str) -> Acknowledging:
    """`acknowledging(delivery_id)`: the path behind the button of that delivery's message."""

    async def make(data: str, expires_in: timedelta) -> str:
        database = Database(api_database)
        await database.open()
        try:
            links = Links(None, "https://example.com")
            await links.open(database)
            return links.url(ACKNOWLEDGE, data, datetime.now(UTC) + expires_in)
        finally:
            await database.close()

    def path(delivery_id: int, expires_in: timedelta = timedelta(days=1)) -> str:
        return run_apart(make(str(delivery_id), expires_in)).removeprefix("https://example.com")

    return path


def _visit(service: Service, path: str, method: str = "GET", language: str = "") -> Answer:
    return service.call(method, path, key=None, headers={"Accept-Language": language} if language else {})


def _heading(answer: Answer) -> str:
    found = re.search("<h1>(.*)</h1>", answer.body.decode())
    assert found is not None
    return found[1]


def test_the_page_acknowledges_when_its_button_is_pressed(
    service: Service, told: Callable[..., Any], get: Get, reach: Reach, person: Person,
    acknowledging: Acknowledging,
) -> None:  # fmt: skip
    receipt = told(body="b", to={"recipient": person()}, escalate_after=3_600)
    seen = reach(receipt["id"], "sent")
    assert seen["escalate_after"] == 3_600
    delivery_id = seen["deliveries"][0]["id"]
    path, delivery = acknowledging(delivery_id), f"/v1/deliveries/{delivery_id}"
    before = get(delivery)
    page = _visit(service, path, language="ru, en;q=0.5")
    assert (page.status, page.headers["content-language"]) == (200, "ru")
    assert _heading(page) == "Вы видели это сообщение?"
    assert _heading(_visit(service, path)) == "Have you seen this message?"
    assert get(delivery) == before
    assert before["acknowledged_at"] is None

    action = re.search('<form method="post" action="([^"]*)">', page.body.decode())
    assert action is not None
    done = _visit(service, path + action[1], "POST", "ru")
    assert (done.status, _heading(done)) == (200, "Спасибо, подтверждено")
    after = get(delivery)
    assert after["acknowledged_at"] is not None
    assert [event["type"] for event in after["events"]] == ["accepted", "sent", "acknowledged"]
    for method in ("POST", "GET"):
        assert _heading(_visit(service, path, method)) == "Thank you, it is acknowledged"
    assert get(delivery) == after


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_links_that_do_not_acknowledge(
    service: Service, told: Callable[..., Any], get: Get, reach: Reach, person: Person,
    acknowledging: Acknowledging, method: str,
) -> None:  # fmt: skip
    seen = reach(told(body="b", to={"recipient": person()}, escalate_after=3_600)["id"], "sent")
    delivery_id = seen["deliveries"][0]["id"]
    path = acknowledging(delivery_id)
    prefix, _, token = path.rpartition("/")
    forged = f"{prefix}/{'A' if token[0] != 'A' else 'B'}{token[1:]}"
    elsewhere = path.replace("/acknowledge/", "/unsubscribe/")
    for wrong in (forged, elsewhere, "/acknowledge/x", acknowledging(2**40)):
        answer = _visit(service, wrong, method, "ru")
        assert (answer.status, _heading(answer)) == (404, "Ссылка не работает")
    expired = _visit(service, acknowledging(delivery_id, timedelta(seconds=-1)), method)
    assert (expired.status, _heading(expired)) == (410, "This link has expired")
    assert get(f"/v1/deliveries/{delivery_id}")["acknowledged_at"] is None


def test_the_examples_of_the_page_follow_the_contract() -> None:
    page = (ROOT / "docs" / "addressing.md").read_text()
    examples = re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert [parse_request(example).recipient for example in examples] == ["42", "42"]
    codes = re.findall(r"`([a-z_]+)`", page.split("\n## What is refused\n")[1].split("|---|---|---|")[1])
    assert set(codes) >= set(get_args(RefusalCode)) - {"unknown_sender", "id_conflict"}
    assert set(re.findall(r"`([a-z_]+)`", page)) >= set(SUPPRESSIONS)
