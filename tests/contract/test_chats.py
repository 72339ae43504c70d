"""What Slack, Discord and Mattermost do beyond what every sender does: styles, links, files, their own limits."""

from collections.abc import AsyncIterator

import pytest

from service.sender_settings import DiscordSettings, MattermostSettings, SlackSettings
from service.senders.base import Attachment, Button, Gone, Outcome, Refused, Scope, Sent, Throttled
from service.senders.discord import DiscordSender
from service.senders.mattermost import MattermostSender
from service.senders.slack import SlackSender
from service.settings import AttachmentSettings
from tests.contract.rigs.discord import HOOK as DISCORD_HOOK
from tests.contract.sender_suite import message
from tests.fakes.chat_markup import Shown
from tests.fakes.discord import FakeDiscord
from tests.fakes.files import FakeFiles
from tests.fakes.mattermost import HOOK, FakeMattermost
from tests.fakes.slack import TOKEN, FakeSlack
from tests.support.waiting import wait_until

CHANNEL = "C0123ABCD"
MARKDOWN = "**bold** _it_ ~~no~~ `code` [site](https://example.com/a?b=1&c=2)"
BUTTONS = (Button("Open <it>", "https://example.com/1?a=1&b=2"), Button("Close", "https://example.com/2"))


@pytest.fixture
async def slack() -> AsyncIterator[tuple[FakeSlack, SlackSender]]:
    async with FakeSlack() as fake:
        given = {"bot_token": TOKEN, "api_url": fake.api_url, "hooks_url": fake.hooks_url}
        sender = SlackSender(SlackSettings.model_validate(given), timeout_seconds=5)
        yield fake, sender
        await sender.close()


@pytest.fixture
async def discord() -> AsyncIterator[tuple[FakeDiscord, DiscordSender]]:
    async with FakeDiscord() as fake:
        given = {"webhook_url": DISCORD_HOOK, "api_url": fake.api_url}
        attachments = AttachmentSettings(allow_private=True)
        sender = DiscordSender(DiscordSettings.model_validate(given), attachments, timeout_seconds=5)
        yield fake, sender
        await sender.close()


@pytest.fixture
async def mattermost() -> AsyncIterator[tuple[FakeMattermost, MattermostSender]]:
    async with FakeMattermost() as fake:
        sender = MattermostSender(
            MattermostSettings.model_validate({"url": fake.base_url}), timeout_seconds=5
        )
        yield fake, sender
        await sender.close()


def _shows(shown: Shown, *marks: str) -> None:
    assert shown.text == "Backup failed\nbold it no code site"
    assert sorted(shown.marks) == sorted(marks)
    assert shown.links == ["https://example.com/a?b=1&c=2"]


async def test_styles_and_links_in_slack(slack: tuple[FakeSlack, SlackSender]) -> None:
    fake, sender = slack
    for address in (CHANNEL, fake.hook):
        assert isinstance(await sender.send(message(address, body=MARKDOWN, format="markdown")), Sent)
        _shows(fake.messages[-1].shown, "*", "*", "_", "~", "`")


async def test_styles_and_links_in_discord(discord: tuple[FakeDiscord, DiscordSender]) -> None:
    fake, sender = discord
    assert isinstance(await sender.send(message(DISCORD_HOOK, body=MARKDOWN, format="markdown")), Sent)
    _shows(fake.messages[-1].shown, "**", "**", "*", "~~", "`")


async def test_styles_and_links_in_mattermost(mattermost: tuple[FakeMattermost, MattermostSender]) -> None:
    fake, sender = mattermost
    assert isinstance(await sender.send(message(HOOK, body=MARKDOWN, format="markdown")), Sent)
    shown = fake.posts[-1].shown
    assert shown.marks.count("a") == 1
    shown.marks.remove("a")
    _shows(shown, "**", "**", "*", "~~", "`")


async def test_buttons_and_files_are_links_below_the_text(
    slack: tuple[FakeSlack, SlackSender], mattermost: tuple[FakeMattermost, MattermostSender]
) -> None:
    files = (
        Attachment("document", "https://example.com/r.pdf?sig=x", "Report.pdf"),
        Attachment("photo", "https://example.com/a.png?x=1"),
    )
    await slack[1].send(message(CHANNEL, buttons=BUTTONS, attachments=files))
    await mattermost[1].send(message(HOOK, buttons=BUTTONS, attachments=files))
    for shown in (slack[0].messages[0].shown, mattermost[0].posts[0].shown):
        text = shown.text.replace("\u200b", "")
        assert text.split() == [
            "Backup",
            "failed",
            "disk",
            "full",
            "Open",
            "<it>",
            "Close",
            "Report.pdf",
            "a.png",
        ]
        assert shown.links == [*(button.url for button in BUTTONS), *(file.url for file in files)]


async def test_a_link_alone_is_a_message(slack: tuple[FakeSlack, SlackSender]) -> None:
    fake, sender = slack
    files = (Attachment("photo", "https://example.com/a.png"),)
    assert isinstance(await sender.send(message(CHANNEL, title="", body="", attachments=files)), Sent)
    assert fake.messages[0].shown.links == ["https://example.com/a.png"]


