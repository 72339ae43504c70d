"""An engine in this process, with what it needs of people and words."""

from collections.abc import Mapping, Sequence
from random import Random

from service.access.links import Links
from service.content.localisation import Localisation, locales_folder
from service.content.rendering import Renderer
from service.db.database import Database
from service.delivery.engine import Engine
from service.delivery.metrics import Metrics
from service.delivery.planning import Defaults, Planner
from service.delivery.wording import Wording
from service.senders.base import BaseSender
from service.settings import DeliverySettings, LimitSettings, TemplateSettings
from service.support.desk import Desk

PUBLIC_URL = "https://notifications.example"
LINKS = Links("a secret of the tests, long enough", PUBLIC_URL)


def make_engine(
    database: Database,
    senders: Mapping[str, BaseSender],
    settings: DeliverySettings,
    *,
    transports: Sequence[str] = ("rabbit",),
    works: bool = True,
    defaults: Defaults | None = None,
    renderer: Renderer | None = None,
    desk: Desk | None = None,
) -> Engine:
    """`renderer` has to be started where templates are sent."""
    planner = Planner(senders, defaults or Defaults())
    renderer = renderer or Renderer(TemplateSettings())
    return Engine(
        database,
        senders,
        settings=settings,
        limits=LimitSettings(),
        transports=transports,
        works=works,
        metrics=Metrics(),
        planner=planner,
        wording=Wording(
            database,
            renderer,
            LINKS,
            Localisation(locales_folder()),
            planner,
            offers_links=True,
            relaying=None if desk is None else desk.relaying,
        ),
        random=Random(1),
        on_relayed=(lambda _: None) if desk is None else desk.clock.look,
    )
