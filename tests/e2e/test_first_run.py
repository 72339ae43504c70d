"""From a clone to the first message: `make run`, then the printed line, as a newcomer would."""

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from service.db.embedded import EmbeddedPostgres
from tests.support.service import ROOT, Service
from tests.support.waiting import wait_blocking

PAGES = Path("service/api/static/asyncapi")
BARE = bool(os.environ.get("FIRST_RUN_BARE"))
"""Make the environment too, from the lock file: half a minute, and the package index is needed."""


def _clone(target: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


@pytest.fixture
def clone() -> Iterator[Path]:
    # Not in pytest's own folder, which the next run closes to the user that PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="notifications-clone-") as name:
        folder = Path(name)
        _clone(folder)
        if not BARE:
            (folder / ".venv").symlink_to(ROOT / ".venv")
            if (ROOT / PAGES).exists():
                shutil.copytree(ROOT / PAGES, folder / PAGES)
        yield folder
        if (data := folder / ".data/postgres").exists():
            # A test that failed may have left the server behind: taken over, it is stopped.
            left = EmbeddedPostgres(data)
            left.start()
            left.stop()


@pytest.fixture
def service(clone: Path, tmp_path: Path) -> Iterator[Service]:
    ready_made = [] if BARE else ["-o", ".venv/.runtime"]
    service = Service(tmp_path, {"ADMIN_API_KEY": ""}, cwd=clone, command=["make", *ready_made, "run"])
    yield service
    service.close()


def _servers(clone: Path) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(clone) in word for word in process.info["cmdline"] or [])
    ]


@pytest.mark.process
@pytest.mark.timeout(300)
def test_from_a_clone_to_the_first_message(clone: Path, service: Service) -> None:
    service.start(ready=False).wait_ready(240 if BARE else 60)
    curl = next(line.strip() for line in service.logs().splitlines() if line.strip().startswith("curl "))
    pasted = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, check=True)
    receipt = json.loads(pasted.stdout)
    assert receipt["duplicate"] is False
    wait_blocking(lambda: "│ disk full" in service.logs(), message="the message on the console")
    assert "│ Backup failed" in service.logs()

    found = re.search(r"X-API-Key: ([^\"]+)\"", curl)
    assert found
    service.api_key = found[1]
    message = {"id": "first", "title": "Hello", "body": "world", "sender": "CONSOLE"}
    first = service.call("POST", "/v1/notifications", message)
    again = service.call("POST", "/v1/notifications", message)
    assert (first.status, again.status) == (202, 200)
    assert again.json() == {**first.json(), "duplicate": True}
    wait_blocking(lambda: "│ world" in service.logs(), message="the second message on the console")

    service.restart()
    third = service.call("POST", "/v1/notifications", message)
    assert third.json() == again.json()
    kept = service.call("GET", f"/v1/notifications/{receipt['id']}").json()
    assert (kept["body"], kept["status"]) == ("disk full", "sent")
    assert service.logs().count("│ disk full") == 1

    service.kill()
    service.start()
    assert service.call("GET", f"/v1/notifications/{receipt['id']}").status == 200
    service.terminate()
    wait_blocking(lambda: not _servers(clone), message="no process is left")


@pytest.mark.process
def test_a_port_that_is_taken_ends_the_start_before_anything_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        env = {"SERVER_PORT": str(port), "DATABASE_DATA_DIR": str(tmp_path / "data")}
        service = Service(tmp_path, env).start(ready=False)
        wait_blocking(lambda: not service.running, 30, "it ends")
    assert f"port {port}: Address already in use; set SERVER_PORT to a free port" in service.logs()
    assert "Send a message" not in service.logs()
    assert not (tmp_path / "data").exists()
