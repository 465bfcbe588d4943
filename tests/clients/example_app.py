"""Running a language's example app, and asking it as users do."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import usher

SECONDS = 30


@contextlib.contextmanager
def running(command: Sequence[str | Path], folder: Path, target: str) -> Iterator[str]:
    """The address that the app prints when it serves; `target` is the sidecar's."""
    app = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"USHER_ADDRESS": target, "PORT": "0"},
    )
    try:
        assert app.stdout is not None
        yield app.stdout.readline().strip()
        app.terminate()
        app.wait(SECONDS)
    finally:
        app.kill()
        app.communicate()


def get(address: str, token: str | None) -> tuple[int, Any]:
    """Status and content of the answer."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, headers=headers), timeout=SECONDS
        ) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def check(address: str, target: str) -> None:
    """Each user sees the own row and no other; who is nobody, sees none."""
    with usher.SyncClient(target) as client:
        for sub, tenant, name in (("alice", "acme", "Alice Archer"), ("dave", "globex", "Dave Draper")):
            token = client.issue_token(sub, {"tenant_id": tenant}).token
            row = {"id": sub, "name": name, "email": f"{sub}@{tenant}.example"}
            assert get(address, token) == (200, [row])
    assert get(address, None)[0] == 401
    assert get(address, "no-token") == (401, {"error": "TOKEN_MALFORMED"})
    # What a request brings is never the server's error.
    for nothing in ("", "\xff", "a b"):
        assert get(address, nothing)[0] == 401
