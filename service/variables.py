"""How a group of settings is read from environment variables."""

from typing import Annotated, TypeAlias, TypeVar

from pydantic import BeforeValidator
from pydantic_settings import NoDecode, SettingsConfigDict

T = TypeVar("T")


def variables(prefix: str) -> SettingsConfigDict:
    """Settings that are read from variables with this prefix; empty ones count as unset."""
    return SettingsConfigDict(
        env_prefix=prefix, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True
    )


def parts(text: str) -> list[str]:
    """What stands between commas, without what is empty."""
    return [part for part in map(str.strip, text.split(",")) if part]


def _parts(value: object) -> object:
    return parts(value) if isinstance(value, str) else value


CommaList: TypeAlias = Annotated[tuple[T, ...], NoDecode, BeforeValidator(_parts)]
"""Values with commas between, as `a, b`."""
