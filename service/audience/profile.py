"""What one says of a recipient: the body of a call, and a row of an import."""

from collections.abc import Callable
from math import isfinite
from typing import Annotated, Any

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from service.audience.people import QUIET_PATTERN, QuietHours
from service.audience.places import canonical_locale, locale_pattern, zones
from service.contract.fields import ID_MAX_CHARS, LINE, Category, RecipientId, SenderName
from service.contract.problems import ContractError, FieldProblem, Wording, field_problems

NAME_MAX_CHARS = 200
CONTACTS_MAX = 50
MUTES_MAX = 200
ADDRESS_MAX_CHARS = 1_000
ADDRESS_MAX_BYTES = 2_000  # what an index of PostgreSQL takes
ATTRIBUTES_MAX_BYTES = 16_384
ATTRIBUTES_MAX_DEPTH = 20
RESERVED_ID = "import"  # its address is that of a call

CheckAddress = Callable[[str, str], str]
"""An address of a sender in that sender's own way of writing. Raises ValueError with what is accepted."""


def _not_reserved(value: str) -> str:
    if value == RESERVED_ID:
        raise PydanticCustomError("reserved", "is reserved; accepted: any other id")
    return value


def _known_locale(value: str) -> str:
    if (locale := canonical_locale(value)) is None:
        raise PydanticCustomError("unknown_locale", "is no known language; accepted: BCP 47, as ru or en-US")
    return locale


def _known_zone(value: str) -> str:
    if value not in zones():
        raise PydanticCustomError("unknown_zone", "is no time zone; accepted: a name as Europe/Moscow")
    return value


def _quiet_hours(value: str) -> str:
    try:
        return str(QuietHours.parse(value))
    except ValueError:
        raise PydanticCustomError("quiet_hours", "are no quiet hours; accepted: as 22:00-08:00") from None


def _indexable(value: str) -> str:
    if len(value.encode()) > ADDRESS_MAX_BYTES:
        raise PydanticCustomError(
            "too_long", "is too long; accepted: at most {most} bytes", {"most": ADDRESS_MAX_BYTES}
        )
    return value


