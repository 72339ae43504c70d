"""Bodies that are read as raw bytes and judged by the contract, as messages of brokers are."""

from typing import Any


def json_body(*schemas: str, required: bool = True) -> dict[str, Any]:
    """FastAPI's `openapi_extra` for such a body: a component of the document, or one of several."""
    refs = [{"$ref": f"#/components/schemas/{schema}"} for schema in schemas]
    schema = refs[0] if len(refs) == 1 else {"anyOf": refs}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}
