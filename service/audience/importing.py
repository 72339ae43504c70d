"""Bulk import: a stream of rows, stored in batches. Neither the rows nor the report are ever held whole."""

import asyncio
import csv
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

import orjson

from service.audience.profile import (
    CheckAddress,
    ImportedRow,
    Profile,
    row_of,
    with_checked_addresses,
)
from service.audience.records import Record, Records
from service.audience.upserting import Upserted
from service.contract.problems import ContractError, FieldProblem

BATCH_ROWS = 1_000
ROW_MAX_BYTES = 262_144
_REPORT_MEMORY_BYTES = 1_048_576
_PIECE_BYTES = 65_536
_CSV_FIELDS = ("external_id", "name", "locale", "time_zone", "quiet_hours", "muted", "attributes")
_CONTACT, _ATTRIBUTE = "contact.", "attributes."
_BOOLEANS = {"true": True, "false": False}

Store = Callable[[Mapping[str, Profile]], Awaitable[Upserted]]


class Reader(Protocol):
    """A format of rows. `quoted`: a record may go over several lines, in quotation marks."""

    quoted: bool

    def read(self, record: bytes) -> ImportedRow | None:
        """The row in a record; None: it holds none. Raises `ContractError`."""


class NdjsonReader:
    """A JSON object on each line."""

    quoted = False

    def read(self, record: bytes) -> ImportedRow | None:
        return row_of(record) if record.strip() else None


class CsvReader:
    """CSV with a header; an empty cell leaves its field out. The first record sets the columns.

    Besides the fields of a profile there are `contact.SENDER`, one address each in the order of preference,
    and `attributes.NAME`, for text.
    """

    quoted = True

    def __init__(self) -> None:
        self._columns: list[str] | None = None

    def read(self, record: bytes) -> ImportedRow | None:
        if not record.strip():
            return None
        if self._columns is None:
            self._columns = _columns(record)
            return None
        cells = _cells(record)
        if len(cells) != len(self._columns):
            raise _wrong(
                "", f"has {len(cells)} cells; accepted: {len(self._columns)}, as the header", "cells"
            )
        return row_of(_fields(zip(self._columns, cells, strict=True)))


class HeaderError(ContractError):
    """No row can be read: the columns are not what they have to be."""


@dataclass(slots=True)
class Report:
    """What became of the rows. Refused ones are written to a file that goes with this object."""

    stored: Upserted = field(default_factory=Upserted)
    refused: int = 0
    _refusals: IO[bytes] = field(
        default_factory=lambda: tempfile.SpooledTemporaryFile(_REPORT_MEMORY_BYTES)  # noqa: SIM115
    )

    def refuse(self, line: int, error: ContractError) -> None:
        problems = [problem.model_dump() for problem in error.problems]
        refusal = orjson.dumps({"line": line, "problems": problems})
        self._refusals.write(b"," + refusal if self.refused else refusal)
        self.refused += 1

    def refusals(self) -> Iterator[bytes]:
        """The refused rows, each with its line (from 1) and problems: the inside of a JSON array, in pieces."""
        self._refusals.seek(0)
        return iter(lambda: self._refusals.read(_PIECE_BYTES), b"")

    def close(self) -> None:
        self._refusals.close()


async def import_rows(
    chunks: AsyncIterator[bytes], reader: Reader, store: Store, check: CheckAddress, report: Report
) -> None:
    """Store every row that can be; `report` tells as it goes. Raises `HeaderError`.

    What was stored stays when this ends early; the same rows once more change nothing.
    """
    records = Records(quoted=reader.quoted, most=ROW_MAX_BYTES)
    batch = _Batch(reader, check, report)
    async for chunk in chunks:
        for record in records.feed(chunk):
            batch.add(record)
            if len(batch.people) >= BATCH_ROWS:
                report.stored += await store(batch.take())
        await asyncio.sleep(0)  # what has arrived already is read without a pause
    for record in records.end():
        batch.add(record)
    if batch.people:
        report.stored += await store(batch.take())


class _Batch:
    def __init__(self, reader: Reader, check: CheckAddress, report: Report) -> None:
        self._reader = reader
        self._check = check
        self._report = report
        self.people: dict[str, Profile] = {}

    def add(self, record: Record) -> None:
        try:
            if record.raw is None:
                raise _wrong("", f"is too long; accepted: at most {ROW_MAX_BYTES} bytes", "too_long")
            if (row := self._reader.read(record.raw)) is not None:
                self._add_row(row)
        except HeaderError:
            raise
        except ContractError as error:
            self._report.refuse(record.line, error)

    def _add_row(self, row: ImportedRow) -> None:
        profile = with_checked_addresses(row, self._check)
        before = self.people.get(row.external_id)
        if before is not None:
            # The same person twice in a batch: what the later row says counts.
            said = {name: getattr(profile, name) for name in profile.model_fields_set}
            profile = before.model_copy(update=said)
        self.people[row.external_id] = profile

    def take(self) -> Mapping[str, Profile]:
        people, self.people = self.people, {}
        return people


def _cells(record: bytes) -> list[str]:
    try:
        (cells,) = csv.reader([record.decode("utf-8-sig")], strict=True)
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise _wrong("", f"is no CSV in UTF-8 ({error})", "csv") from None
    return cells


def _columns(header: bytes) -> list[str]:
    try:
        names = _cells(header)
    except ContractError as error:
        raise HeaderError(error.problems) from None
    strange = [name for name in names if name not in _CSV_FIELDS and not _is_prefixed(name)]
    accepted = f"{', '.join(_CSV_FIELDS)}, contact.SENDER, attributes.NAME"
    if strange:
        raise HeaderError(
            [
                FieldProblem(
                    field=name[:80], problem=f"is no column here; accepted: {accepted}", code="column"
                )
                for name in strange[:20]
            ]
        )
    if "external_id" not in names or len(set(names)) != len(names):
        problem = f"the header has to name external_id, and no column twice; accepted: {accepted}"
        raise HeaderError([FieldProblem(field="", problem=problem, code="column")])
    return names


def _is_prefixed(name: str) -> bool:
    return any(name.startswith(prefix) and name != prefix for prefix in (_CONTACT, _ATTRIBUTE))


def _fields(cells: Iterator[tuple[str, str]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    contacts: list[dict[str, str]] = []
    attributes: dict[str, str] = {}
    for name, cell in cells:
        if not cell:
            continue
        if name.startswith(_CONTACT):
            contacts.append({"sender": name.removeprefix(_CONTACT), "address": cell})
        elif name.startswith(_ATTRIBUTE):
            attributes[name.removeprefix(_ATTRIBUTE)] = cell
        else:
            fields[name] = _value(name, cell)
    if contacts:
        fields["contacts"] = contacts
    if attributes:
        given = fields.get("attributes", {})
        fields["attributes"] = {**given, **attributes} if isinstance(given, dict) else given
    return fields


def _value(name: str, cell: str) -> Any:
    if name == "muted":
        return _BOOLEANS.get(cell.lower(), cell)
    if name == "attributes":
        try:
            return orjson.loads(cell)
        except orjson.JSONDecodeError:
            raise _wrong("attributes", "is not JSON; accepted: a JSON object", "json_invalid") from None
    return cell


def _wrong(field_name: str, problem: str, code: str) -> ContractError:
    return ContractError([FieldProblem(field=field_name, problem=problem, code=code)])