ExternalId = Annotated[RecipientId, AfterValidator(_not_reserved)]
Locale = Annotated[
    str,
    Field(max_length=40),
    AfterValidator(_known_locale),
    WithJsonSchema({"type": "string", "pattern": locale_pattern(), "examples": ["ru", "en-US", "zh-Hant"]}),
]
Zone = Annotated[
    str, AfterValidator(_known_zone), WithJsonSchema({"type": "string", "enum": sorted(zones())})
]
ContactAddress = Annotated[
    str,
    Field(min_length=1, max_length=ADDRESS_MAX_CHARS, pattern=LINE),
    AfterValidator(_indexable),
]
QuietText = Annotated[
    str, AfterValidator(_quiet_hours), WithJsonSchema({"type": "string", "pattern": QUIET_PATTERN})
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ContactInput(_Strict):
    """An address of the person for one sender."""

    sender: SenderName = Field(description="As `TG`")
    address: ContactAddress
    active: StrictBool | None = Field(
        None, description="Left out or null: stays as it is; a new contact is active"
    )


class MuteInput(_Strict):
    """A category, a sender, or a category through one sender that the person does not want."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"type": "string"}}}
                for name in ("category", "sender")
            ]
        }
    )

    category: Category | None = None
    sender: SenderName | None = None

    @model_validator(mode="after")
    def _of_something(self) -> "MuteInput":
        if self.category is None and self.sender is None:
            raise PydanticCustomError("empty_mute", "names nothing; accepted: a category, a sender, or both")
        return self


Mutes = Annotated[tuple[MuteInput, ...], Field(max_length=MUTES_MAX)]


class Preferences(_Strict):
    """What and when the person wants to hear. What is left out is not muted."""

    muted: StrictBool = Field(False, description="Mute everything but categories that are critical")
    mutes: Mutes = Field((), description="What else is muted")
    quiet_hours: QuietText | None = Field(
        None,
        description="As 22:00-08:00 by the person's own clock: what comes then waits until their end. "
        "The same time twice: never; null: those of the settings",
    )


class Profile(_Strict):
    """What is known of a person. What is left out stays as it is; null takes a value away.

    `contacts` and `mutes` replace those of before.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Анна",
                    "locale": "ru",
                    "time_zone": "Europe/Moscow",
                    "attributes": {"plan": "pro"},
                    "contacts": [{"sender": "CONSOLE", "address": "anna"}],
                    "quiet_hours": "22:00-08:00",
                }
            ]
        }
    )

    name: Annotated[str, Field(max_length=NAME_MAX_CHARS, pattern=LINE)] | None = None
    locale: Locale | None = Field(None, description="BCP 47; null: that of the settings")
    time_zone: Zone | None = Field(None, description="null: that of the settings")
    attributes: dict[str, Any] = Field(
        default_factory=dict, description=f"Anything of yours, {ATTRIBUTES_MAX_BYTES} bytes as JSON at most"
    )
    contacts: Annotated[tuple[ContactInput, ...], Field(max_length=CONTACTS_MAX)] = Field(
        (), description="In the order of preference"
    )
    muted: StrictBool = False
    mutes: Mutes = ()
    quiet_hours: QuietText | None = None

    @field_validator("attributes")
    @classmethod
    def _storable(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            attributes = {_text(key): _storable(item) for key, item in value.items()}
            size = len(orjson.dumps(attributes))
        except (OverflowError, orjson.JSONEncodeError):
            raise PydanticCustomError(
                "unstorable",
                "has a number that no double can hold, or is too deep; accepted: up to ±1.7e308, {most} levels",
                {"most": ATTRIBUTES_MAX_DEPTH},
            ) from None
        if size > ATTRIBUTES_MAX_BYTES:
            raise PydanticCustomError(
                "too_large",
                "is {size} bytes as JSON; accepted: at most {most}",
                {"size": size, "most": ATTRIBUTES_MAX_BYTES},
            )
        return attributes


class ImportedRow(Profile):
    """A row of an import: a profile and whose it is."""

    external_id: ExternalId


WORDING = Wording(
    accepted={
        "": "a JSON object",
        "external_id": f"1 to {ID_MAX_CHARS} characters on one line, without a slash",
        "name": f"1 to {NAME_MAX_CHARS} characters on one line",
        "locale": "BCP 47, as ru or en-US",
        "time_zone": "a name as Europe/Moscow",
        "attributes": "a JSON object",
        "contacts": 'a list of {"sender": "TG", "address": "123456789"}',
        "mutes": 'a list of {"category": "news", "sender": "TG"}',
        "muted": "true, false",
        "active": "true, false",
        "quiet_hours": "as 22:00-08:00",
        "sender": "the name of a sender, as TG",
        "address": f"1 to {ADDRESS_MAX_CHARS} characters on one line",
        "category": "a category on one line",
    },
    models={"": ImportedRow, "contacts": ContactInput, "mutes": MuteInput},
)


def row_of(fields: dict[str, Any] | bytes) -> ImportedRow:
    """A row from its fields, or from JSON. Raises `ContractError`."""
    try:
        if isinstance(fields, bytes):
            return ImportedRow.model_validate_json(fields)
        return ImportedRow.model_validate(fields)
    except ValidationError as error:
        raise ContractError(field_problems(error.errors(include_url=False), WORDING)) from None


def with_checked_addresses(profile: Profile, check: CheckAddress) -> Profile:
    """The profile with each address as its sender writes it. Raises `ContractError`."""
    contacts, problems = [], []
    for place, contact in enumerate(profile.contacts):
        try:
            address = check(contact.sender, contact.address)
        except ValueError as error:
            problems.append(
                FieldProblem(field=f"contacts.{place}", problem=str(error), code="invalid_contact")
            )
        else:
            contacts.append(contact.model_copy(update={"address": address}))
    if problems:
        raise ContractError(problems)
    return profile.model_copy(update={"contacts": tuple(contacts)}) if contacts else profile


def _storable(value: Any, depth: int = 2) -> Any:
    """The value as jsonb takes it and every reader of JSON reads it back."""
    if depth > ATTRIBUTES_MAX_DEPTH:
        raise OverflowError
    if isinstance(value, dict):
        return {_text(key): _storable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item, depth + 1) for item in value]
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value)
    if isinstance(value, float) and not isfinite(value):
        raise OverflowError
    return value


def _text(text: str) -> str:
    """Without what PostgreSQL's text cannot hold: NUL and halves of characters."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
