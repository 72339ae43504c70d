"""Audiences: whom something is for, as a typed value that becomes bound SQL and nothing else.

No text from outside is ever part of a statement: names and values travel as arguments.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, model_validator
from pydantic_core import PydanticCustomError

from service.audience import queries
from service.audience.facts import person_of
from service.audience.people import Person
from service.audience.profile import Zone
from service.contract.fields import LINE, LocaleTag, RecipientId, SenderName, TopicName
from service.db.database import Connection

LISTED_MAX = 5_000
VALUES_MAX = 200
NESTED_MAX = 20
NO_ZONE = ""
"""Stands for the zone of those who have none of their own: the settings' zone counts for them."""

_BIGGEST_NUMBER = 10**15
_STORABLE = r"^[^\x00]*$"
_ONE: dict[str, Any] = {"minProperties": 1, "maxProperties": 1}


class _OneOf(BaseModel):
    """An object that says exactly one thing."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_ONE)

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if len(self.model_fields_set) != 1:
            names = ", ".join(info.alias or name for name, info in type(self).model_fields.items())
            raise PydanticCustomError(
                "not_one",
                "says {count} things; accepted: exactly one of {names}",
                {"count": len(self.model_fields_set), "names": names},
            )
        return self


def _without_nul(value: Any) -> Any:
    if isinstance(value, str) and "\0" in value:
        raise PydanticCustomError("storable", "has a NUL character; accepted: any other text")
    return value


Text = Annotated[str, Field(max_length=1_000, pattern=_STORABLE), AfterValidator(_without_nul)]
Number = (
    Annotated[int, Field(strict=True, ge=-_BIGGEST_NUMBER, le=_BIGGEST_NUMBER)]
    | Annotated[float, Field(strict=True, ge=-_BIGGEST_NUMBER, le=_BIGGEST_NUMBER)]
)
Scalar = StrictBool | Number | Text | None


class AttributeTest(BaseModel):
    """What an attribute of the recipient is compared with: `name` and exactly one comparison."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "minProperties": 2,
            "maxProperties": 2,
            "examples": [{"name": "plan", "eq": "pro"}],
        },
    )

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=LINE)]
    eq: Scalar = Field(None, description="It is this")
    ne: Scalar = Field(None, description="It is something else, or there is none")
    is_in: Annotated[tuple[Scalar, ...], Field(min_length=1, max_length=VALUES_MAX)] = Field(
        (), alias="in", description="It is one of these"
    )
    exists: StrictBool = Field(default=True, description="There is one, or there is none")
    gt: Number | Text = Field(0, description="It is greater: a number than a number, a text than a text")
    lt: Number | Text = Field(0, description="It is less: a number than a number, a text than a text")

    @model_validator(mode="after")
    def _compares_once(self) -> Self:
        if len(self.model_fields_set) != 2:  # noqa: PLR2004 - the name and one comparison
            raise PydanticCustomError(
                "not_one", "needs its name and exactly one of eq, ne, in, exists, gt, lt"
            )
        return self


def _no_test() -> AttributeTest:
    return AttributeTest.model_construct(name="")


class Trait(_OneOf):
    """One thing about a recipient."""

    locale: Annotated[tuple[LocaleTag | None, ...], Field(min_length=1, max_length=VALUES_MAX)] = Field(
        (), description="Speaks one of these: `ru` takes `ru-RU` too; null: those who say nothing of it"
    )
    zone: Annotated[tuple[Zone | None, ...], Field(min_length=1, max_length=VALUES_MAX)] = Field(
        (), description="Lives in one of these; null: those who say nothing of it"
    )
    contact: SenderName = Field("", description="Has an active contact for this sender")
    attribute: AttributeTest = Field(default_factory=_no_test)


class Group(Trait):
    """Tests together, or one."""

    all: Annotated[tuple[Trait, ...], Field(min_length=1, max_length=NESTED_MAX)] = ()
    any: Annotated[tuple[Trait, ...], Field(min_length=1, max_length=NESTED_MAX)] = ()
    none: Annotated[tuple[Trait, ...], Field(min_length=1, max_length=NESTED_MAX)] = Field(
        (), alias="not", description="None of these is so"
    )


