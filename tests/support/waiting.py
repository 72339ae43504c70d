"""Waiting for a condition with a deadline: the only way in which tests wait."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")
_PAUSE_SECONDS = 0.02


@overload
async def wait_until(
    condition: Callable[[], Awaitable[T]], deadline: float = ..., message: str = ...
) -> T: ...


@overload
async def wait_until(condition: Callable[[], T], deadline: float = ..., message: str = ...) -> T: ...


async def wait_until(condition: Callable[[], Any], deadline: float = 15.0, message: str = "") -> Any:
    """Ask until the answer is true and return it; the test fails after `deadline` seconds."""
    end = time.monotonic() + deadline
    while True:
        answer = condition()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        _check(end, deadline, message, value)
        await asyncio.sleep(_PAUSE_SECONDS)


def wait_blocking(condition: Callable[[], T], deadline: float = 15.0, message: str = "") -> T:
    """The same outside of an event loop."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        _check(end, deadline, message, value)
        time.sleep(_PAUSE_SECONDS)
    return value


def _check(end: float, deadline: float, message: str, value: object) -> None:
    if time.monotonic() > end:
        raise AssertionError(f"not within {deadline:g} s: {message or 'the condition'} (last: {value!r})")
