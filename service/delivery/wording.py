"""The words of a delivery: its template in the reader's language, and the links that go with it."""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from service.access.links import Links
from service.audience.facts import load_people
from service.audience.preferences import SUPPRESSIONS
from service.audience.unsubscribing import LINK_PURPOSE, Unsubscribing
from service.content.localisation import Localisation
from service.content.rendering import Renderer, RenderError
from service.content.templates import TemplateVersion, choose, load_versions
from service.db.database import OUTAGE, Database
from service.delivery.jobs import Content, Job, Reader
from service.delivery.planning import NO_CONTACT, Planner, Suppressed
from service.senders.base import PROBLEM, BaseSender, Button, Message, NotSent, Refused, Retry
from service.senders.relay import Action

ACKNOWLEDGE = "acknowledge"
"""What the links of that button are signed for, and the beginning of their path."""
LINK_DAYS = 365
VERSIONS_KEPT = 500
RETRY_SECONDS = 5.0
ASK_AGAIN_SECONDS = 5.0
"""What was planned so long ago is asked about again: its reader may have said no meanwhile."""


class Relaying(Protocol):
    """Whoever makes the steps of conversations."""

    async def message(self, job: Job) -> Message | NotSent | Suppressed:
        """What is sent for a job with a `relay`, why not now, or why not at all."""
        ...


