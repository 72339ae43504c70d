"""What the bot's parts decide without Telegram: lanes, titles, buttons, settings."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from service.bot.inbox import lane_of
from service.bot.menus import key_of, title_of
from service.desk_settings import BotSettings, SupportSettings

CHAT = {"id": -100, "type": "supergroup"}


@pytest.mark.parametrize(
    ("update", "lane"),
    [
        ({"message": {"chat": CHAT}}, "-100"),
        ({"edited_message": {"chat": CHAT, "message_thread_id": 5, "is_topic_message": True}}, "-100:5"),
        ({"message": {"chat": CHAT, "message_thread_id": 5}}, "-100"),
        ({"callback_query": {"from": {"id": 7}, "message": {"chat": CHAT}}}, "-100"),
        ({"callback_query": {"from": {"id": 7}, "inline_message_id": "x"}}, "7"),
        ({"my_chat_member": {"chat": {"id": 7}, "from": {"id": 7}}}, "7"),
        ({"something_new": {"a": 1}}, ""),
    ],
)
def test_an_update_keeps_its_place_within_its_chat_or_topic(update: dict[str, Any], lane: str) -> None:
    assert lane_of({"update_id": 1, **update}) == lane


@given(st.text(max_size=300))
def test_a_category_always_fits_into_a_button(category: str) -> None:
    assert len(f"report:about:{key_of(category)}".encode()) <= 64


@pytest.mark.parametrize(
    ("language", "title"), [("ru", "Новости"), ("en", "News"), ("de", "News"), (None, "News")]
)
def test_a_title_is_in_the_readers_language_or_english(language: str | None, title: str) -> None:
    assert title_of({"news": {"ru": "Новости", "en": "News"}}, "news", language) == title
    assert title_of({"news": {"ru": "Новости"}}, "news", None) == "Новости"
    assert title_of({"news": {}}, "news", language) == title_of({}, "news", language) == "news"


def test_categories_are_names_or_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_CATEGORIES", "news, orders,")
    monkeypatch.setenv("BOT_REPORT_CATEGORIES", '{"payment": {"ru": "Оплата"}}')
    settings = BotSettings()
    assert settings.categories == {"news": {}, "orders": {}}
    assert settings.report_categories == {"payment": {"ru": "Оплата"}}
    for wrong in ("{", '{"news": "News"}', '{"news": {"en": 1}}'):
        monkeypatch.setenv("BOT_CATEGORIES", wrong)
        with pytest.raises(ValidationError, match="categories"):
            BotSettings()


def test_a_comma_at_the_end_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPPORT_SPECIALISTS", "20, 21,")
    monkeypatch.setenv("BOT_PROBLEM_CATEGORIES", ",orders,,")
    assert SupportSettings().specialists == ("20", "21")
    assert BotSettings().problem_categories == ("orders",)
    monkeypatch.setenv("SUPPORT_SPECIALISTS", "")
    assert SupportSettings().specialists == ()


@pytest.mark.parametrize("secret", ["123456", "with a blank in it", "я" * 20, "x" * 257])
def test_a_webhook_secret_is_one_that_telegram_takes(secret: str) -> None:
    with pytest.raises(ValidationError) as error:
        BotSettings(webhook_secret=SecretStr(secret))
    assert secret not in str(error.value)
