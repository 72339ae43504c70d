"""The OpenAPI document: what FastAPI derives from the routes, completed by what only the settings know."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from service.api.problems import Problem, documented
from service.contract import DomainEvent, NotificationBatch, NotificationRequest
from service.errors import MissingScope, Unauthenticated, Unavailable
from service.senders.base import BaseSender
from service.settings import LimitSettings

DESCRIPTION = """
Send notifications and follow what becomes of them.

Errors are problem documents (RFC 9457, `application/problem+json`); their `code` never changes.
422 means that the request does not follow the schema. 409 means that it does, but cannot be taken as
things are: fields contradict each other, a sender is off, an address is missing or wrong, an `id`
was used for something else.

An API key or token has scopes: `send` to send, explain and cancel, `read` to look things up, `support` for the
tickets of the support desk, `devices` to register devices and nothing else, `manage` for every other write.
Management writes are recorded under `/v1/audit`.

Lists are pages, the newest first: pass `next` as `cursor` until it is null.

The same messages over RabbitMQ and Kafka, and the events: [docs/asyncapi](docs/asyncapi).
"""
_REF = "#/components/schemas/"
_NOTIFICATION = ("get_notification", "cancel_notification", "retry_notification")
_RECIPIENT = (
    "get_recipient",
    "put_recipient",
    "put_preferences",
    "add_contact",
    "make_link",
    "export_recipient",
    "erase_recipient",
)
_TOPIC = ("get_topic", "put_topic", "list_subscribers", "subscribe_many", "delete_topic")
_TRIGGER = (
    "get_trigger",
    "change_trigger",
    "pause_trigger",
    "resume_trigger",
    "fire_trigger",
    "preview_trigger",
    "list_trigger_runs",
    "delete_trigger",
)
_MAILING = (
    "get_mailing",
    "replace_mailing",
    "start_mailing",
    "pause_mailing",
    "resume_mailing",
    "cancel_mailing",
    "approve_mailing",
    "try_mailing",
    "preview_mailing",
    "mailing_results",
    "mailing_progress",
    "delete_mailing",
)
_LINKS = (
    ("/v1/notifications", "post", "202", "/id", "notification_id", _NOTIFICATION),
    ("/v1/senders/{name}/test", "post", "202", "/id", "notification_id", _NOTIFICATION),
    ("/v1/mailings", "post", "201", "/id", "mailing_id", _MAILING),
    ("/v1/keys", "post", "201", "/id", "key_id", ("revoke_key",)),
    ("/v1/recipients/{external_id}", "put", "201", "/external_id", "external_id", _RECIPIENT),
    ("/v1/topics/{name}", "put", "201", "/name", "name", _TOPIC),
    ("/v1/triggers", "post", "201", "/id", "trigger_id", _TRIGGER),
)
_SECURED = documented(Unauthenticated, MissingScope, Unavailable)


def complete_openapi(
    app: FastAPI, *, senders: Mapping[str, BaseSender], limits: LimitSettings, takes_tokens: bool
) -> None:
    """Make `app.openapi` the full document, made once, when it is first asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            components = document.setdefault("components", {})
            components["schemas"] = {**components.get("schemas", {}), **_raw_schemas(senders, limits)}
            components["securitySchemes"] = _security_schemes(takes_tokens=takes_tokens)
            _secure(document["paths"], list(components["securitySchemes"]))
            _drop_null_parameters(document["paths"])
            _name_senders(document["paths"], list(senders))
            _link(document["paths"])
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def methods_by_path(app: FastAPI) -> dict[str, list[str]]:
    """The methods of every documented path."""
    return {path: [method.upper() for method in item] for path, item in app.openapi()["paths"].items()}


def _raw_schemas(senders: Mapping[str, BaseSender], limits: LimitSettings) -> dict[str, Any]:
    """The bodies that routes read themselves, with the limits of this service's settings."""
    models: list[Any] = [
        (NotificationRequest, "validation"),
        (NotificationBatch, "validation"),
        (DomainEvent, "validation"),
        (Problem, "serialization"),
    ]
    _, generated = models_json_schema(models, ref_template=_REF + "{model}")
    schemas: dict[str, Any] = generated["$defs"]
    fields = schemas["NotificationRequest"]["properties"]
    fields["title"]["maxLength"] = limits.title_chars
    fields["body"]["maxLength"] = limits.body_chars
    fields["buttons"]["maxItems"] = limits.buttons
    fields["attachments"]["maxItems"] = limits.attachments
    fields["params"]["description"] += f"; at most {limits.params_bytes} bytes as JSON"
    fields["metadata"]["description"] += f"; at most {limits.metadata_bytes} bytes as JSON"
    # Items are judged one by one, so that a body with bad ones is still a good batch.
    item = {"anyOf": [{"$ref": _REF + "NotificationRequest"}, {"description": "Answered with its error"}]}
    schemas["NotificationBatch"]["properties"]["items"] |= {"items": item, "maxItems": limits.batch_items}
    _limit_to(schemas, senders)
    return schemas


