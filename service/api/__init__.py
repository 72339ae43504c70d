"""HTTP: FastAPI routes over the packages below, one file for each resource. `create_api` makes the application.

Routes read a request, call, audit and answer; statements and rules are in the packages.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache

from fastapi import FastAPI
from starlette.types import Lifespan

from service import __version__
from service.api import (
    acknowledge,
    audit,
    callbacks_max,
    callbacks_vk,
    contacts,
    deliveries,
    devices,
    events,
    joining,
    keys,
    mailing_forecast,
    mailings,
    notifications,
    observing,
    recipients,
    recipients_import,
    rejections,
    senders,
    sending,
    telegram,
    template_preview,
    templates,
    tickets,
    topics,
    triggers,
    unsubscribe,
)
from service.api.deps import ApiDeps
from service.api.docs_pages import add_docs_pages
from service.api.gate import BodyRule, Gate
from service.api.openapi import DESCRIPTION, complete_openapi, methods_by_path
from service.api.problems import install

__all__ = ["ApiDeps", "create_api"]


def create_api(deps: ApiDeps, lifespan: Lifespan[FastAPI]) -> FastAPI:
    """The application over these parts. `lifespan` starts and stops them."""
    server = deps.settings.server
    app = FastAPI(
        title="Notifications",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/openapi.json" if server.docs_enabled else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.deps = deps
    # Routes are tried in this order, and each level of routers in routers costs every request: the hot one is first.
    if "api" in deps.settings.process.roles:
        for resource in (
            sending,
            notifications,
            deliveries,
            rejections,
            senders,
            recipients_import,
            recipients,
            contacts,
            devices,
            joining,
            topics,
            events,
            triggers,
            templates,
            template_preview,
            mailings,
            mailing_forecast,
            tickets,
            keys,
            audit,
        ):
            app.include_router(resource.router, prefix="/v1")
        app.include_router(unsubscribe.router)
        app.include_router(acknowledge.router)
        app.include_router(callbacks_vk.router)
        app.include_router(callbacks_max.router)
    if {"api", "bot"} & set(deps.settings.process.roles):
        app.include_router(telegram.router)
    app.include_router(observing.router)
    app.add_middleware(
        Gate,
        authenticator=deps.authenticator,
        rule=BodyRule(server.body_max_bytes),
        rules={
            recipients_import.PATH: BodyRule(
                deps.settings.audience.import_max_bytes, recipients_import.MEDIA_TYPES
            ),
            mailings.UPLOAD_PATH: BodyRule(deps.settings.audience.import_max_bytes, mailings.UPLOAD_TYPES),
        },
    )
    complete_openapi(
        app, senders=deps.senders, limits=deps.settings.limits, takes_tokens=deps.authenticator.takes_tokens
    )
    if server.docs_enabled and deps.asyncapi is not None:
        add_docs_pages(app, deps.asyncapi)
    install(app, _allowed_methods(app))
    return app


def _allowed_methods(app: FastAPI) -> Callable[[str], Sequence[str]]:
    @cache
    def patterns() -> list[tuple[re.Pattern[str], list[str]]]:
        # Paths without parameters first: /batch is no id.
        paths = sorted(methods_by_path(app).items(), key=lambda item: item[0].count("{"))
        return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), methods) for path, methods in paths]

    def allowed(path: str) -> Sequence[str]:
        return next((methods for pattern, methods in patterns() if pattern.fullmatch(path)), [])

    return allowed
