"""Settings of senders, which may have several accounts each.

The plain name is the default account: `TG_BOT_TOKEN` belongs to `TG`. Each further account has the same settings
under its own name: `TG__ALERTS__BOT_TOKEN` belongs to `TG:alerts`. Accounts share no settings.
"""

import os
import re
from collections.abc import Iterable

from pydantic import ValidationError
from pydantic_settings import BaseSettings

ACCOUNT_MAX_CHARS = 40
_ACCOUNT = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*")
ACCOUNT_HELP = f"accepted: as TG__ALERTS__BOT_TOKEN, at most {ACCOUNT_MAX_CHARS} letters, digits and low lines in the middle"


class SenderSettings(BaseSettings):
    """Settings of one account of a sender. A subclass has its sender's name as its prefix: `TG_`."""

    @classmethod
    def sender_name(cls) -> str:
        """Whose settings these are, as `TG`."""
        return str(cls.model_config["env_prefix"]).removesuffix("_")


def read_accounts(groups: Iterable[type[SenderSettings]]) -> dict[str, SenderSettings]:
    """Every further account that the environment has, as `TG:alerts`, and its settings.

    Raises ValueError, whose text names each variable that is wrong and never its value.
    """
    by_name = {group.sender_name(): group for group in groups}
    given = {name.upper() for name, value in os.environ.items() if value}
    accounts: dict[str, SenderSettings] = {}
    problems: list[str] = []
    for variable in sorted(given):
        name, _, rest = variable.partition("__")
        if name not in by_name or not rest:
            continue
        account, _, setting = rest.partition("__")
        prefix = account_prefix(f"{name}:{account}")
        fields = by_name[name].model_fields
        if not _ACCOUNT.fullmatch(account) or len(account) > ACCOUNT_MAX_CHARS or not setting:
            problems.append(f"{variable} names no account's setting; {ACCOUNT_HELP}")
        elif setting.lower() not in fields:
            accepted = ", ".join(prefix + field.upper() for field in fields)
            problems.append(f"{variable} is not a setting of {name}; accepted: {accepted}")
        elif (full_name := f"{name}:{account.lower()}") not in accounts:
            accounts[full_name] = _read(by_name[name], prefix, problems)
    if problems:
        raise ValueError("; ".join(dict.fromkeys(problems)))
    return accounts


def account_prefix(name: str) -> str:
    """What the variables of a sender begin with: `TG_` for `TG`, `TG__ALERTS__` for `TG:alerts`."""
    plain, _, account = name.partition(":")
    return f"{plain}__{account.upper()}__" if account else f"{plain}_"


def in_words_of(name: str, text: str) -> str:
    """A text that names settings of a channel, with the names that they have for this account."""
    plain, _, account = name.partition(":")
    return re.sub(rf"\b{plain}_(?=[A-Z])", account_prefix(name), text) if account else text


def _read(group: type[SenderSettings], prefix: str, problems: list[str]) -> SenderSettings:
    try:
        return group(_env_prefix=prefix)
    except ValidationError as error:
        for problem in error.errors():
            variable = prefix + "_".join(str(step) for step in problem["loc"]).upper()
            problems.append(f"{variable}: {problem['msg']}")
        return group.model_construct()
