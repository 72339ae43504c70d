"""`MATTERMOST` against its fake. Expectations: the server's error ids."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

import orjson

from service.sender_settings import MattermostSettings
from service.senders.base import BaseSender, Gone, Halted, Refused, Retry, Throttled
from service.senders.mattermost import MattermostSender
from tests.contract.rigs.over_http import ANYWHERE, fault
from tests.contract.sender_suite import HOSTILE, Case, Situation, SplittingRig
from tests.fakes.mattermost import HOOK, FakeMattermost
from tests.fakes.provider import Fault

HOOKS = "web.incoming_webhook"


def error_fault(status: int, error: str, **headers: str) -> Fault:
    document = {
        "id": error,
        "message": "an error",
        "detailed_error": "",
        "request_id": "r",
        "status_code": status,
    }
    return Fault(status=status, body=orjson.dumps(document).decode(), headers=headers)


def error(status: int, error: str, **headers: str) -> Callable[["MattermostRig"], None]:
    return lambda rig: rig.server.fault(error_fault(status, error, **headers))


def state(name: str) -> Callable[["MattermostRig"], None]:
    return lambda rig: setattr(rig.server, name, True)


class MattermostRig(SplittingRig):
    name = "MATTERMOST"
    address = HOOK
    cases = (
        *ANYWHERE,
        Case(Situation.SERVER_ERROR, error(500, "app.post.save.app_error"), Retry, "app.post.save.app_error"),
        Case(Situation.THROTTLED, fault(status=429, headers={"retry-after": "3"}), Throttled, "429", retry_after=3),
        Case(
            Situation.THROTTLED, error(429, "api.context.rate_limit", **{"x-ratelimit-reset": "1"}), Throttled, "429",
            retry_after=1, note="by the other header",
        ),
        Case(Situation.THROTTLED_NO_HINT, fault(status=429, body="limit exceeded"), Throttled, "429"),
        Case(Situation.REFUSED, error(400, f"{HOOKS}.text.app_error"), Refused, f"{HOOKS}.text.app_error"),
        Case(Situation.REFUSED, error(400, f"{HOOKS}.parse.app_error"), Refused, note="parse"),
        Case(Situation.REFUSED, error(403, f"{HOOKS}.channel_locked.app_error"), Refused, note="locked"),
        Case(Situation.REFUSED, error(403, f"{HOOKS}.permissions.app_error"), Refused, note="permissions"),
        Case(Situation.REFUSED, error(404, "api.context.404.app_error"), Refused, note="another 404"),
        Case(Situation.GONE, state("hook_deleted"), Gone, f"{HOOKS}.invalid.app_error", recovers=False),
        Case(Situation.GONE, error(404, f"{HOOKS}.channel.app_error"), Gone, note="no channel"),
        Case(Situation.GONE, error(404, f"{HOOKS}.user.app_error"), Gone, note="no user"),
        Case(Situation.CREDENTIALS, state("disabled"), Halted, f"{HOOKS}.disabled.app_error", recovers=False),
    )  # fmt: skip
    bad_addresses = (
        "", "a b", f"{HOOK}:", f"{HOOK}:Town Square", f"https://example.com/hooks/{HOOK}", f"../{HOOK}", f"{HOOK}/x",
        "ключ", f"{HOOK}?x=1",
    )  # fmt: skip
    # Something invisible stands where Mattermost would read a tag, a channel or a mention.
    shown_as: ClassVar = {
        HOSTILE["html"]: HOSTILE["html"].replace("<", "<\u200b"),
        HOSTILE["unclosed html"]: HOSTILE["unclosed html"].replace("<", "<\u200b"),
        HOSTILE["markdown"]: HOSTILE["markdown"].replace("~no", "~\u200bno"),
        HOSTILE["mentions"]: HOSTILE["mentions"].replace("@", "@\u200b").replace("<", "<\u200b"),
    }
    secrets = (HOOK,)

    async def __aenter__(self) -> Self:
        self.server = await FakeMattermost().__aenter__()
        self.canonical_addresses = {
            f"{self.server.base_url}/hooks/{HOOK}": HOOK,
            f"{HOOK}:town-square": f"{HOOK}:town-square",
            f"{HOOK}:@anna": f"{HOOK}:@anna",
        }
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.server.stop()

    def sender(self) -> BaseSender:
        return self._sender()

    def off_senders(self) -> Mapping[str, BaseSender]:
        return {
            "MATTERMOST_URL is not set": self._sender(url=None),
            "MATTERMOST_URL is malformed": self._sender(url="nowhere"),
            "MATTERMOST_DEFAULT_HOOK": self._sender(default_hook="https://example.com/hooks/x"),
        }

    def accepted(self) -> list[str]:
        assert not [mention for post in self.server.posts for mention in post.shown.mentions]
        return [post.shown.text for post in self.server.posts]

    def fail_call(self, number: int) -> None:
        self.server.fault(Fault(), times=number - 1)
        self.server.fault(error_fault(500, "app.post.save.app_error"))

    def _sender(self, **values: Any) -> BaseSender:
        settings = MattermostSettings.model_validate({"url": self.server.base_url, **values})
        return MattermostSender(settings, timeout_seconds=self.timeout_seconds)
