"""Recipients over REST: made, changed by parts, looked up, listed, erased; their contacts and preferences."""

from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.api.conftest import Call, Get, problem_of
from tests.support.service import Answer
from tests.support.waiting import wait_blocking

PROFILE = {
    "name": "Анна",
    "locale": "ru",
    "time_zone": "Europe/Moscow",
    "attributes": {"plan": "pro", "cities": ["Moscow", None, 1.5]},
    "contacts": [
        {"sender": "CONSOLE", "address": "anna"},
        {"sender": "WEBHOOK", "address": "https://example.com/anna"},
    ],
    "quiet_hours": "22:00-08:00",
    "mutes": [{"category": "news"}, {"category": "offers", "sender": "WEBHOOK"}],
}


@pytest.fixture
def person() -> str:
    """An id that nobody has yet."""
    return f"user {uuid4()}"


def _path(external_id: str, rest: str = "") -> str:
    return f"/v1/recipients/{quote(external_id, safe='')}{rest}"


def _put(call: Call, external_id: str, status: int = 200, **fields: Any) -> Any:
    answer = call("PUT", _path(external_id), fields)
    assert answer.status == status, answer.body
    return answer.json()


def _contacts(view: Any) -> list[tuple[str, str, bool]]:
    return [(contact["sender"], contact["address"], contact["active"]) for contact in view["contacts"]]


def test_a_recipient_is_what_was_said_of_them(call: Call, get: Get, person: str) -> None:
    made = _put(call, person, 201, **PROFILE)
    assert made == get(_path(person))
    assert {name: made[name] for name in ("name", "locale", "time_zone", "attributes", "quiet_hours")} == {
        name: PROFILE[name] for name in ("name", "locale", "time_zone", "attributes", "quiet_hours")
    }
    assert _contacts(made) == [("CONSOLE", "anna", True), ("WEBHOOK", "https://example.com/anna", True)]
    assert made["mutes"] == [
        {"category": "news", "sender": None},
        {"category": "offers", "sender": "WEBHOOK"},
    ] or made["mutes"] == [{"category": "offers", "sender": "WEBHOOK"}, {"category": "news", "sender": None}]
    assert (made["muted"], made["topics"]) == (False, [])


def test_the_same_once_more_changes_nothing(call: Call, person: str) -> None:
    assert _put(call, person, 201, **PROFILE) == _put(call, person, **PROFILE)


def test_what_is_left_out_stays_and_null_takes_away(call: Call, person: str) -> None:
    before = _put(call, person, 201, **PROFILE)
    after = _put(call, person, locale="en-US", name=None)
    assert (after["locale"], after["name"]) == ("en-US", None)
    kept = ("time_zone", "attributes", "contacts", "muted", "mutes", "quiet_hours", "created_at")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert after["updated_at"] > before["updated_at"]


def test_contacts_that_stay_keep_their_id_and_state(call: Call, person: str) -> None:
    first, second = _put(call, person, 201, **PROFILE)["contacts"]
    off = call("POST", _path(person, f"/contacts/{second['id']}/deactivate"), {"reason": "bounced"}).json()
    assert _contacts(off)[1][2] is False
    contacts = [PROFILE["contacts"][1], {"sender": "CONSOLE", "address": "other"}]  # type: ignore[index]
    after = _put(call, person, contacts=contacts)["contacts"]
    assert [contact["address"] for contact in after] == ["https://example.com/anna", "other"]
    assert after[0] == off["contacts"][1]
    assert (after[0]["id"], after[0]["inactive_reason"]) == (second["id"], "bounced")
    assert first["id"] not in {contact["id"] for contact in after}
    again = _put(call, person, contacts=[{**contacts[0], "active": True}, contacts[1]])["contacts"]
    assert (again[0]["active"], again[0]["inactive_reason"], again[0]["inactive_at"]) == (True, None, None)


