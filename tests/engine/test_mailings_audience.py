"""Audiences as bound SQL: walked page by page, by zone or not, and never written into a statement."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.audience import segments
from service.audience.segments import NO_ZONE, Audience
from service.audience.topics import Topics
from service.db.database import Database
from tests.support.mailings import fill_people

ZONES = ("Europe/Moscow", "Asia/Tokyo", None)


async def _walk(
    database: Database, audience: Audience, limit: int, zones: list[str] | None = None
) -> list[str]:
    found: list[str] = []
    after = 0
    async with database.connection() as connection:
        while True:
            page = await segments.people(connection, audience, after, limit, zones)
            found += [person.external_id for person in page]
            if len(page) < limit:
                return found
            after = page[-1].id


@pytest.mark.parametrize(
    "audience",
    [
        {"everyone": True},
        {"topic": "news"},
        {"filter": {"contact": "TG"}},
        {"filter": {"not": [{"attribute": {"name": "a", "eq": "'; DROP TABLE recipient; --"}}]}},
        {"recipients": [f"z{z}p{n}" for z in range(3) for n in range(7)]},
    ],
)
async def test_a_walk_comes_to_everybody_once(database: Database, audience: dict[str, Any]) -> None:
    for number, zone in enumerate(ZONES):
        await fill_people(database, 7, prefix=f"z{number}p", zone=zone)
    everybody = [f"z{z}p{n}" for z in range(3) for n in range(7)]
    topics = Topics(database)
    await topics.put("news", "News")
    await topics.subscribe_many("news", everybody)
    chosen = Audience.model_validate(audience)
    for limit in (1, 3, 7, 100):
        assert await _walk(database, chosen, limit) == everybody
    assert await _walk(database, chosen, 2, ["Asia/Tokyo", NO_ZONE]) == everybody[7:]
    assert await _walk(database, chosen, 2, ["Europe/Paris"]) == []
    async with database.connection() as connection:
        assert await segments.count(connection, chosen) == 21
        assert await segments.zones_of(connection, chosen) == sorted(["Europe/Moscow", "Asia/Tokyo", NO_ZONE])
        sample = await segments.sample(connection, chosen, 2)
    assert [person.external_id for person in sample] == everybody[:2]


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=4, max_size=20).map(
    "§".__add__
)
_SCALARS = st.one_of(_TEXT, st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6), st.booleans(), st.none())
_TRAITS = st.one_of(
    st.fixed_dictionaries({"contact": st.just("§'sender")}),
    st.fixed_dictionaries({"locale": st.lists(st.sampled_from(["ru", "en-US", None]), min_size=1)}),
    st.fixed_dictionaries({"zone": st.lists(st.sampled_from(["Asia/Tokyo", "UTC", None]), min_size=1)}),
    *(
        st.fixed_dictionaries(
            {"attribute": st.fixed_dictionaries({"name": st.just("§'--name"), comparison: values})}
        )
        for comparison, values in (
            ("eq", _SCALARS),
            ("ne", _SCALARS),
            ("in", st.lists(_SCALARS, min_size=1, max_size=5)),
            ("exists", st.booleans()),
            ("gt", st.one_of(_TEXT, st.integers(-10, 10))),
            ("lt", st.one_of(_TEXT, st.integers(-10, 10))),
        )
    ),
)  # fmt: skip


def _within(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    listed = st.lists(inner, min_size=1, max_size=4)
    return st.one_of(inner, *(st.fixed_dictionaries({word: listed}) for word in ("all", "any", "not")))


FILTERS = _within(_within(_TRAITS))


@given(FILTERS)
def test_nothing_from_outside_is_written_into_sql(content: dict[str, Any]) -> None:
    audience = Audience.model_validate({"filter": content})
    statement = segments._Statement()
    sql = statement.page(audience, 0, 10, ["UTC"])
    assert "§" not in sql
    assert all(f"${number}::" in sql for number in range(1, len(statement.values) + 1))
    assert (
        Audience.model_validate(audience.model_dump(mode="json", by_alias=True, exclude_unset=True))
        == audience
    )


async def test_every_filter_is_a_statement_that_postgresql_takes(database: Database) -> None:
    await fill_people(database, 3, attributes={"a": 1})
    contents: list[Any] = []

    @given(FILTERS)
    def collect(content: dict[str, Any]) -> None:
        contents.append(content)

    collect()
    async with database.connection() as connection:
        for content in contents:
            audience = Audience.model_validate({"filter": content})
            negated = Audience.model_validate({"filter": {"not": [content]}}) if _shallow(content) else None
            found = await segments.count(connection, audience)
            if negated is not None:
                assert found + await segments.count(connection, negated) == 3


def _shallow(content: Any) -> bool:
    """Whether there is a level left to negate it in."""
    return not any(
        word in inner
        for group in ("all", "any", "not")
        for inner in content.get(group, ())
        for word in ("all", "any", "not")
    )
