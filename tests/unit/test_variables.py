"""Settings are read from environment variables."""

import pytest
from pydantic import ValidationError

from service.desk_settings import BotSettings
from service.sender_settings import AppriseSettings
from service.settings import DeliverySettings, KafkaSettings, ProcessSettings, Settings, TemplateSettings
from service.transports import configured_transports


def test_stray_commas_and_spaces_in_a_list_mean_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "DELIVERY_RETRY_DELAYS_SECONDS": "1, 5,,30,",
        "KAFKA_BOOTSTRAP_SERVERS": "one:9092, two:9092,",
        "TEMPLATES_LOCALES": ",en ,ru",
        "APPRISE_SCHEMAS": "Slack,",
        "BOT_CATEGORIES": "news,,orders,",
    }.items():
        monkeypatch.setenv(name, value)
    assert DeliverySettings().retry_delays_seconds == (1, 5, 30)
    assert KafkaSettings().bootstrap_servers == ("one:9092", "two:9092")
    assert TemplateSettings().locales == ("en", "ru")
    assert AppriseSettings().schemas == ("slack",)
    assert BotSettings().categories == {"news": {}, "orders": {}}


@pytest.mark.parametrize("roles", [",", "api,wroker"])
def test_roles_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch, roles: str) -> None:
    monkeypatch.setenv("ROLES", roles)
    with pytest.raises(ValidationError, match="roles"):
        ProcessSettings()


@pytest.mark.parametrize(
    ("given", "transports"),
    [
        ({}, []),
        ({"KAFKA_BOOTSTRAP_SERVERS": ","}, []),
        ({"RABBITMQ_HOST": "one", "KAFKA_BOOTSTRAP_SERVERS": "two:9092"}, ["rabbit", "kafka"]),
    ],
)
def test_brokers_are_used_where_they_are_named(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], transports: list[str]
) -> None:
    for name in ("RABBITMQ_HOST", "KAFKA_BOOTSTRAP_SERVERS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert configured_transports(Settings()) == transports
