"""Fixtures of the fault tests: servers that a test may stop and kill."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.support import CrashablePostgres, WebhookProcess

StartPostgres = Callable[..., CrashablePostgres]


@pytest.fixture
def start_postgres() -> Iterator[StartPostgres]:
    """`start_postgres({"max_connections": "25"})` runs a migrated PostgreSQL of the test's own."""
    with ExitStack() as stack:

        def start(settings: Mapping[str, str] | None = None, folder: Path | None = None) -> CrashablePostgres:
            # Not in pytest's own folder, which is closed to the user that PostgreSQL runs as.
            own = stack.enter_context(tempfile.TemporaryDirectory(prefix="notifications-faults-"))
            server = CrashablePostgres(folder or Path(own), settings)
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture
def crashable_postgres(start_postgres: StartPostgres) -> CrashablePostgres:
    """A migrated PostgreSQL of the test's own."""
    return start_postgres()


@pytest.fixture
def webhook() -> Iterator[WebhookProcess]:
    """The fake receiver of webhooks."""
    process = WebhookProcess()
    try:
        yield process
    finally:
        process.close()