def _limit_to(schemas: dict[str, Any], senders: Mapping[str, BaseSender]) -> None:
    """Name the senders that are on, and show examples that this service would take."""
    on = [sender for sender in senders.values() if sender.off_reason is None]
    if not on:
        return
    names = [sender.name for sender in on]
    request, addresses = schemas["NotificationRequest"], schemas["Target"]["properties"]["addresses"]
    one, chain, *_ = request["properties"]["sender"]["anyOf"]
    one.clear()
    one.update(type="string", enum=names)
    chain.update(items=dict(one), maxItems=len(names), uniqueItems=True)
    (address,) = addresses.pop("patternProperties").values()
    addresses.pop("propertyNames", None)
    addresses.update(properties=dict.fromkeys(names, address), maxProperties=len(names))
    off = [
        f"{sender.name} ({sender.off_reason})" for sender in senders.values() if sender.off_reason is not None
    ]
    if off:
        request["properties"]["sender"]["description"] += f". Off now: {', '.join(off)}"
    request["examples"] = _examples(on)
    schemas["NotificationBatch"]["examples"] = [{"items": request["examples"]}]


def _examples(on: Sequence[BaseSender]) -> list[dict[str, Any]]:
    first = min(on, key=lambda sender: sender.default_address is None)
    plain = {"title": "Backup failed", "body": "disk full", "sender": first.name}
    full = {
        **plain,
        "body": "The disk of **db-1** is full.",
        "format": "markdown",
        "priority": "urgent",
        "expires_at": "2900-01-01T12:00:00Z",
        "category": "alerts",
        "metadata": {"host": "db-1"},
    }
    return [plain, full]


def _security_schemes(*, takes_tokens: bool) -> dict[str, Any]:
    schemes: dict[str, Any] = {
        "ApiKey": {
            "type": "apiKey",
            "in": "header",
            "name": "X-API-Key",
            "description": "`ntf_<prefix>_<secret>`, made under `/v1/keys`, or the value of `ADMIN_API_KEY`",
        }
    }
    if takes_tokens:
        schemes["Token"] = {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "`exp` is required; `scope` or `scopes` names what the caller may do: send, read, support, manage, devices",
        }
    return schemes


def _operations(paths: dict[str, Any], prefix: str) -> Iterable[dict[str, Any]]:
    return (
        operation for path, item in paths.items() if path.startswith(prefix) for operation in item.values()
    )


def _secure(paths: dict[str, Any], schemes: list[str]) -> None:
    for operation in _operations(paths, "/v1/"):
        operation["security"] = [{scheme: []} for scheme in schemes]
        for status, response in _SECURED.items():
            operation["responses"].setdefault(str(status), response)
        operation["responses"] = dict(sorted(operation["responses"].items()))


def _link(paths: dict[str, Any]) -> None:
    """Say which calls take what another one answered with."""
    for path, method, status, value, parameter, targets in _LINKS:
        if path not in paths:
            continue  # a process without the role `api` has fewer
        links = paths[path][method]["responses"][status].setdefault("links", {})
        for target in targets:
            links[target] = {"operationId": target, "parameters": {parameter: f"$response.body#{value}"}}


def _drop_null_parameters(paths: dict[str, Any]) -> None:
    """A parameter may be left out, but there is no way to write null into an address."""
    for operation in _operations(paths, "/v1/"):
        for parameter in operation.get("parameters", ()):
            branches = [
                branch for branch in parameter["schema"].pop("anyOf", ()) if branch != {"type": "null"}
            ]
            if branches:
                (branch,) = branches
                parameter["schema"] |= branch


def _name_senders(paths: dict[str, Any], names: list[str]) -> None:
    for operation in _operations(paths, "/v1/senders/{name}"):
        for parameter in operation["parameters"]:
            if parameter["name"] == "name":
                parameter["schema"] = {"type": "string", "enum": names}
