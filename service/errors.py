"""The error family of REST: each error has a status, a stable code and a title, and documents itself.

Anything may raise them; only the API turns them into answers, as problem documents (RFC 9457).
"""

# ruff: noqa: N818 - these are named after the answers they become

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from service.contract import FieldProblem

PROBLEM_TYPE = "urn:notifications:problem:"


class DomainError(Exception):
    """Something the caller has to know. `code` is for programs and never changes, `detail` is for people."""

    status: ClassVar[int]
    title: ClassVar[str]
    code: str

    def __init__(self, detail: str = "", *, problems: "Sequence[FieldProblem]" = ()) -> None:
        self.detail = detail or self.title
        self.problems = tuple(problems)
        super().__init__(self.detail)

    @property
    def headers(self) -> Mapping[str, str]:
        """HTTP headers that belong to the answer."""
        return {}

    def document(self) -> dict[str, Any]:
        """The problem document."""
        document: dict[str, Any] = {
            "type": PROBLEM_TYPE + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.problems:
            document["problems"] = [problem.model_dump() for problem in self.problems]
        return document


class BadRequest(DomainError):
    status, code, title = 400, "bad_request", "The HTTP request itself is broken"


class Unauthenticated(DomainError):
    status, code, title = 401, "unauthenticated", "No valid API key or token"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"WWW-Authenticate": 'ApiKey realm="notifications", Bearer realm="notifications"'}


class MissingScope(DomainError):
    status, code, title = 403, "missing_scope", "The API key or token lacks a scope"


class NotFound(DomainError):
    status, code, title = 404, "not_found", "There is no such thing"


class MethodNotAllowed(DomainError):
    status, code, title = 405, "method_not_allowed", "This address does not know that method"

    def __init__(self, allowed: Sequence[str]) -> None:
        self.allowed = ", ".join(sorted(allowed))
        super().__init__(f"accepted: {self.allowed}")

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Allow": self.allowed}


class NotAccepted(DomainError):
    """A well-formed notification that cannot be taken as things are; `code` says why."""

    status, title = 409, "The notification cannot be taken as things are"
    codes: ClassVar[Mapping[str, str]] = {
        "conflicting_fields": "fields contradict each other, as one address for several senders",
        "sender_off": "the sender lacks a setting",
        "no_address": "neither the notification nor the sender's settings name an address",
        "invalid_address": "the sender cannot use that address",
        "unknown_recipient": "no such recipient is stored",
        "no_contact": "the recipient has no active contact for these senders",
        "unknown_topic": "there is no such topic",
        "unknown_template": "there is no such template in use",
        "invalid_params": "`params` are not what the template asks for",
        "id_conflict": "the same `id` came before with other content",
    }

    def __init__(self, code: str, problems: "Sequence[FieldProblem]") -> None:
        self.code = code
        super().__init__(
            "; ".join(f"{p.field}: {p.problem}" if p.field else p.problem for p in problems),
            problems=problems,
        )


class StillRejected(DomainError):
    status, code, title = 409, "still_rejected", "The stored message still does not follow the contract"


class InvalidContact(DomainError):
    """A well-formed address that its sender cannot use; `problems` names each contact."""

    status, code, title = 409, "invalid_contact", "A contact cannot be used by its sender"

    def __init__(self, problems: "Sequence[FieldProblem]" = ()) -> None:
        super().__init__("; ".join(f"{p.field}: {p.problem}" for p in problems), problems=problems)


class UnusableColumns(DomainError):
    status, code, title = 409, "unusable_columns", "The columns of the import are not those of recipients"


class NoWayToJoin(DomainError):
    status, code, title = 409, "no_way_to_join", "There is no bot that people could join"


class SupportOff(DomainError):
    status, code, title = 409, "support_off", "There is no support desk: TG_SUPPORT_CHAT_ID is not set"


class TicketClosed(DomainError):
    status, code, title = 409, "ticket_closed", "The ticket is closed"


class KeyOfSetting(DomainError):
    status, code, title = (
        409,
        "key_of_setting",
        "This key comes from ADMIN_API_KEY and is revoked by unsetting it",
    )


class TemplateRefused(DomainError):
    """A template that could never be shown as it is; `problems` says where and why."""

    status, code, title = 409, "template_refused", "The template has errors and was not saved"


class NotRendered(DomainError):
    """No text came of a template and these params; `problems` says why."""

    status, code, title = 409, "not_rendered", "The template cannot be rendered like this"


class TriggerRefused(DomainError):
    """A rule whose parts do not go together; `problems` says which."""

    status, code, title = 409, "trigger_refused", "The parts of the trigger do not go together"

    def __init__(self, problems: "Sequence[FieldProblem]" = ()) -> None:
        super().__init__("; ".join(f"{p.field}: {p.problem}" for p in problems), problems=problems)


class NameTaken(DomainError):
    status, code, title = 409, "name_taken", "The name is in use"


class MailingRefused(DomainError):
    """A well-formed mailing that cannot go out as it is; `problems` says why."""

    status, code, title = 409, "mailing_refused", "The mailing cannot go out as it is"

    def __init__(self, problems: "Sequence[FieldProblem]" = ()) -> None:
        super().__init__("; ".join(f"{p.field}: {p.problem}" for p in problems), problems=problems)


class MailingState(DomainError):
    status, code, title = 409, "mailing_state", "The mailing is not in a state for that"


class BodyTooLarge(DomainError):
    status, code, title = 413, "body_too_large", "The request body is too large"


class UnsupportedMediaType(DomainError):
    status, code, title = 415, "unsupported_media_type", "The request body has to be JSON"


class InvalidRequest(DomainError):
    """The request does not follow the schema; `problems` names each field."""

    status, code, title = 422, "invalid_request", "The request does not follow the schema"

    def __init__(self, problems: "Sequence[FieldProblem]") -> None:
        super().__init__(
            "; ".join(f"{p.field or 'request'}: {p.problem}" for p in problems), problems=problems
        )


class InternalError(DomainError):
    status, code, title = 500, "internal_error", "The service made a mistake; its log says which"


class Unavailable(DomainError):
    """Something this call needs is away. `retry_after`: seconds after which to try again."""

    status, code, title = 503, "unavailable", "Try again later"

    def __init__(self, retry_after: float, detail: str = "") -> None:
        self.retry_after = retry_after
        super().__init__(detail or "the database does not answer")

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(max(1, ceil(self.retry_after)))}