async def test_slack_takes_one_message_a_second_in_a_channel(slack: tuple[FakeSlack, SlackSender]) -> None:
    fake, sender = slack
    fake.spacing_seconds = 60
    for address in (CHANNEL, fake.hook):
        assert isinstance(await sender.send(message(address)), Sent)
        second = await sender.send(message(address))
        assert isinstance(second, Throttled)
        assert (second.retry_after, second.scope) == (1, Scope.ADDRESS)
        assert sender.address_spacing(address) == 1


async def test_a_webhook_of_slack_that_was_taken_away(slack: tuple[FakeSlack, SlackSender]) -> None:
    fake, sender = slack
    outcome = await sender.send(message(f"{fake.hooks_url}/T0OTHER/B0OTHER/other"))
    assert isinstance(outcome, Gone)
    assert outcome.code == "no_service"


async def test_a_channel_needs_a_token() -> None:
    sender = SlackSender(
        SlackSettings.model_validate({"webhook_url": "https://hooks.slack.com/services/T0/B0/x"})
    )
    assert sender.off_reason is None
    assert sender.default_address == "https://hooks.slack.com/services/T0/B0/x"
    with pytest.raises(ValueError, match="SLACK_BOT_TOKEN"):
        sender.check_address(CHANNEL)


async def test_discord_gets_files_and_links(discord: tuple[FakeDiscord, DiscordSender]) -> None:
    fake, sender = discord
    async with FakeFiles(
        {"a.png": ("image/png", b"photo"), "r.pdf": ("application/pdf", b"report")}
    ) as files:
        attachments = (
            Attachment("photo", files.url("a.png")),
            Attachment("document", files.url("r.pdf"), "Отчёт.pdf"),
        )
        outcome = await sender.send(message(DISCORD_HOOK, attachments=attachments, buttons=BUTTONS))
        assert isinstance(outcome, Sent)
        many = await sender.send(message(DISCORD_HOOK, title="", body="", attachments=attachments * 6))
        assert isinstance(many, Sent)
    first, *rest = fake.messages
    assert first.files == (("a.png", 5), ("Отчёт.pdf", 6))
    assert first.shown.links == [button.url for button in BUTTONS]
    assert [len(sent.files) for sent in rest] == [10, 2]


async def test_discord_threads_and_locked_ones(discord: tuple[FakeDiscord, DiscordSender]) -> None:
    fake, sender = discord
    fake.locked_threads.add("78")
    assert isinstance(await sender.send(message(f"{DISCORD_HOOK}:77")), Sent)
    assert fake.messages[0].thread == "77"
    assert isinstance(await sender.send(message(f"{DISCORD_HOOK}:78")), Refused)
    assert sender.pacing_key(f"{DISCORD_HOOK}:77") == sender.pacing_key(DISCORD_HOOK)


async def test_discords_bucket_is_left_alone_when_it_is_used_up(
    discord: tuple[FakeDiscord, DiscordSender],
) -> None:
    fake, sender = discord
    fake.bucket = (2, 1.5)
    outcomes = [await sender.send(message(DISCORD_HOOK)) for _ in range(3)]
    assert [type(outcome) for outcome in outcomes] == [Sent, Sent, Throttled]
    throttled = outcomes[2]
    assert isinstance(throttled, Throttled)
    assert throttled.scope is Scope.ADDRESS
    assert 0 < (throttled.retry_after or 0) <= 1.5
    assert len(fake.journal) == 2

    async def sent() -> Outcome | None:
        outcome = await sender.send(message(DISCORD_HOOK))
        return outcome if isinstance(outcome, Sent) else None

    await wait_until(sent)
    assert len(fake.messages) == len(fake.journal) == 3


async def test_discords_own_words_on_a_used_up_bucket(discord: tuple[FakeDiscord, DiscordSender]) -> None:
    fake, sender = discord
    fake.bucket, fake.announces = (1, 5.0), False
    assert isinstance(await sender.send(message(DISCORD_HOOK)), Sent)
    throttled = await sender.send(message(DISCORD_HOOK))
    assert isinstance(throttled, Throttled)
    assert 4 < (throttled.retry_after or 0) <= 5
    assert len(fake.journal) == 2


async def test_mattermosts_other_channels(mattermost: tuple[FakeMattermost, MattermostSender]) -> None:
    fake, sender = mattermost
    for channel in ("town-square", "@anna"):
        assert isinstance(await sender.send(message(f"{HOOK}:{channel}")), Sent)
    assert isinstance(await sender.send(message(f"{HOOK}:nowhere")), Gone)
    assert [post.channel for post in fake.posts] == ["town-square", "@anna"]
    assert sender.pacing_key(f"{HOOK}:town-square") == HOOK


async def test_only_the_addresses_of_settings_are_called(
    slack: tuple[FakeSlack, SlackSender], mattermost: tuple[FakeMattermost, MattermostSender]
) -> None:
    for sender, address in (
        (slack[1], slack[0].hook.replace("/services", "/servicesx")),
        (slack[1], "https://hooks.slack.com/services/T0/B0/x"),
        (mattermost[1], "https://example.com/hooks/x"),
    ):
        with pytest.raises(ValueError, match="accepted"):
            sender.check_address(address)
