"""API keys and tokens: who gets in, with which rights, for how long."""

import asyncio
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.access.keys import CACHE_SECONDS, ApiKeys, ensure_first_key
from service.access.principal import ALL_SCOPES, Scope
from service.access.tokens import Jwks, Tokens
from service.db.database import Database
from service.errors import Unauthenticated, Unavailable
from service.settings import AuthSettings
from tests.api.conftest import JWT_SECRET, Call, Get, problem_of
from tests.support.service import Answer

CLAIMS = {"iss": "https://issuer.example", "aud": "notifications", "sub": "alice", "scope": "read send"}


def _make_key(call: Call, **fields: Any) -> dict[str, Any]:
    answer = call("POST", "/v1/keys", {"name": "made in a test", "scopes": ["read"], **fields})
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json()
    return made


def _send(call: Call, **options: Any) -> Answer:
    return call("POST", "/v1/notifications", {"body": "x", "sender": "CONSOLE"}, **options)


@pytest.mark.parametrize(
    "path", ["/v1/notifications", "/v1/senders", "/v1/keys", "/v1/audit", "/v1/no-such-thing"]
)
def test_nothing_answers_without_a_key(call: Call, path: str) -> None:
    answer = call("GET", path, key=None)
    problem_of(answer, 401, "unauthenticated")
    assert "ApiKey" in answer.headers["www-authenticate"]
    problem_of(call("GET", path, key="ntf_12345678_wrong"), 401, "unauthenticated")


def test_a_body_is_not_even_read_without_a_key(call: Call) -> None:
    problem_of(call("POST", "/v1/keys", b"{", key=None), 401, "unauthenticated")


def test_a_key_does_what_its_scopes_say_and_no_more(call: Call) -> None:
    reader, producer = _make_key(call)["key"], _make_key(call, scopes=["send"])["key"]
    assert call("GET", "/v1/deliveries", key=reader).status == 200
    assert _send(call, key=producer).status == 202
    assert "send" in problem_of(_send(call, key=reader), 403, "missing_scope")["detail"]
    problem_of(call("GET", "/v1/deliveries", key=producer), 403, "missing_scope")
    for key in (reader, producer):
        problem_of(call("GET", "/v1/keys", key=key), 403, "missing_scope")
        problem_of(call("POST", "/v1/senders/CONSOLE/pause", {"reason": "x"}, key=key), 403, "missing_scope")


def test_nobody_hands_out_more_than_they_have(call: Call) -> None:
    manager = _make_key(call, scopes=["manage"])["key"]
    body = {"name": "x", "scopes": ["manage", "send"]}
    problem_of(call("POST", "/v1/keys", body, key=manager), 403, "missing_scope")
    assert call("POST", "/v1/keys", {**body, "scopes": ["manage"]}, key=manager).status == 201


def test_a_key_is_shown_once_and_kept_as_a_hash(call: Call, get: Get) -> None:
    made = _make_key(call, name="billing")
    assert made["key"].startswith(f"ntf_{made['prefix']}_")
    listed = get("/v1/keys?limit=1")["items"][0]
    assert (listed["id"], listed["name"], listed["scopes"]) == (made["id"], "billing", ["read"])
    assert made["key"].rpartition("_")[2] not in str(listed)


def test_a_revoked_key_is_refused_at_once(call: Call, get: Get) -> None:
    made = _make_key(call)
    assert call("GET", "/v1/deliveries", key=made["key"]).status == 200
    assert call("DELETE", f"/v1/keys/{made['id']}").status == 204
    problem_of(call("GET", "/v1/deliveries", key=made["key"]), 401, "unauthenticated")
    assert get("/v1/keys?limit=1")["items"][0]["revoked_at"] is not None
    problem_of(call("DELETE", f"/v1/keys/{made['id']}"), 404, "not_found")


def test_an_expired_key_is_refused(call: Call) -> None:
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    problem_of(
        call("GET", "/v1/deliveries", key=_make_key(call, expires_at=past)["key"]), 401, "unauthenticated"
    )


