"""Uploaded lists: a stream of external ids, stored in batches, of use only once it is whole."""

import csv
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

from service.audience.records import Record, Records
from service.contract.fields import ID_MAX_CHARS
from service.contract.problems import ContractError, FieldProblem
from service.db.database import Database
from service.db.ids import uuid7
from service.mailings import queries

BATCH_ROWS = 5_000
ROW_MAX_BYTES = 4_096
SHOWN = 100
COLUMN = "external_id"


@dataclass(slots=True)
class Uploaded:
    """What became of the rows: people on the list, ids that nobody has, and the first of these."""

    list_id: UUID
    members: int = 0
    unknown: int = 0
    shown: list[str] = field(default_factory=list)


async def upload(database: Database, chunks: AsyncIterator[bytes]) -> Uploaded:
    """Store a list from CSV with a header that has a column `external_id`, or from one id on each line.

    A person twice counts once. Raises `ContractError` where it cannot be read; what was stored until then,
    or until the caller went away, is dropped later.
    """
    uploaded = Uploaded(uuid7())
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO audience_list (id, created_at) VALUES ($1, now())", uploaded.list_id
        )
    rows = _Rows()
    records = Records(quoted=True, most=ROW_MAX_BYTES)
    async for chunk in chunks:
        for record in records.feed(chunk):
            rows.read(record)
        if len(rows.ids) >= BATCH_ROWS:
            await _store(database, uploaded, rows.take())
    for record in records.end():
        rows.read(record)
    await _store(database, uploaded, rows.take())
    if rows.read_none:
        problem = f"has no rows; accepted: a header with {COLUMN}, or an id on each line"
        raise ContractError([FieldProblem(field="", problem=problem, code="empty")])
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE audience_list SET members = $2 WHERE id = $1", uploaded.list_id, uploaded.members
        )
    return uploaded


async def _store(database: Database, uploaded: Uploaded, ids: list[str]) -> None:
    for start in range(0, len(ids), BATCH_ROWS):
        async with database.connection() as connection:
            row = await connection.fetchrow(
                queries.INSERT_MEMBERS, uploaded.list_id, ids[start : start + BATCH_ROWS]
            )
        if row is None:
            raise RuntimeError("a count returned no row")
        uploaded.members += row["fresh"]
        uploaded.unknown += len(row["unknown"])
        uploaded.shown += row["unknown"][: SHOWN - len(uploaded.shown)]


class _Rows:
    """Ids out of records; the first record says in which column they are."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._column: int | None = None

    def read(self, record: Record) -> None:
        cells = _cells(record)
        if not cells:
            return
        if self._column is None:
            self._column = cells.index(COLUMN) if COLUMN in cells else 0
            if COLUMN in cells:
                return
            if len(cells) > 1:
                raise _wrong(record, f"has several columns and none is {COLUMN}; accepted: a header with it")
        if len(cells) <= self._column or not cells[self._column]:
            raise _wrong(record, f"has no {COLUMN}")
        value = cells[self._column]
        if len(value) > ID_MAX_CHARS or not value.isprintable():
            raise _wrong(record, f"is no id; accepted: 1 to {ID_MAX_CHARS} characters on one line")
        self.ids.append(value)

    @property
    def read_none(self) -> bool:
        return self._column is None

    def take(self) -> list[str]:
        ids, self.ids = self.ids, []
        return ids


def _cells(record: Record) -> list[str]:
    if record.raw is None:
        raise _wrong(record, f"is too long; accepted: at most {ROW_MAX_BYTES} bytes")
    if not record.raw.strip():
        return []
    try:
        (cells,) = csv.reader([record.raw.decode("utf-8-sig")], strict=True)
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise _wrong(record, f"is no CSV in UTF-8 ({error})") from None
    return [cell.strip() for cell in cells]


def _wrong(record: Record, problem: str) -> ContractError:
    return ContractError([FieldProblem(field=f"line {record.line}", problem=problem, code="row")])
