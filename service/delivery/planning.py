"""Deciding where a request goes. Pure: facts in, plan out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from service.audience.people import Person, QuietHours
from service.audience.preferences import (
    NEVER_OPEN,
    SUPPRESSIONS,
    NeverOpenError,
    silent_until,
    suppression,
)
from service.content.templates import TemplateVersion, check_params
from service.contract import FieldProblem, NotificationRequest, Target
from service.delivery.jobs import Reader
from service.senders.base import AddressError, BaseSender

SPACING_MARGIN = 1.03
"""A little wider than the limit's own, so that an uneven network stays within it."""
NO_CONTACT = "no_contact"

RefusalCode = Literal[
    "unknown_sender", "sender_off", "invalid_address", "no_address", "id_conflict",
    "unknown_recipient", "no_contact", "unknown_topic", "unknown_template", "invalid_params",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refusal:
    """The request is well-formed but cannot be taken."""

    code: RefusalCode
    problems: tuple[FieldProblem, ...]


def refuse(code: RefusalCode, field: str, problem: str) -> Refusal:
    return Refusal(code, (FieldProblem(field=field, problem=problem, code=code),))


@dataclass(slots=True)
class Hop:
    """One link of the fallback chain. `spacing`: least seconds between two messages with that `pacing_key`.

    `others` are the person's further devices at that sender: the link is all of them.
    """

    sender: str
    address: str
    spacing: float
    pacing_key: str
    others: tuple["Hop", ...] = ()

    @property
    def devices(self) -> tuple["Hop", ...]:
        """Every address of the link, this one first."""
        return (self, *self.others)


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Nothing is sent, since the recipient does not want it or cannot be reached."""

    code: str
    reason: str


@dataclass(slots=True)
class Plan:
    """The chain in the order in which it is tried, and for whom it is.

    `send_at` is set where quiet hours put it off. With a `topic` the chain is empty: each subscriber
    gets a plan of their own.
    """

    route: tuple[Hop, ...]
    reader: Reader | None = None
    send_at: datetime | None = None
    suppressed: Suppressed | None = None
    topic: str | None = None
    template_version: int | None = None


@dataclass(frozen=True, slots=True)
class Defaults:
    """What counts for those who say nothing else. Critical categories pass quiet hours."""

    locale: str = "en"
    zone: str = "UTC"
    quiet: QuietHours | None = None
    critical: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about the people, topics and templates that a batch of requests names."""

    people: Mapping[str, Person] = field(default_factory=dict)
    topics: frozenset[str] = frozenset()
    templates: Mapping[str, TemplateVersion] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Planner:
    """Decides for one request at a time, from what is known about it."""

    senders: Mapping[str, BaseSender]
    defaults: Defaults

    def plan(self, request: NotificationRequest, facts: Facts, now: datetime) -> Plan | Refusal:
        """Resolve the senders and their addresses, or say which field stands in the way."""
        version_id = None
        if request.template is not None:
            version = _template(request.template, request, facts)
            if isinstance(version, Refusal):
                return version
            version_id = version.id
        if request.topic is not None:
            return self._plan_topic(request, facts, version_id)
        if request.recipient is not None:
            return self._plan_recipient(request, facts, now, version_id)
        return self._plan_addresses(request, version_id)

    def _plan_addresses(self, request: NotificationRequest, version_id: int | None) -> Plan | Refusal:
        route: list[Hop] = []
        for name in request.chain:
            hop = self._hop(request, name)
            if isinstance(hop, Refusal):
                return hop
            route.append(hop)
        if version_id is None and request.escalate_after is None:
            return Plan(tuple(route))
        reader = Reader(None, None, request.locale or self.defaults.locale, self.defaults.zone)
        return Plan(tuple(route), reader, template_version=version_id)

    def plan_for(
        self,
        request: NotificationRequest,
        person: Person,
        now: datetime,
        version_id: int | None = None,
        *,
        closed: QuietHours | None = None,
    ) -> Plan:
        """For one person. Where they want nothing of it, or cannot be reached, the plan is suppressed.

        `closed`: hours in which its sender does not want to send, on top of what is quiet for that person.
        """
        critical = request.category in self.defaults.critical
        route, unwanted = [], None
        for hop in self._contacts(person, request.chain):
            code = self.unwanted(person, hop.sender, request.category)
            if code is None:
                route.append(hop)
            elif unwanted is None:
                unwanted = replace(hop, others=()), Suppressed(code, SUPPRESSIONS[code])
        zone = person.zone or self.defaults.zone
        quiet = None if critical else person.quiet or self.defaults.quiet
        hours = [each for each in (closed, quiet) if each is not None]
        locale = request.locale or person.locale or self.defaults.locale
        reader = Reader(person.id, person.external_id, locale, zone, ",".join(map(str, hours)) or None)
        if not route:
            hop, suppressed = unwanted or (self._nowhere(request), _unreachable(person, request.chain))
            return Plan((hop,), reader, suppressed=suppressed, template_version=version_id)
        start = max(request.send_at or now, now)
        try:
            put_off = silent_until(hours, zone, start)
        except NeverOpenError:
            never = Suppressed(NEVER_OPEN, f"{closed} and the quiet hours {quiet} leave no time of the day")
            return Plan((route[0],), reader, suppressed=never, template_version=version_id)
        return Plan(tuple(route), reader, send_at=put_off, template_version=version_id)

    def unwanted(self, person: Person, sender: str, category: str | None) -> str | None:
        """Why this person must not get that, as a key of `SUPPRESSIONS`; None: they may."""
        critical = category in self.defaults.critical
        return suppression(person, sender=sender, category=category, critical=critical)

    def _plan_topic(
        self, request: NotificationRequest, facts: Facts, version_id: int | None
    ) -> Plan | Refusal:
        if request.topic not in facts.topics:
            return refuse("unknown_topic", "to.topic", f"{request.topic!r} is not a topic")
        if refusal := self.unusable(request.chain):
            return refusal
        return Plan((), topic=request.topic, template_version=version_id)

    def _plan_recipient(
        self, request: NotificationRequest, facts: Facts, now: datetime, version_id: int | None
    ) -> Plan | Refusal:
        person = facts.people.get(request.recipient or "")
        if person is None:
            return refuse("unknown_recipient", "to.recipient", f"{request.recipient!r} is not a recipient")
        if refusal := self.unusable(request.chain):
            return refusal
        planned = self.plan_for(request, person, now, version_id)
        if planned.suppressed is not None and planned.suppressed.code == NO_CONTACT:
            return refuse("no_contact", "to.recipient", planned.suppressed.reason)
        return planned

    def unusable(self, chain: Iterable[str]) -> Refusal | None:
        """Why one of these senders cannot be used; None: all can."""
        for name in chain:
            if refusal := self._off(name):
                return refusal
        return None

    def _off(self, name: str) -> Refusal | None:
        sender = self.senders.get(name)
        if sender is None:
            known = ", ".join(sorted(self.senders))
            return refuse("unknown_sender", "sender", f"{name!r} is not a sender; accepted: {known}")
        if sender.off_reason is not None:
            return refuse("sender_off", "sender", f"{name} is off: {sender.off_reason}")
        return None

    def _contacts(self, person: Person, chain: tuple[str, ...]) -> Iterable[Hop]:
        """Where the person can be reached: the first active contact of each sender, or all their devices there, in
        the chain's order or theirs.
        """
        for name in chain or dict.fromkeys(contact.sender for contact in person.contacts if contact.active):
            if hops := self._hops(person, name):
                yield replace(hops[0], others=tuple(hops[1:]))

    def _hops(self, person: Person, name: str) -> list[Hop]:
        """The person's first active contact for a sender, or all their devices there."""
        hops: list[Hop] = []
        sender = self.senders.get(name)
        if sender is None or sender.off_reason is not None:
            return hops
        for contact in person.contacts:
            if contact.sender != sender.contacts_name or not contact.active:
                continue
            try:
                hops.append(make_hop(name, sender, contact.address))
            except AddressError:
                continue  # stored before this sender's rules changed: as good as none
            if not sender.capabilities.devices:
                break
        return hops

    def _nowhere(self, request: NotificationRequest) -> Hop:
        return Hop(request.chain[0] if request.chain else "-", "-", 0.0, "-")

    def _hop(self, request: NotificationRequest, name: str) -> Hop | Refusal:
        if refusal := self._off(name):
            return refusal
        sender = self.senders[name]
        given = request.to.addresses.get(name) if isinstance(request.to, Target) else request.to
        address = given or sender.default_address
        if address is None:
            return refuse("no_address", "to", f"is required: {name} has no default address")
        try:
            return make_hop(name, sender, address)
        except AddressError as error:
            said = "this" if sender.capabilities.secret_addresses else repr(address)
            return refuse("invalid_address", "to", f"{said} is no address for {name}: {error}")


def _template(key: str, request: NotificationRequest, facts: Facts) -> TemplateVersion | Refusal:
    version = facts.templates.get(key)
    if version is None:
        return refuse("unknown_template", "template", f"{key!r} is not a template in use")
    problems = check_params(version, request.params)
    return Refusal("invalid_params", tuple(problems)) if problems else version


def make_hop(name: str, sender: BaseSender, address: str) -> Hop:
    """A link of the chain. Raises `AddressError`."""
    address = sender.check_address(address)
    return Hop(name, address, sender.address_spacing(address) * SPACING_MARGIN, sender.pacing_key(address))


def _unreachable(person: Person, chain: tuple[str, ...]) -> Suppressed:
    through = f" for {', '.join(chain)}" if chain else ""
    return Suppressed(NO_CONTACT, f"{person.external_id!r} has no active contact{through}")
