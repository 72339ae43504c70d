"""What rigs over HTTP share: a page of a proxy's, and what befalls every call in the same way."""

from collections.abc import Callable
from typing import Any

from service.senders.base import Retry, Unknown
from tests.contract.sender_suite import Case, Situation
from tests.fakes.provider import Fault

HTML_PAGE = "<html><body><h1>Bad Gateway</h1></body></html>"


def fault(**values: Any) -> Callable[[Any], None]:
    """The next answer of a rig's `server`."""
    return lambda rig: rig.server.fault(Fault(**values))


ANYWHERE = (
    Case(Situation.UNREACHABLE, lambda rig: rig.server.stop(), Retry, "connect", recovers=False),
    Case(Situation.RESET_BEFORE, fault(ending="reset", accept=False), Unknown, "broken"),
    Case(Situation.RESET_AFTER, fault(ending="reset"), Unknown, "broken", accepted=1),
    Case(Situation.SILENT, fault(ending="hang"), Unknown, "timeout", accepted=1),
    Case(Situation.SILENT, fault(ending="hang", accept=False), Unknown, "timeout", note="and not accepted"),
    Case(Situation.MALFORMED, fault(status=200, body="{}"), Unknown, "answer", accepted=1),
    Case(Situation.MALFORMED, fault(ending="garbage"), Unknown, accepted=1, note="no HTTP"),
    Case(Situation.HTML, fault(status=502, body=HTML_PAGE, accept=True), Unknown, "502", accepted=1),
    Case(Situation.HTML, fault(status=200, body=HTML_PAGE), Unknown, "answer", accepted=1, note="200"),
    Case(Situation.HTML, fault(status=404, body=HTML_PAGE), Retry, "404", note="404"),
)
