"""The README's table of settings is that of the code; its links lead somewhere."""

import re
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from service.settings import Settings
from tests.support.service import ROOT

README = (ROOT / "README.md").read_text()


def _shown(default: Any) -> str:
    match default:
        case None | () | dict():
            return ""
        case bool():
            return f"`{str(default).lower()}`"
        case SecretStr():
            return f"`{default.get_secret_value()}`"
        case tuple():
            return f"`{','.join(map(str, default))}`"
        case dict():
            return ""
        case float():
            return f"`{default:g}`"
    return f"`{default}`"


def _settings() -> list[tuple[str, str]]:
    found = []
    for group in Settings.model_fields.values():
        model: Any = group.default_factory
        prefix = model.model_config["env_prefix"]
        found += [
            (f"{prefix}{name}".upper(), _shown(field.default)) for name, field in model.model_fields.items()
        ]
    return found


def test_the_table_of_settings_is_complete_and_right() -> None:
    section = README.split("\n## Settings\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*?) ?\| (.+) \|$", section, re.MULTILINE)
    assert sorted((name, default) for name, default, _ in rows) == sorted(_settings())


def test_variables_of_the_compose_example_are_settings() -> None:
    names = {name for name, _ in _settings()} | {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"}
    example = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)) <= names


def test_links_to_files_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http|#)([^)#]+)", README):
        assert (Path(ROOT) / target).exists(), target
