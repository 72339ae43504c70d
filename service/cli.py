"""The command line. Nothing heavy is imported before a command needs it, so that help answers at once."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import UUID

import typer

from service.cli_templates import templates
from service.cli_tools import LOCAL, Key, Url, call_service, load_settings

if TYPE_CHECKING:
    from service.access.keys import ApiKeys
    from service.settings import Settings

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
keys = typer.Typer(no_args_is_help=True, help="API keys: make, list, revoke.")
cli.add_typer(keys, name="keys")
cli.add_typer(templates, name="templates")
mailing = typer.Typer(no_args_is_help=True, help="Mailings: watch.")
cli.add_typer(mailing, name="mailing")

T = TypeVar("T")


def main() -> None:
    """Entry point of `notifications` and `python -m service`."""
    cli()


@cli.callback()
def about() -> None:
    """Notifications service: messages in by RabbitMQ, Kafka or HTTP, people told, nothing lost."""


@cli.command()
def run() -> None:
    """Start the service; without DATABASE_URL with an embedded PostgreSQL."""
    import uvicorn

    from service.logs import configure_logging

    settings = load_settings()
    configure_logging(settings.process.log_level, settings.process.log_format)
    with _bind(settings.server.host, settings.server.port) as bound, _database(settings):
        from service.app import build

        app = build(settings, on_ready=lambda key: _print_welcome(settings, key))
        config = uvicorn.Config(
            app.api,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        app.given_up = lambda: server.should_exit
        # Drained, uvicorn raises the signal again: it must end this block, not the process at once.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        server.run(sockets=[bound])
        if not server.started:
            raise typer.Exit(1)


@cli.command()
def migrate() -> None:
    """Bring the database to the newest schema and stop."""
    from service.db.migrate import migrate as upgrade

    settings = load_settings()
    with _database(settings) as dsn:
        asyncio.run(upgrade(dsn))
    typer.echo("the schema is up to date")


@cli.command()
def asyncapi() -> None:
    """Print the AsyncAPI document of this version."""
    from service.transports.asyncapi import asyncapi_yaml

    sys.stdout.write(asyncapi_yaml())


@cli.command()
def send(
    body: str,
    sender: Annotated[str, typer.Option(help="Channel, as TG or CONSOLE")] = "CONSOLE",
    title: Annotated[str, typer.Option()] = "",
    to: Annotated[str | None, typer.Option(help="Address; default: the sender's own")] = None,
    request_id: Annotated[str | None, typer.Option("--id", help="Idempotency key")] = None,
    url: Url = LOCAL,
    key: Key = "",
) -> None:
    """Send one message through a running service."""
    request = {"title": title, "body": body, "sender": sender, "to": to, "id": request_id}
    answer = call_service(
        url, key, "/v1/notifications", {name: value for name, value in request.items() if value}
    )
    typer.echo(f"{answer['id']}{' (a repeat)' if answer['duplicate'] else ''}")


@cli.command()
def redrive(
    sender: Annotated[str | None, typer.Option(help="Only of this sender")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this class of error, as retry or refused")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only count")] = False,
    url: Url = LOCAL,
    key: Key = "",
) -> None:
    """Put dead letters back into the queue of a running service."""
    chosen = {"sender": sender, "error_kind": kind, "limit": limit}
    body = {
        "filter": {name: value for name, value in chosen.items() if value is not None},
        "dry_run": not yes,
    }
    count = call_service(url, key, "/v1/dead-letters/redrive", body)["deliveries"]
    typer.echo(f"{count} deliveries {'are queued again' if yes else 'match; add --yes to queue them again'}")


@keys.command("create")
def create_key(
    name: str,
    scope: Annotated[
        list[str] | None, typer.Option(help="send, read, support, manage or devices; repeat for several")
    ] = None,
    days: Annotated[float | None, typer.Option(help="Valid for so many days")] = None,
) -> None:
    """Make a key and print it; it is not kept anywhere else."""

    async def make(api_keys: "ApiKeys") -> str:
        from service.access.principal import Scope

        try:
            scopes = [Scope(word) for word in scope or ["send"]]
        except ValueError as error:
            raise typer.BadParameter(f"{error}; accepted: {', '.join(Scope)}") from None
        expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
        return (await api_keys.create(name, scopes, expires_at)).secret

    typer.echo(_with_keys(make))


@keys.command("list")
def list_keys() -> None:
    """Show all keys, newest first, without their secrets."""
    from rich.console import Console
    from rich.table import Column, Table

    async def read(api_keys: "ApiKeys") -> Any:
        return (await api_keys.page()).rows

    # Folded, so that nothing is cut off where the terminal is narrow.
    names = ("name", "prefix", "scopes", "made", "expires", "revoked")
    table = Table(Column("id", no_wrap=True), *(Column(name, overflow="fold") for name in names))
    for info in _with_keys(read):
        times = (info.created_at, info.expires_at, info.revoked_at)
        shown = ("" if time is None else f"{time:%Y-%m-%d %H:%M}" for time in times)
        table.add_row(str(info.id), info.name, info.prefix, " ".join(info.scopes), *shown)
    Console().print(table)


@keys.command("revoke")
def revoke_key(key_id: UUID) -> None:
    """Revoke the key of that id (see `keys list`)."""

    async def revoke(api_keys: "ApiKeys") -> bool:
        return await api_keys.revoke(key_id)

    if not _with_keys(revoke):
        typer.echo("there is no such key in use", err=True)
        raise typer.Exit(1)
    typer.echo("revoked")


@keys.command("webpush")
def make_webpush_key() -> None:
    """Print a new key pair for WEBPUSH: the private one for the settings, the public one for pages."""
    from service.senders.webpush_keys import new_pair

    private, public = new_pair()
    typer.echo(f"WEBPUSH_PRIVATE_KEY={private}\napplicationServerKey: {public}")


@mailing.command("watch")
def watch_mailing(mailing_id: str, url: Url = LOCAL, key: Key = "") -> None:
    """Draw a mailing's progress until it has ended. Fails unless it was finished."""
    from service.remote import RemoteError, events
    from service.watching import draw

    try:
        status = draw(events(url, key, f"/v1/mailings/{mailing_id}/progress/stream"))
    except RemoteError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(0 if status == "finished" else 1)


