"""`/settings` and `/language`: inline menus over a person's preferences, redrawn in place."""

from collections.abc import Sequence
from functools import cache
from gettext import NullTranslations
from hashlib import blake2b
from typing import Any

from aiogram import F, Router
from aiogram.filters import Command
from aiogram.types import CallbackQuery, Message
from babel import Locale

from service.audience.facts import quiet_of
from service.audience.places import canonical_locale, zones
from service.audience.profile import MuteInput, Profile
from service.audience.upserting import upsert
from service.bot.turn import Turn, chat_of
from service.db.database import Connection
from service.desk_settings import BotSettings, Titles
from service.settings import AudienceSettings
from service.support.values import Button

REPORT = "report"
RESUME = "resume"
SETTINGS = "set"
NEVER = "00:00-00:00"
USUAL = "default"
QUIET_CHOICES = ("21:00-09:00", "22:00-08:00", "23:00-07:00", "00:00-06:00")
ZONES_SHOWN = 12
REGIONS = ("Europe", "Asia", "America", "Africa", "Australia", "Pacific", "Atlantic", "Indian")
Menu = tuple[str, list[list[Button]]]

_MUTES = "SELECT category, sender FROM mute WHERE recipient_id = $1 ORDER BY id"


def main_rows(words: NullTranslations, *, supported: bool) -> list[list[Button]]:
    """What a person can do next."""
    rows = [[Button(words.gettext("Settings"), SETTINGS)]]
    if supported:
        rows.append([Button(words.gettext("Report a problem"), REPORT)])
    return rows


def title_of(titles: Titles, name: str, language: str | None) -> str:
    """What people read for a category."""
    known = titles.get(name, {})
    return known.get(language or "") or known.get("en") or next(iter(known.values()), name)


def key_of(category: str) -> str:
    """A category in a button, which has room for 64 bytes."""
    return blake2b(category.encode(), digest_size=6).hexdigest()


class Menus:
    """What a menu shows is read anew each time it is drawn."""

    def __init__(self, settings: BotSettings, audience: AudienceSettings) -> None:
        self._settings = settings
        self._audience = audience

    def router(self) -> Router:
        router = Router(name="menus")
        router.message.register(self.settings, Command("settings"))
        router.message.register(self.language, Command("language"))
        router.callback_query.register(self.pressed, F.data == SETTINGS)
        router.callback_query.register(self.pressed, F.data.startswith(f"{SETTINGS}:"))
        return router

    async def settings(self, message: Message, turn: Turn) -> None:
        await self._show(message, turn, "")

    async def language(self, message: Message, turn: Turn) -> None:
        await self._show(message, turn, "lang")

    async def pressed(self, query: CallbackQuery, turn: Turn) -> None:
        """Do what the button says, then draw the menu that follows."""
        chat = chat_of(query)
        person = await turn.person(chat)
        if person is None:
            words = await turn.words(chat, query.from_user)
            turn.toast(query, _no_person(words))
            return
        _, _, rest = (query.data or "").partition(":")
        page, _, choice = rest.partition(":")
        if choice and (changed := await self._change(turn.connection, person, page, choice)):
            await upsert(turn.connection, {person["external_id"]: changed})
            turn.changed.add(person["id"])
            turn.forget(chat)
            person = await turn.person(chat)
            page = "cats" if page == "cat" else ""
            choice = ""
        turn.toast(query)
        turn.redraw(query, *await self._draw(turn, query, person, page, choice))

    async def _show(self, message: Message, turn: Turn, page: str) -> None:
        chat = chat_of(message)
        person = await turn.person(chat)
        if person is None:
            turn.say(chat, _no_person(await turn.words(chat, message.from_user)))
        else:
            turn.say(chat, *await self._draw(turn, message, person, page, ""))

    async def _change(self, connection: Connection, person: Any, page: str, choice: str) -> Profile | None:
        """What the choice changes; None: it only leads on."""
        match page:
            case "mute":
                return Profile(muted=choice == "on")
            case "lang" if canonical_locale(choice) == choice:
                return Profile(locale=choice)
            case "quiet" if choice in (*QUIET_CHOICES, NEVER, USUAL):
                return Profile(quiet_hours=None if choice == USUAL else choice)
            case "zone" if choice in zones():
                return Profile(time_zone=choice)
            case "cat":
                return await self._toggled(connection, person, choice)
        return None

    async def _toggled(self, connection: Connection, person: Any, key: str) -> Profile | None:
        category = next((name for name in self._settings.categories if key_of(name) == key), None)
        if category is None:
            return None
        rows = await connection.fetch(_MUTES, person["id"])
        mutes = [MuteInput(category=row["category"], sender=row["sender"]) for row in rows]
        one = MuteInput(category=category)
        mutes = [mute for mute in mutes if mute != one] if one in mutes else [*mutes, one]
        return Profile(mutes=tuple(mutes))

    async def _draw(
        self, turn: Turn, update: Message | CallbackQuery, person: Any, page: str, choice: str
    ) -> Menu:
        chat = chat_of(update)
        locale = await turn.locale(chat, update.from_user)
        words = turn.localisation.translator(locale)
        language = turn.localisation.language(locale)
        match page:
            case "cats" | "cat":
                return self._categories(words, language, person)
            case "quiet":
                return _quiet(words)
            case "zone":
                return _zone(words, choice)
            case "lang":
                return _languages(words, turn.localisation.languages)
        return self._main(words, locale, person)

    def _main(self, words: NullTranslations, locale: str, person: Any) -> Menu:
        gettext = words.gettext
        quiet = quiet_of(person)
        shown = self._audience.quiet_hours if quiet is None else str(quiet)
        if shown is None or (quiet is not None and quiet.start == quiet.end):
            shown = gettext("none")
        lines = [
            gettext("Notifications: off, except important ones")
            if person["muted"]
            else gettext("Notifications: on"),
            gettext("Quiet hours: {hours}").format(hours=shown),
            gettext("Time zone: {zone}").format(zone=person["zone"] or self._audience.time_zone),
            gettext("Language: {language}").format(language=_autonym(locale)),
        ]
        turned = (gettext("Turn on"), "off") if person["muted"] else (gettext("Turn off"), "on")
        rows = [[_button(turned[0], f"mute:{turned[1]}")]]
        if self._settings.categories:
            rows.append([_button(gettext("Categories"), "cats")])
        rows += [
            [_button(gettext("Quiet hours"), "quiet"), _button(gettext("Time zone"), "zone")],
            [_button(gettext("Language"), "lang")],
        ]
        return "\n".join(lines), rows

    def _categories(self, words: NullTranslations, language: str | None, person: Any) -> Menu:
        rows = []
        for name in self._settings.categories:
            mark = "☐" if name in person["muted_categories"] else "☑"
            title = title_of(self._settings.categories, name, language)
            rows.append([_button(f"{mark} {title}", f"cat:{key_of(name)}")])
        return words.gettext("What do you want to hear about?"), [*rows, _back(words)]


