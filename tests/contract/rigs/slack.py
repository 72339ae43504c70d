"""`SLACK` against its fake: a channel of the API, and a webhook. Expectations: https://docs.slack.dev."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

import orjson

from service.sender_settings import SlackSettings
from service.senders.base import BaseSender, Gone, Halted, Refused, Retry, Scope, Throttled, Unknown
from service.senders.slack import SlackSender
from tests.contract.rigs.over_http import HTML_PAGE
from tests.contract.sender_suite import HOSTILE, Case, Situation, SplittingRig
from tests.fakes.provider import Fault
from tests.fakes.slack import HOOK_PATH, TOKEN, FakeSlack


def fault(**values: Any) -> Callable[["SlackRig"], None]:
    """Slack's next answer."""
    return lambda rig: rig.slack.fault(Fault(**values))


def error_fault(word: str, status: int = 200, **headers: str) -> Fault:
    body = orjson.dumps({"ok": False, "error": word}).decode()
    return Fault(status=status, body=body, headers=headers, accept=False)


def errors(situation: Situation, outcome: Any, *words: str, **more: Any) -> list[Case]:
    return [
        Case(
            situation,
            lambda rig, word=word: rig.slack.fault(error_fault(word)),
            outcome,
            word,
            note=word,
            **more,
        )
        for word in words
    ]


def words(situation: Situation, outcome: Any, status: int, *said: str, **more: Any) -> list[Case]:
    return [
        Case(situation, fault(status=status, body=word), outcome, word, note=word, **more) for word in said
    ]


def archived(rig: "SlackRig") -> None:
    rig.slack.states[rig.address] = "is_archived"


ON_THE_WAY = (
    Case(Situation.UNREACHABLE, lambda rig: rig.slack.stop(), Retry, "connect", recovers=False),
    Case(Situation.RESET_BEFORE, fault(ending="reset", accept=False), Unknown, "broken"),
    Case(Situation.RESET_AFTER, fault(ending="reset"), Unknown, "broken", accepted=1),
    Case(Situation.SILENT, fault(ending="hang"), Unknown, "timeout", accepted=1),
    Case(Situation.SILENT, fault(ending="hang", accept=False), Unknown, "timeout", note="and not accepted"),
    Case(Situation.MALFORMED, fault(status=200, body="[]"), Unknown, "answer", accepted=1, note="no object"),
    Case(Situation.MALFORMED, fault(ending="garbage"), Unknown, accepted=1, note="no HTTP"),
    Case(Situation.HTML, fault(status=502, body=HTML_PAGE, accept=True), Unknown, "502", accepted=1),
    Case(Situation.HTML, fault(status=200, body=HTML_PAGE), Unknown, "answer", accepted=1, note="200"),
    Case(Situation.HTML, fault(status=404, body=HTML_PAGE), Retry, "404", note="404"),
)


