"""Fixtures of all tests: real servers, one of each a session, and processes that always end."""

import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest

from service.db.database import Database
from tests.support.brokers import KafkaMock, RabbitNode
from tests.support.postgres import PostgresForTests
from tests.support.service import Service
from tests.support.telegram import TelegramProcess

StartService = Callable[..., Service]

PROCESS_FIXTURES = {"rabbit_node", "kafka_mock", "start_service", "telegram"}


def pytest_configure(config: pytest.Config) -> None:
    # A terminated run tears its fixtures down as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not PROCESS_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.process)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresForTests]:
    """The session's PostgreSQL server."""
    # Not in pytest's own folder, which the next run closes to the user that PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="notifications-tests-") as folder:
        server = PostgresForTests(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture
def database_url(postgres: PostgresForTests) -> Iterator[str]:
    """A migrated, empty database of this test's own."""
    with postgres.database() as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The same, open."""
    opened = Database(database_url)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
def module_database_url(postgres: PostgresForTests) -> Iterator[str]:
    """A migrated database that the tests of one module share."""
    with postgres.database() as url:
        yield url


@pytest.fixture
def empty_database_url(postgres: PostgresForTests) -> Iterator[str]:
    """A database without any table."""
    with postgres.database("template0") as url:
        yield url


@pytest.fixture
def start_service(database_url: str, tmp_path: Path) -> Iterator[StartService]:
    """`start_service({"TG_BOT_TOKEN": …})` runs the service on `database_url`; several make replicas."""
    started: list[Service] = []

    def start(env: Mapping[str, str] | None = None, *, ready: bool = True) -> Service:
        service = Service(tmp_path, {"DATABASE_URL": database_url, **(env or {})})
        started.append(service)
        return service.start(ready=ready)

    yield start
    for service in started:
        service.close()


@pytest.fixture(scope="session")
def rabbit_node() -> Iterator[RabbitNode]:
    """The session's RabbitMQ. What is declared on it stays: use queue names of your own."""
    with tempfile.TemporaryDirectory(prefix="notifications-rabbit-") as folder:
        node = RabbitNode(Path(folder))
        try:
            yield node.start()
        finally:
            node.close()


@pytest.fixture(scope="session")
def kafka_mock() -> Iterator[KafkaMock]:
    """The session's Kafka-protocol broker. Use topics of your own; one member a group."""
    mock = KafkaMock()
    try:
        yield mock.start()
    finally:
        mock.close()


@pytest.fixture
def telegram() -> Iterator[TelegramProcess]:
    """The fake Bot API server in a process of its own."""
    server = TelegramProcess()
    try:
        yield server.start()
    finally:
        server.close()
