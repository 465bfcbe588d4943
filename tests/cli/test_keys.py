"""`usher keys` over the admin socket."""

from __future__ import annotations

import json

from tests.cli.conftest import Done, Sidecar, Usher


def keys(usher: Usher, sidecar: Sidecar, *arguments: str) -> Done:
    return usher("keys", *arguments, "--address", sidecar.admin_address)


def kids(sidecar: Sidecar) -> list[str]:
    return [key.key.kid for key in sidecar.parts.signer.ring.keys]


def test_list_shows_every_key_on_a_line(usher: Usher, sidecar: Sidecar) -> None:
    done = keys(usher, sidecar, "list")
    assert (done.code, done.err) == (0, "")
    active, prepared = done.out.splitlines()
    for line, kid, state in zip((active, prepared), kids(sidecar), ("active", "prepared"), strict=True):
        assert line.split()[:3] == [kid, "ES256", state]
        assert "  published 20" in line
        assert "  next step 20" in line


def test_list_as_json(usher: Usher, sidecar: Sidecar) -> None:
    answer = json.loads(keys(usher, sidecar, "list", "--json").out)
    assert [key["kid"] for key in answer["keys"]] == kids(sidecar)
    assert [key["state"] for key in answer["keys"]] == ["KEY_STATE_ACTIVE", "KEY_STATE_PREPARED"]


def test_rotate_waits_for_the_lead_time_unless_forced(usher: Usher, sidecar: Sidecar) -> None:
    first, second = kids(sidecar)
    refused = keys(usher, sidecar, "rotate")
    assert refused.code == 1
    assert "LEAD_TIME_NOT_ELAPSED" in refused.err
    assert "force" in refused.err
    done = keys(usher, sidecar, "rotate", "--force")
    assert (done.code, done.out) == (0, f"{second} signs now; {first} is retired\n")


def test_rotate_as_json(usher: Usher, sidecar: Sidecar) -> None:
    first, second = kids(sidecar)
    answer = json.loads(keys(usher, sidecar, "rotate", "--force", "--json").out)
    assert (answer["active"]["kid"], answer["retired"]["kid"]) == (second, first)


def test_revoke_says_who_signs_and_how_long_caches_may_lag(usher: Usher, sidecar: Sidecar) -> None:
    first, second = kids(sidecar)
    done = keys(usher, sidecar, "revoke", first)
    signs, lag = done.out.splitlines()
    assert (done.code, signs) == (0, f"{second} signs now")
    assert lag.startswith(f"a verifier with a cached set may accept {first} until 20")
    assert first not in kids(sidecar)


def test_revoke_as_json(usher: Usher, sidecar: Sidecar) -> None:
    answer = json.loads(keys(usher, sidecar, "revoke", kids(sidecar)[0], "--json").out)
    assert set(answer) == {"active", "verifiers_may_accept_until_time"}


def test_an_unknown_key(usher: Usher, sidecar: Sidecar) -> None:
    done = keys(usher, sidecar, "revoke", "nothing")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("usher: NOT_FOUND KEY_UNKNOWN: ")


def test_a_kid_may_begin_with_a_hyphen(usher: Usher, sidecar: Sidecar) -> None:
    """One in 64 thumbprints does (RFC 7638 gives base64url)."""
    for kid in ("-hN", "-" + "x" * 42, "-1x"):
        assert "KEY_UNKNOWN" in keys(usher, sidecar, "revoke", kid).err
    assert "KEY_UNKNOWN" in usher("keys", "revoke", "--address", sidecar.admin_address, "--", "--x").err
