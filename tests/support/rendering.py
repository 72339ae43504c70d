"""Many texts at once, as many callers ask for them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.content.rendering import Rendered, Renderer
from service.content.templates import TemplateVersion, Variant


@dataclass(frozen=True, slots=True)
class RenderJob:
    """One text to make: what `Renderer.render` takes."""

    version: TemplateVersion
    variant: Variant
    params: Mapping[str, Any]
    locale: str
    zone: str
    now: datetime | None = None


async def render_many(renderer: Renderer, jobs: Sequence[RenderJob]) -> list[Rendered | BaseException]:
    """A result for each, in their order; an error in the place of a text that failed."""
    texts = (
        renderer.render(job.version, job.variant, job.params, locale=job.locale, zone=job.zone, now=job.now)
        for job in jobs
    )
    return await asyncio.gather(*texts, return_exceptions=True)
