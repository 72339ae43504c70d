"""Bulk import: rows of both formats, refused ones reported by line, repeats that double nothing."""

import csv
import http.client
import io
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import asyncpg
import pytest

from tests.api.conftest import BODY_MAX_BYTES, Call, Get, problem_of
from tests.conftest import StartService
from tests.support.postgres import run_apart
from tests.support.service import API_KEY, Answer, Service
from tests.support.waiting import wait_blocking

PATH = "/v1/recipients/import"
NDJSON, CSV = "application/x-ndjson", "text/csv; charset=utf-8"
Import = Callable[..., Any]


@pytest.fixture
def mark() -> str:
    """The beginning of ids that nobody has yet."""
    return uuid4().hex


@pytest.fixture
def imported(call: Call) -> Import:
    """Import a body; the report."""

    def post(body: str | bytes, kind: str = NDJSON) -> Any:
        raw = body if isinstance(body, bytes) else body.encode()
        answer = call("POST", PATH, raw, headers={"Content-Type": kind})
        assert answer.status == 200, answer.body
        return answer.json()

    return post


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _counts(report: Any) -> tuple[int, int, int, int]:
    return report["created"], report["updated"], report["unchanged"], report["refused"]


def test_rows_of_json_are_profiles(imported: Import, get: Get, mark: str) -> None:
    contacts = [{"sender": "CONSOLE", "address": "a"}]
    rows = [
        {"external_id": f"{mark}-1", "locale": "ru-RU", "contacts": contacts, "attributes": {"a": [1]}},
        {"external_id": f"{mark}-2", "mutes": [{"category": "news"}], "quiet_hours": "23:00-07:30"},
    ]
    assert _counts(imported(_lines(rows))) == (2, 0, 0, 0)
    first, second = (get(f"/v1/recipients/{mark}-{number}") for number in (1, 2))
    assert (first["locale"], first["attributes"]) == ("ru-RU", {"a": [1]})
    assert first["contacts"][0]["address"] == "a"
    assert (second["mutes"][0]["category"], second["quiet_hours"]) == ("news", "23:00-07:30")


def test_rows_of_csv_are_profiles(imported: Import, get: Get, mark: str) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(
        [
            "external_id",
            "name",
            "muted",
            "attributes",
            "contact.WEBHOOK",
            "contact.CONSOLE",
            "attributes.city",
        ]
    )
    writer.writerow(
        [f"{mark}-1", 'Анна "А"\nИванова'.replace("\n", ", "), "TRUE", '{"a": 1}', "", "anna", "Псков"]
    )
    writer.writerow([f"{mark}-2", "", "", "", "https://example.com/2", "two", "several\nlines"])
    report = imported("\ufeff" + text.getvalue(), CSV)
    assert _counts(report) == (2, 0, 0, 0)
    first, second = (get(f"/v1/recipients/{mark}-{number}") for number in (1, 2))
    assert (first["name"], first["muted"]) == ('Анна "А", Иванова', True)
    assert first["attributes"] == {"a": 1, "city": "Псков"}
    assert [contact["sender"] for contact in first["contacts"]] == ["CONSOLE"]
    assert second["name"] is None
    assert second["attributes"] == {"city": "several\nlines"}
    assert [contact["sender"] for contact in second["contacts"]] == ["WEBHOOK", "CONSOLE"]


def test_every_refused_row_is_reported_by_its_line(imported: Import, get: Get, mark: str) -> None:
    lines = [
        json.dumps({"external_id": f"{mark}-1"}),
        "",
        "{not json",
        json.dumps({"external_id": f"{mark}-2", "locale": "tlh"}),
        json.dumps({"external_id": f"{mark}-3", "contacts": [{"sender": "PIGEON", "address": "x"}]}),
        json.dumps({"name": "nobody"}),
        json.dumps({"external_id": f"{mark}-4", "nickname": "x"}),
        json.dumps({"external_id": "import"}),
        '"' + "x" * 300_000 + '"',
        json.dumps({"external_id": f"{mark}-5"}),
    ]
    raw = "\n".join(lines).encode() + b'\n{"external_id": "\xff"}'
    report = imported(raw)
    assert _counts(report) == (2, 0, 0, 8)
    found = [
        (refusal["line"], refusal["problems"][0]["field"], refusal["problems"][0]["code"])
        for refusal in report["refusals"]
    ]
    assert found == [
        (3, "", "json_invalid"),
        (4, "locale", "unknown_locale"),
        (5, "contacts.0", "invalid_contact"),
        (6, "external_id", "missing"),
        (7, "nickname", "extra_forbidden"),
        (8, "external_id", "reserved"),
        (9, "", "too_long"),
        (11, "", "json_invalid"),
    ]
    assert get(f"/v1/recipients/{mark}-5")


