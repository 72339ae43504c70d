"""The commands of docs/recipients.md, run against a service."""

import json

from tests.api.conftest import Get
from tests.support.pages import run_commands
from tests.support.service import Service


def test_the_commands_of_the_page_work(service: Service, get: Get) -> None:
    printed = run_commands("recipients.md", service)
    ndjson, table = [json.loads(line) for line in printed.splitlines() if line.strip()][-2:]
    assert [refusal["line"] for refusal in ndjson.pop("refusals")] == [2]
    assert ndjson == {"created": 1, "updated": 0, "unchanged": 0, "refused": 1}
    assert (table["created"], table["refused"]) == (1, 0)
    assert get("/v1/recipients/user-45")["attributes"] == {"plan": "pro"}
