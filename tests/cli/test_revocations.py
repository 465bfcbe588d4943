"""`usher token revoke`, `revocations` and `lift` over the admin socket."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Done, Sidecar, Usher


def token(usher: Usher, sidecar: Sidecar, *arguments: str) -> Done:
    return usher("token", *arguments, "--address", sidecar.admin_address)


def issued(usher: Usher, sidecar: Sidecar, subject: str = "alice") -> Done:
    return usher("token", "issue", "--sub", subject, "--address", sidecar.address)


def test_a_revoked_user_gets_no_token_until_it_is_lifted(usher: Usher, sidecar: Sidecar) -> None:
    done = token(usher, sidecar, "revoke", "--sub", "alice")
    until, alone, others = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert until.startswith("revoked until 20")
    assert "by this sidecar alone" in alone
    assert "until it expires" in others
    refused = issued(usher, sidecar)
    assert refused.code == 1
    assert refused.err.startswith("usher: UNAUTHENTICATED TOKEN_REVOKED: subject: revoked by sub")
    assert issued(usher, sidecar, "bob").code == 0
    done = token(usher, sidecar, "lift", "--sub", "alice")
    assert (done.code, done.out) == (0, "lifted\n")
    assert issued(usher, sidecar).code == 0


@pytest.mark.parametrize("by", ["jti", "kid"])
def test_a_token_or_a_key(usher: Usher, sidecar: Sidecar, by: str) -> None:
    described = json.loads(usher("token", "issue", "--sub", "a", "--json", "--address", sidecar.address).out)
    assert token(usher, sidecar, "revoke", f"--{by}", described[by]).code == 0
    refused = usher("token", "verify", described["token"], "--address", sidecar.address)
    assert f"TOKEN_REVOKED: token: revoked by {by}" in refused.err


def test_the_list_has_a_line_for_each_entry(usher: Usher, sidecar: Sidecar) -> None:
    assert token(usher, sidecar, "revocations").out == ""
    token(usher, sidecar, "revoke", "--sub", "alice\x1b[31m", "--existing-only")
    token(usher, sidecar, "revoke", "--jti", "id-1", "--for", "30d")
    first, second = sorted(token(usher, sidecar, "revocations").out.splitlines())
    assert first.startswith("jti  'id-1'  revoked 20")
    assert second.startswith(r"sub  'alice\x1b[31m'  revoked 20")
    assert "  issued until 20" in second
    answer = json.loads(token(usher, sidecar, "revocations", "--json").out)
    assert answer["total"] == 2
    assert len(answer["revocations"]) == 2


def test_revoke_as_json(usher: Usher, sidecar: Sidecar) -> None:
    answer = json.loads(token(usher, sidecar, "revoke", "--kid", "k", "--json").out)
    assert answer["revocation"]["revoked"] == {"kid": "k"}
    assert token(usher, sidecar, "lift", "--kid", "k", "--json").out == '{"lifted": true}\n'
    assert "shared" not in answer, "false, which JSON leaves out"


def test_a_typo_is_told(usher: Usher, sidecar: Sidecar) -> None:
    done = token(usher, sidecar, "lift", "--jti", "nothing")
    assert done.code == 1
    assert "no such entry" in done.err


@pytest.mark.parametrize("text", ["0s", "31d", "soon", "-1h"])
def test_a_duration_that_makes_no_sense(usher: Usher, sidecar: Sidecar, text: str) -> None:
    done = token(usher, sidecar, "revoke", "--jti", "x", f"--for={text}")
    assert done.code == 2
    assert "--for" in done.err


def test_one_thing_at_a_time(usher: Usher, sidecar: Sidecar) -> None:
    assert token(usher, sidecar, "revoke").code == 2
    assert token(usher, sidecar, "revoke", "--sub", "a", "--jti", "b").code == 2


def test_the_data_address_does_not_revoke(usher: Usher, sidecar: Sidecar) -> None:
    done = usher("token", "revoke", "--sub", "alice", "--address", sidecar.address)
    assert done.code == 1
    assert "admin address" in done.err