def test_the_key_of_the_setting_cannot_be_revoked_over_rest(call: Call, get: Get) -> None:
    (admin,) = (key for key in get("/v1/keys?limit=500")["items"] if key["origin"] == "setting")
    problem_of(call("DELETE", f"/v1/keys/{admin['id']}"), 409, "key_of_setting")


def _token(secret: Any = JWT_SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    claims = {**CLAIMS, "exp": time.time() + 60, **changes}
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, secret, algorithm)


def _bearer(call: Call, token: str, path: str = "/v1/deliveries") -> Answer:
    return call("GET", path, key=None, headers={"Authorization": f"Bearer {token}"})


def test_a_token_opens_what_its_scope_says(call: Call) -> None:
    assert _bearer(call, _token()).status == 200
    assert _bearer(call, _token(scope=None, scopes=["read", "openid"])).status == 200
    problem_of(_bearer(call, _token(), "/v1/keys"), 403, "missing_scope")
    problem_of(_bearer(call, _token(scope="openid")), 403, "missing_scope")
    problem_of(_bearer(call, _token(scope=5)), 403, "missing_scope")


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": time.time() - 3600},
        {"exp": None},
        {"iss": "https://other.example"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"nbf": time.time() + 3600},
        {"secret": "another-secret-of-more-than-32-bytes"},
        {"secret": None, "algorithm": "none"},
        {"algorithm": "HS512", "secret": JWT_SECRET * 2},
    ],
)
def test_a_token_that_is_not_right_in_every_way_is_refused(call: Call, changes: dict[str, Any]) -> None:
    problem_of(_bearer(call, _token(**changes)), 401, "unauthenticated")


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer x", "Bearer a.b.c", "Basic YTpi", "", "Bearer " + "x" * 9000]
)
def test_nonsense_instead_of_a_token_is_refused(call: Call, header: str) -> None:
    problem_of(
        call("GET", "/v1/deliveries", key=None, headers={"Authorization": header}), 401, "unauthenticated"
    )


class KeyServer:
    """An address that serves JWKS and counts how often."""

    def __init__(self) -> None:
        self.keys: dict[str, tuple[str, Any]] = {}
        self.asked = 0
        self.broken = False

    def add(self, key_id: str, algorithm: str) -> Any:
        private: Any = (
            rsa.generate_private_key(65537, 2048)
            if algorithm == "RS256"
            else ec.generate_private_key(ec.SECP256R1())
        )
        self.keys[key_id] = (algorithm, private)
        return private

    async def serve(self, _request: web.Request) -> web.Response:
        self.asked += 1
        if self.broken:
            return web.Response(status=500)
        algorithms = jwt.algorithms.get_default_algorithms()
        return web.json_response(
            {
                "keys": [
                    {
                        **algorithms[name].to_jwk(private.public_key(), as_dict=True),
                        "kid": key_id,
                        "alg": name,
                    }
                    for key_id, (name, private) in self.keys.items()
                ]
            }
        )


@pytest.fixture
async def key_server() -> AsyncIterator[tuple[KeyServer, str]]:
    server = KeyServer()
    application = web.Application()
    application.router.add_get("/jwks", server.serve)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield server, f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
    await runner.cleanup()


def _signed(private: Any, algorithm: str, key_id: str) -> str:
    claims = {"sub": "bob", "exp": time.time() + 60, "scope": "manage"}
    return jwt.encode(claims, private, algorithm, headers={"kid": key_id})


def _signed_by_hand(secret: bytes, algorithm: str, key_id: str) -> str:
    """An HMAC with the public key as its secret, which the library itself refuses to make."""
    header = {"alg": algorithm, "kid": key_id, "typ": "JWT"}
    claims = {"sub": "mallory", "exp": time.time() + 60, "scope": "manage"}
    signed = b".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims))
    signature = urlsafe_b64encode(hmac.digest(secret, signed, "sha256")).rstrip(b"=")
    return (signed + b"." + signature).decode()


