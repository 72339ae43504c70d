"""`MATRIX` against its fake. Expectations: the Client-Server API, and what Synapse answers."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

import orjson

from service.sender_settings import MatrixSettings
from service.senders.base import BaseSender, Gone, Halted, Refused, Retry, Throttled, Unknown
from service.senders.matrix import MatrixSender
from tests.contract.rigs.over_http import ANYWHERE, fault
from tests.contract.sender_suite import Case, Situation, SplittingRig
from tests.fakes.matrix import ROOM, TOKEN, FakeMatrix
from tests.fakes.provider import Fault


def error(
    status: int, code: str, headers: Mapping[str, str] | None = None, **fields: Any
) -> Callable[["MatrixRig"], None]:
    body = orjson.dumps({"errcode": code, "error": "words of the homeserver", **fields}).decode()
    return fault(status=status, body=body, headers=headers or {})


class MatrixRig(SplittingRig):
    name = "MATRIX"
    address = ROOM
    cases = (
        *ANYWHERE,
        Case(Situation.MALFORMED, fault(status=200, body='{"event_id": 1}'), Unknown, "answer", accepted=1, note="id"),
        Case(Situation.SERVER_ERROR, error(500, "M_UNKNOWN"), Retry, "M_UNKNOWN"),
        Case(Situation.SERVER_ERROR, error(503, "M_UNKNOWN"), Retry, "M_UNKNOWN", note="503"),
        Case(
            Situation.THROTTLED, error(429, "M_LIMIT_EXCEEDED", {"retry-after": "1"}, retry_after_ms=834), Throttled,
            "M_LIMIT_EXCEEDED", retry_after=0.834,
        ),
        Case(
            Situation.THROTTLED, error(429, "M_LIMIT_EXCEEDED", {"retry-after": "7"}), Throttled,
            "M_LIMIT_EXCEEDED", retry_after=7, note="by header",
        ),
        Case(Situation.THROTTLED, fault(status=429, headers={"retry-after": "3"}), Throttled, "429", retry_after=3,
             note="by a proxy"),
        Case(Situation.THROTTLED_NO_HINT, error(429, "M_LIMIT_EXCEEDED"), Throttled, "M_LIMIT_EXCEEDED"),
        Case(Situation.REFUSED, error(413, "M_TOO_LARGE"), Refused, "M_TOO_LARGE"),
        Case(Situation.REFUSED, error(400, "M_BAD_JSON"), Refused, "M_BAD_JSON", note="400"),
        Case(Situation.GONE, lambda rig: rig.server.rooms.clear(), Gone, "M_FORBIDDEN", recovers=False),
        Case(Situation.GONE, error(404, "M_NOT_FOUND"), Gone, "M_NOT_FOUND", note="not found"),
        Case(
            Situation.CREDENTIALS, error(401, "M_UNKNOWN_TOKEN", soft_logout=False), Halted, "M_UNKNOWN_TOKEN"
        ),
        Case(Situation.CREDENTIALS, error(401, "M_MISSING_TOKEN"), Halted, "M_MISSING_TOKEN", note="missing"),
    )  # fmt: skip
    canonical_addresses: ClassVar = {
        "!AbC:example.org:8448": "!AbC:example.org:8448",
        "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM": "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM",
        "!a/../b?c#d:example.org": "!a/../b?c#d:example.org",
    }
    bad_addresses = (
        "", "!", "room", "#alias:example.org", "@anna:example.org", "!a b:example.org", "!a:", "!a:exa mple",
        "!a:b/../c", "!a\r\nx: y:example.org", "!" + "a" * 255, "!" + "я" * 128,
    )  # fmt: skip
    secrets = (TOKEN,)

    async def __aenter__(self) -> Self:
        self.server = await FakeMatrix().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.server.stop()

    def sender(self) -> BaseSender:
        return self.make()

    def make(self, **values: Any) -> MatrixSender:
        """A sender with other settings than the usual."""
        settings = MatrixSettings.model_validate({"url": self.server.base_url, "token": TOKEN, **values})
        return MatrixSender(settings, timeout_seconds=self.timeout_seconds)

    def off_senders(self) -> Mapping[str, BaseSender]:
        return {
            "MATRIX_URL": self.make(url=None),
            "MATRIX_URL is malformed": self.make(url="matrix.example.org"),
            "MATRIX_TOKEN": self.make(token=None),
            "MATRIX_TOKEN is malformed": self.make(token="ключ"),
            "MATRIX_DEFAULT_ROOM": self.make(default_room="#alias:example.org"),
        }

    def accepted(self) -> list[str]:
        return [event.text for event in self.server.events]

    def fail_call(self, number: int) -> None:
        self.server.fault(Fault(), times=number - 1)
        self.server.fault(Fault(status=503, body='{"errcode": "M_UNKNOWN", "error": "no"}'))
