"""A real Matrix homeserver (Synapse, with SQLite) on 127.0.0.1, and people on it."""

import hmac
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import aiohttp

from tests.support.net import free_port
from tests.support.waiting import wait_blocking

START_SECONDS = 90.0
STOP_SECONDS = 20.0
MESSAGES_AT_ONCE = 50
NAME = "matrix.test"
_SECRET = "registration-secret-of-the-tests"
_CONFIG = """\
server_name: {name}
pid_file: {folder}/homeserver.pid
listeners:
  - {{port: {port}, bind_addresses: [127.0.0.1], type: http, tls: false, resources: [{{names: [client]}}]}}
database: {{name: sqlite3, args: {{database: {folder}/homeserver.db}}}}
log_config: {folder}/log.yaml
media_store_path: {folder}/media
signing_key_path: {folder}/signing.key
registration_shared_secret: {secret}
macaroon_secret_key: {secret}
report_stats: false
suppress_key_server_warning: true
trusted_key_servers: []
bcrypt_rounds: 4
rc_message: {{per_second: 1, burst_count: {burst}}}
"""
_LOGGING = """\
version: 1
handlers: {file: {class: logging.FileHandler, filename: FOLDER/homeserver.log}}
root: {level: WARNING, handlers: [file]}
"""


class Synapse:
    """One homeserver. Everybody may send `MESSAGES_AT_ONCE` messages, then one a second."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Synapse":
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "homeserver.yaml"
        config.write_text(
            _CONFIG.format(name=NAME, folder=self._folder, port=port, secret=_SECRET, burst=MESSAGES_AT_ONCE)
        )
        (self._folder / "log.yaml").write_text(_LOGGING.replace("FOLDER", str(self._folder)))
        command = [sys.executable, "-m", "synapse.app.homeserver", "-c", str(config)]
        seed = b64encode(b"a signing key of the tests alone").decode().rstrip("=")
        (self._folder / "signing.key").write_text(f"ed25519 a_test {seed}\n")
        with (self._folder / "output.log").open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=self._folder, stdout=output, stderr=subprocess.STDOUT
            )
        wait_blocking(self._answers, START_SECONDS, "Synapse takes connections")
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"Synapse ended: {(self._folder / 'output.log').read_text()[-2_000:]}")
        try:
            with urlopen(f"{self.url}/_matrix/client/versions", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Person:
    """An account, and what its program would call."""

    def __init__(self, server: Synapse, name: str, token: str) -> None:
        self.id = f"@{name}:{NAME}"
        self.token = token
        self._server = server

    @classmethod
    async def register(cls, server: Synapse, name: str) -> "Person":
        nonce = (await _call(server, "GET", "/_synapse/admin/v1/register", None))["nonce"]
        signed = f"{nonce}\0{name}\0password\0notadmin"
        mac = hmac.new(_SECRET.encode(), signed.encode(), "sha1").hexdigest()
        body = {"nonce": nonce, "username": name, "password": "password", "admin": False, "mac": mac}
        registered = await _call(server, "POST", "/_synapse/admin/v1/register", None, body)
        return cls(server, name, registered["access_token"])

    async def create_room(self, *invited: "Person") -> str:
        """The room's id. Whoever is invited has joined."""
        body = {"preset": "private_chat", "invite": [person.id for person in invited]}
        room = (await self._call("POST", "/_matrix/client/v3/createRoom", body))["room_id"]
        for person in invited:
            await person._call("POST", f"/_matrix/client/v3/rooms/{quote(room, safe='')}/join", {})
        return str(room)

    async def leave(self, room: str) -> None:
        await self._call("POST", f"/_matrix/client/v3/rooms/{quote(room, safe='')}/leave", {})

    async def messages(self, room: str) -> list[dict[str, Any]]:
        """The room's messages, oldest first."""
        path = f"/_matrix/client/v3/rooms/{quote(room, safe='')}/messages?dir=f&limit=100"
        chunk = (await self._call("GET", path, None))["chunk"]
        return [event for event in chunk if event["type"] == "m.room.message"]

    async def notified(self, room: str) -> list[dict[str, Any]]:
        """What this person's devices rang for and marked as a mention."""
        path = "/_matrix/client/v3/notifications?only=highlight&limit=100"
        found = (await self._call("GET", path, None))["notifications"]
        return [one["event"] for one in found if one["room_id"] == room]

    async def log_out(self) -> None:
        await self._call("POST", "/_matrix/client/v3/logout", {})

    async def _call(self, method: str, path: str, body: object) -> Any:
        return await _call(self._server, method, path, self.token, body)


async def _call(
    server: Synapse, method: str, path: str, token: str | None, body: object | None = None
) -> Any:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, f"{server.url}{path}", json=body) as answer,
    ):
        content = await answer.json()
        assert answer.status == 200, content
        return content
