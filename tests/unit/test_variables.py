"""Settings are read from environment variables."""

import pytest
from pydantic import ValidationError

from service.desk_settings import BotSettings
from service.sender_settings import AppriseSettings
from service.settings import DeliverySettings, KafkaSettings, ProcessSettings, TemplateSettings


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
