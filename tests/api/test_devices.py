"""Devices over REST: registered, rotated, removed, by those who may and for whom they may."""

import time
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import jwt
import pytest

from tests.api.conftest import JWT_SECRET, Call, Get, problem_of
from tests.support.service import Answer


@pytest.fixture
def person(call: Call) -> str:
    """A recipient with one contact."""
    external_id = f"user {uuid4()}"
    body = {"contacts": [{"sender": "CONSOLE", "address": "anna"}]}
    assert call("PUT", f"/v1/recipients/{quote(external_id)}", body).status == 201
    return external_id


@pytest.fixture
def token() -> str:
    return f"device-token:{uuid4()}"


def path(external_id: str, rest: str = "") -> str:
    return f"/v1/recipients/{quote(external_id, safe='')}/devices{rest}"


def register(call: Call, external_id: str, token: str, status: int = 201, **fields: Any) -> Any:
    answer = call("POST", path(external_id), {"sender": "RUSTORE", "token": token, **fields})
    assert answer.status == status, answer.body
    return answer.json()


def key_of(call: Call, *scopes: str) -> str:
    answer = call("POST", "/v1/keys", {"name": "made in a test", "scopes": list(scopes)})
    assert answer.status == 201, answer.body
    return str(answer.json()["key"])


def bearer(subject: str | None, scope: str = "devices") -> dict[str, str]:
    claims = {
        "iss": "https://issuer.example", "aud": "notifications", "exp": time.time() + 60, "scope": scope,
    }  # fmt: skip
    claims |= {} if subject is None else {"sub": subject}
    return {"Authorization": f"Bearer {jwt.encode(claims, JWT_SECRET, 'HS256')}"}


def test_a_device_is_what_its_app_said(call: Call, get: Get, person: str, token: str) -> None:
    made = register(call, person, token, platform="android", app="com.example.shop", name="Pixel")
    assert {name: made[name] for name in ("sender", "token", "platform", "app", "name", "active")} == {
        "sender": "RUSTORE", "token": token, "platform": "android", "app": "com.example.shop", "name": "Pixel",
        "active": True,
    }  # fmt: skip
    assert get(path(person)) == {"items": [made], "next": None}
    profile = get(f"/v1/recipients/{quote(person)}")
    assert [contact["device"] for contact in profile["contacts"]] == [
        None,
        {"platform": "android", "app": "com.example.shop", "name": "Pixel", "seen_at": made["seen_at"]},
    ]
    exported = get(f"/v1/recipients/{quote(person)}/export")
    assert exported["recipient"]["contacts"] == profile["contacts"]


def test_registering_again_is_a_sign_of_life_and_changes_what_is_said_anew(
    call: Call, get: Get, person: str, token: str
) -> None:
    made = register(call, person, token, platform="android")
    seen = register(call, person, token, 200, platform="android")
    assert seen == {**made, "seen_at": seen["seen_at"]}
    assert seen["seen_at"] > made["seen_at"]
    contact = f"/v1/recipients/{quote(person)}/contacts/{made['id']}"
    assert call("POST", f"{contact}/deactivate", {"reason": "the app was removed"}).status == 200
    assert [item["active"] for item in get(path(person))["items"]] == [False]
    alive = register(call, person, token, 200, platform="android", name="Pixel")
    assert (alive["active"], alive["inactive_reason"], alive["name"]) == (True, None, "Pixel")
    register(call, person, f"{token}2")
    assert [item["token"] for item in get(path(person))["items"]] == [f"{token}2", token]


def test_only_what_changes_something_is_audited_and_no_token_is(
    call: Call, get: Get, person: str, token: str
) -> None:
    made = register(call, person, token)
    for _ in range(3):
        register(call, person, token, 200)
    assert call("PUT", path(person, f"/{made['id']}"), {"token": f"{token}b"}).status == 200
    assert call("DELETE", path(person, f"/{made['id']}")).status == 204
    entries = [entry for entry in get("/v1/audit?limit=50")["items"] if entry["target"] == person]
    assert [entry["action"] for entry in entries][:3] == ["device.remove", "device.rotate", "device.register"]
    assert token not in str(entries)


