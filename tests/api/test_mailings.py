"""Mailings over REST: written down, tried, started, followed."""

import csv
import http.client
import io
import json
import re
import subprocess
import sys
import urllib.request
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.api.conftest import Call, Get, problem_of
from tests.support.service import API_KEY, ROOT, Service
from tests.support.waiting import wait_blocking


@pytest.fixture
def crowd(call: Call) -> list[str]:
    """Three people with a contact for CONSOLE, of whom one lives in Moscow and one muted everything."""
    mark = uuid4().hex
    people = [f"{mark}-{number}" for number in range(3)]
    for number, external_id in enumerate(people):
        profile: dict[str, Any] = {
            "contacts": [{"sender": "CONSOLE", "address": external_id}],
            "locale": "ru",
        }
        profile["attributes"] = {"crowd": mark, "number": number}
        if number == 1:
            profile["time_zone"] = "Europe/Moscow"
        profile["muted"] = number == 2
        assert call("PUT", f"/v1/recipients/{quote(external_id)}", profile).status == 201
    return people


def _draft(crowd: list[str], **fields: Any) -> dict[str, Any]:
    of_crowd = {"attribute": {"name": "crowd", "eq": crowd[0].partition("-")[0]}}
    return {
        "name": "Prices",
        "content": {"body": "New **prices**", "format": "markdown", "sender": "CONSOLE"},
        "audience": {"filter": of_crowd},
        **fields,
    }


def _create(call: Call, draft: dict[str, Any]) -> str:
    answer = call("POST", "/v1/mailings", draft)
    assert answer.status == 201, answer.body
    path: str = answer.headers["location"]
    assert path == f"/v1/mailings/{answer.json()['id']}"
    return path


def _until(get: Get, path: str, status: str) -> Any:
    def reached() -> Any:
        view = get(path)
        return view if view["status"] == status and view["ended_at"] else None

    return wait_blocking(reached, message=f"{path} is {status}")


def test_from_a_draft_to_its_results(call: Call, get: Get, crowd: list[str]) -> None:
    path = _create(call, _draft(crowd))
    view = get(path)
    assert (view["status"], view["progress"]["planned"], view["progress"]["waits_for"]) == (
        "draft",
        None,
        "start",
    )
    assert call("PUT", path, _draft(crowd, name="Other prices")).json()["draft"]["name"] == "Other prices"
    started = call("POST", f"{path}/start")
    assert started.status == 200, started.body
    progress = _until(get, path, "finished")["progress"]
    assert (progress["planned"], progress["made"], progress["sent"]) == (3, 3, 2)
    assert (progress["suppressed"], progress["remaining"], progress["failed"]) == ({"muted": 1}, 0, {})
    assert get(f"{path}/progress") == progress
    results = call("GET", f"{path}/results.csv")
    assert results.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(results.body.decode())))
    assert sorted((row["recipient"], row["status"], row["error_code"]) for row in rows) == [
        (crowd[0], "sent", ""),
        (crowd[1], "sent", ""),
        (crowd[2], "suppressed", "muted"),
    ]
    listed = get("/v1/mailings?status=finished&limit=1")["items"][0]
    assert (listed["id"], listed["name"]) == (view["id"], "Other prices")
    notification = get(f"/v1/notifications/{get(path)['notification_id']}")
    assert (notification["source"], len(notification["deliveries"])) == (f"mailing:{view['id']}", 3)
    for method, call_path in (
        ("PUT", path),
        ("DELETE", path),
        ("POST", f"{path}/start"),
        ("POST", f"{path}/pause"),
    ):
        body = _draft(crowd) if method == "PUT" else None
        problem_of(call(method, call_path, body), 409, "mailing_state")


def test_the_stream_ends_with_the_mailing(call: Call, service: Service, crowd: list[str]) -> None:
    path = _create(call, _draft(crowd))
    call("POST", f"{path}/start")
    request = urllib.request.Request(f"{service.url}{path}/progress/stream", headers={"X-API-Key": API_KEY})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.read().decode().splitlines()
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert events[-1]["status"] == "finished"
    assert events[-1]["sent"] == 2


def test_the_command_line_draws_it(call: Call, service: Service, crowd: list[str]) -> None:
    path = _create(call, _draft(crowd))
    call("POST", f"{path}/start")
    command = [sys.executable, "-m", "service", "mailing", "watch"]

    def watch(mailing_id: str) -> "subprocess.CompletedProcess[str]":
        options = ["--url", service.url, "--key", API_KEY]
        return subprocess.run(
            [*command, mailing_id, *options],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
            timeout=60,
        )

    drawn = watch(path.rpartition("/")[2])
    assert drawn.returncode == 0, drawn.stderr
    lines = {line.split()[0]: line.split()[-1] for line in drawn.stdout.splitlines() if line.split()}
    assert (lines["made"], lines["sent"], lines["suppressed"]) == ("3/3", "2/3", "1/3")
    assert "finished" in drawn.stdout
    unknown = watch(str(uuid4()))
    assert unknown.returncode == 1
    assert "no mailing has the id" in unknown.stderr