def test_refused_rows_of_csv(imported: Import, get: Get, mark: str) -> None:
    text = "\r\n".join(
        [
            "external_id,name,muted,attributes,quiet_hours",
            f'{mark}-1,"two\r\nlines",,,',
            f"{mark}-2,x,maybe,,",
            f"{mark}-3,x,,{{,",
            f"{mark}-4,x",
            f'{mark}-5,"x"y,,,',
            f"{mark}-6,x,,,night",
            f"{mark}-7,x,false,,08:00-09:00",
            f'{mark}-8,"never closed,,,',
        ]
    )
    report = imported(text, CSV)
    assert _counts(report) == (1, 0, 0, 7)
    assert [(r["line"], r["problems"][0]["code"]) for r in report["refusals"]] == [
        (2, "string_pattern_mismatch"),
        (4, "bool_type"),
        (5, "json_invalid"),
        (6, "cells"),
        (7, "csv"),
        (8, "quiet_hours"),
        (10, "csv"),
    ]
    assert get(f"/v1/recipients/{mark}-7")["quiet_hours"] == "08:00-09:00"


@pytest.mark.parametrize(
    "header",
    ["name,locale", "external_id,nmae", "external_id,name,name", "external_id,contact.", '"unclosed'],
)
def test_columns_that_make_no_sense_are_refused_before_any_row(call: Call, header: str, mark: str) -> None:
    body = f"{header}\n{mark},x\n".encode()
    problem_of(call("POST", PATH, body, headers={"Content-Type": CSV}), 409, "unusable_columns")
    problem_of(call("GET", f"/v1/recipients/{mark}"), 404, "not_found")


def test_the_same_rows_again_change_nothing(imported: Import, get: Get, mark: str) -> None:
    rows = [
        {
            "external_id": f"{mark}-{number}",
            "contacts": [{"sender": "CONSOLE", "address": f"{mark}-{number}"}],
            "mutes": [{"sender": "TG"}],
            "attributes": {"number": number, "half": number / 2},
        }
        for number in range(2_500)
    ]
    assert _counts(imported(_lines(rows))) == (2_500, 0, 0, 0)
    before = get(f"/v1/recipients/{mark}-7")
    assert _counts(imported(_lines(rows))) == (0, 0, 2_500, 0)
    assert get(f"/v1/recipients/{mark}-7") == before
    rows[7]["name"] = "Seven"
    rows[8]["contacts"] = []
    assert _counts(imported(_lines(rows))) == (0, 2, 2_498, 0)
    assert get(f"/v1/recipients/{mark}-7")["contacts"] == before["contacts"]
    assert get(f"/v1/recipients/{mark}-8")["contacts"] == []


def test_of_the_same_person_twice_the_later_row_counts(imported: Import, get: Get, mark: str) -> None:
    rows = [
        {"external_id": mark, "name": "first", "locale": "ru"},
        {"external_id": mark, "name": "second"},
    ]
    report = imported(_lines(rows))
    assert _counts(report) == (1, 0, 0, 0)
    view = get(f"/v1/recipients/{mark}")
    assert (view["name"], view["locale"]) == ("second", "ru")


@pytest.mark.parametrize("kind", [NDJSON, CSV])
@pytest.mark.parametrize("body", ["", "\n\n"])
def test_nothing_is_imported_from_nothing(imported: Import, kind: str, body: str) -> None:
    assert _counts(imported(body, kind)) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "application/json"}, b"{}"),
        ({"Content-Type": "application/json"}, b""),
        ({"Content-Type": "nonsense"}, b"{}"),
        ({"Content-Type": NDJSON, "Content-Encoding": "gzip"}, b"{}"),
    ],
)
def test_bodies_of_another_kind(call: Call, headers: dict[str, str], body: bytes) -> None:
    problem_of(call("POST", PATH, body, headers=headers), 415, "unsupported_media_type")


def test_an_import_may_be_larger_than_other_bodies(imported: Import, get: Get, mark: str) -> None:
    filling = "x" * 10_000
    count = BODY_MAX_BYTES // 10_000 + 10
    rows = [
        {"external_id": f"{mark}-{number}", "attributes": {"filling": filling}} for number in range(count)
    ]
    assert _counts(imported(_lines(rows))) == (count, 0, 0, 0)


