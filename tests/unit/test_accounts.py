"""Several accounts of one sender, from the environment."""

import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from service.account_settings import SenderSettings, in_words_of
from service.audience.people import Contact, Person
from service.audience.preferences import suppression
from service.contract import parse_request
from service.delivery.planning import Defaults, Facts, Plan, Planner, Refusal
from service.senders import SENDERS, build_senders
from service.senders.base import BaseSender, Capabilities, Message, Outcome, Sent
from service.settings import Settings

TOKEN, OTHER_TOKEN = "1:first-token", "2:second-token"


def test_an_account_has_settings_limits_and_a_place_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TG_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("TG_RATE", "7")
    monkeypatch.setenv("TG__ALERTS__BOT_TOKEN", OTHER_TOKEN)
    monkeypatch.setenv("TG__ALERTS__RATE", "3")
    monkeypatch.setenv("TG__ALERTS__DEFAULT_CHAT_ID", "5")
    monkeypatch.setenv("TG__ON_CALL__BOT_TOKEN", "3:third")
    senders = build_senders(Settings())
    assert [name for name in senders if name.startswith("TG")] == ["TG", "TG:alerts", "TG:on_call"]
    assert all(sender.name == name for name, sender in senders.items())
    plain, alerts = senders["TG"], senders["TG:alerts"]
    assert (plain.limits.rate, plain.default_address, plain.off_reason) == (7, None, None)
    assert (alerts.limits.rate, alerts.default_address, alerts.off_reason) == (3, "5", None)


def test_an_account_that_lacks_a_setting_is_off_and_names_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TG__ALERTS__RATE", "3")
    senders = build_senders(Settings())
    assert senders["TG"].off_reason == "TG_BOT_TOKEN is not set"
    assert senders["TG:alerts"].off_reason == "TG__ALERTS__BOT_TOKEN is not set"


def test_empty_variables_are_unset_and_other_programs_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TG__ALERTS__BOT_TOKEN", "")
    monkeypatch.setenv("AIRFLOW__CORE__DAGS", "x")
    monkeypatch.setenv("SERVER__A__PORT", "x")
    assert list(build_senders(Settings())) == list(SENDERS)


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("TG__ALERTS__BOT_TOKN", "s3cret", "TG__ALERTS__BOT_TOKN is not a setting of TG; accepted: TG__ALERTS__BOT_TOKEN"),
        ("TG__ALERTS__RATE", "s3cret", "TG__ALERTS__RATE: Input should be a valid number"),
        ("TG__ALERTS__RATE", "-3.125", "TG__ALERTS__RATE: Input should be greater than or equal to 0"),
        ("TG__ALERTS", "s3cret", "TG__ALERTS names no account's setting; accepted: as TG__ALERTS__BOT_TOKEN"),
        ("TG__1A__BOT_TOKEN", "s3cret", "TG__1A__BOT_TOKEN names no account's setting"),
        (f"TG__{'A' * 41}__RATE", "s3cret", "names no account's setting"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_variable_and_without_its_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, problem: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert problem in str(caught.value)
    assert value not in str(caught.value)


def test_every_sender_takes_accounts() -> None:
    groups = [getattr(Settings(), name) for name in Settings.model_fields]
    names = {group.sender_name() for group in groups if isinstance(group, SenderSettings)}
    assert names == set(SENDERS)


def test_reasons_name_the_settings_of_the_account() -> None:
    assert in_words_of("TG", "does not know TG_BOT_TOKEN") == "does not know TG_BOT_TOKEN"
    assert in_words_of("TG:a_b", "does not know TG_BOT_TOKEN") == "does not know TG__A_B__BOT_TOKEN"


class Box(BaseSender):
    async def send(self, message: Message) -> Outcome:
        return Sent()


class SharedBox(Box):
    capabilities = Capabilities(shared_addresses=True)


def box(name: str, kind: type[Box]) -> Box:
    made = kind()
    made.name = name
    return made


BOXES = {
    **{name: box(name, SharedBox) for name in ("MAIL", "MAIL:news")},
    **{name: box(name, Box) for name in ("BOT", "BOT:news")},
}


def planned(*chain: str, mutes: frozenset[tuple[str | None, str | None]] = frozenset()) -> Plan | Refusal:
    places = (("BOT", "1"), ("MAIL", "a@b"), ("BOT:news", "2"))
    contacts = tuple(Contact(n, sender, address, active=True) for n, (sender, address) in enumerate(places))
    anna = Person(1, "anna", None, None, {}, contacts, muted=False, mutes=mutes, quiet=None)
    fields = {"body": "b", "to": {"recipient": "anna"}, **({"sender": list(chain)} if chain else {})}
    planner = Planner(BOXES, Defaults())
    return planner.plan(
        parse_request(json.dumps(fields)), Facts({"anna": anna}), datetime(2030, 1, 1, tzinfo=UTC)
    )


def route(*chain: str, **facts: frozenset[tuple[str | None, str | None]]) -> list[tuple[str, str]]:
    plan = planned(*chain, **facts)
    assert isinstance(plan, Plan)
    return [(hop.sender, hop.address) for hop in plan.route]


def test_accounts_share_contacts_where_addresses_mean_the_same_to_all() -> None:
    assert route("MAIL:news", "MAIL") == [("MAIL:news", "a@b"), ("MAIL", "a@b")]
    assert route("BOT:news", "BOT") == [("BOT:news", "2"), ("BOT", "1")]
    assert route() == [("BOT", "1"), ("MAIL", "a@b"), ("BOT:news", "2")]


def test_a_mute_of_the_plain_name_is_one_of_every_account() -> None:
    assert route("MAIL:news", "BOT:news", mutes=frozenset({(None, "MAIL")})) == [("BOT:news", "2")]
    assert route("MAIL:news", "MAIL", mutes=frozenset({(None, "MAIL:news")})) == [("MAIL", "a@b")]
    plan = planned("MAIL:news", mutes=frozenset({(None, "MAIL")}))
    assert isinstance(plan, Plan)
    assert plan.suppressed is not None
    assert plan.suppressed.code == "sender_muted"


def test_a_category_is_muted_at_every_account_too() -> None:
    person = Person(1, "a", None, None, {}, (), muted=False, mutes=frozenset({("news", "MAIL")}), quiet=None)
    assert suppression(person, sender="MAIL:news", category="news", critical=False) == "category_sender_muted"
    assert suppression(person, sender="MAIL:news", category="other", critical=False) is None
