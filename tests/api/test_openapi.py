"""The OpenAPI document says what the settings of this very service make of it."""

from typing import Any

import pytest

from service import __version__
from tests.api.conftest import BATCH_ITEMS, Call, Get


@pytest.fixture
def document(call: Call) -> dict[str, Any]:
    answer = call("GET", "/openapi.json", key=None)
    assert answer.status == 200
    loaded: dict[str, Any] = answer.json()
    return loaded


def test_the_address_of_the_service_leads_to_the_page(call: Call, document: dict[str, Any]) -> None:
    answer = call("GET", "/", key=None)
    assert (answer.status, answer.headers["location"]) == (307, "docs")
    assert document["info"]["version"] == __version__


def test_every_call_documents_what_may_come_back(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for operation in item.values():
            if path.startswith("/v1/"):
                assert {"401", "403", "503"} <= operation["responses"].keys(), path
                assert operation["security"] == [{"ApiKey": []}, {"Token": []}]
                assert ("413" in operation["responses"]) == ("requestBody" in operation), path
            assert operation["summary"]


def test_only_problems_are_errors(document: dict[str, Any]) -> None:
    for item in document["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400 and "Readiness" not in str(response):
                    assert response["content"]["application/problem+json"]["schema"] == {
                        "$ref": "#/components/schemas/Problem"
                    }
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_senders_that_are_on_and_limits_are_in_the_schema(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    fields = schemas["NotificationRequest"]["properties"]
    one, chain = fields["sender"]["anyOf"]
    assert one["enum"] == chain["items"]["enum"]
    assert set(one["enum"]) == {"CONSOLE", "WEBHOOK", "WEBHOOK:audit"}
    assert "TG_BOT_TOKEN" in fields["sender"]["description"]
    assert (fields["title"]["maxLength"], fields["body"]["maxLength"]) == (1000, 100_000)
    assert schemas["NotificationBatch"]["properties"]["items"]["maxItems"] == BATCH_ITEMS


def test_examples_are_taken(call: Call, document: dict[str, Any]) -> None:
    for example in document["components"]["schemas"]["NotificationRequest"]["examples"]:
        assert call("POST", "/v1/notifications", example).status == 202


def test_every_path_of_the_document_is_there(get: Get, document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        if "get" in item and "{" not in path and path.startswith("/v1/") and "statistics" not in path:
            assert set(get(path)) == {"items", "next"}