def _no_person(words: NullTranslations) -> str:
    return words.gettext("You get no notifications here yet: press /start")


def _button(text: str, rest: str) -> Button:
    return Button(text, f"{SETTINGS}:{rest}")


def _back(words: NullTranslations) -> list[Button]:
    return [Button(words.gettext("Back"), SETTINGS)]


def _quiet(words: NullTranslations) -> Menu:
    rows = [[_button(hours, f"quiet:{hours}")] for hours in QUIET_CHOICES]
    rows.append([_button(words.gettext("None"), f"quiet:{NEVER}")])
    rows.append([_button(words.gettext("As usual here"), f"quiet:{USUAL}")])
    return words.gettext("When should it be quiet? What comes then waits."), [*rows, _back(words)]


def _languages(words: NullTranslations, languages: Sequence[str]) -> Menu:
    rows = [[_button(_autonym(language), f"lang:{language}")] for language in languages]
    return words.gettext("Which language do you read?"), [*rows, _back(words)]


def _autonym(locale: str) -> str:
    """A language as those who speak it call it."""
    name = Locale.parse(locale, sep="-").get_display_name() or locale
    return name[:1].upper() + name[1:]


def _zone(words: NullTranslations, choice: str) -> Menu:
    """Regions; or, for `Europe:1`, the second page of a region's zones."""
    region, _, number = choice.partition(":")
    found = _zones_of(region)
    if not found:
        rows = [[_button(name, f"zone:{name}:0")] for name in REGIONS]
        return words.gettext("Where are you?"), [*rows, [_button("UTC", "zone:UTC")], _back(words)]
    page = int(number) if number.isdecimal() and len(number) < 3 else 0  # noqa: PLR2004
    start = page * ZONES_SHOWN
    shown = found[start : start + ZONES_SHOWN]
    buttons = [_button(zone.partition("/")[2].replace("_", " "), f"zone:{zone}") for zone in shown]
    rows = [buttons[at : at + 2] for at in range(0, len(buttons), 2)]
    turn = []
    if page:
        turn.append(_button("◀", f"zone:{region}:{page - 1}"))
    if start + ZONES_SHOWN < len(found):
        turn.append(_button("▶", f"zone:{region}:{page + 1}"))
    return words.gettext("Which time is yours?"), [*rows, *([turn] if turn else []), _back(words)]


@cache
def _zones_of(region: str) -> tuple[str, ...]:
    """The zones of a region; none for what is no region."""
    if region not in REGIONS:
        return ()
    return tuple(sorted(zone for zone in zones() if zone.startswith(f"{region}/")))
