"""Templates as people write them: the JSON of REST and the files of a folder, checked for their form."""

from math import isfinite
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

from service.content.templates import Format, Param, ParamType, TemplateVersion, Variant
from service.contract.fields import LocaleTag, SenderName

PARAM = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"
TITLE_MAX_CHARS = 2_000
BODY_MAX_CHARS = 100_000
_ONE_LINE = r"^[^\x00-\x1f\x7f]*$"
_NO_NUL = r"^[^\x00]*$"
_BIGGEST = 2**63

Locale = Annotated[LocaleTag, Field(description="As `ru`, `en-US`, `zh-Hant`")]


def storable(value: Any) -> Any:
    """JSON that PostgreSQL keeps and every reader understands: without NUL, lone surrogates and huge numbers."""
    match value:
        case str():
            return value.replace("\0", "").encode("utf-8", "replace").decode()
        case dict():
            return {storable(key): storable(item) for key, item in value.items()}
        case list():
            return [storable(item) for item in value]
        case int() if not -_BIGGEST <= value < _BIGGEST:
            return storable(float(str(value)))
        case float() if not isfinite(value):
            return None
    return value


class ParamDraft(BaseModel):
    """A param of a template."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=PARAM)]
    type: ParamType
    required: StrictBool = True
    example: Annotated[Any, AfterValidator(storable)] = Field(
        None, description="A value of that type; the check renders with it"
    )
    description: Annotated[str, Field(max_length=1_000, pattern=_NO_NUL)] = ""


class VariantDraft(BaseModel):
    """The words in one locale, for one sender or for all others."""

    model_config = ConfigDict(extra="forbid")

    locale: Locale
    sender: SenderName | None = Field(None, description="Only for this sender, as `TG`; null: for all others")
    title: Annotated[str, Field(max_length=TITLE_MAX_CHARS, pattern=_ONE_LINE)] = ""
    body: Annotated[str, Field(min_length=1, max_length=BODY_MAX_CHARS, pattern=_NO_NUL)]
    format: Format = "plain"


class TemplateDraft(BaseModel):
    """What a version is made of."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "default_locale": "en",
                    "params": [{"name": "order", "type": "integer", "example": 17}],
                    "variants": [
                        {"locale": "en", "title": "Order {{ order }}", "body": "Your order was paid."},
                        {"locale": "ru", "title": "Заказ {{ order }}", "body": "Ваш заказ оплачен."},
                    ],
                }
            ]
        },
    )

    default_locale: Locale
    params: Annotated[list[ParamDraft], Field(max_length=100)] = []
    variants: Annotated[list[VariantDraft], Field(min_length=1, max_length=200)]

    def version(self, key: str) -> TemplateVersion:
        """As a value that is not saved."""
        return TemplateVersion(
            id=0,
            key=key,
            number=0,
            default_locale=self.default_locale,
            params=tuple(Param(**param.model_dump()) for param in self.params),
            variants=tuple(Variant(**variant.model_dump()) for variant in self.variants),
        )


def draft_of(version: TemplateVersion) -> TemplateDraft:
    """The reverse of `TemplateDraft.version`."""
    return TemplateDraft.model_validate(
        {
            "default_locale": version.default_locale,
            "params": [_fields(param) for param in version.params],
            "variants": [_fields(variant) for variant in version.variants],
        }
    )


def _fields(value: Param | Variant) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}
