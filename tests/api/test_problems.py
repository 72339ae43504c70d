"""Every error is a problem document, whoever makes it."""

import http.client
import json

import pytest

from service.errors import MethodNotAllowed, Unavailable
from tests.api.conftest import BODY_MAX_BYTES, Call, problem_of
from tests.support.service import API_KEY, Service


@pytest.mark.parametrize(
    "path",
    ["/nope", "/v1/", "/v1/nope", "/v1/notifications/", "/v1/notifications/no-uuid", "/v1/deliveries/x"],
)
def test_an_address_where_nothing_is(call: Call, path: str) -> None:
    problem_of(call("GET", path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/notifications", "GET, POST"),
        ("OPTIONS", "/v1/keys", "GET, POST"),
        ("GET", "/v1/notifications/batch", "POST"),
        ("DELETE", "/v1/notifications/00000000-0000-7000-8000-000000000000", "GET"),
        ("POST", "/health/live", "GET"),
        ("POST", "/openapi.json", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_there_is_answered_with_all_that_are(
    call: Call, method: str, path: str, allowed: str
) -> None:
    answer = call(method, path)
    problem_of(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    "path",
    [
        "/v1/notifications",
        "/v1/notifications/batch",
        "/v1/notifications/explain",
        "/v1/keys",
        "/v1/dead-letters/redrive",
    ],
)
@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b'"text"', b"null", b"[]"])
def test_a_body_that_is_no_json_object(call: Call, path: str, raw: bytes) -> None:
    assert problem_of(call("POST", path, raw), 422, "invalid_request")["problems"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "nonsense"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
def test_a_body_of_another_kind(call: Call, headers: dict[str, str]) -> None:
    problem_of(call("POST", "/v1/notifications", b"{}", headers=headers), 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.example+json"]
)
def test_json_by_its_other_names(call: Call, kind: str) -> None:
    body = json.dumps({"body": "x", "sender": "CONSOLE"}).encode()
    assert call("POST", "/v1/notifications", body, headers={"Content-Type": kind}).status == 202


def test_a_body_that_says_it_is_too_large(call: Call) -> None:
    body = json.dumps({"body": "x" * BODY_MAX_BYTES, "sender": "CONSOLE"}).encode()
    problem = problem_of(call("POST", "/v1/notifications", body), 413, "body_too_large")
    assert f"at most {BODY_MAX_BYTES}" in problem["detail"]


@pytest.mark.parametrize("path", ["/v1/notifications", "/v1/keys"])
def test_a_body_that_turns_out_too_large_is_not_read_to_its_end(service: Service, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    connection.putrequest("POST", path)
    for name, value in (
        ("X-API-Key", API_KEY),
        ("Content-Type", "application/json"),
        ("Transfer-Encoding", "chunked"),
    ):
        connection.putheader(name, value)
    connection.endheaders()
    chunk = b" " * 100_000
    for _ in range(BODY_MAX_BYTES // len(chunk) + 1):
        connection.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    # The body has not ended, and yet there is an answer.
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["code"] == "body_too_large"
    connection.close()


def test_headers_belong_to_their_errors() -> None:
    assert Unavailable(retry_after=0.2).headers == {"Retry-After": "1"}
    assert Unavailable(retry_after=2.1).headers == {"Retry-After": "3"}
    assert MethodNotAllowed(["POST", "GET"]).headers == {"Allow": "GET, POST"}
