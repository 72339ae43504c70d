"""What is wrong with a template, told before anybody gets it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Protocol

from babel import Locale, UnknownLocaleError

from service.content.rendering import Inspection, Rendered, Renderer, RenderError
from service.content.templates import Format, TemplateVersion, Variant, accepted, fits

Level = Literal["error", "warning"]
Unit = Literal["characters", "utf-16 units", "bytes"]

_RESERVED = """
    and as block by call else elif endfor endif false filter for from if import in include is loop macro namespace
    none not or range recursive self set super true varargs kwargs caller False None True
"""
_SAMPLES = (*range(200), 1_000, 100_000, 1_000_000)


class SenderShape(Protocol):
    """What a sender can show, as its capabilities tell. None: no limit of one message's length."""

    @property
    def formats(self) -> frozenset[Format]: ...
    @property
    def max_length(self) -> int | None: ...
    @property
    def length_unit(self) -> Unit: ...
    @property
    def splits(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. An error keeps a version from being saved.

    `where` is a path, as `variants.ru.TG.body` or `params.order`.
    """

    level: Level
    code: str
    where: str
    text: str
    line: int | None = None


class Checker:
    """Checks drafts. `shapes`: every sender by name; `locales`: the languages that every template has to have."""

    def __init__(
        self, renderer: Renderer, shapes: Mapping[str, SenderShape], locales: Sequence[str] = ()
    ) -> None:
        self._renderer = renderer
        self._shapes = shapes
        self._locales = locales

    async def check(self, version: TemplateVersion) -> list[Finding]:
        """Everything that was found, errors first. Raises `RenderError` when nothing can be rendered now."""
        found = [*_check_params(version), *self._check_locales(version), *self._check_senders(version)]
        used: set[str] = set()
        for variant in version.variants:
            try:
                inspection = await self._renderer.inspect(variant)
                used |= inspection.names
                undeclared = list(_check_names(version, variant, inspection))
                found += [*undeclared, *_check_plurals(variant, inspection)]
                if not undeclared:
                    found += await self._check_texts(version, variant)
            except RenderError as error:
                found.append(_of_render_error(variant, error))
                if error.code == "overrun":  # each of them would take its time
                    break
        if not any(finding.code in ("syntax", "overrun") for finding in found):
            found += _check_unused(version, used)
        return sorted(dict.fromkeys(found), key=lambda finding: finding.level != "error")

    def _check_locales(self, version: TemplateVersion) -> Iterator[Finding]:
        general = {variant.locale for variant in version.variants if variant.sender is None}
        everywhere = {variant.locale for variant in version.variants}
        if version.default_locale not in general:
            yield Finding(
                "error",
                "no_default",
                "default_locale",
                f"there is no variant in {version.default_locale} for all senders",
            )
        for locale in sorted(everywhere | {version.default_locale}):
            if not _is_known(locale):
                yield Finding("error", "unknown_locale", f"variants.{locale}", "is no known language")
        for locale in self._locales:
            if locale not in general:
                yield Finding("warning", "missing_locale", f"variants.{locale}", "is missing")
        for locale in sorted(everywhere - general):
            yield Finding(
                "warning", "missing_locale", f"variants.{locale}", "is there for single senders only"
            )

    def _check_senders(self, version: TemplateVersion) -> Iterator[Finding]:
        seen: set[tuple[str, str | None]] = set()
        for variant in version.variants:
            if (variant.locale, variant.sender) in seen:
                yield Finding("error", "repeated", where(variant), "is there twice")
            seen.add((variant.locale, variant.sender))
            if variant.sender is not None and variant.sender not in self._shapes:
                known = ", ".join(sorted(self._shapes))
                yield Finding(
                    "error", "unknown_sender", where(variant), f"is for no known sender; accepted: {known}"
                )
            for name, shape in self._served(version, variant):
                if variant.format not in shape.formats:
                    yield Finding(
                        "error" if variant.sender else "warning",
                        "refused_markup",
                        where(variant),
                        f"{name} does not take {variant.format}; accepted: {', '.join(sorted(shape.formats))}",
                    )

    def _served(self, version: TemplateVersion, variant: Variant) -> Iterator[tuple[str, SenderShape]]:
        """The senders that would use this variant, by name."""
        own = {other.sender for other in version.variants if other.locale == variant.locale}
        for name, shape in self._shapes.items():
            if variant.sender == name or (variant.sender is None and name not in own):
                yield name, shape

    async def _check_texts(self, version: TemplateVersion, variant: Variant) -> list[Finding]:
        """Render with the examples, once with all of them and once without the optional ones."""
        known = [
            param for param in version.params if param.example is not None and fits(param.type, param.example)
        ]
        if any(param.required and param not in known for param in version.params):
            return []
        found: list[Finding] = []
        required = [param for param in known if param.required]
        for chosen in [known] if required == known else [known, required]:
            params = {param.name: param.example for param in chosen}
            rendered = await self._renderer.render(
                version, variant, params, locale=variant.locale, zone="UTC"
            )
            found += self._check_length(version, variant, rendered)
        return found

    def _check_length(
        self, version: TemplateVersion, variant: Variant, rendered: Rendered
    ) -> Iterator[Finding]:
        text = "\n\n".join(part for part in (rendered.title, rendered.body) if part)
        if not rendered.body.strip():
            yield Finding("error", "blank", f"{where(variant)}.body", "is blank with the example params")
        for name, shape in self._served(version, variant):
            length = length_in(shape.length_unit, text)
            if shape.max_length is not None and length > shape.max_length:
                what = "is sent in parts" if shape.splits else "is over its limit"
                yield Finding(
                    "warning" if shape.splits or variant.sender is None else "error",
                    "too_long",
                    f"{where(variant)}.body",
                    f"{what} by {name}: {length} {shape.length_unit} with the example params, of {shape.max_length}",
                )


def where(variant: Variant) -> str:
    """The path of a variant."""
    return ".".join(("variants", variant.locale, *([variant.sender] if variant.sender else [])))


def length_in(unit: Unit, text: str) -> int:
    """The length of a text as a provider counts it."""
    match unit:
        case "characters":
            return len(text)
        case "bytes":
            return len(text.encode("utf-8", "replace"))
        case "utf-16 units":
            return len(text.encode("utf-16-le", "surrogatepass")) // 2


def integer_plurals(locale: str) -> frozenset[str]:
    """The categories that whole numbers have in a language."""
    rule = Locale.parse(locale, sep="-").plural_form
    return frozenset(rule(Decimal(number)) for number in _SAMPLES)


def _check_params(version: TemplateVersion) -> Iterator[Finding]:
    seen: set[str] = set()
    for param in version.params:
        place = f"params.{param.name}"
        if param.name in seen:
            yield Finding("error", "repeated", place, "is declared twice")
        seen.add(param.name)
        if param.name in _RESERVED.split():
            yield Finding("error", "reserved", place, "is a word of the template language")
        if param.example is None and param.required:
            yield Finding("warning", "no_example", place, "has no example: its texts were not tried")
        elif param.example is not None and not fits(param.type, param.example):
            yield Finding(
                "error",
                "wrong_example",
                place,
                f"has an example that is not {param.type}; accepted: {accepted(param)}",
            )


def _check_names(version: TemplateVersion, variant: Variant, inspection: Inspection) -> Iterator[Finding]:
    for name in sorted(inspection.names - {param.name for param in version.params}):
        yield Finding("error", "undeclared", where(variant), f"uses {name}, which is not declared")


def _check_unused(version: TemplateVersion, used: set[str]) -> Iterator[Finding]:
    for param in version.params:
        if param.name not in used:
            yield Finding("warning", "unused", f"params.{param.name}", "is declared, but no variant uses it")


def _check_plurals(variant: Variant, inspection: Inspection) -> Iterator[Finding]:
    if not _is_known(variant.locale):
        return
    needed = integer_plurals(variant.locale)
    for use in inspection.plurals:
        missing = needed - use.forms
        if not missing:
            continue
        covered = "other" in use.forms
        yield Finding(
            "warning" if covered else "error",
            "missing_plural",
            f"{where(variant)}.{use.part}",
            f"plural lacks {', '.join(sorted(missing))}" + (", shown as other" if covered else ""),
            use.line,
        )


def _of_render_error(variant: Variant, error: RenderError) -> Finding:
    if error.temporary:
        raise error
    place = ".".join((where(variant), *([error.part] if error.part else [])))
    return Finding("error", error.code, place, error.reason, error.line)


def _is_known(locale: str) -> bool:
    try:
        Locale.parse(locale, sep="-")
    except (ValueError, UnknownLocaleError):
        return False
    return True


def example_params(version: TemplateVersion) -> Mapping[str, Any]:
    """The examples of all params that have one."""
    return {param.name: param.example for param in version.params if param.example is not None}