def test_a_preview_counts_forecasts_and_renders(call: Call, crowd: list[str]) -> None:
    path = _create(call, _draft(crowd, rate=0.5))
    view = call("POST", f"{path}/preview").json()
    assert (view["people"], view["zones"]) == (3, {"UTC": 2, "Europe/Moscow": 1})
    assert [(person["sender"], person["suppressed"]) for person in view["sample"]] == [
        ("CONSOLE", None), ("CONSOLE", None), (None, "muted"),
    ]  # fmt: skip
    assert view["allowed_rate"] == 0.5
    assert view["eta"] is not None
    assert "New prices" in view["rendered"][0]["texts"][0]


@pytest.mark.parametrize(
    ("trait", "numbers"),
    [
        ({"zone": ["Europe/Moscow"]}, [1]),
        ({"zone": [None]}, [0, 2]),
        ({"locale": ["ru"]}, [0, 1, 2]),
        ({"locale": ["en"]}, []),
        ({"contact": "CONSOLE"}, [0, 1, 2]),
        ({"contact": "TG"}, []),
        ({"attribute": {"name": "number", "gt": 0}}, [1, 2]),
        ({"attribute": {"name": "number", "lt": 1.5}}, [0, 1]),
        ({"attribute": {"name": "number", "gt": "0"}}, []),
        ({"attribute": {"name": "number", "in": [0, "1", 2]}}, [0, 2]),
        ({"attribute": {"name": "number", "ne": 0}}, [1, 2]),
        ({"attribute": {"name": "other", "ne": 0}}, [0, 1, 2]),
        ({"attribute": {"name": "other", "exists": False}}, [0, 1, 2]),
        ({"attribute": {"name": "other", "exists": True}}, []),
        ({"not": [{"zone": ["Europe/Moscow"]}, {"attribute": {"name": "number", "eq": 0}}]}, [2]),
        ({"any": [{"zone": ["Europe/Moscow"]}, {"attribute": {"name": "number", "eq": 0}}]}, [0, 1]),
    ],
)
def test_filters(call: Call, crowd: list[str], trait: dict[str, Any], numbers: list[int]) -> None:
    mine = {"attribute": {"name": "crowd", "eq": crowd[0].partition("-")[0]}}
    answer = call("POST", "/v1/audiences/preview", {"audience": {"filter": {"all": [mine, trait]}}})
    assert answer.status == 200, answer.body
    report = answer.json()
    assert report["people"] == len(numbers)
    assert [person["external_id"] for person in report["sample"]] == [crowd[number] for number in numbers]


def test_an_uploaded_list(call: Call, get: Get, crowd: list[str]) -> None:
    path = _create(call, _draft(crowd, audience={"everyone": True}))
    rows = f"name,external_id\nx,{crowd[0]}\r\n\ny,{crowd[1]}\nz,{crowd[0]}\nn,nobody-{crowd[0]}\n"
    answer = call("PUT", f"{path}/recipients", rows.encode(), headers={"Content-Type": "text/csv"})
    assert answer.status == 200, answer.body
    assert answer.json() == {"recipients": 2, "unknown": 1, "unknown_ids": [f"nobody-{crowd[0]}"]}
    assert call("POST", f"{path}/preview").json()["people"] == 2
    call("POST", f"{path}/start")
    assert _until(get, path, "finished")["progress"]["sent"] == 2
    other = _create(call, _draft(crowd))
    wrong = call("PUT", f"{other}/recipients", b"a,b\n1,2\n", headers={"Content-Type": "text/csv"})
    assert "line 1" in problem_of(wrong, 409, "mailing_refused")["detail"]
    problem_of(call("PUT", f"{other}/recipients", {"a": 1}), 415, "unsupported_media_type")


