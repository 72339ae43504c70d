"""Where a request goes."""

import json
from datetime import UTC, datetime
from typing import Any

from service.contract import parse_request
from service.delivery.planning import SPACING_MARGIN, Defaults, Facts, Hop, Plan, Planner, Refusal
from service.senders.base import AddressError, BaseSender, Message, Outcome, Sent


class Postbox(BaseSender):
    """Takes addresses of digits; spaces those that begin with 9 by two seconds."""

    def __init__(self, default: str | None = None, off: str | None = None) -> None:
        self.default_address = default
        self.off_reason = off

    def check_address(self, address: str) -> str:
        if not address.isdigit():
            raise AddressError("accepted: digits")
        return address.lstrip("0")

    def address_spacing(self, address: str) -> float:
        return 2.0 if address.startswith("9") else 0.0

    def pacing_key(self, address: str) -> str:
        return address[:1]

    async def send(self, message: Message) -> Outcome:
        return Sent()


SENDERS = {"ONE": Postbox("11"), "TWO": Postbox(), "OFF": Postbox("1", "OFF_TOKEN is not set")}

PLANNER = Planner(SENDERS, Defaults())
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def planned(**fields: Any) -> Plan | Refusal:
    return PLANNER.plan(parse_request(json.dumps({"body": "b", **fields})), Facts(), NOON)


def refusal(**fields: Any) -> tuple[str, str, str]:
    found = planned(**fields)
    assert isinstance(found, Refusal), found
    return found.code, found.problems[0].field, found.problems[0].problem


def test_the_default_address_serves_where_none_is_given() -> None:
    assert planned(sender="ONE") == Plan((Hop("ONE", "11", 0.0, "1"),))


def test_the_address_is_brought_into_its_canonical_form() -> None:
    assert planned(sender="TWO", to="0094") == Plan((Hop("TWO", "94", 2.0 * SPACING_MARGIN, "9"),))


def test_each_sender_of_a_chain_has_its_own_address_or_its_default() -> None:
    assert planned(sender=["TWO", "ONE"], to={"addresses": {"TWO": "5"}}) == Plan(
        (Hop("TWO", "5", 0.0, "5"), Hop("ONE", "11", 0.0, "1"))
    )


def test_refusals_name_the_field_and_the_remedy() -> None:
    code, field, problem = refusal(sender="THREE")
    assert (code, field) == ("unknown_sender", "sender")
    assert "OFF, ONE, TWO" in problem
    code, field, problem = refusal(sender="OFF")
    assert (code, field) == ("sender_off", "sender")
    assert "OFF_TOKEN" in problem
    assert refusal(sender="TWO")[:2] == ("no_address", "to")
    code, field, problem = refusal(sender="ONE", to="x")
    assert (code, field) == ("invalid_address", "to")
    assert "digits" in problem


def test_one_bad_link_refuses_the_whole_chain() -> None:
    assert refusal(sender=["ONE", "TWO"])[0] == "no_address"
