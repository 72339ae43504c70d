"""Replies as calls of the Bot API, through aiogram."""

import asyncio
import logging
from typing import Any

from aiogram import Bot
from aiogram.exceptions import (
    AiogramError,
    TelegramBadRequest,
    TelegramForbiddenError,
    TelegramRetryAfter,
)
from aiogram.methods import (
    AnswerCallbackQuery,
    EditMessageReplyMarkup,
    EditMessageText,
    SendMessage,
    TelegramMethod,
)
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup

from service.bot.replies import Reply

log = logging.getLogger(__name__)

PAUSES_SECONDS = (0.5, 2.0)
WAIT_MAX_SECONDS = 30.0


class Speaker:
    """Says replies in order."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    async def say(self, replies: list[Reply]) -> bool:
        """False: Telegram does not answer, or is too busy; what is left may be said later."""
        for reply in replies:
            if not await self._say(_method(reply)):
                return False
        return True

    async def _say(self, method: TelegramMethod[Any]) -> bool:
        for pause in (*PAUSES_SECONDS, None):
            try:
                await self._bot(method)
            except (TelegramBadRequest, TelegramForbiddenError) as error:
                # The button is too old, the menu is as it was, the person has left: nobody misses it.
                log.debug("a reply is not wanted: %s", error)
                return True
            except AiogramError as error:
                log.debug("a reply did not leave: %s", error)
                wait = error.retry_after if isinstance(error, TelegramRetryAfter) else pause
                if pause is None or wait is None or wait > WAIT_MAX_SECONDS:
                    return False
                await asyncio.sleep(wait)
            else:
                return True
        return False


def _method(reply: Reply) -> TelegramMethod[Any]:
    match reply["do"]:
        case "toast":
            return AnswerCallbackQuery(callback_query_id=reply["query"], text=reply["text"] or None)
        case "undress":
            return EditMessageReplyMarkup(chat_id=reply["chat"], message_id=reply["message"])
        case "redraw":
            return EditMessageText(
                chat_id=reply["chat"],
                message_id=reply["message"],
                text=reply["text"],
                reply_markup=_keyboard(reply),
            )
        case "say":
            return SendMessage(chat_id=reply["chat"], text=reply["text"], reply_markup=_keyboard(reply))


def _keyboard(reply: Reply) -> InlineKeyboardMarkup | None:
    rows = [
        [InlineKeyboardButton(text=text, callback_data=action) for text, action in row]
        for row in reply["rows"]
    ]
    return InlineKeyboardMarkup(inline_keyboard=rows) if rows else None