class Slow:
    """An import whose body is sent piece by piece."""

    def __init__(self, service: Service) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
        self.connection.putrequest("POST", PATH)
        for name, value in (
            ("X-API-Key", API_KEY),
            ("Content-Type", NDJSON),
            ("Transfer-Encoding", "chunked"),
        ):
            self.connection.putheader(name, value)
        self.connection.endheaders()

    def send(self, text: str) -> None:
        raw = text.encode()
        self.connection.send(b"%x\r\n%b\r\n" % (len(raw), raw))

    def finish(self) -> Answer:
        self.connection.send(b"0\r\n\r\n")
        response = self.connection.getresponse()
        answer = Answer(response.status, dict(response.getheaders()), response.read())
        self.connection.close()
        return answer


def _rows(mark: str, count: int) -> str:
    return _lines([{"external_id": f"{mark}-{number}"} for number in range(count)])


def test_rows_are_stored_while_the_rest_arrives_and_stay_when_it_does_not(
    service: Service, call: Call, get: Get, imported: Import, mark: str
) -> None:
    slow = Slow(service)
    slow.send(_rows(mark, 1_000))
    slow.send(_rows(f"{mark}-late", 500))
    path = f"/v1/recipients/{mark}-999"
    wait_blocking(lambda: call("GET", path).status == 200, message="the first batch is stored")
    slow.connection.close()

    def trail() -> Any:
        newest = next(e for e in get("/v1/audit")["items"] if e["action"] == "recipients.import")
        return newest if newest["outcome"] else None

    entry = wait_blocking(trail, message="the import has ended")
    assert entry["outcome"] != "done"
    assert entry["details"]["created"] == 1_000
    report = imported(_rows(mark, 1_000) + _rows(f"{mark}-late", 500))
    assert _counts(report) == (500, 0, 1_000, 0)


def test_an_import_that_a_crash_cut_off_is_made_up_by_the_next_one(
    start_service: StartService, database_url: str
) -> None:
    service = start_service()
    rows = [
        {"external_id": f"{number}", "contacts": [{"sender": "CONSOLE", "address": f"{number}"}]}
        for number in range(5_000)
    ]
    slow = Slow(service)
    slow.send(_lines(rows[:3_500]))
    wait_blocking(lambda: service.call("GET", "/v1/recipients/0").status == 200, message="a batch is stored")
    service.kill()
    slow.connection.close()
    service.start()
    answer = service.call("POST", PATH, _lines(rows).encode(), headers={"Content-Type": NDJSON})
    report = answer.json()
    assert report["created"] + report["unchanged"] == 5_000
    assert report["unchanged"] in {1_000, 2_000, 3_000}
    stored = run_apart(_stored(database_url))
    assert stored == (5_000, 5_000)


async def _stored(url: str) -> tuple[int, int]:
    """Recipients and contacts."""
    connection = await asyncpg.connect(url)
    try:
        return (
            await connection.fetchval("SELECT count(*) FROM recipient"),
            await connection.fetchval("SELECT count(*) FROM contact"),
        )
    finally:
        await connection.close()


def test_two_imports_of_the_same_people_at_once_double_nothing(service: Service, get: Get, mark: str) -> None:
    contact = [{"sender": "CONSOLE", "address": mark}]
    rows = [{"external_id": f"{mark}-{number}", "contacts": contact} for number in range(3_000)]
    both = [Slow(service), Slow(service)]
    for start in range(0, 3_000, 500):
        both[0].send(_lines(rows[start : start + 500]))
        both[1].send(_lines(rows[::-1][start : start + 500]))
    reports = [slow.finish().json() for slow in both]
    assert sum(report["created"] for report in reports) == 3_000
    assert sum(report["unchanged"] for report in reports) == 3_000
    listed: list[str] = []
    cursor = ""
    while cursor is not None:
        page = get(f"/v1/recipients?limit=500&address={mark}{cursor}")
        listed += [item["external_id"] for item in page["items"]]
        assert all(len(item["contacts"]) == 1 for item in page["items"])
        cursor = None if page["next"] is None else f"&cursor={page['next']}"
    assert len(listed) == len(set(listed)) == 3_000


def test_an_import_needs_the_right_and_leaves_its_trail(
    call: Call, get: Get, imported: Import, mark: str
) -> None:
    made = call("POST", "/v1/keys", {"name": "reader", "scopes": ["read", "send"]}).json()
    headers = {"Content-Type": NDJSON}
    refused = call("POST", PATH, _rows(mark, 1).encode(), headers=headers, key=made["key"])
    problem_of(refused, 403, "missing_scope")
    imported(_rows(quote(mark), 3) + "x\n")
    entry = get("/v1/audit?limit=1")["items"][0]
    assert (entry["action"], entry["outcome"]) == ("recipients.import", "done")
    assert entry["details"] == {"created": 3, "updated": 0, "unchanged": 0, "refused": 1}
