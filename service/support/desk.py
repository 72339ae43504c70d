"""The support desk of one process: its parts, built by constructor."""

from collections.abc import Sequence

from service.content.localisation import Localisation
from service.db.database import Database
from service.desk_settings import SupportSettings
from service.senders.base import BaseSender
from service.support.clock import SupportClock
from service.support.conversation import Conversation
from service.support.messages import Messages
from service.support.outcomes import Outcomes
from service.support.relaying import Relaying
from service.support.steps import Steps
from service.support.telling import Telling
from service.support.tickets import Tickets
from service.support.wording import Wordings


class Desk:
    """`chat` is the desk's chat as an address of `sender`; `transports` publish the events.

    `tickets` and `conversation` are for the edges. `relaying` makes what is sent, for the engine, which tells
    `clock.look` what it has settled. The clock is started where deliveries are made.
    """

    def __init__(
        self,
        chat: str,
        database: Database,
        sender: BaseSender,
        *,
        settings: SupportSettings,
        localisation: Localisation,
        transports: Sequence[str],
    ) -> None:
        telling = Telling(transports)
        steps = Steps(sender, settings)
        messages = Messages(steps, telling)
        words = Wordings(localisation, settings)
        self.tickets = Tickets(chat, settings, steps=steps, messages=messages, telling=telling, words=words)
        self.conversation = Conversation(settings, tickets=self.tickets, messages=messages, words=words)
        self.relaying = Relaying(database, localisation, settings)
        outcomes = Outcomes(
            database, tickets=self.tickets, messages=messages, steps=steps, telling=telling, words=words
        )
        self.clock = SupportClock(
            database, settings, outcomes=outcomes, tickets=self.tickets, messages=messages, words=words
        )
