"""`POST /v1/recipients/import`: any number of recipients in one streamed body."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from service.api.deps import Deps, Manager
from service.api.problems import WITH_BODY, documented
from service.api.recipients import address_check
from service.audience.importing import CsvReader, HeaderError, NdjsonReader, Reader, Report, import_rows
from service.contract import FieldProblem
from service.errors import UnsupportedMediaType, UnusableColumns

PATH = "/v1/recipients/import"
_READERS: dict[str, Callable[[], Reader]] = {
    "application/x-ndjson": NdjsonReader,
    "application/ndjson": NdjsonReader,
    "application/jsonl": NdjsonReader,
    "text/csv": CsvReader,
}
MEDIA_TYPES = frozenset(kind.encode() for kind in _READERS)

router = APIRouter(prefix="/recipients", tags=["recipients"])


class RefusedRow(BaseModel):
    """A row that was not stored."""

    line: int = Field(description="The line of the body on which it begins, from 1")
    problems: list[FieldProblem]


class ImportReport(BaseModel):
    """What became of the rows."""

    created: int
    updated: int
    unchanged: int
    refused: int
    refusals: list[RefusedRow] = Field(description="Every refused row, in the order of the body")


_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/x-ndjson": {
            # Without a type: every body is some text, and its lines are judged one by one.
            "schema": {"description": "A recipient as JSON on each line"},
            "example": '{"external_id": "42", "locale": "ru"}\n',
        },
        "text/csv": {
            "schema": {"type": "string", "description": "A header, and a recipient on each line"},
            "example": "external_id,locale,contact.CONSOLE\n42,ru,anna\n",
        },
    },
}


@router.post(
    "/import",
    summary="Import recipients",
    response_model=ImportReport,
    responses=documented(UnusableColumns, *WITH_BODY),
    openapi_extra={"requestBody": _BODY},
)
async def import_recipients(request: Request, deps: Deps, caller: Manager) -> Response:
    """Rows are stored in batches as they arrive; a bad one does not spoil the others.

    Each row is a recipient's profile with its `external_id`; what it leaves out stays as it is. A call that
    was cut off may be repeated as a whole: what is there already is not made again. In CSV the columns are
    `external_id`, `name`, `locale`, `time_zone`, `quiet_hours`, `muted`, `attributes` (JSON),
    `contact.SENDER` and `attributes.NAME`; an empty cell is left out.
    """
    reader = _reader(request.headers.get("content-type", ""))
    check = address_check(deps.senders)
    report = Report()
    try:
        async with deps.audit.entry(caller, "recipients.import") as done:
            try:
                await import_rows(request.stream(), reader, deps.recipients.upsert, check, report)
            except HeaderError as error:
                raise UnusableColumns(str(error), problems=error.problems) from None
            finally:
                done.update(_counts(report))
    except BaseException:
        report.close()
        raise
    return StreamingResponse(_json(report), media_type="application/json")


def _reader(content_type: str) -> Reader:
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in _READERS:
        raise UnsupportedMediaType(f"accepted: Content-Type: {', '.join(sorted(_READERS))}")
    return _READERS[kind]()


def _counts(report: Report) -> dict[str, int]:
    stored = report.stored
    return {
        "created": stored.created,
        "updated": stored.updated,
        "unchanged": stored.unchanged,
        "refused": report.refused,
    }


async def _json(report: Report) -> AsyncIterator[bytes]:
    """The report, as an `ImportReport` that is never held whole."""
    try:
        yield orjson.dumps(_counts(report))[:-1] + b',"refusals":['
        for piece in report.refusals():
            yield piece
        yield b"]}"
    finally:
        report.close()