def _open_upload(service: Service, path: str) -> http.client.HTTPConnection:
    """An upload whose body has begun, and not ended."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    connection.putrequest("PUT", f"{path}/recipients")
    for name, value in (
        ("X-API-Key", API_KEY),
        ("Content-Type", "text/csv"),
        ("Transfer-Encoding", "chunked"),
    ):
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(b"c\r\nexternal_id\n\r\n")
    return connection


def test_an_upload_for_what_is_no_draft_is_not_read(call: Call, service: Service, crowd: list[str]) -> None:
    path = _create(call, _draft(crowd, start_at="2100-01-01T00:00:00Z"))
    call("POST", f"{path}/start")
    scheduled = re.compile(rb'^mailings{status="scheduled"} [1-9]', re.MULTILINE)
    wait_blocking(lambda: scheduled.search(call("GET", "/metrics", key=None).body))
    connection = _open_upload(service, path)
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["code"]) == (409, "mailing_state")
    connection.close()
    call("POST", f"{path}/cancel")


def test_an_upload_leaves_the_rest_of_a_draft_as_it_is(
    call: Call, get: Get, service: Service, crowd: list[str]
) -> None:
    path = _create(call, _draft(crowd))
    lists = get(f"{path}")["draft"]["audience"]
    connection = _open_upload(service, path)
    changed = _draft(crowd, name="Changed meanwhile")
    assert call("PUT", path, changed).status == 200
    line = f"{crowd[0]}\n".encode()
    connection.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(line), line))
    assert connection.getresponse().status == 200
    connection.close()
    draft = get(path)["draft"]
    assert draft["name"] == "Changed meanwhile"
    assert draft["audience"] != lists
    assert draft["audience"].keys() == {"uploaded"}


def test_a_trial_leaves_the_numbers_alone(call: Call, get: Get, crowd: list[str]) -> None:
    path = _create(call, _draft(crowd))
    answer = call("POST", f"{path}/test", {"recipients": [crowd[0], crowd[2], "nobody"]})
    assert answer.status == 200, answer.body
    first, muted, nobody = answer.json()["items"]
    assert wait_blocking(lambda: get(f"/v1/notifications/{first['notification_id']}")["status"] == "sent")
    assert (muted["problem"], nobody["notification_id"]) == ("muted", None)
    assert "is not a recipient" in nobody["problem"]
    assert get(path)["progress"]["made"] == 0


def test_paused_before_it_begins(call: Call, get: Get, crowd: list[str]) -> None:
    path = _create(call, _draft(crowd, start_at="2100-01-01T00:00:00Z"))
    assert call("POST", f"{path}/start").json()["status"] == "scheduled"
    stopped = call("POST", f"{path}/pause", {"reason": "a wrong price"})
    assert stopped.json() == {"status": "paused", "sent": 0, "under_way": 0, "waiting": 0}
    assert get(path)["progress"]["reason"] == "a wrong price"
    problem_of(call("POST", f"{path}/approve"), 409, "mailing_state")
    assert call("POST", f"{path}/resume").json()["status"] == "scheduled"
    assert call("POST", f"{path}/cancel").json()["status"] == "cancelled"
    assert get(path)["ended_at"] is not None
    entry = get("/v1/audit?limit=1")["items"][0]
    assert (entry["action"], entry["target"]) == ("mailing.cancel", path.rpartition("/")[2])


def test_a_draft_can_be_dropped(call: Call, crowd: list[str]) -> None:
    path = _create(call, _draft(crowd))
    assert call("DELETE", path).status == 204
    problem_of(call("GET", path), 404, "not_found")
    for method, suffix in (
        ("POST", "/start"),
        ("GET", "/progress"),
        ("GET", "/progress/stream"),
        ("GET", "/results.csv"),
    ):
        problem_of(call(method, f"{path}{suffix}"), 404, "not_found")


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"content": {}}, 422, "content.body"),
        ({"content": {"body": "x", "to": "1"}}, 422, "content.to"),
        ({"content": {"body": "x", "params": {"a": 1}}}, 409, "content.params"),
        ({"content": {"body": "x", "sender": "NOPE"}}, 409, "sender"),
        ({"content": {"template": "no-such"}}, 409, "template"),
        ({"audience": {}}, 422, "audience"),
        ({"audience": {"everyone": False}}, 422, "audience.everyone"),
        ({"audience": {"topic": "none"}}, 409, "audience.topic"),
        ({"audience": {"filter": {"attribute": {"name": "a"}}}}, 422, "audience.filter.attribute"),
        ({"audience": {"filter": {"all": [{"all": [{"all": [{"locale": ["ru"]}]}]}]}}}, 422, "audience.filter.all.0.all.0.all"),
        ({"audience": {"uploaded": str(uuid4())}}, 409, "audience.uploaded"),
        ({"window": {"from": "10:00", "until": "10:00"}}, 409, "window"),
        ({"rate": 0}, 422, "rate"),
        ({"canary": {}}, 422, "canary"),
        ({"typo": 1}, 422, "typo"),
    ],
)  # fmt: skip
def test_what_is_no_mailing(
    call: Call, crowd: list[str], change: dict[str, Any], status: int, field: str
) -> None:
    answer = call("POST", "/v1/mailings", _draft(crowd, **change))
    assert answer.status == status, answer.body
    assert field in [problem["field"] for problem in answer.json()["problems"]], answer.body
