"""Whoever calls, and what they may do."""

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """One right. None includes another."""

    SEND = "send"
    READ = "read"
    MANAGE = "manage"
    SUPPORT = "support"


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. `name` goes into the audit trail, as `key:1f2e3d4c:deploy` or `jwt:alice`."""

    name: str
    scopes: frozenset[Scope]
