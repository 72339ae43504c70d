"""From bytes to requests. Whatever the way in, a message is judged here and only here."""

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from service.contract.problems import ContractError, FieldProblem, problems_of
from service.contract.request import DEFAULT_BOUNDS, Bounds, NotificationRequest


def parse_request(
    raw: bytes | bytearray | memoryview | str, bounds: Bounds = DEFAULT_BOUNDS
) -> NotificationRequest:
    """One request from its JSON. Raises `ContractError`."""
    try:
        return NotificationRequest.model_validate_json(
            bytes(raw) if isinstance(raw, memoryview) else raw, context=bounds
        )
    except ValidationError as error:
        raise ContractError(problems_of(error)) from None


def parse_item(item: object, bounds: Bounds = DEFAULT_BOUNDS) -> NotificationRequest:
    """One request from JSON that is already read. Raises `ContractError`."""
    try:
        # JSON rules, so that a batch's items are judged exactly as single requests are.
        return NotificationRequest.model_validate_json(to_json(item), context=bounds)
    except ValidationError as error:
        raise ContractError(problems_of(error)) from None


class NotificationBatch(BaseModel):
    """Many requests in one call; each is judged by itself."""

    model_config = ConfigDict(extra="forbid")

    items: Annotated[tuple[NotificationRequest, ...], Field(min_length=1)]


def parse_batch(
    raw: bytes, bounds: Bounds = DEFAULT_BOUNDS, *, most: int = 5_000
) -> Sequence[NotificationRequest | ContractError]:
    """The requests of `{"items": […]}` in their order, with an error in the place of each bad one.

    Raises `ContractError` when it is no batch at all or has more than `most` items.
    """
    try:
        requests = NotificationBatch.model_validate_json(raw, context=bounds).items
    except ValidationError:
        return _parse_one_by_one(raw, bounds, most)
    _check_count(len(requests), most)
    return requests


def _parse_one_by_one(raw: bytes, bounds: Bounds, most: int) -> list[NotificationRequest | ContractError]:
    items = _Envelope.read(raw).items
    _check_count(len(items), most)
    return [_item_or_error(item, bounds) for item in items]


def _item_or_error(item: object, bounds: Bounds) -> NotificationRequest | ContractError:
    try:
        return parse_item(item, bounds)
    except ContractError as error:
        return error


class _Envelope(BaseModel):
    model_config = ConfigDict(extra="forbid")

    items: Annotated[list[Any], Field(min_length=1)]

    @classmethod
    def read(cls, raw: bytes) -> Self:
        try:
            return cls.model_validate_json(raw)
        except ValidationError as error:
            raise ContractError(problems_of(error)) from None


def _check_count(count: int, most: int) -> None:
    if count > most:
        text = f"has {count} items; accepted: at most {most}"
        raise ContractError([FieldProblem(field="items", problem=text, code="too_many")])
