"""Errors as problem documents (RFC 9457): the one place that makes them, and what OpenAPI says of them."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from service.content.localisation import Localisation
from service.contract import CROSS_FIELD_CODES, ContractError, FieldProblem, field_problems
from service.contract.problems import Wording
from service.db.database import OUTAGE
from service.errors import (
    BadRequest,
    BodyTooLarge,
    DomainError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotAccepted,
    NotFound,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
)

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
WITH_BODY = (BodyTooLarge, UnsupportedMediaType, InvalidRequest)
"""What may be wrong with every call that has a body."""
RETRY_AFTER_SECONDS = 2.0
_BY_STATUS: dict[int, type[DomainError]] = {
    error.status: error for error in (BodyTooLarge, UnsupportedMediaType)
}
_NOT_JSON = "is not JSON; accepted: UTF-8 JSON, an object"
_WORDING = Wording(accepted={"": "a JSON object"}, models={})
_HEADERS = {
    Unauthenticated.status: {
        "WWW-Authenticate": {"required": True, "schema": {"type": "string"}, "description": "How to come in"}
    },
    Unavailable.status: {
        "Retry-After": {
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
            "description": "Seconds to wait before trying again",
        }
    },
}


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(description="A name for the kind of problem: `urn:notifications:problem:` and the code")
    title: str = Field(
        description="The kind of problem in words, in the language of `Accept-Language` if the service speaks it"
    )
    status: int = Field(description="The HTTP status, again")
    detail: str = Field(description="What is wrong this time, and what is accepted")
    code: str = Field(description="The kind of problem for programs; it never changes")
    problems: list[FieldProblem] = Field(default_factory=list, description="One for each field at fault")


def problem_response(error: DomainError, scope: Scope) -> Response:
    """The answer that an error becomes; its title is in the language that the call asks for."""
    localisation: Localisation = scope["app"].state.deps.localisation
    asked = next((value for name, value in scope["headers"] if name == b"accept-language"), b"")
    language = localisation.negotiate(asked.decode("latin-1"))
    document = error.document() | {"title": localisation.translator(language).gettext(error.title)}
    headers = {**error.headers, "Content-Language": language, "Vary": "Accept-Language"}
    return Response(orjson.dumps(document), error.status, headers=headers, media_type=MEDIA_TYPE)


def documented(*errors: type[DomainError]) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` for these errors."""
    statuses: dict[int, list[type[DomainError]]] = {}
    for error in errors:
        statuses.setdefault(error.status, []).append(error)
    return {status: _response_of(status, kinds) for status, kinds in statuses.items()}


def _response_of(status: int, errors: Sequence[type[DomainError]]) -> dict[str, Any]:
    example = _example(errors[0])
    response: dict[str, Any] = {
        "description": "\n".join(_describe(error) for error in errors),
        "content": {
            MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example.document()}
        },
    }
    if status in _HEADERS:
        response["headers"] = _HEADERS[status]
    return response


def _describe(error: type[DomainError]) -> str:
    if issubclass(error, NotAccepted):
        lines = (f"- `{code}`: {text}" for code, text in error.codes.items())
        return "\n".join((f"{error.title}:", *lines))
    return f"- `{error.code}`: {error.title}"


def _example(error: type[DomainError]) -> DomainError:
    if issubclass(error, NotAccepted):
        return error(
            "no_address",
            [FieldProblem(field="to", problem="is required: TG has no default address", code="no_address")],
        )
    if issubclass(error, InvalidRequest):
        return error([FieldProblem(field="body", problem="is required; accepted: text", code="missing")])
    if issubclass(error, Unavailable):
        return error(RETRY_AFTER_SECONDS)
    return error()


def install(app: FastAPI, allowed_methods: Callable[[str], Sequence[str]]) -> None:
    """Make every error of the application, of FastAPI and of Starlette a problem document.

    `allowed_methods` knows the methods of a path: Starlette alone names those of one route only.
    """

    def on_http_exception(request: Request, error: HTTPException) -> DomainError:
        if error.status_code == MethodNotAllowed.status:
            known = (error.headers or {}).get("Allow", "")
            return MethodNotAllowed(allowed_methods(request.url.path) or known.split(", "))
        if error.status_code == BadRequest.status:  # FastAPI's word for a body that is not even UTF-8
            return InvalidRequest([FieldProblem(field="", problem=_NOT_JSON, code="json_invalid")])
        if error.status_code == NotFound.status:
            return NotFound(f"nothing is at {request.url.path[:200]}")
        return _BY_STATUS.get(error.status_code, InternalError)(error.detail)

    handlers: dict[type[Exception], Callable[[Request, Any], DomainError]] = {
        DomainError: lambda _, error: error,
        ContractError: lambda _, error: refusal_of(error),
        RequestValidationError: lambda _, error: InvalidRequest(_problems_of(error)),
        HTTPException: on_http_exception,
        ClientDisconnect: lambda _, __: BadRequest("the caller went away before the body had arrived"),
        Exception: lambda _, __: InternalError(),
        **dict.fromkeys(OUTAGE, _on_outage),
    }
    for kind, handle in handlers.items():
        app.add_exception_handler(kind, _answering(handle))


def _answering(
    handle: Callable[[Request, Any], DomainError],
) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        return problem_response(handle(request, error), request.scope)

    return answer


def _on_outage(_request: Request, error: Exception) -> DomainError:
    if isinstance(error, asyncpg.DataError):  # an InterfaceError by birth, but a mistake of ours
        raise error
    log.warning("a call is answered 503: %s: %s", type(error).__name__, error)
    return Unavailable(RETRY_AFTER_SECONDS)


def refusal_of(error: ContractError) -> DomainError:
    """A message that breaks the contract: 409 when each field is fine alone, otherwise 422."""
    if all(problem.code in CROSS_FIELD_CODES for problem in error.problems):
        return NotAccepted("conflicting_fields", error.problems)
    return InvalidRequest(error.problems)


def _problems_of(error: RequestValidationError) -> Sequence[FieldProblem]:
    return field_problems((_without_place(detail) for detail in error.errors()), _WORDING)


def _without_place(detail: ErrorDetails) -> ErrorDetails:
    """FastAPI's paths begin with where the field is (body, query, path): the field is what matters."""
    place, *path = detail["loc"]
    if detail["type"] == "json_invalid":
        where = f"{detail['ctx']['error']} at character {path[0]}"
        return {**detail, "loc": (), "ctx": {"error": where}}
    if detail["type"] == "missing" and not path:
        return {**detail, "loc": ("body",) if place == "body" else (), "type": "missing"}
    return {**detail, "loc": tuple(path)}
