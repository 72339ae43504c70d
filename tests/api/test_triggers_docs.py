"""The examples of docs/triggers.md are rules and events that the service takes."""

import json
import re
from typing import Any

import pytest

from tests.api.conftest import Call
from tests.support.service import ROOT

PAGE = (ROOT / "docs" / "triggers.md").read_text()
EXAMPLES: list[dict[str, Any]] = [
    json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
]
SCHEDULES = [json.loads(text) for text in re.findall(r"^\| `(\{\"kind.*?\})` \|", PAGE, re.MULTILINE)]
MAILING = {"name": "n", "content": {"body": "x", "sender": "CONSOLE"}, "audience": {"everyone": True}}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.get("name", "event"))
def test_an_example(call: Call, example: dict[str, Any]) -> None:
    path, status = ("/v1/triggers/preview", 200) if "schedule" in example else ("/v1/events", 202)
    answer = call("POST", path, example)
    assert answer.status == status, answer.body


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule["kind"])
def test_a_schedule(call: Call, schedule: dict[str, Any]) -> None:
    draft = {"name": "x", "schedule": schedule, "action": {"mailing": MAILING}}
    answer = call("POST", "/v1/triggers/preview", draft)
    assert answer.status == 200, answer.body


def test_every_kind_is_shown() -> None:
    assert [schedule["kind"] for schedule in SCHEDULES] == [
        "once",
        "interval",
        "cron",
        "recipient-cron",
        "event",
    ]
