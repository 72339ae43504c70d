"""Every idempotency key is built here."""

from datetime import UTC, datetime
from hashlib import blake2b
from uuid import UUID

from service.contract import NotificationRequest

EXPLICIT = "id:"


def explicit_key(request_id: str) -> str:
    """The key of a producer's own `id`."""
    return EXPLICIT + request_id


def occurrence_key(trigger_id: UUID, zone: str, occurrence: datetime) -> str:
    """The key of what a trigger makes at one of its moments, by the clock of a zone."""
    return f"trigger:{trigger_id}:{zone}:{occurrence.astimezone(UTC).isoformat()}"


def is_explicit(key: str) -> bool:
    return key.startswith(EXPLICIT)


def content_hash(request: NotificationRequest) -> bytes:
    """16 bytes that tell a repeat from another message: everything but the `id`, defaults left out."""
    canonical = request.model_dump_json(exclude={"id"}, exclude_defaults=True)
    return blake2b(canonical.encode(), digest_size=16).digest()


def relay_key(message: int, repeats: int) -> str:
    """The key of a message of a conversation: once, and once more each time its topic was lost."""
    return f"support:{message}:{repeats}"