def test_a_contact_named_twice_is_one(call: Call, person: str) -> None:
    twice = [{"sender": "CONSOLE", "address": "a"}, {"sender": "CONSOLE", "address": "a", "active": False}]
    assert _contacts(_put(call, person, 201, contacts=twice)) == [("CONSOLE", "a", True)]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("ru", "ru"),
        ("en-us", "en-US"),
        ("pt_BR", "pt-BR"),
        ("zh-hant", "zh-Hant"),
        ("zh-TW", "zh-Hant-TW"),
        ("sr-Latn-RS", "sr-Latn-RS"),
        ("en-XX", "en"),
        ("es-419", "es-419"),
    ],
)
def test_locales_are_stored_in_one_way_of_writing(call: Call, person: str, given: str, stored: str) -> None:
    assert _put(call, person, 201, locale=given)["locale"] == stored


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"locale": "tlh"}, "locale"),
        ({"locale": ""}, "locale"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"quiet_hours": "22-8"}, "quiet_hours"),
        ({"quiet_hours": "24:00-08:00"}, "quiet_hours"),
        ({"mutes": [{}]}, "mutes.0"),
        ({"contacts": [{"sender": "CONSOLE"}]}, "contacts.0.address"),
        ({"contacts": [{"sender": "CONSOLE", "address": "a\u0000"}]}, "contacts.0.address"),
        ({"contacts": [{"sender": "CONSOLE", "address": "ж" * 1_001}]}, "contacts.0.address"),
        ({"contacts": [{"sender": "CONSOLE", "address": "語" * 1_000}]}, "contacts.0.address"),
        ({"muted": "yes"}, "muted"),
        ({"attributes": []}, "attributes"),
        ({"attributes": {"x": "y" * 20_000}}, "attributes"),
        ({"nickname": "Anna"}, "nickname"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    call: Call, person: str, fields: dict[str, Any], field: str
) -> None:
    problems = problem_of(call("PUT", _path(person), fields), 422, "invalid_request")["problems"]
    assert [problem["field"] for problem in problems] == [field]
    problem_of(call("GET", _path(person)), 404, "not_found")


@pytest.mark.parametrize(
    ("sender", "address", "said"),
    [("PIGEON", "roof", "'PIGEON' is not a sender"), ("WEBHOOK", "no address", "")],
)
def test_a_contact_that_its_sender_cannot_use_is_refused(
    call: Call, person: str, sender: str, address: str, said: str
) -> None:
    contacts = [{"sender": "CONSOLE", "address": "a"}, {"sender": sender, "address": address}]
    problem = problem_of(call("PUT", _path(person), {"contacts": contacts}), 409, "invalid_contact")
    assert problem["problems"][0]["field"] == "contacts.1"
    assert said in problem["detail"]


@pytest.mark.parametrize("attributes", [{"a\u0000b": "c\u0000"}, {"n": 10**30}, {"deep": [[[[[["x"]]]]]]}])
def test_attributes_come_back_as_far_as_they_can_be_kept(
    call: Call, person: str, attributes: dict[str, Any]
) -> None:
    stored = _put(call, person, 201, attributes=attributes)["attributes"]
    assert str(stored) == str(attributes).replace("\\x00", "\ufffd").replace(str(10**30), "1e+30")


@pytest.mark.parametrize("raw", [b'{"attributes": {"x": 1e999}}', b'{"attributes": ' + b"[" * 30 + b"]" * 30])
def test_attributes_that_nobody_could_read_back_are_refused(call: Call, person: str, raw: bytes) -> None:
    problem_of(call("PUT", _path(person), raw), 422, "invalid_request")


def test_ids_of_any_characters(call: Call, get: Get) -> None:
    for external_id in (f"a?b#c%20 {uuid4()}", f"Анна {uuid4()}", f"x@example.com:{uuid4()}"):
        assert _put(call, external_id, 201)["external_id"] == external_id
        assert get(_path(external_id))["external_id"] == external_id


