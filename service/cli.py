"""The command line. Nothing heavy is imported before a command needs it, so that help answers at once."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from service.access.keys import ApiKeys
    from service.content.checking import Finding
    from service.content.drafts import TemplateDraft
    from service.settings import Settings

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
keys = typer.Typer(no_args_is_help=True, help="API keys: make, list, revoke.")
cli.add_typer(keys, name="keys")
templates = typer.Typer(no_args_is_help=True, help="Templates: check, export, import, preview.")
cli.add_typer(templates, name="templates")
mailing = typer.Typer(no_args_is_help=True, help="Mailings: watch.")
cli.add_typer(mailing, name="mailing")

Url = Annotated[str, typer.Option(envvar="NOTIFICATIONS_URL", help="Address of a running service")]
Key = Annotated[str, typer.Option(envvar="NOTIFICATIONS_API_KEY", help="API key for it")]
T = TypeVar("T")
LOCAL = "http://127.0.0.1:8080"


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

    settings = _settings()
    configure_logging(settings.process.log_level, settings.process.log_format)
    with _database(settings):
        from service.app import build

        app = build(settings, on_ready=lambda key: _print_welcome(settings, key))
        config = uvicorn.Config(
            app.api,
            host=settings.server.host,
            port=settings.server.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        # Drained, uvicorn raises the signal again: it must end this block, not the process at once.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        server.run()
        if not server.started:
            raise typer.Exit(1)


@cli.command()
def migrate() -> None:
    """Bring the database to the newest schema and stop."""
    from service.db.migrate import migrate as upgrade

    settings = _settings()
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
    answer = _call(url, key, "/v1/notifications", {name: value for name, value in request.items() if value})
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
    count = _call(url, key, "/v1/dead-letters/redrive", body)["deliveries"]
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
        return await api_keys.page()

    table = Table(Column("id", no_wrap=True), "name", "prefix", "scopes", "made", "expires", "revoked")
    for info in _with_keys(read):
        times = (info.created_at, info.expires_at, info.revoked_at)
        shown = ("" if time is None else f"{time:%Y-%m-%d %H:%M}" for time in times)
        table.add_row(str(info.id), info.name, info.prefix, " ".join(info.scopes), *shown)
    Console().print(table)


@keys.command("revoke")
def revoke_key(key_id: str) -> None:
    """Revoke the key of that id (see `keys list`)."""
    from uuid import UUID

    async def revoke(api_keys: "ApiKeys") -> bool:
        return await api_keys.revoke(UUID(key_id))

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


@templates.command("check")
def check_templates(folder: Path) -> None:
    """Check the templates of a folder; needs no running service. Fails when there are errors."""
    from service.content.folder import read_folder

    findings = asyncio.run(_check_all(_from_folder(read_folder, folder)))
    for key, finding in findings:
        line = "" if finding.line is None else f" line {finding.line}"
        typer.echo(f"{finding.level}: {key}: {finding.where}{line}: {finding.text}")
    if any(finding.level == "error" for _, finding in findings):
        raise typer.Exit(1)
    typer.echo("no errors")


@templates.command("export")
def export_templates(folder: Path, url: Url = LOCAL, key: Key = "") -> None:
    """Write the templates of a running service into a folder of files."""
    from service.content.folder import write_folder

    stored = _stored_templates(url, key)
    _from_folder(write_folder, folder, stored)
    typer.echo(f"{len(stored)} templates are in {folder}")


@templates.command("import")
def import_templates(
    folder: Path,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only show what would change")] = False,
    url: Url = LOCAL,
    key: Key = "",
) -> None:
    """Save the templates of a folder in a running service; templates that are only there stay."""
    from service.content.folder import changes, read_folder

    drafts = _from_folder(read_folder, folder)
    found = [change for change in changes(_stored_templates(url, key), drafts) if change.kind != "same"]
    for change in found:
        typer.echo("\n".join((f"{change.key}: {change.kind}", *change.lines)))
        body = {**drafts[change.key].model_dump(mode="json"), "dry_run": not yes}
        report = _call(url, key, f"/v1/templates/{change.key}", body, "PUT")
        for finding in report["findings"]:
            typer.echo(f"  {finding['level']}: {finding['where']}: {finding['text']}")
    typer.echo(f"{len(found)} templates {'are saved' if yes else 'would change; add --yes to save them'}")


@templates.command("preview")
def preview_template(
    name: str,
    sender: Annotated[str, typer.Option(help="Channel, as TG or CONSOLE")] = "CONSOLE",
    locale: Annotated[str, typer.Option(help="As ru or en-US")] = "en",
    zone: Annotated[str, typer.Option(help="As Europe/Moscow")] = "UTC",
    params: Annotated[str | None, typer.Option(help="JSON; default: the examples")] = None,
    url: Url = LOCAL,
    key: Key = "",
) -> None:
    """Show what a person would get."""
    import json

    try:
        given = None if params is None else json.loads(params)
    except ValueError as error:
        raise typer.BadParameter(f"--params is no JSON: {error}") from None
    body = {"sender": sender, "locale": locale, "zone": zone, "params": given}
    typer.echo("\n".join(_call(url, key, f"/v1/templates/{name}/preview", body)["texts"]))


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


async def _check_all(drafts: "dict[str, TemplateDraft]") -> "list[tuple[str, Finding]]":
    from service.content.checking import Checker
    from service.content.rendering import Renderer
    from service.senders import build_senders

    settings = _settings()
    renderer = Renderer(settings.templates)
    await renderer.start()
    shapes = {name: sender.capabilities for name, sender in build_senders(settings).items()}
    checker = Checker(renderer, shapes, settings.templates.locales)
    try:
        return [
            (key, finding)
            for key, draft in drafts.items()
            for finding in await checker.check(draft.version(key))
        ]
    finally:
        await renderer.close()


def _from_folder(work: "Callable[..., T]", *args: Any) -> "T":
    from service.content.folder import FolderError

    try:
        return work(*args)
    except (FolderError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _stored_templates(url: str, key: str) -> "dict[str, TemplateDraft]":
    from service.content.drafts import TemplateDraft

    stored, cursor = {}, ""
    while True:
        page = _call(url, key, f"/v1/templates?limit=500{cursor}", None, "GET")
        for item in page["items"]:
            view = _call(url, key, f"/v1/templates/{item['key']}", None, "GET")
            content = {name: view[name] for name in TemplateDraft.model_fields}
            stored[item["key"]] = TemplateDraft.model_validate(content)
        if page["next"] is None:
            return stored
        cursor = f"&cursor={page['next']}"


def _settings() -> "Settings":
    from pydantic import ValidationError

    from service import settings

    try:
        return settings.Settings()
    except ValidationError as error:
        prefix = getattr(settings, error.title).model_config["env_prefix"]
        for problem in error.errors():
            variable = prefix + "_".join(str(step) for step in problem["loc"]).upper()
            typer.echo(f"{variable}: {problem['msg']}" if problem["loc"] else problem["msg"], err=True)
        raise typer.Exit(2) from None


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

    with _database(_settings()) as dsn:
        return asyncio.run(connected(dsn))


def _call(url: str, key: str, path: str, body: dict[str, Any] | None, method: str = "POST") -> Any:
    from service.remote import RemoteError, call

    try:
        return call(url, key, path, body, method)
    except RemoteError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


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
            "  API key                 shown at the first start; another: notifications keys create NAME"
        )
    shown = first_key or ("$API_KEY" if settings.auth.admin_api_key is None else "$ADMIN_API_KEY")
    lines += [
        "",
        "  Send a message:",
        f"""  curl -sS {base}/v1/notifications -H "X-API-Key: {shown}" -H "Content-Type: application/json" -d '{message}'""",
        "",
    ]
    print("\n".join(lines), flush=True)  # noqa: T201
