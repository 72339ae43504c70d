"""Commands say what is wrong with what they were given, in a line."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.net import free_port
from tests.support.service import ROOT, Service


def _run(*words: str, **env: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "service", *words],
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def test_keys_are_made_listed_and_revoked(database_url: str) -> None:
    env = {"DATABASE_URL": database_url, "COLUMNS": "80"}
    code, secret = _run("keys", "create", "shop", "--scope", "send", "--scope", "read", **env)
    assert (code, secret[:4]) == (0, "ntf_")
    listed = _run("keys", "list", **env)[1]
    assert "…" not in listed
    key_id = next(word for word in listed.split() if word.count("-") == 4)
    assert _run("keys", "revoke", key_id, **env) == (0, "revoked\n")
    assert _run("keys", "revoke", str(uuid4()), **env) == (1, "there is no such key in use\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("keys", "revoke", "shop"), "should be a valid UUID"),
        (("send", "hello"), "no API key: give it with --key, or set NOTIFICATIONS_API_KEY"),
        (("send", "hello", "--key", "k", "--url", "nowhere"), "'nowhere' is no web address"),
    ],
)
def test_what_cannot_be_done_is_said(words: tuple[str, ...], said: str) -> None:
    code, output = _run(*words, NOTIFICATIONS_API_KEY="")
    assert code != 0
    assert said in output
    assert "Traceback" not in output


def test_a_start_that_waits_for_the_database_ends_when_it_is_told_to(tmp_path: Path) -> None:
    url = f"postgresql://nobody:secret@127.0.0.1:{free_port()}/nothing"
    service = Service(tmp_path, {"DATABASE_URL": url})
    service.start(ready=False)
    try:
        service.wait_for_log("PostgreSQL does not answer")
        assert service.terminate(10) == 0
    finally:
        service.kill()
    assert "Traceback" not in service.logs()
