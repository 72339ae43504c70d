"""The clock of triggers: Taskiq over the table of what waits. The only module that knows Taskiq.

Taskiq looks once a second and hands what is due to a broker, whose task fires it: in this process, or through
RabbitMQ in any worker. It remembers nothing that matters: an occurrence that was asked for twice is fired once.
One that got lost on the way is asked for again after `TRIGGERS_RESEND_SECONDS`, and then fired in this process, as
is what RabbitMQ does not take.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from aio_pika import ExchangeType
from pamqp.common import FieldTable
from taskiq import AsyncBroker, InMemoryBroker, ScheduledTask, ScheduleSource, TaskiqScheduler
from taskiq.cli.scheduler.run import SchedulerLoop
from taskiq.receiver import Receiver
from taskiq_aio_pika import AioPikaBroker, Exchange, Queue

from service.broker_settings import RabbitSettings
from service.settings import TriggerSettings
from service.tasks import end
from service.triggers.firing import Firing, Upcoming

log = logging.getLogger(__name__)

TASK = "fire_trigger"
AGAIN = "again"
"""Label of what was asked for before."""
NOT_TAKEN = "RabbitMQ does not take what is due: it is fired in this process"
SECOND = timedelta(seconds=1)
LOST_TICK_SECONDS = 10.0
RECONNECT_SECONDS = (0.5, 1.0, 2.0, 5.0)
DEAD_KEPT = 10_000


class DueSource(ScheduleSource):
    """What is due soon, as one-shot schedules."""

    def __init__(self, firing: Firing, settings: TriggerSettings, clock: Callable[[], datetime]) -> None:
        self._firing = firing
        self._resend_seconds = settings.resend_seconds
        self._clock = clock
        self.looked_at = time.monotonic()
        self.problem = ""

    async def get_schedules(self) -> list[ScheduledTask]:
        try:
            upcoming = await self._firing.soon()
        except Exception as error:
            self.problem = f"what is due cannot be read: {type(error).__name__}"
            raise
        self.looked_at, self.problem = time.monotonic(), ""
        now = self._clock()
        return [task for one in upcoming if (task := self._task(one, now)) is not None]

    def _task(self, one: Upcoming, now: datetime) -> ScheduledTask | None:
        overdue = max((now - one.due_at).total_seconds(), 0.0)
        bucket = int(overdue // self._resend_seconds)
        labels = {AGAIN: True} if bucket else {}
        try:
            return ScheduledTask(
                task_name=TASK,
                labels=labels,
                args=[one.id, one.due_at.isoformat()],
                kwargs={},
                schedule_id=f"{one.trigger_id}:{one.id}:{one.due_at.isoformat()}:{bucket}",
                time=one.due_at,
            )
        except ValueError:
            log.exception("trigger %s cannot be scheduled", one.trigger_id)
            return None


class _Handing(TaskiqScheduler):
    """Hands what is due to the broker once; what was lost there, or is not taken, is fired here."""

    def __init__(self, broker: AsyncBroker, source: DueSource, firing: Firing, timeout: float) -> None:
        super().__init__(broker, [source])
        self._firing = firing
        self._timeout = timeout
        self.connected = False
        self.problem = ""

    async def on_ready(self, source: ScheduleSource, task: ScheduledTask) -> None:
        if not self.connected:
            self.problem = NOT_TAKEN
        elif AGAIN not in task.labels:
            try:
                async with asyncio.timeout(self._timeout):
                    await super().on_ready(source, task)
            except Exception as error:  # noqa: BLE001 - clients fail in many ways
                log.debug("RabbitMQ did not take a firing: %r", error)
                self.problem = NOT_TAKEN
            else:
                self.problem = ""
                return
        due_id, due_at = task.args
        await self._firing.fire(due_id, datetime.fromisoformat(due_at))


class TriggerClock:
    """Watches the clock. Without RabbitMQ what is due is fired in this process."""

    def __init__(
        self,
        firing: Firing,
        settings: TriggerSettings,
        rabbit: RabbitSettings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        _hush()
        self._settings = settings
        self._source = DueSource(firing, settings, clock)
        self._broker = (
            _local_broker(firing) if rabbit.host is None else _rabbit_broker(rabbit, settings, firing)
        )
        self._handing = _Handing(self._broker, self._source, firing, settings.send_timeout_seconds)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._connect(), name="clock's broker"),
            asyncio.create_task(self._watch(), name="clock of triggers"),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await _shut_down(self._broker, self._settings)

    @property
    def problem(self) -> str:
        """What is wrong with the clock, for people; empty: nothing."""
        if self._source.problem:
            return self._source.problem
        if time.monotonic() - self._source.looked_at > LOST_TICK_SECONDS:
            return f"it has not looked at what is due for more than {LOST_TICK_SECONDS:g} s"
        return self._handing.problem

    async def _connect(self) -> None:
        """The first connection; the client restores it by itself later."""
        await _start_up(self._broker)
        self._handing.connected = True
        self._handing.problem = ""

    async def _watch(self) -> None:
        while True:
            try:
                await SchedulerLoop(self._handing).run(update_interval=SECOND, loop_interval=SECOND)
            except Exception:
                log.exception("the clock of triggers stopped, starting it again")
                await asyncio.sleep(1)


class RabbitFirings:
    """Fires in this process what a clock, of this or another one, handed to RabbitMQ."""

    def __init__(self, firing: Firing, settings: TriggerSettings, rabbit: RabbitSettings) -> None:
        _hush()
        self._firing = firing
        self._settings = settings
        self._rabbit = rabbit
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="firings through RabbitMQ")

    async def close(self) -> None:
        await end(self._task)

    async def _run(self) -> None:
        """One session after the other: a client whose connection broke is replaced as a whole."""
        while True:
            broker = _rabbit_broker(self._rabbit, self._settings, self._firing)
            broker.is_worker_process = True
            try:
                await _start_up(broker)
                with ThreadPoolExecutor(1) as pool:
                    receiver = Receiver(
                        broker, pool, run_startup=False, max_async_tasks=self._settings.ahead_rows
                    )
                    await receiver.listen(asyncio.Event())
            except Exception as error:  # noqa: BLE001 - clients fail in many ways, all mended alike
                log.debug("firings through RabbitMQ stopped: %r", error)
            finally:
                await _shut_down(broker, self._settings)
            await asyncio.sleep(RECONNECT_SECONDS[1])


def _hush() -> None:
    # Taskiq says a line for each firing, and a traceback for each second of an outage.
    logging.getLogger("taskiq").setLevel(logging.CRITICAL)


async def _start_up(broker: AsyncBroker) -> None:
    failures = 0
    while True:
        try:
            return await broker.startup()
        except Exception as error:  # noqa: BLE001 - clients fail in many ways
            pause = RECONNECT_SECONDS[min(failures, len(RECONNECT_SECONDS) - 1)]
            failures += 1
            log.debug("the clock's broker is away (%r), trying again in %.1f s", error, pause)
            await asyncio.sleep(pause)


async def _shut_down(broker: AsyncBroker, settings: TriggerSettings) -> None:
    try:
        async with asyncio.timeout(settings.send_timeout_seconds):
            await broker.shutdown()
    except Exception as error:  # noqa: BLE001 - it may never have been connected
        log.debug("the clock's broker was gone already: %r", error)


def _with_task(broker: AsyncBroker, firing: Firing) -> None:
    async def fire(due_id: int, due_at: str) -> None:
        await firing.fire(due_id, datetime.fromisoformat(due_at))

    broker.register_task(fire, task_name=TASK)


def _local_broker(firing: Firing) -> AsyncBroker:
    broker = InMemoryBroker()
    _with_task(broker, firing)
    return broker


def _rabbit_broker(rabbit: RabbitSettings, settings: TriggerSettings, firing: Firing) -> AsyncBroker:
    """A queue of its own, in which an occurrence waits no longer than until it is asked for again."""
    name = f"{rabbit.queue_name}.due"
    lifetime: FieldTable = {"x-message-ttl": int(settings.resend_seconds * 1000)}
    broker = AioPikaBroker(
        rabbit.url,
        qos=settings.ahead_rows,
        exchange=Exchange(name=name, type=ExchangeType.DIRECT),
        task_queues=[Queue(name=name, arguments=lifetime)],
        dead_letter_queue=Queue(name=f"{name}.dead", arguments={"x-max-length": DEAD_KEPT}),
        timeout=settings.send_timeout_seconds,
        ssl_context=rabbit.tls_context,
    )
    _with_task(broker, firing)
    return broker
