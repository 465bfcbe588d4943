"""`usher status` against a sidecar whose services have not begun to serve."""

from __future__ import annotations

import json
import re

from tests.cli.conftest import Done, Sidecar, Usher


def status(usher: Usher, sidecar: Sidecar, *options: str) -> Done:
    admin = ("--admin-address", sidecar.admin_address)
    return usher("status", "--address", sidecar.address, *(options or admin))


def test_one_screen(usher: Usher, sidecar: Sidecar) -> None:
    done = status(usher, sidecar)
    whole, tokens, queries, keys = done.out.splitlines()
    assert re.fullmatch(rf"sidecar +SERVING +{sidecar.address}, answers in \d+\.\d ms", whole)
    assert tokens.split() == ["usher.v1.TokenService", "NOT_SERVING"]
    assert queries.split() == ["usher.v1.QueryService", "NOT_SERVING"]
    assert re.fullmatch(r"signing keys +1 active, 1 prepared; next step 20\S+Z", keys)
    assert (done.code, done.err) == (1, ""), "a service that does not serve is bad news"


def test_as_json(usher: Usher, sidecar: Sidecar) -> None:
    answer = json.loads(status(usher, sidecar, "--json", "--admin-address", sidecar.admin_address).out)
    assert answer.pop("answer_ms") > 0
    assert answer.pop("next_step_time").startswith("20")
    assert answer == {
        "address": sidecar.address,
        "status": "SERVING",
        "services": {"usher.v1.TokenService": "NOT_SERVING", "usher.v1.QueryService": "NOT_SERVING"},
        "keys": {"ACTIVE": 1, "PREPARED": 1},
    }


def test_keys_that_cannot_be_seen_are_said_so(usher: Usher, sidecar: Sidecar) -> None:
    lines = status(usher, sidecar, "--admin-address", "unix:/nowhere/admin.sock").out.splitlines()
    assert "not to be seen at unix:/nowhere/admin.sock (CLIENT_UNREACHABLE)" in lines[3]
    assert status(usher, sidecar, "--admin-address", "").out.splitlines()[3].endswith("not asked")
    assert json.loads(status(usher, sidecar, "--json", "--admin-address", "").out)["keys"] is None