@contextmanager
def _database(settings: "Settings") -> Iterator[str]:
    """The address of the database; the embedded one runs for as long as the block does."""
    from pydantic import SecretStr

    from service.db.embedded import EmbeddedPostgres, EmbeddedPostgresError

    if settings.database.url is not None:
        yield settings.database.url.get_secret_value()
        return
    embedded = EmbeddedPostgres(settings.database.data_dir / "postgres")
    try:
        dsn = embedded.start()
    except EmbeddedPostgresError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    settings.database.url = SecretStr(dsn)
    try:
        with embedded.kept_running():
            yield dsn
    finally:
        embedded.stop()


def _with_keys(work: "Callable[[ApiKeys], Awaitable[T]]") -> "T":
    from service.access.keys import ApiKeys
    from service.db.database import Database
    from service.db.migrate import migrate as upgrade

    async def connected(dsn: str) -> "T":
        await upgrade(dsn)
        database = Database(dsn)
        await database.open()
        try:
            return await work(ApiKeys(database))
        finally:
            await database.close()

    with _database(load_settings()) as dsn:
        return asyncio.run(connected(dsn))


def _bind(host: str, port: int) -> socket.socket:
    """The address of the HTTP server, taken before anything else is started. Nobody is let in yet."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        typer.echo(
            f"{host}, port {port}: {error.strerror}; set SERVER_PORT to a free port, or SERVER_HOST", err=True
        )
        raise typer.Exit(1) from None
    return bound


def _program() -> str:
    """How this program was called, for lines to paste."""
    name = Path(sys.argv[0]).name
    return name if name == "notifications" else f"{os.path.relpath(sys.executable)} -m service"


def _print_welcome(settings: "Settings", first_key: str | None) -> None:
    """What a newcomer needs: addresses, the key, a line to paste."""
    base = settings.server.public_url or f"http://127.0.0.1:{settings.server.port}"
    message = '{"title": "Backup failed", "body": "disk full", "sender": "CONSOLE"}'
    lines = [
        "",
        f"  Notifications service   {base}/v1",
        f"  Docs                    {base}/docs  (REST)   {base}/docs/asyncapi  (RabbitMQ, Kafka)",
        f"  Health and metrics      {base}/health/ready   {base}/metrics",
    ]
    if first_key is not None:
        lines.append(f"  First API key           {first_key}   (shown once: keep it)")
    elif settings.auth.admin_api_key is None:
        lines.append(
            f"  API key                 shown at the first start; another: {_program()} keys create NAME"
        )
    shown = first_key or ("$API_KEY" if settings.auth.admin_api_key is None else "$ADMIN_API_KEY")
    lines += [
        "",
        "  Send a message:",
        f"""  curl -sS {base}/v1/notifications -H "X-API-Key: {shown}" -H "Content-Type: application/json" -d '{message}'""",
        "",
    ]
    print("\n".join(lines), flush=True)  # noqa: T201
