"""Every sender has a page, and the pages know every setting and no other."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from service.account_settings import SenderSettings
from service.senders import SENDERS
from service.settings import Settings
from tests.support.service import ROOT

PAGES = ROOT / "docs" / "senders"
GROUPS: list[Any] = [field.default_factory for field in Settings.model_fields.values()]
VARIABLES = {
    f"{group.model_config['env_prefix']}{name}".upper(): field.default
    for group in GROUPS
    for name, field in group.model_fields.items()
}
BY_SENDER = {group.sender_name(): group for group in GROUPS if issubclass(group, SenderSettings)}


def page(sender: str) -> str:
    return (PAGES / f"{sender.lower()}.md").read_text(encoding="utf-8")


def rows_of_settings(text: str) -> list[tuple[list[str], str]]:
    """The variables and the default of each row."""
    section = text.split("\n## Settings\n")[1].split("\n## ", maxsplit=1)[0]
    cells = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    return [(re.findall(r"`([A-Z_]+)`", names), default.strip()) for names, default in cells]


def shown(default: Any) -> str:
    match default:
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}"
        case SecretStr():
            return default.get_secret_value()
    return str(default)


@pytest.mark.parametrize("sender", SENDERS)
def test_a_page_has_every_setting_of_its_sender_with_its_default(sender: str) -> None:
    prefix = f"{sender}_"
    named = []
    for variables, default in rows_of_settings(page(sender)):
        named += [variable for variable in variables if variable.startswith(prefix)]
        is_value = re.fullmatch(r"`[^`]+`|[0-9.]+", default) and default != "`DELIVERY_CONCURRENCY`"
        if len(variables) == 1 and is_value:
            assert default.strip("`") == shown(VARIABLES[variables[0]]), variables
    assert sorted(named) == sorted(f"{prefix}{name}".upper() for name in BY_SENDER[sender].model_fields)


@pytest.mark.parametrize("sender", SENDERS)
def test_a_page_tells_what_to_expect(sender: str) -> None:
    headings = re.findall(r"^## (.+)$", page(sender), re.MULTILINE)
    assert "Settings" in headings
    assert any(heading.startswith("What happens on each ") for heading in headings)
    assert page(sender).startswith(f"# {sender}\n") or page(sender).startswith(f"# `{sender}`")


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.md")), ids=lambda path: path.stem)
def test_variables_that_pages_name_are_settings(path: Path) -> None:
    prefixes = {name.partition("_")[0] + "_" for name in VARIABLES} - {"LOG_", "ROLES_"}
    pattern = rf"(?<![A-Z_`])`?((?:{'|'.join(sorted(prefixes))})[A-Z0-9_]*[A-Z0-9])`?(?![A-Z_*…])"
    named = {
        variable for variable in re.findall(pattern, path.read_text(encoding="utf-8")) if "__" not in variable
    }
    assert named <= VARIABLES.keys()


def test_the_index_has_every_page() -> None:
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| \[`([A-Z]+)`\]\(([a-z]+\.md)\) ", index, re.MULTILINE)) == {
        sender: f"{sender.lower()}.md" for sender in SENDERS
    }


def test_links_lead_somewhere() -> None:
    for path in PAGES.glob("*.md"):
        for target in re.findall(r"\]\((?!http|#|mailto:)([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
            assert (PAGES / target).exists(), (path.name, target)
