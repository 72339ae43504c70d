"""The commands of docs/mailings.md, run against a service."""

import re
import subprocess

from tests.support.service import API_KEY, ROOT, Service

PAGE = (ROOT / "docs" / "mailings.md").read_text()


def test_the_commands_of_the_page_work(service: Service) -> None:
    script = "set -eu\n" + "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    done = subprocess.run(
        ["bash", "-c", script.replace("http://127.0.0.1:8080", service.url)],
        env={"API_KEY": API_KEY, "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "event: progress" in done.stdout
    assert '"status":"finished"' in done.stdout
    assert re.search(r"^reader-1,CONSOLE,anna,sent,", done.stdout, re.MULTILINE)
