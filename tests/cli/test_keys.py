"""`usher keys` over the admin socket."""

from __future__ import annotations

import json

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from usher.v1 import key_service_pb2 as pb

from sidecar.cli.keys import _moment, _next
from tests.cli.conftest import Done, Sidecar, Usher


def keys(usher: Usher, sidecar: Sidecar, *arguments: str) -> Done:
    return usher("keys", *arguments, "--address", sidecar.admin_address)


def kids(sidecar: Sidecar) -> list[str]:
    return [key.key.kid for key in sidecar.parts.signer.ring.keys]


def test_list_shows_every_key_on_a_line(usher: Usher, sidecar: Sidecar) -> None:
    done = keys(usher, sidecar, "list")
    assert (done.code, done.err) == (0, "")
    listed, _, rest = done.out.partition("\n\n")
    steps = (("active", "retire"), ("prepared", "activate"))
    for line, kid, (state, step) in zip(listed.splitlines(), kids(sidecar), steps, strict=True):
        assert line.split()[:3] == [kid, "ES256", state]
        assert "  published 20" in line
        assert f"  next step {step} 20" in line
    store = rest.splitlines()[0]
    assert store.startswith("key store memory  version ")


def test_what_a_key_waits_for_in_words() -> None:
    now, then = Timestamp(seconds=1_900_000_000), Timestamp(seconds=1_900_003_600)
    key = pb.Key(
        next_step=pb.KEY_STEP_ACTIVATE,
        next_step_time=now,
        waits_for_replicas=["a1"],
        waits_for_verifiers=["neon-proxy"],
        goes_on_time=then,
    )
    assert _next(key, now) == (
        "next step activate 2030-03-17T17:46:40Z (0 s ago)  waits for replica a1, neon-proxy"
        "  at most until 2030-03-17T18:46:40Z (in 60 min)"
    )
    assert _next(pb.Key(next_step=pb.KEY_STEP_DROP), now) == "next step drop when it can"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s ago"), (-119, "119 s ago"), (120, "in 2 min"), (-7200, "2 h ago"), (172_800, "in 2 d")],
)
def test_how_far_away_a_moment_is(seconds: int, words: str) -> None:
    now = Timestamp(seconds=1_900_000_000)
    assert _moment(Timestamp(seconds=now.seconds + seconds), now).endswith(f"Z ({words})")


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


def test_revoke_later(usher: Usher, sidecar: Sidecar) -> None:
    first, _ = kids(sidecar)
    done = keys(usher, sidecar, "revoke", first, "--after", "90m")
    signs, goes_on, lag = done.out.splitlines()
    assert (done.code, signs) == (0, f"{first} signs now")
    assert goes_on.startswith(f"{first} goes on until 20")
    assert lag.startswith(f"a verifier with a cached set may accept {first} until 20")
    assert first in kids(sidecar)
    assert "next step revoke 20" in keys(usher, sidecar, "list").out
    wrong = keys(usher, sidecar, "revoke", first, "--after", "soon")
    assert (wrong.code, "--after" in wrong.err) == (2, True)


def test_revoke_as_json(usher: Usher, sidecar: Sidecar) -> None:
    answer = json.loads(keys(usher, sidecar, "revoke", kids(sidecar)[0], "--json").out)
    assert set(answer) == {"active", "verifiers_may_accept_until_time", "leave_time"}


def test_an_unknown_key(usher: Usher, sidecar: Sidecar) -> None:
    done = keys(usher, sidecar, "revoke", "nothing")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("usher: NOT_FOUND KEY_UNKNOWN: ")


def test_a_kid_may_begin_with_a_hyphen(usher: Usher, sidecar: Sidecar) -> None:
    """One in 64 thumbprints does (RFC 7638 gives base64url)."""
    for kid in ("-hN", "-" + "x" * 42, "-1x"):
        assert "KEY_UNKNOWN" in keys(usher, sidecar, "revoke", kid).err
    assert "KEY_UNKNOWN" in usher("keys", "revoke", "--address", sidecar.admin_address, "--", "--x").err