def test_the_name_of_the_import_is_no_id(call: Call) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = call(method, "/v1/recipients/import")
        problem_of(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "POST"


def test_preferences_are_replaced_as_a_whole(call: Call, get: Get, person: str) -> None:
    path = _path(person, "/preferences")
    problem_of(call("PUT", path, {}), 404, "not_found")
    _put(call, person, 201, **PROFILE)
    set_to = {"muted": True, "mutes": [{"sender": "WEBHOOK"}], "quiet_hours": "00:00-00:00"}
    answer = call("PUT", path, set_to)
    assert answer.status == 200
    view = answer.json()
    assert view["mutes"] == [{"category": None, "sender": "WEBHOOK"}]
    assert (view["muted"], view["quiet_hours"], view["name"]) == (True, "00:00-00:00", "Анна")
    cleared = call("PUT", path, {}).json()
    assert (cleared["muted"], cleared["mutes"], cleared["quiet_hours"]) == (False, [], None)


def test_contacts_one_by_one(call: Call, get: Get, person: str) -> None:
    path = _path(person, "/contacts")
    contact = {"sender": "CONSOLE", "address": "b"}
    problem_of(call("POST", path, contact), 404, "not_found")
    _put(call, person, 201, contacts=[{"sender": "CONSOLE", "address": "a"}])
    added = call("POST", path, contact).json()
    assert _contacts(added) == [("CONSOLE", "a", True), ("CONSOLE", "b", True)]
    first, second = (f"{path}/{contact['id']}" for contact in added["contacts"])
    off = call("POST", f"{first}/deactivate", {"reason": "moved"}).json()["contacts"][0]
    assert (off["active"], off["inactive_reason"]) == (False, "moved")
    assert off["inactive_at"]
    assert _contacts(call("POST", f"{first}/activate").json())[0][2] is True
    call("POST", f"{second}/deactivate", {"reason": "moved"})
    assert _contacts(call("POST", path, contact).json())[1][2] is True
    assert call("DELETE", first).status == 204
    assert _contacts(get(_path(person))) == [("CONSOLE", "b", True)]
    for method, missing in (("DELETE", first), ("POST", f"{first}/activate")):
        problem_of(call(method, missing), 404, "not_found")


def test_a_contact_is_found_under_its_own_person_only(call: Call, get: Get, person: str) -> None:
    other = f"{person} 2"
    made = _put(call, person, 201, contacts=[{"sender": "CONSOLE", "address": "a"}])
    _put(call, other, 201)
    contact = made["contacts"][0]["id"]
    problem_of(call("DELETE", _path(other, f"/contacts/{contact}")), 404, "not_found")
    assert get(_path(person))["contacts"]


def test_erasing_removes_everything_and_says_what(call: Call, person: str) -> None:
    _put(call, person, 201, **PROFILE)
    topic = f"t{uuid4().hex}"
    call("PUT", f"/v1/topics/{topic}", {"title": "T"})
    assert call("PUT", f"/v1/topics/{topic}/subscribers/{quote(person)}").status == 204
    message = {"body": "b", "to": {"recipient": person}}
    sent = call("POST", "/v1/notifications", message).json()
    shared = call("POST", "/v1/notifications", {"body": "b", "to": {"topic": topic}}).json()
    wait_blocking(lambda: call("GET", f"/v1/deliveries?notification={shared['id']}").json()["items"])
    answer = call("DELETE", _path(person))
    assert (answer.status, answer.json()) == (
        200,
        {"contacts": 2, "mutes": 2, "subscriptions": 1, "deliveries": 2, "tickets": 0, "events": 0},
    )  # fmt: skip
    problem_of(call("GET", f"/v1/notifications/{sent['id']}"), 404, "not_found")
    for method in ("GET", "DELETE"):
        problem_of(call(method, _path(person)), 404, "not_found")
    assert call("GET", f"/v1/topics/{topic}").json()["subscribers"] == 0


def test_an_export_has_everything(call: Call, get: Get, person: str) -> None:
    problem_of(call("GET", _path(person, "/export")), 404, "not_found")
    made = _put(call, person, 201, **PROFILE)
    topic = f"t{uuid4().hex}"
    call("PUT", f"/v1/topics/{topic}", {"title": "T"})
    call("PUT", f"/v1/topics/{topic}/subscribers/{quote(person)}")
    call("POST", "/v1/notifications", {"body": "secret", "to": {"recipient": person}})
    exported = get(_path(person, "/export"))
    assert exported["recipient"] == {**made, "topics": [topic]}
    assert [subscription["topic"] for subscription in exported["subscriptions"]] == [topic]
    assert [delivery["content"]["body"] for delivery in exported["deliveries"]] == ["secret"]


def _listed(get: Get, query: str) -> list[str]:
    """The ids of a list by its pages of two."""
    found: list[str] = []
    cursor = ""
    while True:
        page = get(f"/v1/recipients?limit=2{query}{cursor}")
        assert len(page["items"]) <= 2
        found += [item["external_id"] for item in page["items"]]
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


def test_lists_and_their_filters(call: Call, get: Get) -> None:
    mark = uuid4().hex
    people = [f"{mark}-{number}" for number in range(5)]
    topic = f"t{mark}"
    call("PUT", f"/v1/topics/{topic}", {"title": "T"})
    for number, external_id in enumerate(people):
        address = f"{mark}-{number % 2}"
        sender = "CONSOLE" if number < 4 else "WEBHOOK"
        contact = {"sender": sender, "address": address if number < 4 else f"https://example.com/{mark}"}
        _put(call, external_id, 201, locale="cy" if number % 2 else "ga", contacts=[contact])
        if number != 2:
            call("PUT", f"/v1/topics/{topic}/subscribers/{external_id}")
    newest = people[::-1]
    assert _listed(get, "")[:5] == newest
    assert _listed(get, f"&topic={topic}") == [people[i] for i in (4, 3, 1, 0)]
    assert _listed(get, f"&topic={topic}&locale=cy") == [people[i] for i in (3, 1)]
    assert _listed(get, f"&topic={topic}&sender=WEBHOOK") == [people[4]]
    assert _listed(get, f"&address={mark}-0") == [people[i] for i in (2, 0)]
    assert _listed(get, f"&address={mark}-0&sender=CONSOLE&topic={topic}") == [people[0]]
    assert _listed(get, f"&address={mark}-0&sender=WEBHOOK") == []
    assert [name for name in _listed(get, "&locale=ga") if name in people] == [people[i] for i in (4, 2, 0)]
    assert [name for name in _listed(get, "&sender=WEBHOOK") if name in people] == [people[4]]
    assert _listed(get, f"&topic=no-{topic}") == []


@pytest.mark.parametrize("query", ["locale=tlh", "topic=%20", "address=%00", "limit=0", "nope=1"])
def test_a_wrong_filter_is_named(call: Call, query: str) -> None:
    problem = problem_of(call("GET", f"/v1/recipients?{query}"), 422, "invalid_request")["problems"][0]
    assert problem["field"] == query.partition("=")[0]


def test_rights_and_the_trail(call: Call, get: Get, person: str) -> None:
    made = call("POST", "/v1/keys", {"name": "reader", "scopes": ["read", "send"]}).json()

    def as_reader(method: str, rest: str = "", body: Any = None) -> Answer:
        return call(method, _path(person, rest), body, key=made["key"])

    for refused in (as_reader("PUT", body={}), as_reader("DELETE"), as_reader("PUT", "/preferences", {})):
        problem_of(refused, 403, "missing_scope")
    _put(call, person, 201, **PROFILE)
    assert as_reader("GET").status == 200
    entry = get("/v1/audit?limit=1")["items"][0]
    assert (entry["action"], entry["target"], entry["outcome"]) == ("recipient.put", person, "done")
    assert entry["details"]["fields"] == sorted(PROFILE)
    assert "anna" not in str(entry)
