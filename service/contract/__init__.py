"""The wire messages: what producers send in and what the service reports back.

These models are the AsyncAPI contract.
"""

from service.contract.event import EVENT_MAX_CHARS, DomainEvent, EventName, parse_event
from service.contract.events import EventError, EventType, NotificationEvent, RejectedMessage
from service.contract.fields import (
    ADDRESS_MAX_CHARS,
    CATEGORY_MAX_CHARS,
    ID_MAX_CHARS,
    SENDER_MAX_CHARS,
    URL_MAX_CHARS,
    Address,
    SenderName,
    UtcDatetime,
)
from service.contract.parsing import NotificationBatch, parse_batch, parse_item, parse_request
from service.contract.problems import ContractError, FieldProblem, field_problems, problems_of
from service.contract.request import (
    BUTTON_TEXT_MAX_CHARS,
    CHAIN_MAX_SENDERS,
    CROSS_FIELD_CODES,
    DEFAULT_BOUNDS,
    NAME_MAX_CHARS,
    Attachment,
    Bounds,
    Button,
    NotificationRequest,
    Priority,
    Target,
)
from service.contract.tickets import TicketEvent, TicketEventType

__all__ = [
    "ADDRESS_MAX_CHARS",
    "BUTTON_TEXT_MAX_CHARS",
    "CATEGORY_MAX_CHARS",
    "CHAIN_MAX_SENDERS",
    "CROSS_FIELD_CODES",
    "DEFAULT_BOUNDS",
    "EVENT_MAX_CHARS",
    "ID_MAX_CHARS",
    "NAME_MAX_CHARS",
    "SENDER_MAX_CHARS",
    "URL_MAX_CHARS",
    "Address",
    "Attachment",
    "Bounds",
    "Button",
    "ContractError",
    "DomainEvent",
    "EventError",
    "EventName",
    "EventType",
    "FieldProblem",
    "NotificationBatch",
    "NotificationEvent",
    "NotificationRequest",
    "Priority",
    "RejectedMessage",
    "SenderName",
    "Target",
    "TicketEvent",
    "TicketEventType",
    "UtcDatetime",
    "field_problems",
    "parse_batch",
    "parse_event",
    "parse_item",
    "parse_request",
    "problems_of",
]
