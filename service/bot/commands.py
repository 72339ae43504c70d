"""What Telegram lists behind the bot's menu button."""

from gettext import NullTranslations

from aiogram.types import BotCommand


def commands(words: NullTranslations, *, supported: bool) -> list[BotCommand]:
    """In the order in which people see them."""
    listed = [
        BotCommand(command="settings", description=words.gettext("What you hear, and when")),
        BotCommand(command="language", description=words.gettext("Language")),
        BotCommand(command="stop", description=words.gettext("Turn notifications off")),
        BotCommand(command="start", description=words.gettext("Turn notifications on")),
    ]
    if supported:
        report = BotCommand(command="support", description=words.gettext("Report a problem"))
        listed.insert(0, report)
    return listed
