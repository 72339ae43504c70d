"""Bodies that are read as raw bytes and judged by the contract, as messages of brokers are."""

from typing import Any


def json_body(schema: str, *, required: bool = True) -> dict[str, Any]:
    """FastAPI's `openapi_extra` for such a body: a component of the document."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"requestBody": {"required": required, "content": content}}
