"""Keeping a connection to a broker: connect, watch, and connect again with growing pauses."""

import asyncio
import contextlib
import logging
import random
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

from service.delivery.events import Channel, OutgoingEvent
from service.tasks import end

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0
OPEN_SECONDS = 30.0
WATCH_SECONDS = 5.0
CHECK_SECONDS = 15.0
TEAR_DOWN_SECONDS = 10.0
DRAIN_SECONDS = 20.0
PUBLISH_SECONDS = 60.0
PUBLISHED_AT_ONCE = 500


class ConnectionLostError(Exception):
    """The connection, or the consumer on it, is gone."""


@contextlib.contextmanager
def cancelled_only_from_outside() -> Iterator[None]:
    """Clients cancel what waits on a connection that closes. To us that is a loss, not an order to stop."""
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ConnectionLostError("the connection was lost") from None


class SupervisedTransport(ABC):
    """The life of a connection. A subclass opens one session, checks it, and tears it down.

    A session is never repaired, only replaced: every way to lose a broker takes the same path.
    """

    name: str

    def __init__(self) -> None:
        self.ready = False
        self.detail = "not connected yet"
        self._lost = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Hold a session until `stop_intake`, `close` or cancellation."""
        self._supervisor = asyncio.create_task(self._supervise(), name=f"{self.name} transport")
        try:
            await asyncio.wait({self._supervisor})
        finally:
            self._supervisor.cancel()

    async def stop_intake(self) -> None:
        """Take no new messages; return when those under way are committed and acknowledged, or after 20 s.

        Publishing goes on over the same connection, which is not replaced any more.
        """
        await self._stop_supervising()
        try:
            with cancelled_only_from_outside():
                async with asyncio.timeout(DRAIN_SECONDS):
                    await self._stop_consuming()
        except Exception as error:  # noqa: BLE001 - what was not acknowledged stays with the broker
            log.warning("%s: messages under way go back to the broker: %s", self.name, describe(error))

    async def close(self) -> None:
        """Disconnect."""
        await self._stop_supervising()
        await self._leave("closed")

    async def publish(self, channel: Channel, events: Sequence[OutgoingEvent]) -> None:
        """Publish in order and return when the broker has confirmed every one; raise otherwise."""
        if not self.ready:
            raise ConnectionLostError(self.detail)
        with cancelled_only_from_outside():
            async with asyncio.timeout(PUBLISH_SECONDS):
                for start in range(0, len(events), PUBLISHED_AT_ONCE):
                    await self._publish(channel, events[start : start + PUBLISHED_AT_ONCE])

    @abstractmethod
    async def _publish(self, channel: Channel, events: Sequence[OutgoingEvent]) -> None:
        """The same for a limited number of events."""

    @abstractmethod
    async def _open(self) -> str:
        """Connect, declare, subscribe; the text is for `detail`. Raises what the client raises."""

    @abstractmethod
    async def _check(self) -> str:
        """Make sure that the broker still serves us; the text is for `detail`. Raises otherwise."""

    @abstractmethod
    async def _stop_consuming(self) -> None:
        """End the subscription; messages under way finish."""

    @abstractmethod
    async def _tear_down(self) -> None:
        """Disconnect whatever is connected, and be able to open again."""

    def _loss(self) -> Callable[..., None]:
        """A callback for the client of the present session: its connection is gone."""
        lost = self._lost

        def on_lost(*_: object) -> None:
            lost.set()
            # A late word about an earlier session says nothing about this one.
            if lost is self._lost:
                self.ready = False

        return on_lost

    async def _supervise(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                with cancelled_only_from_outside():
                    async with asyncio.timeout(OPEN_SECONDS):
                        self.detail = await self._open()
                    self.ready = True
                    log.info("%s: %s", self.name, self.detail)
                    pause = FIRST_PAUSE_SECONDS
                    await self._watch()
            except Exception as error:  # noqa: BLE001 - clients fail in many ways, all mended alike
                await self._leave(describe(error))
            log.warning("%s: %s; trying again in %.1f s", self.name, self.detail, pause)
            # Spread, so that replicas do not come back in step.
            await asyncio.sleep(pause * random.uniform(0.75, 1.0))  # noqa: S311
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_SECONDS):
                    await self._lost.wait()
                raise ConnectionLostError("the connection was lost")
            async with asyncio.timeout(CHECK_SECONDS):
                self.detail = await self._check()

    async def _leave(self, detail: str) -> None:
        self.ready = False
        self.detail = detail
        self._lost = asyncio.Event()
        try:
            with cancelled_only_from_outside():
                async with asyncio.timeout(TEAR_DOWN_SECONDS):
                    await self._tear_down()
        except Exception as error:  # noqa: BLE001 - it was broken, that is why it is left
            log.debug("%s: left a connection that was broken already: %r", self.name, error)

    async def _stop_supervising(self) -> None:
        await end(self._supervisor)
        self._supervisor = None


def describe(error: Exception) -> str:
    """One line about why a broker is not reached, without addresses that may hold credentials."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionLostError):
        return str(error)
    # RabbitMQ's client hides what failed behind an error of its own.
    cause = error if isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"the broker's certificate is not trusted: {cause.verify_message}; "
            "KAFKA_CA_FILE or RABBITMQ_CA_FILE names the authority that signed it"
        )
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {(cause.reason or 'it was broken off').replace('_', ' ').lower()}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
