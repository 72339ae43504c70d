"""Outside `/v1`, for machines that watch: health and metrics. No key is needed."""

from typing import Any

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from service.api.deps import Deps
from service.health import Status

router = APIRouter(tags=["observing"])


class Alive(BaseModel):
    """The process serves."""

    status: str = "ok"


class PartView(BaseModel):
    """One part of the process."""

    status: Status
    detail: str


class Readiness(BaseModel):
    """`ok`; `degraded` when a part does not work that others can do without; `down` otherwise."""

    status: Status
    parts: dict[str, PartView]


@router.get("/health_check", summary="Whether the process serves")
async def health_check() -> Alive:
    """Looks at nothing else: a restart mends what this does not answer for."""
    return Alive()


@router.get("/health/live", summary="The same, by the name orchestrators know")
async def health_live() -> Alive:
    """Looks at nothing else."""
    return Alive()


@router.get(
    "/health/ready",
    response_model=Readiness,
    summary="Whether requests make sense now, and which part is down",
    responses={503: {"model": Readiness, "description": "A part is down that nothing works without"}},
)
async def health_ready(deps: Deps) -> Response:
    """Asks every part."""
    parts = await deps.health.check()
    overall = deps.health.overall(parts)
    body: dict[str, Any] = {
        "status": overall,
        "parts": {name: {"status": part.status, "detail": part.detail} for name, part in parts.items()},
    }
    return JSONResponse(body, 503 if overall == "down" else 200)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(deps: Deps) -> Response:
    """Counters of this process, and gauges of what the database holds."""
    await deps.read_gauges()
    return Response(generate_latest(deps.metrics.registry), media_type=CONTENT_TYPE_LATEST)
