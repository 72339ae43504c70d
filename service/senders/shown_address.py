"""Addresses as people and events may see them: of an incoming webhook's, whoever knows the rest can write there."""

import re

from service.contract.fields import channel_of

HIDDEN = "…"
_SECRETS = {
    "DISCORD": re.compile(r"(?<=/)[^/:]+"),  # ID/TOKEN:THREAD
    "MATTERMOST": re.compile(r"^[^:]+"),  # KEY:channel
    "SLACK": re.compile(r"(?<=/)[^/]+$"),  # https://…/T…/B…/SECRET, or a channel's id
}


def shown_address(sender: str, address: str) -> str:
    """The address without its secret part. `sender` is a channel or an account; the address its canonical one."""
    secret = _SECRETS.get(channel_of(sender))
    return address if secret is None else secret.sub(HIDDEN, address)
