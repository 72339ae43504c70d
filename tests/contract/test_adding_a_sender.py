"""The guide's example, taken out of the page and run through the whole sender suite."""

import re
import sys
from pathlib import Path
from types import ModuleType

import service.sender_settings
from tests.contract.sender_suite import Rig, SenderSuite

GUIDE = Path(__file__).parents[2] / "docs" / "adding-a-sender.md"
_BLOCK = re.compile(r"^```python\n# (\S+)\.py\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def rig_of_the_guide() -> type[Rig]:
    """Run the blocks in their order, each as the module that its first line names."""
    made: list[str] = []
    rig: type[Rig] | None = None
    before = dict(vars(service.sender_settings))
    try:
        for path, code in _BLOCK.findall(GUIDE.read_text(encoding="utf-8")):
            name = path.replace("/", ".")
            if name not in sys.modules:
                sys.modules[name] = ModuleType(name)
                made.append(name)
            exec(compile(code, f"{GUIDE}:{path}", "exec"), vars(sys.modules[name]))
            rig = vars(sys.modules[name]).get("PagerRig", rig)
    finally:
        for name in made:
            del sys.modules[name]
        for name in vars(service.sender_settings).keys() - before.keys():
            delattr(service.sender_settings, name)
    assert rig is not None
    return rig


class TestTheGuidesExample(SenderSuite):
    rig_class = rig_of_the_guide()


def test_the_guide_shows_every_file() -> None:
    paths = [path for path, _ in _BLOCK.findall(GUIDE.read_text(encoding="utf-8"))]
    assert paths == [
        "service/sender_settings",
        "service/senders/pager",
        "tests/fakes/pager",
        "tests/contract/rigs/pager",
    ]
