"""What planning has to know about a batch: a constant number of statements, whatever its size."""

from collections.abc import Sequence

from service.audience.facts import load_people, topics_exist
from service.content.templates import load_current
from service.contract import NotificationRequest
from service.db.database import Connection
from service.delivery.planning import Facts

NOTHING = Facts()


def needs_facts(request: NotificationRequest) -> bool:
    """Whether a request names a recipient, a topic or a template."""
    return request.template is not None or request.recipient is not None or request.topic is not None


async def load_facts(connection: Connection, requests: Sequence[NotificationRequest]) -> Facts:
    """One statement each for the people, topics and templates that are named; none: no statement.

    Raises one of `OUTAGE`.
    """
    people = {request.recipient for request in requests if request.recipient is not None}
    topics = {request.topic for request in requests if request.topic is not None}
    templates = {request.template for request in requests if request.template is not None}
    if not (people or topics or templates):
        return NOTHING
    return Facts(
        people=await load_people(connection, people) if people else {},
        topics=frozenset(await topics_exist(connection, topics)) if topics else frozenset(),
        templates=await load_current(connection, templates) if templates else {},
    )
