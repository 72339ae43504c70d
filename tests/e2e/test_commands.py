"""Commands say what is wrong with what they were given, in a line."""

import os
import subprocess
import sys
from uuid import uuid4

import pytest

from tests.support.service import ROOT


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
