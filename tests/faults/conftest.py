"""Fixtures of the fault tests: servers that a test may stop and kill."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.support import CrashablePostgres


@pytest.fixture
def crashable_postgres() -> Iterator[CrashablePostgres]:
    """A migrated PostgreSQL of the test's own."""
    with tempfile.TemporaryDirectory(prefix="notifications-faults-") as folder:
        server = CrashablePostgres(Path(folder))
        try:
            yield server
        finally:
            server.stop()
