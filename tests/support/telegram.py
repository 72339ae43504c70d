"""The fake Bot API server as a process of its own, so that it outlives what is killed around it."""

import json
import subprocess
import sys
import urllib.request
from typing import Any

from tests.fakes.telegram import TOKEN
from tests.support.service import ROOT

CHAT = "1001"


class TelegramProcess:
    """Start it, give `env` to the service, then read what the chats got."""

    def __init__(self) -> None:
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    @property
    def env(self) -> dict[str, str]:
        """What the service needs to use it."""
        return {"TG_BOT_TOKEN": TOKEN, "TG_API_URL": self.url, "TG_DEFAULT_CHAT_ID": CHAT}

    def start(self) -> "TelegramProcess":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.telegram"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("ready "), f"the fake Bot API server said {line!r}"
        self.url = line.split()[1]
        return self

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            if self._process.stdout:
                self._process.stdout.close()
            self._process = None

    def texts(self) -> list[str]:
        """What was accepted, in order."""
        return [message["text"] for message in self.control("GET", "journal")["items"]]

    def counts(self) -> Any:
        return self.control("GET", "counts")

    def control(self, method: str, name: str, /, **values: object) -> Any:
        """Steer it: see `tests.fakes.telegram`."""
        body = json.dumps(values).encode() if values else None
        request = urllib.request.Request(f"{self.url}/control/{name}", body, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
