"""API keys: `ntf_<prefix>_<secret>`, kept as their sha256 only.

A secret of 256 random bits needs no slow hash: there is nothing to guess from.
"""

import hmac
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from operator import attrgetter
from typing import Any
from uuid import UUID

from service.access.principal import ALL_SCOPES, Principal, Scope
from service.db.database import Database
from service.db.ids import uuid7
from service.db.pages import Page, cut

CACHE_SECONDS = 5.0
"""A key revoked through another process is refused here after at most so long."""

LOOK_UP_SECONDS = 2.0
"""Every call waits for this: a database that does not answer must not hold them all up."""

_CACHED_KEYS = 1_024
_KEY_MAX_CHARS = 512
_START_LOCK = 0x6E6F7469_66790002  # any constant: the advisory lock under which the first key is made

_FIND = (
    "SELECT id, name, prefix, hash, scopes, expires_at FROM api_key WHERE hash = $1 AND revoked_at IS NULL"
)
_INSERT = """
INSERT INTO api_key (id, name, origin, prefix, hash, scopes, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, now(), $7)
RETURNING id, name, origin, prefix, scopes, created_at, expires_at, revoked_at
"""
_LIST = """
SELECT id, name, origin, prefix, scopes, created_at, expires_at, revoked_at FROM api_key
WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2
"""
_REVOKE = "UPDATE api_key SET revoked_at = now() WHERE id = $1 AND origin = 'made' AND revoked_at IS NULL RETURNING hash"
_ORIGIN = "SELECT origin FROM api_key WHERE id = $1 AND revoked_at IS NULL"
_FOLLOW_SETTING = """
INSERT INTO api_key (id, name, origin, prefix, hash, scopes, created_at)
VALUES ($1, 'admin', 'setting', 'ADMIN_API_KEY', $2, $3, now())
ON CONFLICT (origin) WHERE origin = 'setting'
DO UPDATE SET hash = excluded.hash, scopes = excluded.scopes, revoked_at = NULL
"""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key without its secret. `prefix` is the readable part after `ntf_`."""

    id: UUID
    name: str
    origin: str
    prefix: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. `secret` is the whole of it, and is not kept anywhere else."""

    secret: str
    info: KeyInfo


class KeyOfSettingError(ValueError):
    """The key of ADMIN_API_KEY follows that setting and cannot be revoked otherwise."""


@dataclass(frozen=True, slots=True)
class _Verified:
    principal: Principal
    key_id: UUID
    expires_at: datetime | None
    forget_at: float


class ApiKeys:
    """Makes, lists, revokes and verifies keys.

    A verified key is remembered for `CACHE_SECONDS`, so that most calls cost no statement; what is
    refused is not remembered. Every method raises one of `OUTAGE` while PostgreSQL is away.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._verified: dict[bytes, _Verified] = {}

    async def create(self, name: str, scopes: Iterable[Scope], expires_at: datetime | None = None) -> NewKey:
        """Make a key; its secret is shown now or never."""
        async with self._database.connection() as connection:
            return await _insert(connection, name, scopes, expires_at)

    async def page(self, before: UUID | None = None, limit: int = 100) -> Page[KeyInfo]:
        """The newest keys, revoked ones too."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LIST, before, limit + 1)
        return cut([_info(row) for row in rows], limit, attrgetter("id"))

    async def revoke(self, key_id: UUID) -> bool:
        """False: there is no such key in use. Raises `KeyOfSettingError`."""
        async with self._database.connection() as connection:
            digest = await connection.fetchval(_REVOKE, key_id)
            if digest is None and await connection.fetchval(_ORIGIN, key_id) == "setting":
                raise KeyOfSettingError
        self._verified.pop(digest, None)
        return digest is not None

    async def verify(self, key: str) -> Principal | None:
        """Whose key it is; None: nobody's, revoked or expired."""
        if len(key) > _KEY_MAX_CHARS:
            return None
        digest = _digest(key)
        known = self._verified.get(digest)
        if known is None or known.forget_at <= self._clock():
            known = await self._look_up(digest)
        if known is None or (known.expires_at is not None and known.expires_at <= datetime.now(UTC)):
            return None
        return known.principal

    async def _look_up(self, digest: bytes) -> _Verified | None:
        self._verified.pop(digest, None)
        async with self._database.connection(LOOK_UP_SECONDS) as connection:
            row = await connection.fetchrow(_FIND, digest, timeout=LOOK_UP_SECONDS)
        if row is None or not hmac.compare_digest(row["hash"], digest):
            return None
        while len(self._verified) >= _CACHED_KEYS:
            del self._verified[next(iter(self._verified))]
        principal = Principal(f"key:{row['prefix']}:{row['name']}", frozenset(map(Scope, row["scopes"])))
        known = _Verified(principal, row["id"], row["expires_at"], self._clock() + CACHE_SECONDS)
        self._verified[digest] = known
        return known


async def ensure_first_key(database: Database, admin_api_key: str | None) -> str | None:
    """Make sure that somebody can get in; safe in any number of processes at once.

    With `admin_api_key` that value is a key with every scope, for as long as the setting has it.
    Without, a key is made when none was ever made, and returned: show it, it is not kept.
    """
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _START_LOCK)
        if admin_api_key is not None:
            await connection.execute(
                "DELETE FROM api_key WHERE hash = $1 AND origin = 'made'", _digest(admin_api_key)
            )
            await connection.execute(_FOLLOW_SETTING, uuid7(), _digest(admin_api_key), sorted(ALL_SCOPES))
            return None
        await connection.execute("DELETE FROM api_key WHERE origin = 'setting'")
        if await connection.fetchval("SELECT EXISTS (SELECT 1 FROM api_key)"):
            return None
        return (await _insert(connection, "first", ALL_SCOPES, None)).secret


async def _insert(connection: Any, name: str, scopes: Iterable[Scope], expires_at: datetime | None) -> NewKey:
    prefix = secrets.token_hex(4)
    secret = f"ntf_{prefix}_{secrets.token_urlsafe(32)}"
    row = await connection.fetchrow(
        _INSERT, uuid7(), name, "made", prefix, _digest(secret), sorted(set(scopes)), expires_at
    )
    return NewKey(secret, _info(row))


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


def _info(row: Any) -> KeyInfo:
    return KeyInfo(**{**row, "scopes": tuple(map(Scope, row["scopes"]))})
