"""The service as a real process: `python -m service run` with given settings on a free port."""

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.support.net import free_port
from tests.support.waiting import wait_blocking

ROOT = Path(__file__).parents[2]
API_KEY = "tests-api-key-0123456789abcdef"
_NONE: Mapping[str, str] = MappingProxyType({})
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT")


@dataclass(frozen=True)
class Answer:
    """What HTTP answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """One process of the service. `env` wins over the defaults: 127.0.0.1, a free port, `API_KEY`."""

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str],
        *,
        cwd: Path = ROOT,
        command: Sequence[str] = (sys.executable, "-m", "service", "run"),
    ) -> None:
        self.port = int(env.get("SERVER_PORT") or free_port())
        self.log_file = folder / f"service-{self.port}.log"
        self._command = command
        self._cwd = cwd
        self._env = {
            **{name: os.environ[name] for name in _INHERITED if name in os.environ},
            "PYTHONUNBUFFERED": "1",
            "SERVER_HOST": "127.0.0.1",
            "SERVER_PORT": str(self.port),
            "ADMIN_API_KEY": API_KEY,
            **env,
        }
        self.api_key: str | None = self._env["ADMIN_API_KEY"]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the service is not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, ready: bool = True, deadline: float = 40.0) -> "Service":
        """Start the process and wait until `/health/ready` answers 200, or do not wait."""
        with self.log_file.open("ab") as log:
            # A session of its own: Ctrl-C reaches pytest only, whose fixtures then stop the service.
            self._process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if ready:
            self.wait_ready(deadline)
        return self

    def wait_ready(self, deadline: float = 40.0) -> None:
        try:
            wait_blocking(self._is_ready, deadline, "the service is ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()[-4000:]}") from None

    def _is_ready(self) -> bool:
        assert self.running, f"the service ended with {self._process and self._process.returncode}"
        try:
            answer = self.call("GET", "/health/ready", key=None)
        except (OSError, http.client.HTTPException):
            return False
        return answer.status == http.HTTPStatus.OK and b"it is starting" not in answer.body

    def kill(self) -> None:
        """SIGKILL, as a crash: of everything that was started, if a command started the service."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
        self._wait(10)

    def terminate(self, deadline: float = 40.0) -> int:
        """SIGTERM: the draining stop. Returns the exit code."""
        if self.running:
            os.kill(self.pid, signal.SIGTERM)
        return self._wait(deadline)

    def restart(self) -> "Service":
        """Stop (unless it ended already) and start again with the same settings and port."""
        if self.running:
            self.terminate()
        return self.start()

    def close(self) -> None:
        """The end of a test: stop it, and by force when it does not."""
        if not self.running:
            return
        try:
            self.terminate()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"SIGTERM did not stop the service\n{self.logs()[-4000:]}") from None

    def _wait(self, deadline: float) -> int:
        assert self._process is not None, "the service is not started"
        return self._process.wait(deadline)

    def logs(self) -> str:
        """Everything it printed, over all its starts."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def wait_for_log(self, text: str, deadline: float = 15.0) -> None:
        wait_blocking(lambda: text in self.logs(), deadline, f"{text!r} in the log")

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = "",
        headers: Mapping[str, str] = _NONE,
        timeout: float = 30.0,
    ) -> Answer:
        """One HTTP request. `body` is sent as JSON unless it is bytes; `key=None` sends no API key.

        Raises OSError when no answer came, or only a part of it.
        """
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = dict(headers)
        if raw is not None:
            sent.setdefault("Content-Type", "application/json")
        if api_key := self.api_key if key == "" else key:
            sent["X-API-Key"] = api_key
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, raw, sent)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        except http.client.IncompleteRead as cut:
            raise ConnectionResetError("the answer was cut off") from cut
        finally:
            connection.close()

    async def acall(self, method: str, path: str, body: object = None, **options: Any) -> Answer:
        """`call` without blocking the event loop."""
        return await asyncio.to_thread(self.call, method, path, body, **options)
