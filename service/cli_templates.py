"""`notifications templates …`: folders of files, and the templates of a running service."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from service.cli_tools import LOCAL, Key, Url, call_service, load_settings

if TYPE_CHECKING:
    from service.content.checking import Finding
    from service.content.drafts import TemplateDraft

T = TypeVar("T")

templates = typer.Typer(no_args_is_help=True, help="Templates: check, export, import, preview.")


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
        report = call_service(url, key, f"/v1/templates/{change.key}", body, "PUT")
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
    typer.echo("\n".join(call_service(url, key, f"/v1/templates/{name}/preview", body)["texts"]))


async def _check_all(drafts: "dict[str, TemplateDraft]") -> "list[tuple[str, Finding]]":
    from service.content.checking import Checker
    from service.content.rendering import Renderer
    from service.senders import build_senders

    settings = load_settings()
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
        page = call_service(url, key, f"/v1/templates?limit=500{cursor}", None, "GET")
        for item in page["items"]:
            view = call_service(url, key, f"/v1/templates/{item['key']}", None, "GET")
            content = {name: view[name] for name in TemplateDraft.model_fields}
            stored[item["key"]] = TemplateDraft.model_validate(content)
        if page["next"] is None:
            return stored
        cursor = f"&cursor={page['next']}"
