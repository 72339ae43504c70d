"""The commands of docs/recipients.md, run against a service."""

import json
import re
import subprocess

from tests.api.conftest import Get
from tests.support.service import API_KEY, ROOT, Service

PAGE = (ROOT / "docs" / "recipients.md").read_text()


def test_the_commands_of_the_page_work(service: Service, get: Get) -> None:
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
    ndjson, table = [json.loads(line) for line in done.stdout.splitlines() if line.strip()][-2:]
    assert [refusal["line"] for refusal in ndjson.pop("refusals")] == [2]
    assert ndjson == {"created": 1, "updated": 0, "unchanged": 0, "refused": 1}
    assert (table["created"], table["refused"]) == (1, 0)
    assert get("/v1/recipients/user-45")["attributes"] == {"plan": "pro"}
