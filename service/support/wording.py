"""What the desk itself says: to people in their language, to specialists in the desk's."""

from collections.abc import Mapping
from typing import Any

from service.content.localisation import Localisation
from service.desk_settings import SupportSettings
from service.support.values import Operator


class Wordings:
    """Texts of the service's own. A specialist's name is in one only where the settings say so."""

    def __init__(self, localisation: Localisation, settings: SupportSettings) -> None:
        self._localisation = localisation
        self._settings = settings
        self._desk = localisation.translator(settings.locale)

    # --- people ----------------------------------------------------------------------------------

    def opened(self, ticket: Any) -> str:
        words = self._localisation.translator(ticket["locale"])
        return words.gettext(
            "Your request has the number {number}. Write here, and a specialist will answer."
        ).format(number=ticket["id"])

    def claimed(self, ticket: Any, operator: Operator) -> str | None:
        """None: people are not told who answers them."""
        if not self._settings.show_names:
            return None
        words = self._localisation.translator(ticket["locale"])
        return words.gettext("{name} answers you.").format(name=operator.name)

    def closed(self, ticket: Any) -> str:
        words = self._localisation.translator(ticket["locale"])
        return words.gettext("Request {number} is closed. How well were you helped?").format(
            number=ticket["id"]
        )

    def warned(self, ticket: Any, hours: float) -> str:
        words = self._localisation.translator(ticket["locale"])
        count = max(1, round(hours))
        return words.ngettext(
            "Do you still need help? Without an answer request {number} is closed in {hours} hour.",
            "Do you still need help? Without an answer request {number} is closed in {hours} hours.",
            count,
        ).format(number=ticket["id"], hours=count)

    # --- the desk --------------------------------------------------------------------------------

    def desk_assigned(self, operator: Operator | None) -> str:
        if operator is None:
            return self._desk.gettext("Nobody has this ticket now")
        return self._desk.gettext("{name} has this ticket now").format(name=operator.name)

    def desk_closed(self, by: str, operator: Operator | None) -> str:
        if operator is not None:
            return self._desk.gettext("Closed by {name}").format(name=operator.name)
        if by == "inactivity":
            return self._desk.gettext("Closed: the person does not answer")
        return self._desk.gettext("Closed by the person")

    def desk_is_closed(self, ticket: Any) -> str:
        return self._desk.gettext("Ticket {number} is closed: that was not sent").format(number=ticket["id"])

    def desk_reopened(self, operator: Operator | None) -> str:
        if operator is None:
            return self._desk.gettext("The person wrote again: the ticket is open")
        return self._desk.gettext("Opened again by {name}").format(name=operator.name)

    def desk_answers(self, about: Mapping[str, Any]) -> str:
        text = "\n".join(line for line in (about["title"], about["body"]) if line)
        return self._desk.gettext("The person answers this notification:\n{text}").format(
            text=shortened(text, 3_500)
        )

    def desk_unsent(self, *, blocked: bool, reason: str, origin: str) -> str:
        """A message did not reach the other side."""
        if blocked:
            return self._desk.gettext(
                "Not delivered: the person has blocked the bot or is gone ({reason})"
            ).format(reason=reason)
        if origin == "person":
            return self._desk.gettext("A message of the person cannot be shown here ({reason})").format(
                reason=reason
            )
        return self._desk.gettext("Not delivered ({reason})").format(reason=reason)


def shortened(text: str, units: int) -> str:
    """The beginning of a text, as long as the channel counts it: in units of UTF-16."""
    return text.encode("utf-16-le", "replace")[: 2 * units].decode("utf-16-le", "ignore")