class Filter(Group):
    """Groups together, or one: three levels are enough for every combination of tests."""

    all: Annotated[tuple[Group, ...], Field(min_length=1, max_length=NESTED_MAX)] = ()
    any: Annotated[tuple[Group, ...], Field(min_length=1, max_length=NESTED_MAX)] = ()
    none: Annotated[tuple[Group, ...], Field(min_length=1, max_length=NESTED_MAX)] = Field(
        (), alias="not", description="None of these is so"
    )


def _nobodys() -> UUID:
    return UUID(int=0)


class Audience(_OneOf):
    """Whom something is for: exactly one of these."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            **_ONE,
            "examples": [
                {"everyone": True},
                {"topic": "news"},
                {"filter": {"all": [{"locale": ["ru"]}, {"attribute": {"name": "plan", "eq": "pro"}}]}},
            ],
        },
    )

    everyone: Literal[True] = True
    topic: TopicName = Field("", description="Everybody who subscribed to it")
    filter: Filter = Field(default_factory=Filter.model_construct, description="Everybody of whom this is so")
    recipients: Annotated[tuple[RecipientId, ...], Field(min_length=1, max_length=LISTED_MAX)] = Field(
        (), description="These people; ids that nobody has are left out"
    )
    uploaded: UUID = Field(default_factory=_nobodys, description="The people of an uploaded list")

    @property
    def kind(self) -> str:
        """Which of them."""
        return next(iter(self.model_fields_set))


async def count(connection: Connection, audience: Audience) -> int:
    """How many people there are in it. Reads all of them: 0.1 to 0.5 s for a million."""
    statement = _Statement()
    chosen = statement.chosen(audience)
    return int(await connection.fetchval(f"SELECT count(*) {chosen}", *statement.values))


async def zone_counts(connection: Connection, audience: Audience) -> dict[str, int]:
    """How many people of it live in each zone; `NO_ZONE` for those who say nothing of it."""
    statement = _Statement()
    chosen = statement.chosen(audience)
    rows = await connection.fetch(
        f"SELECT coalesce(r.zone, '') AS zone, count(*) AS people {chosen} GROUP BY 1 ORDER BY 1",
        *statement.values,
    )
    return {row["zone"]: row["people"] for row in rows}


async def zones_of(connection: Connection, audience: Audience) -> list[str]:
    """The zones of its people, sorted; `NO_ZONE` for those who say nothing of it."""
    return list(await zone_counts(connection, audience))


async def sample(connection: Connection, audience: Audience, limit: int = 5) -> list[Person]:
    """Some of its people."""
    return await people(connection, audience, 0, limit)


async def people(
    connection: Connection,
    audience: Audience,
    after_id: int,
    limit: int,
    zones: Sequence[str] | None = None,
) -> list[Person]:
    """The next people of it: those with the lowest `Person.id` above `after_id`. Fewer than `limit`: the end.

    `zones`: only those who live there; `NO_ZONE` among them takes those who say nothing of it.
    """
    statement = _Statement()
    chosen = statement.page(audience, after_id, limit, zones)
    rows = await connection.fetch(queries.people_of(chosen), *statement.values)
    return [person_of(row) for row in rows]


@dataclass(slots=True)
class _Statement:
    """SQL being written, and its arguments."""

    values: list[Any] = field(default_factory=list)

    def bind(self, value: Any, kind: str) -> str:
        self.values.append(value)
        return f"${len(self.values)}::{kind}"

    def json(self, value: Any) -> str:
        return self.bind(orjson.dumps(value).decode(), "jsonb")

    def chosen(self, audience: Audience) -> str:
        """`FROM` and `WHERE`: its people, as `r`, the key of the walk through them being `key`."""
        return f"FROM {self._source(audience)} WHERE {self._condition(audience)}"

    def page(self, audience: Audience, after_id: int, limit: int, zones: Sequence[str] | None) -> str:
        """The ids of a page. By zone each is looked up in its index, and the pages are merged."""
        after, most = self.bind(after_id, "bigint"), self.bind(limit, "bigint")
        key = _key(audience)
        one = f"SELECT {key} AS id {self.chosen(audience)} AND {key} > {after}"
        if zones is None:
            return f"{one} ORDER BY {key} LIMIT {most}"
        return f"""
            SELECT q.id FROM unnest({self.bind(list(zones), "text[]")}) AS z(zone) CROSS JOIN LATERAL (
                {one} AND coalesce(r.zone, '') = z.zone ORDER BY {key} LIMIT {most}
            ) q ORDER BY q.id LIMIT {most}"""  # noqa: S608

    def _source(self, audience: Audience) -> str:
        match audience.kind:
            case "topic":
                return "subscription k JOIN recipient r ON r.id = k.recipient_id"
            case "uploaded":
                return "audience_member k JOIN recipient r ON r.id = k.recipient_id"
        return "recipient r"

    def _condition(self, audience: Audience) -> str:
        match audience.kind:
            case "topic":
                name = self.bind(audience.topic, "text")
                return f"k.topic_id = (SELECT id FROM topic WHERE name = {name})"  # noqa: S608 - arguments only
            case "uploaded":
                return f"k.list_id = {self.bind(audience.uploaded, 'uuid')}"
            case "recipients":
                return f"r.external_id = ANY({self.bind(list(audience.recipients), 'text[]')})"
            case "filter":
                return self._filter(audience.filter)
        return "true"

    def _filter(self, trait: Trait) -> str:
        """A condition on `r` that is true or false, and never null."""
        if isinstance(trait, Group):
            if trait.all:
                return "(" + " AND ".join(map(self._filter, trait.all)) + ")"
            if trait.any:
                return "(" + " OR ".join(map(self._filter, trait.any)) + ")"
            if trait.none:
                return "NOT (" + " OR ".join(map(self._filter, trait.none)) + ")"
        return self._trait(trait)

    def _trait(self, trait: Trait) -> str:
        if trait.locale:
            given = self.bind([locale for locale in trait.locale if locale], "text[]")
            said = f"r.locale = ANY({given}) OR split_part(r.locale, '-', 1) = ANY({given})"
            return _or_nothing("r.locale", said, null=None in trait.locale)
        if trait.zone:
            given = self.bind([zone for zone in trait.zone if zone], "text[]")
            return _or_nothing("r.zone", f"r.zone = ANY({given})", null=None in trait.zone)
        if trait.contact:
            sender = self.bind(trait.contact, "text")
            found = "SELECT 1 FROM contact c WHERE c.recipient_id = r.id AND c.active AND c.sender ="
            return f"EXISTS ({found} {sender})"
        return f"coalesce({self._attribute(trait.attribute)}, false)"

    def _attribute(self, test: AttributeTest) -> str:
        name = self.bind(test.name, "text")
        value = f"(r.attributes -> {name})"
        (comparison,) = test.model_fields_set - {"name"}
        match comparison:
            case "eq":
                return f"{value} = {self.json(test.eq)}"
            case "ne":
                return f"{value} IS DISTINCT FROM {self.json(test.ne)}"
            case "is_in":
                given = self.bind([orjson.dumps(item).decode() for item in test.is_in], "jsonb[]")
                return f"{value} = ANY({given})"
            case "exists":
                return f"(r.attributes ? {name}) = {self.bind(test.exists, 'boolean')}"
            case "gt" | "lt":
                given = self.json(test.gt if comparison == "gt" else test.lt)
                sign = ">" if comparison == "gt" else "<"
                return f"jsonb_typeof({value}) = jsonb_typeof({given}) AND {value} {sign} {given}"
        raise ValueError(f"an unknown comparison: {comparison}")


def _key(audience: Audience) -> str:
    return "k.recipient_id" if audience.kind in {"topic", "uploaded"} else "r.id"


def _or_nothing(column: str, said: str, *, null: bool) -> str:
    return f"(coalesce({said}, false){f' OR {column} IS NULL' if null else ''})"