class SlackRig(SplittingRig):
    """Through chat.postMessage."""

    name = "SLACK"
    address = "C0123ABCD"
    cases: ClassVar = (
        *ON_THE_WAY,
        Case(Situation.MALFORMED, fault(status=200, body='{"ok": true}'), Unknown, "answer", accepted=1),
        *errors(Situation.SERVER_ERROR, Retry, "fatal_error", "internal_error", "service_unavailable", "request_timeout"),
        Case(
            Situation.SERVER_ERROR, lambda rig: rig.slack.fault(error_fault("internal_error", 500)), Retry,
            "internal_error", note="with 500",
        ),
        Case(
            Situation.THROTTLED,
            lambda rig: rig.slack.fault(error_fault("ratelimited", 429, **{"retry-after": "30"})),
            Throttled, "ratelimited", retry_after=30, scope=Scope.ADDRESS,
        ),
        Case(
            Situation.THROTTLED, fault(status=429, headers={"retry-after": "5"}), Throttled, "429", retry_after=5,
            scope=Scope.ADDRESS, note="no JSON",
        ),
        *errors(Situation.THROTTLED_NO_HINT, Throttled, "ratelimited", "rate_limited", scope=Scope.ADDRESS),
        *errors(
            Situation.REFUSED, Refused, "msg_too_long", "no_text", "invalid_blocks", "msg_blocks_too_long",
            "invalid_arguments", "too_many_attachments", "not_in_channel", "restricted_action",
            "restricted_action_read_only_channel", "something_new",
        ),
        *errors(Situation.MALFORMED, Unknown, "duplicate_message_not_found"),
        Case(Situation.GONE, archived, Gone, "is_archived", recovers=False),
        *errors(Situation.GONE, Gone, "channel_not_found", "user_not_found", "cannot_dm_bot"),
        *errors(
            Situation.CREDENTIALS, Halted, "invalid_auth", "not_authed", "account_inactive", "token_revoked",
            "token_expired", "missing_scope", "no_permission", "org_login_required", "team_access_not_granted",
        ),
    )  # fmt: skip
    canonical_addresses: ClassVar = {"U0123ABCD": "U0123ABCD"}
    bad_addresses = (
        "", "general", "#general", "c0123abcd", "X0123ABCD", "C", "https://hooks.slack.com/services/T1/B1/secret",
        "https://hooks.slack.com.example.com/services/T1/B1/x", "http://127.0.0.1/services/T1/B1/x",
    )  # fmt: skip
    # Slack has no escape for its marks: they are shown by characters that look the same.
    shown_as: ClassVar = {
        HOSTILE[
            "markdown"
        ]: "∗bold∗ ＿it＿ ∼no∼ ||spoiler|| ˋcodeˋ [text](https://example.com) # h > q - l = . ! {}",
        HOSTILE["backslashes"]: HOSTILE["backslashes"].replace("*", "∗"),
        HOSTILE["templates"]: HOSTILE["templates"].replace("*", "∗").replace("`", "ˋ"),
        HOSTILE["mentions"]: HOSTILE["mentions"].replace("@every", "@\u200bevery"),
    }
    secrets = (TOKEN, HOOK_PATH.rpartition("/")[2])

    async def __aenter__(self) -> Self:
        self.slack = await FakeSlack().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.slack.stop()

    def sender(self) -> BaseSender:
        return self._sender()

    def off_senders(self) -> Mapping[str, BaseSender]:
        return {
            "SLACK_BOT_TOKEN": self._sender(bot_token=None),
            "SLACK_API_URL": self._sender(api_url="nowhere"),
            "SLACK_HOOKS_URL": self._sender(hooks_url="nowhere"),
            "SLACK_WEBHOOK_URL": self._sender(webhook_url="https://example.com/T/B/x"),
            "SLACK_DEFAULT_CHANNEL": self._sender(default_channel="#general"),
        }

    def accepted(self) -> list[str]:
        assert not [mention for message in self.slack.messages for mention in message.shown.mentions]
        return [message.shown.text for message in self.slack.messages]

    def fail_call(self, number: int) -> None:
        self.slack.fault(Fault(), times=number - 1)
        self.slack.fault(error_fault("service_unavailable", 503))

    def _sender(self, **values: Any) -> BaseSender:
        urls = {"api_url": self.slack.api_url, "hooks_url": self.slack.hooks_url}
        settings = SlackSettings.model_validate({"bot_token": TOKEN, **urls, **values})
        return SlackSender(settings, timeout_seconds=self.timeout_seconds)


class SlackWebhookRig(SlackRig):
    """Through an incoming webhook, without a token."""

    cases: ClassVar = (
        *ON_THE_WAY,
        *words(Situation.SERVER_ERROR, Retry, 500, "rollup_error", "server_error"),
        Case(
            Situation.THROTTLED, fault(status=429, body="rate_limited", headers={"retry-after": "30"}), Throttled,
            "rate_limited", retry_after=30, scope=Scope.ADDRESS,
        ),
        Case(Situation.THROTTLED_NO_HINT, fault(status=429), Throttled, "429", scope=Scope.ADDRESS),
        *words(Situation.REFUSED, Refused, 400, "invalid_payload", "no_text", "too_many_attachments"),
        *words(Situation.REFUSED, Refused, 403, "action_prohibited", "posting_to_general_channel_denied"),
        *words(Situation.GONE, Gone, 400, "user_not_found"),
        *words(Situation.GONE, Gone, 403, "invalid_token", "team_disabled"),
        *words(Situation.GONE, Gone, 404, "channel_not_found", "no_service", "no_active_hooks", "no_service_id", "no_team"),
        *words(Situation.GONE, Gone, 410, "channel_is_archived"),
    )  # fmt: skip
    cannot_happen: ClassVar = {
        Situation.CREDENTIALS: "a webhook is its own account: its end is that address's"
    }
    canonical_addresses: ClassVar = {}
    bad_addresses = (*SlackRig.bad_addresses, "C0123ABCD")

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.address = self.slack.hook
        return self

    def fail_call(self, number: int) -> None:
        self.slack.fault(Fault(), times=number - 1)
        self.slack.fault(Fault(status=500, body="rollup_error"))

    def sender(self) -> BaseSender:
        return self._sender(bot_token=None, webhook_url=self.slack.hook)