async def test_tokens_of_a_jwks_address(key_server: tuple[KeyServer, str]) -> None:
    server, url = key_server
    rsa_key, ec_key = server.add("one", "RS256"), server.add("two", "ES256")
    tokens = Tokens(AuthSettings(jwt_jwks_url=url))
    for token in (_signed(rsa_key, "RS256", "one"), _signed(ec_key, "ES256", "two")):
        principal = await tokens.verify(token)
        assert (principal.name, list(principal.scopes)) == ("jwt:bob", [Scope.MANAGE])
    assert server.asked == 1


async def test_a_token_cannot_choose_how_it_is_judged(key_server: tuple[KeyServer, str]) -> None:
    server, url = key_server
    rsa_key, ec_key = server.add("one", "RS256"), server.add("two", "ES256")
    tokens = Tokens(AuthSettings(jwt_jwks_url=url))
    public = rsa_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    forged = [
        _signed_by_hand(public, "HS256", "one"),
        _signed_by_hand(public, "RS256", "one"),
        _signed(ec_key, "ES256", "one"),
        _signed(rsa_key, "RS256", "two"),
        _signed(rsa_key, "RS512", "one"),
        _signed(rsa_key, "PS256", "one"),
        _signed(None, "none", "one"),
    ]
    for token in forged:
        with pytest.raises(Unauthenticated):
            await tokens.verify(token)


async def test_a_new_key_of_the_address_is_found_but_not_by_asking_for_each_token(
    key_server: tuple[KeyServer, str],
) -> None:
    server, url = key_server
    now = 1000.0
    keys = Jwks(url, clock=lambda: now)
    server.add("one", "RS256")
    await keys.key("one", "RS256")
    server.add("two", "RS256")
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await keys.key("two", "RS256")
    assert server.asked == 1
    now += 6
    assert await keys.key("two", "RS256")
    assert server.asked == 2


async def test_known_keys_stay_good_while_their_address_is_away(key_server: tuple[KeyServer, str]) -> None:
    server, url = key_server
    now = 1000.0
    keys = Jwks(url, clock=lambda: now)
    server.add("one", "RS256")
    server.broken = True
    with pytest.raises(Unavailable):
        await keys.key("one", "RS256")
    server.broken, now = False, now + 6
    assert await keys.key("one", "RS256")
    server.broken, now = True, now + 3600
    assert await keys.key("one", "RS256")
    assert server.asked == 3


async def test_the_first_key_is_made_once_by_however_many_processes(database: Database) -> None:
    made = await asyncio.gather(*(ensure_first_key(database, None) for _ in range(5)))
    (key,) = (key for key in made if key is not None)
    principal = await ApiKeys(database).verify(key)
    assert principal is not None
    assert principal.scopes == ALL_SCOPES
    assert await ensure_first_key(database, None) is None


async def test_the_key_of_the_setting_follows_it(database: Database) -> None:
    assert await ensure_first_key(database, "the-first-value-of-it") is None
    assert await ensure_first_key(database, "the-second-value-of-it") is None
    keys = ApiKeys(database)
    assert await keys.verify("the-first-value-of-it") is None
    principal = await keys.verify("the-second-value-of-it")
    assert principal is not None
    assert principal.scopes == ALL_SCOPES
    first = await ensure_first_key(database, None)
    assert first is not None
    assert await ApiKeys(database).verify("the-second-value-of-it") is None
    assert await ensure_first_key(database, first) is None
    assert await ApiKeys(database).verify(first) is not None


async def test_another_process_accepts_a_revoked_key_for_a_few_seconds_only(database: Database) -> None:
    now = 0.0
    here, elsewhere = ApiKeys(database), ApiKeys(database, clock=lambda: now)
    made = await here.create("short", [Scope.READ])
    assert await elsewhere.verify(made.secret) is not None
    assert await here.revoke(made.info.id)
    assert await here.verify(made.secret) is None
    now = CACHE_SECONDS - 0.1
    assert await elsewhere.verify(made.secret) is not None
    now = CACHE_SECONDS + 0.1
    assert await elsewhere.verify(made.secret) is None
