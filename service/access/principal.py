"""Whoever calls, and what they may do."""

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """One right. None includes another, but who manages may register devices too."""

    SEND = "send"
    READ = "read"
    MANAGE = "manage"
    DEVICES = "devices"
    SUPPORT = "support"


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. `name` goes into the audit trail, as `key:1f2e3d4c:deploy` or `jwt:alice`."""

    name: str
    scopes: frozenset[Scope]
    subject: str | None = None
    """Whom a token was made for (its `sub`, or nothing); None: it is a key, which is nobody's in particular."""
