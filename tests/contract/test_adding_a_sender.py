"""The guide's example, taken out of the page and run through the whole sender suite."""

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import service.sender_settings
from tests.contract.sender_suite import SenderSuite

GUIDE = (Path(__file__).parents[2] / "docs" / "adding-a-sender.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```python\n# (\S+)\.py\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^    (\"PAGER\": lambda .*),$", re.MULTILINE)


def run_the_guide() -> dict[str, Any]:
    """Everything that the blocks define, each run in their order as the module that its first line names."""
    made: list[str] = []
    defined: dict[str, Any] = {}
    before = dict(vars(service.sender_settings))
    try:
        for path, code in _BLOCK.findall(GUIDE):
            name = path.replace("/", ".")
            if name not in sys.modules:
                sys.modules[name] = ModuleType(name)
                made.append(name)
            exec(compile(code, f"adding-a-sender.md:{path}", "exec"), vars(sys.modules[name]))
            defined |= vars(sys.modules[name])
    finally:
        for name in made:
            del sys.modules[name]
        for name in vars(service.sender_settings).keys() - before.keys():
            delattr(service.sender_settings, name)
    return defined


DEFINED = run_the_guide()


class TestTheGuidesExample(SenderSuite):
    rig_class = DEFINED["PagerRig"]


def test_the_guide_shows_every_file() -> None:
    assert [path for path, _ in _BLOCK.findall(GUIDE)] == [
        "service/sender_settings",
        "service/senders/pager",
        "tests/fakes/pager",
        "tests/contract/rigs/pager",
    ]


def test_the_row_makes_the_sender_of_the_settings() -> None:
    (row,) = _ROW.findall(GUIDE)
    table = eval(f"{{{row}}}", DEFINED)
    sender = table["PAGER"](SimpleNamespace(pager=DEFINED["PagerSettings"](token="t")))
    assert isinstance(sender, DEFINED["PagerSender"])
    assert (sender.name, sender.off_reason) == ("PAGER", None)


def test_the_page_of_the_guide_has_every_setting() -> None:
    rows = re.findall(r"^    \| `(PAGER_[A-Z_]+)` \| (.*?) ?\| ", GUIDE, re.MULTILINE)
    fields = DEFINED["PagerSettings"].model_fields
    assert [name.removeprefix("PAGER_").lower() for name, _ in rows] == list(fields)
    assert [shown.strip("`") for _, shown in rows] == [
        "",
        fields["api_url"].default,
        f"{fields['rate'].default:g}",
    ]
