"""Accepting requests: judge, plan, hand to the ledger's next group commit, answer after the commit."""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from service.contract import FieldProblem, NotificationRequest


@dataclass(frozen=True, slots=True)
class Submission:
    """A request on its way in. `source` names the way: http, rabbit:QUEUE, kafka:TOPIC/PARTITION/OFFSET.

    `dedup_key` is the transport's own identity of the message, used when the request has no `id`.
    """

    request: NotificationRequest
    source: str
    dedup_key: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The request is stored. `duplicate`: it was already; `id` is the first one's."""

    id: UUID
    request_id: str | None
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """The request is well-formed but cannot be taken."""

    code: Literal["unknown_sender", "sender_off", "invalid_address", "no_address", "id_conflict"]
    problems: tuple[FieldProblem, ...]
