"""The kinds of values that messages and REST calls are made of: texts on one line, names, ids, times."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

ID_MAX_CHARS = 128
ADDRESS_MAX_CHARS = 2_048
SENDER_MAX_CHARS = 64
CATEGORY_MAX_CHARS = 64
TOPIC_MAX_CHARS = 64
TEMPLATE_MAX_CHARS = 100
LOCALE_MAX_CHARS = 11
URL_MAX_CHARS = 2_048

RFC_3339 = (
    r"^[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(\.[0-9]{1,9})?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
_is_rfc_3339 = re.compile(RFC_3339).fullmatch


def _only_rfc_3339(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and _is_rfc_3339(value)):
        return value
    raise PydanticCustomError("datetime_format", "is not a time with an offset from UTC")


def _to_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


# pydantic alone would take numbers, and spaces for the T.
UtcDatetime = Annotated[
    AwareDatetime,
    BeforeValidator(_only_rfc_3339),
    AfterValidator(_to_utc),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": RFC_3339}),
]
# PostgreSQL's text cannot hold NUL, and nobody means it: refused where a value becomes a column.
LINE = r"^[^\x00-\x1f\x7f]+$"
# Listed, because \s means something else to each reader of a JSON schema.
_INVISIBLE = r"\x00-\x20\x7f-\xa0\xad\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff"
HTTPS = rf"^https?://[^{_INVISIBLE}]+$"
NOT_BLANK = rf"[^{_INVISIBLE}]"


def _whole(value: object) -> object:
    """JSON has one kind of number: 5.0 is an integer there."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# After the bounds of a strict integer, which a schema would lose otherwise.
WHOLE = BeforeValidator(_whole)
SenderName = Annotated[str, Field(min_length=1, max_length=SENDER_MAX_CHARS, pattern=LINE)]
Address = Annotated[str, Field(min_length=1, max_length=ADDRESS_MAX_CHARS, pattern=LINE)]
RequestId = Annotated[str, Field(min_length=1, max_length=ID_MAX_CHARS, pattern=LINE)]
Category = Annotated[str, Field(min_length=1, max_length=CATEGORY_MAX_CHARS, pattern=LINE)]
RecipientId = Annotated[str, Field(min_length=1, max_length=ID_MAX_CHARS, pattern=r"^[^\x00-\x1f\x7f/]+$")]
TopicName = Annotated[
    str, Field(min_length=1, max_length=TOPIC_MAX_CHARS, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
]
TemplateKey = Annotated[
    str, Field(min_length=1, max_length=TEMPLATE_MAX_CHARS, pattern=r"^[a-z0-9][a-z0-9._-]*$")
]
LocaleTag = Annotated[
    str,
    Field(max_length=LOCALE_MAX_CHARS, pattern=r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$"),
]
Link = Annotated[str, Field(max_length=URL_MAX_CHARS, pattern=HTTPS)]


def channel_of(sender: str) -> str:
    """The plain name of a sender, which is its default account: `TG` of `TG:alerts`."""
    return sender.partition(":")[0]
