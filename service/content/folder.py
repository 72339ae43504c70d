"""Templates as a folder of files, for reviews and version control.

A folder for each template, named by its key: `template.yaml` with `default_locale` and `params`, and a
file for each variant, `<locale>[.<sender>].<txt|md|html>`, whose ending is its format. A file may begin
with a head between two lines of `---` that has the title; everything after it is the body.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import TypeAdapter, ValidationError

from service.content.drafts import TemplateDraft, VariantDraft
from service.content.templates import Format
from service.contract import field_problems
from service.contract.fields import TemplateKey

HEAD = "template.yaml"
_ENDINGS: Mapping[str, Format] = {".txt": "plain", ".md": "markdown", ".html": "html"}
_ENDING_OF = {written_in: ending for ending, written_in in _ENDINGS.items()}
_RULE = "---"
_KEY = TypeAdapter[str](TemplateKey)


class FolderError(ValueError):
    """A folder that holds no templates, or broken ones; the text names the files."""


@dataclass(frozen=True, slots=True)
class Change:
    """What importing would do to one template. `lines` are a unified diff of its files."""

    key: str
    kind: Literal["new", "changed", "same"]
    lines: tuple[str, ...]


class _Loader(yaml.SafeLoader):
    """Dates stay text: a template's examples are JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_folder(folder: Path) -> dict[str, TemplateDraft]:
    """Every template of a folder by its key. Raises `FolderError`, or `OSError` for what cannot be read."""
    heads = sorted(folder.glob(f"*/{HEAD}"))
    if not heads:
        raise FolderError(f"{folder} has no templates: nothing is at {folder}/*/{HEAD}")
    return {head.parent.name: _read_template(head) for head in heads}


def write_folder(folder: Path, drafts: Mapping[str, TemplateDraft]) -> None:
    """Write these templates; files of variants they no longer have are removed, other templates stay."""
    for key, draft in drafts.items():
        files = files_of(draft)
        home = folder / key
        home.mkdir(parents=True, exist_ok=True)
        for stale in home.iterdir():
            if stale.suffix in _ENDINGS and stale.name not in files:
                stale.unlink()
        for name, text in files.items():
            (home / name).write_text(text, encoding="utf-8", newline="\n")


def files_of(draft: TemplateDraft) -> dict[str, str]:
    """The files of a template, by their names."""
    head = draft.model_dump(exclude={"variants"}, exclude_defaults=True)
    files = {HEAD: yaml.safe_dump(head, allow_unicode=True, sort_keys=False)}
    for variant in draft.variants:
        names = [variant.locale, *([variant.sender] if variant.sender else [])]
        files[".".join(names) + _ENDING_OF[variant.format]] = _text_of(variant)
    return dict(sorted(files.items()))


def changes(theirs: Mapping[str, TemplateDraft], ours: Mapping[str, TemplateDraft]) -> Iterator[Change]:
    """What `ours` would change in `theirs`, by key."""
    for key, draft in sorted(ours.items()):
        old = files_of(theirs[key]) if key in theirs else {}
        lines = tuple(_differences(key, old, files_of(draft)))
        yield Change(key, "new" if key not in theirs else "changed" if lines else "same", lines)


def _differences(key: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        before, after = (files.get(name, "").splitlines() for files in (old, new))
        yield from unified_diff(before, after, f"service/{key}/{name}", f"folder/{key}/{name}", lineterm="")


def _read_template(head: Path) -> TemplateDraft:
    try:
        _KEY.validate_python(head.parent.name)
    except ValidationError:
        raise FolderError(f"{head.parent}: is no name of a template; accepted: as order.paid") from None
    try:
        content: Any = yaml.load(head.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a safe loader's child
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FolderError(f"{head}: is no YAML: {error}") from None
    if not isinstance(content, dict):
        raise FolderError(f"{head}: is no mapping; accepted: default_locale and params")
    files = sorted(file for file in head.parent.iterdir() if file.suffix in _ENDINGS)
    try:
        return TemplateDraft.model_validate({**content, "variants": [_read_variant(file) for file in files]})
    except ValidationError as error:
        raise FolderError(_told(head, files, error)) from None


def _read_variant(file: Path) -> dict[str, Any]:
    locale, _, sender = file.stem.partition(".")
    title, body = _parts(file.read_text(encoding="utf-8"))
    return {
        "locale": locale,
        "sender": sender or None,
        "title": title,
        "body": body,
        "format": _ENDINGS[file.suffix],
    }


def _parts(text: str) -> tuple[str, str]:
    """Title and body. The line break that ends every file is not part of the body."""
    head, rule, body = text.removeprefix(f"{_RULE}\n").partition(f"\n{_RULE}\n")
    if not text.startswith(f"{_RULE}\n") or not rule:
        return "", text.removesuffix("\n")
    lines = (line.partition(":") for line in head.split("\n"))
    titles = [value.removeprefix(" ") for name, _, value in lines if name == "title"]
    return (titles[0] if titles else ""), body.removesuffix("\n")


def _text_of(variant: VariantDraft) -> str:
    if not variant.title and not variant.body.startswith(_RULE):
        return f"{variant.body}\n"
    return f"{_RULE}\ntitle: {variant.title}\n{_RULE}\n{variant.body}\n"


def _told(head: Path, files: list[Path], error: ValidationError) -> str:
    lines = []
    for problem in field_problems(error.errors(include_url=False)):
        parts = problem.field.split(".")
        in_variant = parts[0] == "variants" and len(parts) > 1
        file = files[int(parts[1])] if in_variant else head
        field = ".".join(parts[2:]) if in_variant else problem.field
        lines.append(f"{file}: {field}: {problem.problem}")
    return "\n".join(lines)
