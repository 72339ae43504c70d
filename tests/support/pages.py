"""The pages of docs/ as a reader follows them."""

import re
import subprocess

from tests.support.service import API_KEY, ROOT, Service


def run_commands(page: str, service: Service) -> str:
    """Paste every command of a page, in order, to a service. Returns what they print; none may fail."""
    text = (ROOT / "docs" / page).read_text()
    script = "set -eu\n" + "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    done = subprocess.run(
        ["bash", "-c", script.replace("http://127.0.0.1:8080", service.url)],
        env={"API_KEY": API_KEY, "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
