"""The header card of a ticket: who asks, about what, and the buttons of the desk."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from service.content.localisation import Localisation
from service.support.values import Button, Operator, Words
from service.support.wording import shortened

TEXT_MAX_UNITS = 3_500
QUOTE_MAX_CHARS = 1_000
TRAIL_ROWS = 10
OPERATORS_SHOWN = 20

ACTION = "ticket"
"""The action of the card's buttons: `ticket:ID:VERB` or `ticket:ID:give:OPERATOR`."""


class Cards:
    """Makes cards in the desk's language."""

    def __init__(self, localisation: Localisation, locale: str) -> None:
        self._words = localisation.translator(locale)

    def card(
        self,
        ticket: Any,
        *,
        operator: str | None,
        recent: Sequence[Any],
        banned: bool,
        offered: Sequence[Operator] | None = None,
    ) -> Words:
        """`operator` is the name of whoever has it, `recent` deliveries to the person's address.

        With `offered` it asks which of these specialists gets the ticket.
        """
        text = shortened("\n".join(self._lines(ticket, operator, recent)), TEXT_MAX_UNITS)
        if offered is not None:
            return Words(text, self._picking(ticket, offered))
        return Words(text, self._buttons(ticket, banned=banned))

    def _lines(self, ticket: Any, operator: str | None, recent: Sequence[Any]) -> list[str]:
        gettext = self._words.gettext
        who = ticket["name"] + (f" (@{ticket['username']})" if ticket["username"] else "")
        lines = [
            f"#{ticket['id']} · {who}",
            gettext("Chat: {chat} · language: {locale}").format(chat=ticket["chat"], locale=ticket["locale"]),
        ]
        if ticket["recipient"] is not None:
            lines.append(gettext("Recipient: {recipient}").format(recipient=ticket["recipient"]))
        if ticket["category"]:
            lines.append(gettext("Category: {category}").format(category=ticket["category"]))
        lines.append(self._status(ticket, operator))
        if ticket["rating"] is not None:
            lines.append(gettext("Rating: {stars}").format(stars="★" * ticket["rating"]))
        if ticket["about"] is not None:
            lines += ["", *self._about(ticket)]
        if recent:
            lines += ["", gettext("Recent deliveries:")]
            lines += [
                f"{_time(row['at'])} {row['sender']} {row['status']}: {row['title'] or row['category'] or '…'}"
                for row in recent
            ]
        return lines

    def _status(self, ticket: Any, operator: str | None) -> str:
        gettext = self._words.gettext
        if ticket["status"] == "closed":
            return gettext("Closed")
        if operator is None:
            return gettext("Open, nobody has it")
        return gettext("Open, {name} has it").format(name=operator)

    def _about(self, ticket: Any) -> list[str]:
        about = orjson.loads(ticket["about"])
        quote = "\n".join(line for line in (about["title"], about["body"]) if line)[:QUOTE_MAX_CHARS]
        lines = [
            self._words.gettext("Answers notification {id}:").format(id=ticket["notification_id"]),
            f"«{quote}»",
        ]
        for hop in about["trail"][:TRAIL_ROWS]:
            error = f" ({hop['error']})" if hop["error"] else ""
            lines.append(f"{hop['at'][:16].replace('T', ' ')} {hop['sender']} {hop['status']}{error}")
        return lines

    def _buttons(self, ticket: Any, *, banned: bool) -> list[list[Button]]:
        gettext = self._words.gettext
        if ticket["status"] == "closed":
            first = [(gettext("Reopen"), "reopen")]
        elif ticket["operator_id"] is None:
            first = [(gettext("Claim"), "claim")]
        else:
            first = [(gettext("Release"), "release"), (gettext("Hand over"), "pick")]
        second = [] if ticket["status"] == "closed" else [(gettext("Close"), "close")]
        second.append((gettext("Unban"), "unban") if banned else (gettext("Ban"), "ban"))
        return [
            [Button(text, f"{ACTION}:{ticket['id']}:{verb}") for text, verb in row] for row in (first, second)
        ]

    def _picking(self, ticket: Any, offered: Sequence[Operator]) -> list[list[Button]]:
        rows = [
            [Button(operator.name[:60], action)]
            for operator in offered[:OPERATORS_SHOWN]
            if len(action := f"{ACTION}:{ticket['id']}:give:{operator.id}") <= 64  # noqa: PLR2004
        ]
        return [*rows, [Button(self._words.gettext("Back"), f"{ACTION}:{ticket['id']}:back")]]


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M")
