"""The commands of docs/mailings.md, run against a service."""

import re

from tests.support.pages import run_commands
from tests.support.service import Service


def test_the_commands_of_the_page_work(service: Service) -> None:
    printed = run_commands("mailings.md", service)
    assert "event: progress" in printed
    assert '"status":"finished"' in printed
    assert re.search(r"^reader-1,CONSOLE,anna,sent,", printed, re.MULTILINE)