class Wording:
    """Makes the message that a sender gets, at the time at which it is sent.

    `offers_links`: whether people can reach this service's own pages. Notifications of the
    `problem_categories` get a button to report a problem, where the channel has such.
    """

    def __init__(
        self,
        database: Database,
        renderer: Renderer,
        links: Links,
        localisation: Localisation,
        planner: Planner,
        *,
        offers_links: bool,
        relaying: Relaying | None = None,
        problem_categories: Collection[str] = (),
    ) -> None:
        self._database = database
        self._renderer = renderer
        self._links = links
        self._localisation = localisation
        self._planner = planner
        self._offers_links = offers_links
        self._relaying = relaying
        self._problem_categories = frozenset(problem_categories)
        self._versions: OrderedDict[int, TemplateVersion] = OrderedDict()

    async def message(self, job: Job, sender: BaseSender) -> Message | NotSent | Suppressed:
        """What is sent, or why there is nothing to send. What has waited may not be wanted any more."""
        message = job.message()
        if job.reader is None:
            return self._with_problem(message, job.content, self._planner.defaults.locale, sender)
        if job.content.relay is not None:
            if self._relaying is None or not sender.capabilities.relays:
                return Refused(reason="there is no support desk any more", code="relay")
            return await self._relaying.message(job)
        waited = (datetime.now(UTC) - job.created_at).total_seconds() > ASK_AGAIN_SECONDS
        if job.reader.recipient is not None and (waited or job.attempt or job.position):
            try:
                unwanted = await self._unwanted(job.reader.recipient, job, sender)
            except OUTAGE as error:
                return Retry(reason=f"preferences are out of reach: {error}", retry_after=RETRY_SECONDS)
            if unwanted is not None:
                return unwanted
        return await self.compose(message, job.content, job.reader, sender, escalates=job.escalates)

    async def _unwanted(self, recipient: str, job: Job, sender: BaseSender) -> Suppressed | None:
        async with self._database.connection() as connection:
            person = (await load_people(connection, (recipient,))).get(recipient)
        if person is None:
            return None
        # A token may be somebody else's by now, who must not read this.
        if sender.capabilities.devices and not person.is_reached_at(sender.contacts_name, job.address):
            return Suppressed(NO_CONTACT, "the device is not the recipient's any more")
        code = self._planner.unwanted(person, sender.name, job.content.category)
        return None if code is None else Suppressed(code, SUPPRESSIONS[code])

    async def compose(
        self, message: Message, content: Content, reader: Reader, sender: BaseSender, *, escalates: bool
    ) -> Message | NotSent:
        """The message for that reader."""
        if content.template_version is not None:
            try:
                message = await self._render(message, content, reader, sender.name, content.template_version)
            except RenderError as error:
                if error.temporary:
                    return Retry(reason=str(error), code=f"template_{error.code}")
                return Refused(reason=f"template: {error}", code=f"template_{error.code}")
            except OUTAGE as error:
                return Retry(reason=f"the template is out of reach: {error}", retry_after=RETRY_SECONDS)
            except LookupError as error:
                return Refused(reason=str(error), code="template_variant")
        message = self._with_problem(message, content, reader.locale, sender)
        return self._with_links(message, content, reader, sender, escalates=escalates)

    def _with_problem(self, message: Message, content: Content, locale: str, sender: BaseSender) -> Message:
        """A button to report a problem, under the categories that ask for it."""
        if content.category not in self._problem_categories or not sender.capabilities.actions:
            return message
        button = Action(self._localisation.translator(locale).gettext("Problem?"), PROBLEM)
        return replace(message, actions=(*message.actions, button))

    async def _render(
        self, message: Message, content: Content, reader: Reader, sender: str, version_id: int
    ) -> Message:
        version = await self._version(version_id)
        variant = choose(version, reader.locale, sender)
        rendered = await self._renderer.render(
            version, variant, content.params, locale=reader.locale, zone=reader.zone
        )
        return replace(message, title=rendered.title, body=rendered.body, format=rendered.format)

    async def _version(self, version_id: int) -> TemplateVersion:
        known = self._versions.get(version_id)
        if known is None:
            async with self._database.connection() as connection:
                loaded = await load_versions(connection, (version_id,))
            if version_id not in loaded:
                raise LookupError(f"template version {version_id} is not there any more")
            known = self._versions[version_id] = loaded[version_id]
            if len(self._versions) > VERSIONS_KEPT:
                self._versions.popitem(last=False)
        return known

    def _with_links(
        self, message: Message, content: Content, reader: Reader, sender: BaseSender, *, escalates: bool
    ) -> Message:
        """Buttons where the channel has them, lines below the text elsewhere."""
        if not self._offers_links:
            return message
        url = self._unsubscribe_url(content, reader)
        message = replace(message, unsubscribe_url=url)
        offered = self._offers(message, url, reader, escalates=escalates)
        if not offered:
            return message
        if sender.capabilities.buttons:
            return replace(message, buttons=(*message.buttons, *offered))
        # A bare address is a link wherever links are shown at all; only markdown would take its _ for markup.
        gap = "<br><br>" if message.format == "html" else "\n\n"
        around = "<{}>" if message.format == "markdown" else "{}"
        lines = gap.join(f"{button.text}: {around.format(button.url)}" for button in offered)
        return replace(message, body=f"{message.body}{gap}{lines}")

    def _offers(
        self, message: Message, unsubscribe_url: str | None, reader: Reader, *, escalates: bool
    ) -> list[Button]:
        words = self._localisation.translator(reader.locale)
        offered = []
        if escalates:
            url = self._links.url(ACKNOWLEDGE, str(message.delivery_id), _links_expire())
            offered.append(Button(words.gettext("Acknowledge"), url))
        if unsubscribe_url is not None:
            offered.append(Button(words.gettext("Unsubscribe"), unsubscribe_url))
        return offered

    def _unsubscribe_url(self, content: Content, reader: Reader) -> str | None:
        """Where the reader may leave the content's category; None: it has none, or one that nobody can leave."""
        category = content.category
        if reader.recipient_id is None or not category or category in self._planner.defaults.critical:
            return None
        leaving = Unsubscribing(reader.recipient_id, category, None)
        return self._links.url(LINK_PURPOSE, leaving.to_link(), _links_expire())


def _links_expire() -> datetime:
    return datetime.now(UTC) + timedelta(days=LINK_DAYS)
