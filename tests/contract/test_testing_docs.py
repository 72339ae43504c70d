"""The guide for producers is a test module, and it passes."""

import inspect
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "testing-with-faststream.md"
MODULE = "\n".join(re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL))
NAMES = re.findall(r"def (test_\w+)", MODULE)


def test_the_guide_shows_both_brokers() -> None:
    assert {"TestRabbitBroker", "TestKafkaBroker"} <= set(re.findall(r"\w+", MODULE))


@pytest.mark.parametrize("name", NAMES)
async def test_the_guide(name: str, tmp_path: Path) -> None:
    # From a file, as a reader would run it: FastStream reads the source of its caller.
    path = tmp_path / "guide.py"
    path.write_text(MODULE)
    spec = spec_from_file_location("guide", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    result = getattr(module, name)()
    if inspect.isawaitable(result):
        await result
