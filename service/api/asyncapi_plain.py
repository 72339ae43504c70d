"""The AsyncAPI document as plain HTML, for a service without the component's scripts."""

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

Json = Mapping[str, Any]

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: messages</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="assets/plain.css">
</head>
<body id="page">
<h1>{title} <small>{version}</small></h1>
{description}
<p>The same for programs: <a href="asyncapi.json">asyncapi.json</a> (AsyncAPI {asyncapi}).</p>
<h2>Servers</h2>
{servers}
<h2>Operations</h2>
{operations}
<h2>Messages</h2>
{messages}
<h2>Schemas</h2>
{schemas}
</body>
</html>
"""


def plain_page(document: Json) -> str:
    """The whole contract on one page that needs no script."""
    info, components = document["info"], document["components"]
    shown = {_last(message["payload"]) for message in components["messages"].values()}
    return _PAGE.format(
        title=escape(info["title"]),
        version=escape(info["version"]),
        asyncapi=escape(document["asyncapi"]),
        description=_text(info.get("description", "")),
        servers=_table(
            ("name", "protocol", "address"),
            ((name, server["protocol"], server["host"]) for name, server in document["servers"].items()),
        ),
        operations="".join(
            _operation(item, document["channels"]) for item in document["operations"].values()
        ),
        messages="".join(_message(item, components["schemas"]) for item in components["messages"].values()),
        schemas="".join(
            _schema(name, item) for name, item in components["schemas"].items() if name not in shown
        ),
    )


def _operation(operation: Json, channels: Json) -> str:
    key = _last(operation["channel"])
    channel = channels[key]
    names = ", ".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in channel["messages"])
    servers = ", ".join(_last(server) for server in channel["servers"])
    return (
        f'<h3><span class="action">{escape(operation["action"])}</span> {escape(key)}</h3>'
        f"{_text(channel.get('description', ''))}"
        f"<p>Server: {escape(servers)}. Address: <code>{escape(str(channel['address']))}</code>. Message: {names}.</p>"
        f"{_json(channel.get('bindings'))}"
    )


def _message(message: Json, schemas: Json) -> str:
    examples = "".join(_json(example["payload"]) for example in message.get("examples", ()))
    return _schema(_last(message["payload"]), schemas[_last(message["payload"])]) + examples


def _schema(name: str, schema: Json) -> str:
    head = f'<h3 id="{escape(name)}">{escape(name)}</h3>{_text(schema.get("description", ""))}'
    properties = schema.get("properties")
    if not properties:
        return head + f"<p>{_type(schema)}</p>"
    required = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code>{' *' if field in required else ''}</td>"
        f"<td>{_type(item)}</td><td>{_text(item.get('description', ''))}</td></tr>"
        for field, item in properties.items()
    )
    return f"{head}<table><tr><th>field (* required)</th><th>type</th><th>meaning</th></tr>{rows}</table>"


def _type(schema: Json) -> str:
    if "$ref" in schema:
        name = escape(_last(schema))
        return f'<a href="#{name}">{name}</a>'
    if "enum" in schema or "const" in schema:
        return " | ".join(
            f"<code>{escape(json.dumps(v))}</code>" for v in schema.get("enum", [schema.get("const")])
        )
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " | ".join(_type(item) for item in schema[key])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    limits = "".join(
        f", {word} {schema[key]}"
        for key, word in (("minLength", "at least"), ("maxLength", "at most"), ("maxItems", "at most"))
        if key in schema
    )
    return escape(
        f"{schema.get('type', 'anything')}{' ' + schema['format'] if 'format' in schema else ''}{limits}"
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{body}</table>"


def _text(text: str) -> str:
    paragraphs = [
        re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(part)) for part in text.split("\n\n") if part
    ]
    return "".join(f"<p>{part}</p>" for part in paragraphs)


def _json(value: object) -> str:
    return "" if value is None else f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _last(reference: Json) -> str:
    return str(reference["$ref"]).rsplit("/", 1)[-1]
