"""Topics over REST: made, listed, removed; who is subscribed."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.api.conftest import Call, Get, problem_of


@pytest.fixture
def topic(call: Call) -> Iterator[str]:
    """The path of a new topic."""
    path = f"/v1/topics/t.{uuid4().hex}"
    assert call("PUT", path, {"title": "Outages"}).status == 201
    yield path
    call("DELETE", path)


def _people(call: Call, count: int) -> list[str]:
    mark = uuid4().hex
    people = [f"{mark} {number}" for number in range(count)]
    for external_id in people:
        assert call("PUT", f"/v1/recipients/{quote(external_id)}", {"name": external_id}).status == 201
    return people


def _subscribers(get: Get, topic: str) -> list[str]:
    found: list[str] = []
    cursor = ""
    while True:
        page = get(f"{topic}/subscribers?limit=2{cursor}")
        found += [item["external_id"] for item in page["items"]]
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


def test_a_topic_and_its_title(call: Call, get: Get, topic: str) -> None:
    assert get(topic)["title"] == "Outages"
    changed = call("PUT", topic, {"title": "Сбои"})
    assert (changed.status, changed.json()["title"]) == (200, "Сбои")
    listed = get("/v1/topics?limit=1")["items"]
    assert listed == [get(topic)]


def test_subscribing_and_leaving_any_number_of_times(call: Call, get: Get, topic: str) -> None:
    people = _people(call, 3)
    for external_id in (*people, people[0]):
        assert call("PUT", f"{topic}/subscribers/{quote(external_id)}").status == 204
    assert _subscribers(get, topic) == people[::-1]
    assert get(topic)["subscribers"] == 3
    assert get(f"{topic}/subscribers?limit=1")["items"][0]["name"] == people[-1]
    path = f"{topic}/subscribers/{quote(people[1])}"
    assert call("DELETE", path).status == 204
    problem_of(call("DELETE", path), 404, "not_found")
    assert _subscribers(get, topic) == [people[2], people[0]]
    name = topic.rpartition("/")[2]
    assert get(f"/v1/recipients/{quote(people[0])}")["topics"] == [name]


def test_many_are_subscribed_at_once(call: Call, get: Get, topic: str) -> None:
    people = _people(call, 3)
    call("PUT", f"{topic}/subscribers/{quote(people[0])}")
    answer = call("POST", f"{topic}/subscribers", {"recipients": [*people, "nobody", people[1], "nobody"]})
    assert answer.json() == {"subscribed": 2, "unchanged": 1, "unknown": ["nobody"]}
    assert _subscribers(get, topic) == people[::-1]
    problem_of(call("POST", "/v1/topics/none/subscribers", {"recipients": people}), 404, "not_found")
    problem_of(call("POST", f"{topic}/subscribers", {"recipients": []}), 422, "invalid_request")


def test_what_is_not_there(call: Call, topic: str) -> None:
    (person,) = _people(call, 1)
    for method, path in (
        ("GET", "/v1/topics/none"),
        ("DELETE", "/v1/topics/none"),
        ("GET", "/v1/topics/none/subscribers"),
        ("PUT", f"/v1/topics/none/subscribers/{quote(person)}"),
        ("PUT", f"{topic}/subscribers/nobody-{uuid4()}"),
        ("DELETE", f"{topic}/subscribers/{quote(person)}"),
    ):
        problem_of(call(method, path), 404, "not_found")


def test_a_removed_topic_leaves_its_subscribers_be(call: Call, get: Get, topic: str) -> None:
    (person,) = _people(call, 1)
    call("PUT", f"{topic}/subscribers/{quote(person)}")
    assert call("DELETE", topic).status == 204
    assert get(f"/v1/recipients/{quote(person)}")["topics"] == []
    problem_of(call("GET", topic), 404, "not_found")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/topics/-a", {"title": "x"}, "name"),
        ("/v1/topics/a b", {"title": "x"}, "name"),
        ("/v1/topics/" + "a" * 65, {"title": "x"}, "name"),
        ("/v1/topics/a", {"title": ""}, "title"),
        ("/v1/topics/a", {}, "title"),
        ("/v1/topics/a", {"title": "x", "subscribers": []}, "subscribers"),
    ],
)
def test_what_is_no_topic(call: Call, path: str, body: Any, field: str) -> None:
    problem = problem_of(call("PUT", quote(path), body), 422, "invalid_request")
    assert problem["problems"][0]["field"] == field


def test_the_trail(call: Call, get: Get, topic: str) -> None:
    (person,) = _people(call, 1)
    name = topic.rpartition("/")[2]
    call("PUT", f"{topic}/subscribers/{quote(person)}")
    entry = get("/v1/audit?limit=1")["items"][0]
    assert (entry["action"], entry["target"]) == ("topic.subscribe", name)
    assert entry["details"] == {"recipient": person}
