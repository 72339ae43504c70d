"""What commands share: settings with readable errors, and calls of a running service."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from service.settings import Settings

Url = Annotated[str, typer.Option(envvar="NOTIFICATIONS_URL", help="Address of a running service")]
Key = Annotated[str, typer.Option(envvar="NOTIFICATIONS_API_KEY", help="API key for it")]
LOCAL = "http://127.0.0.1:8080"


def load_settings() -> "Settings":
    from pydantic import ValidationError

    from service import settings

    try:
        return settings.Settings()
    except ValidationError as error:
        prefix = getattr(settings, error.title).model_config["env_prefix"]
        for problem in error.errors():
            variable = prefix + "_".join(str(step) for step in problem["loc"]).upper()
            text = problem["msg"].removeprefix("Value error, ")
            typer.echo(f"{variable}: {text}" if problem["loc"] else text, err=True)
        raise typer.Exit(2) from None


def call_service(url: str, key: str, path: str, body: dict[str, Any] | None, method: str = "POST") -> Any:
    from service.remote import RemoteError, call

    try:
        return call(url, key, path, body, method)
    except RemoteError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