def test_a_device_gets_another_token_and_keeps_its_id(call: Call, get: Get, person: str, token: str) -> None:
    made = register(call, person, token, platform="android")
    answer = call("PUT", path(person, f"/{made['id']}"), {"token": f"{token}2", "platform": "android"})
    assert answer.status == 200
    assert (answer.json()["id"], answer.json()["token"]) == (made["id"], f"{token}2")
    assert [item["token"] for item in get(path(person))["items"]] == [f"{token}2"]
    assert call("DELETE", path(person, f"/{made['id']}")).status == 204
    problem_of(call("DELETE", path(person, f"/{made['id']}")), 404, "not_found")
    problem_of(call("PUT", path(person, f"/{made['id']}"), {"token": token}), 404, "not_found")


def test_a_token_is_of_whoever_registered_it_last(call: Call, get: Get, person: str, token: str) -> None:
    other = f"user {uuid4()}"
    call("PUT", f"/v1/recipients/{quote(other)}", {})
    register(call, person, token)
    register(call, other, token)
    assert get(path(person))["items"] == []
    second = register(call, person, f"{token}2")
    assert call("PUT", path(person, f"/{second['id']}"), {"token": token}).status == 200
    assert get(path(other))["items"] == []
    assert [item["token"] for item in get(path(person))["items"]] == [token]


def test_what_is_no_device_is_no_business_of_these_calls(
    call: Call, get: Get, person: str, token: str
) -> None:
    contact = get(f"/v1/recipients/{quote(person)}")["contacts"][0]
    problem_of(call("DELETE", path(person, f"/{contact['id']}")), 404, "not_found")
    for fields, field in (
        ({"sender": "CONSOLE", "token": "anna"}, "sender"),
        ({"sender": "NOBODY", "token": token}, "sender"),
        ({"sender": "RUSTORE", "token": "has a space"}, "token"),
        ({"sender": "FCM", "token": "topic:news"}, "token"),
    ):
        answer: Answer = call("POST", path(person), fields)
        assert problem_of(answer, 409, "invalid_contact")["problems"][0]["field"] == field
    problem_of(
        call("POST", path(f"nobody {uuid4()}"), {"sender": "RUSTORE", "token": token}), 404, "not_found"
    )
    problem_of(call("GET", path(f"nobody {uuid4()}")), 404, "not_found")
    problem_of(call("POST", path(person), {"sender": "RUSTORE"}), 422, "invalid_request")


def test_a_key_for_devices_does_this_and_nothing_else(call: Call, person: str, token: str) -> None:
    key = key_of(call, "devices")
    body = {"sender": "RUSTORE", "token": token}
    made = call("POST", path(person), body, key=key)
    assert made.status == 201
    one = path(person, f"/{made.json()['id']}")
    assert call("PUT", one, {"token": f"{token}2"}, key=key).status == 200
    assert call("DELETE", one, key=key).status == 204
    for method, where, sent in (
        ("GET", path(person), None),
        ("GET", f"/v1/recipients/{quote(person)}", None),
        ("PUT", f"/v1/recipients/{quote(person)}", {}),
        ("POST", f"/v1/recipients/{quote(person)}/contacts", {"sender": "CONSOLE", "address": "x"}),
        ("POST", "/v1/notifications", {"body": "x", "sender": "CONSOLE"}),
        ("GET", "/v1/senders", None),
        ("GET", "/v1/keys", None),
    ):
        problem_of(call(method, where, sent, key=key), 403, "missing_scope")
    for scopes in (("read",), ("send",)):
        problem_of(call("POST", path(person), body, key=key_of(call, *scopes)), 403, "missing_scope")


def test_a_token_for_devices_is_good_for_its_subject_only(call: Call, person: str, token: str) -> None:
    body = {"sender": "RUSTORE", "token": token}
    assert call("POST", path(person), body, key=None, headers=bearer(person)).status == 201
    for headers in (bearer("somebody else"), bearer(None)):
        problem_of(call("POST", path(person), body, key=None, headers=headers), 403, "missing_scope")
    manager = bearer("backend", "devices manage")
    assert call("POST", path(person), body, key=None, headers=manager).status == 200
