"""Log records on standard error: one line each, as text or as JSON."""

import logging
import sys
import warnings
from datetime import UTC, datetime

import orjson

_QUIET = ("alembic", "asyncio", "uvicorn")
# While a broker or the database is away they write many lines a second; we say all of it in one.
_SILENT = ("aio_pika", "aiormq", "aiokafka", "faststream", "asyncpg.pool")


class _Text(logging.Formatter):
    """`12:00:01 WARNING delivery.ledger: …`, with the traceback below it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        record.name = record.name.removeprefix("service.")
        return super().format(record)


class _Json(logging.Formatter):
    """An object a line: time, level, logger, message, exception."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(entry).decode()


def configure_logging(level: str, form: str) -> None:
    """Set up the root logger of this process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Where RabbitMQ does not answer, its client drops what would have closed a connection that never was.
    warnings.filterwarnings("ignore", "coroutine 'RobustConnection.close'", RuntimeWarning)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL if level != "DEBUG" else logging.INFO)
