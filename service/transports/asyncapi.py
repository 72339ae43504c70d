"""The AsyncAPI 3.0 document, from what the transports register with their brokers.

FastStream contributes servers, channels, operations and their bindings; the messages are the models of
`service.contract`, once each, with their examples. The result depends on the code alone: not on the
settings of this machine, and byte for byte the same in every run.
"""

import json
from enum import StrEnum
from typing import Any, cast

import yaml
from faststream.specification import AsyncAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service import __version__
from service.broker_settings import KafkaSettings, RabbitSettings
from service.contract import (
    DomainEvent,
    EventType,
    NotificationEvent,
    NotificationRequest,
    RejectedMessage,
    TicketEvent,
    TicketEventType,
)
from service.transports.base import Door, EventDoor
from service.transports.kafka import KafkaTransport
from service.transports.rabbit import RabbitTransport

TITLE = "Notifications"
DESCRIPTION = """\
Publish one small message, and the right person gets it. What becomes of it is reported as events.

A message with only `title`, `body` and `sender` is complete. Give it an `id` of your own, and it may be
published again at any time without being delivered twice. A message that cannot be taken is kept, reported
on `notifications.rejected`, and can be replayed over REST."""

SERVERS = {"Server1": "rabbitmq", "Server2": "kafka"}
CHANNELS: dict[str, type[BaseModel]] = {
    "receiveNotificationFromRabbit": NotificationRequest,
    "receiveNotificationFromKafka": NotificationRequest,
    "receiveEventFromRabbit": DomainEvent,
    "receiveEventFromKafka": DomainEvent,
    "sendEventToRabbit": NotificationEvent,
    "sendEventToKafka": NotificationEvent,
    "sendRejectedToRabbit": RejectedMessage,
    "sendRejectedToKafka": RejectedMessage,
    "sendTicketToRabbit": TicketEvent,
    "sendTicketToKafka": TicketEvent,
}
ROUTED: dict[str, type[StrEnum]] = {"sendEventToRabbit": EventType, "sendTicketToRabbit": TicketEventType}
"""Channels whose routing key is the event's type."""
SUMMARIES: dict[type[BaseModel], str] = {
    NotificationRequest: "One message to one person or chat.",
    DomainEvent: "Something that happened, for which triggers wait.",
    NotificationEvent: "One change of one delivery.",
    RejectedMessage: "A message that could not become a notification.",
    TicketEvent: "One change of one support ticket.",
}


def asyncapi_yaml() -> str:
    """The document as it is committed at the top of the repository."""
    return yaml.dump(asyncapi_document(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def asyncapi_json() -> str:
    """The document for the page and for programs."""
    return json.dumps(asyncapi_document(), ensure_ascii=False)


def asyncapi_document() -> dict[str, Any]:
    """The document as plain data."""
    found = _registered()
    return {
        "asyncapi": found["asyncapi"],
        "info": found["info"],
        "defaultContentType": found["defaultContentType"],
        "servers": {name: _server(found["servers"][key]) for key, name in SERVERS.items()},
        "channels": {key: _channel(key, found["channels"][key]) for key in CHANNELS},
        "operations": {key: _operation(key, found["operations"][key]) for key in CHANNELS},
        "components": {
            "messages": {model.__name__: _message(model) for model in SUMMARIES},
            "schemas": _schemas(),
        },
    }


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as people write them."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _registered() -> dict[str, Any]:
    # Nothing is connected and nothing arrives: default settings, whatever the environment says, and no door.
    nobody, no_events = cast("Door", None), cast("EventDoor", object())
    rabbit = RabbitTransport(RabbitSettings.model_construct(host="rabbitmq"), nobody, no_events)
    kafka = KafkaTransport(
        KafkaSettings.model_construct(bootstrap_servers=("kafka:9092",)), nobody, no_events
    )
    specification = AsyncAPI(
        rabbit.broker,
        kafka.broker,
        title=TITLE,
        version=__version__,
        description=DESCRIPTION,
        license={"name": "MIT"},
    ).to_specification()
    return cast("dict[str, Any]", specification.to_jsonable())


def _server(found: dict[str, Any]) -> dict[str, Any]:
    # FastStream writes these two when it knows nothing of them.
    return {key: value for key, value in found.items() if value not in ("", "auto")}


def _channel(key: str, found: dict[str, Any]) -> dict[str, Any]:
    model = CHANNELS[key].__name__
    channel = {
        "address": None,
        **found,
        "servers": [{"$ref": f"#/servers/{SERVERS[_last(server)]}"} for server in found["servers"]],
        "messages": {model: {"$ref": f"#/components/messages/{model}"}},
    }
    if key in ROUTED:
        types = [event.value for event in ROUTED[key]]
        channel |= {
            "address": "{type}",
            "parameters": {"type": {"description": "The event's `type`, as routing key.", "enum": types}},
        }
    return channel


def _operation(key: str, found: dict[str, Any]) -> dict[str, Any]:
    model = CHANNELS[key].__name__
    return {
        **found,
        "summary": SUMMARIES[CHANNELS[key]],
        "messages": [{"$ref": f"#/channels/{key}/messages/{model}"}],
    }


def _message(model: type[BaseModel]) -> dict[str, Any]:
    # From the model itself: a generated schema sorts their fields.
    examples = cast("dict[str, Any]", model.model_config["json_schema_extra"])["examples"]
    return {
        "name": model.__name__,
        "title": model.__name__,
        "summary": SUMMARIES[model],
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
        "examples": [{"payload": example} for example in examples],
    }


def _schemas() -> dict[str, Any]:
    _, schemas = models_json_schema(
        [(model, "validation") for model in SUMMARIES], ref_template="#/components/schemas/{model}"
    )
    for model in SUMMARIES:
        # They stand with the message.
        del schemas["$defs"][model.__name__]["examples"]
    return cast("dict[str, Any]", schemas["$defs"])


def _last(reference: dict[str, str]) -> str:
    return reference["$ref"].rsplit("/", 1)[-1]
