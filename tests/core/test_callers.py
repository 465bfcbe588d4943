"""Which caller a proven fact belongs to, and callers that nobody could tell apart."""

from __future__ import annotations

import hashlib

import pytest

from sidecar.core.callers import CallerIdentity, Directory, Proof, unproven
from sidecar.core.errors import Reason, SettingsError

KEY = "usher_" + "k" * 43
HASH = hashlib.sha256(KEY.encode()).hexdigest()

GATEWAY = CallerIdentity(
    name="gateway",
    spiffe_ids=("spiffe://example.org/gateway",),
    dns_names=("gateway.example.org", "Gateway.Internal"),
)
LOCAL = CallerIdentity(name="local", uids=(1000, 1001), gids=(50,))
GROUP = CallerIdentity(name="group", gids=(60,))
POD = CallerIdentity(name="pod", service_accounts=(("https://k8s", "system:serviceaccount:shop:orders"),))
ROBOT = CallerIdentity(name="robot", key_hashes=(HASH, "0" * 64))
EVERYONE = Directory((GATEWAY, LOCAL, GROUP, POD, ROBOT))


def test_a_spiffe_id_is_compared_exactly() -> None:
    assert EVERYONE.by_spiffe_id("spiffe://example.org/gateway") is GATEWAY
    for other in (
        "spiffe://example.org/Gateway",
        "spiffe://example.org/gateway/",
        "spiffe://example.org",
        "",
    ):
        assert EVERYONE.by_spiffe_id(other) is None


def test_dns_names_are_compared_without_case() -> None:
    assert EVERYONE.by_dns_names(("other.example", "GATEWAY.example.org")) is GATEWAY
    assert EVERYONE.by_dns_names(("gateway.internal", "gateway.example.org")) is GATEWAY
    assert EVERYONE.by_dns_names(("example.org",)) is None
    assert EVERYONE.by_dns_names(()) is None


def test_names_of_several_callers_are_nobodys() -> None:
    both = Directory((GATEWAY, CallerIdentity(name="other", dns_names=("other.example",))))
    assert both.by_dns_names(("gateway.example.org", "other.example")) is None


@pytest.mark.parametrize(
    ("uid", "gid", "name"),
    [
        (1000, 50, "local"),
        (1001, 50, "local"),
        (1000, 51, None),
        (1002, 50, None),
        (0, 60, "group"),
        (1000, 60, "group"),
        (0, 0, None),
        (65_534, 60, None),
        (1000, 65_534, None),
    ],
)
def test_where_uid_and_gid_are_given_both_must_hold(uid: int, gid: int, name: str | None) -> None:
    found = EVERYONE.by_process(uid, gid)
    assert (found.name if found else None) == name


def test_a_service_account_is_its_issuer_and_its_subject() -> None:
    assert EVERYONE.by_service_account("https://k8s", "system:serviceaccount:shop:orders") is POD
    assert EVERYONE.by_service_account("https://other", "system:serviceaccount:shop:orders") is None
    assert EVERYONE.by_service_account("https://k8s", "system:serviceaccount:shop:order") is None


def test_a_key_is_known_by_its_hash() -> None:
    assert EVERYONE.by_key(KEY) == (ROBOT, HASH)
    for other in (KEY[:-1], KEY + "k", HASH, "0" * 64, "", "usher_\N{SNOWMAN}"):
        assert EVERYONE.by_key(other) is None


def test_it_is_known_by_what_anyone_can_prove_who_he_is() -> None:
    assert EVERYONE.provable == {Proof.MTLS, Proof.UNIX, Proof.JWT, Proof.KEY}
    assert Directory((GROUP,)).provable == {Proof.UNIX}
    assert Directory().provable == frozenset()


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ({"spiffe_ids": ("spiffe://a/b",)}, {"spiffe_ids": ("spiffe://a/b",)}, "SPIFFE ID"),
        ({"dns_names": ("a.example",)}, {"dns_names": ("A.example",)}, "DNS name"),
        ({"service_accounts": (("i", "s"),)}, {"service_accounts": (("i", "s"),)}, "service account"),
        ({"key_hashes": (HASH,)}, {"key_hashes": ("1" * 64, HASH)}, "key"),
        ({"uids": (1,)}, {"uids": (2, 1)}, "a process may be both"),
        ({"uids": (1,)}, {"gids": (2,)}, "a process may be both"),
        ({"uids": (1,), "gids": (2,)}, {"gids": (2, 3)}, "a process may be both"),
    ],
)
def test_callers_that_one_connection_could_be_both_of(
    one: dict[str, object], other: dict[str, object], kind: str
) -> None:
    first = CallerIdentity(name="one", **one)  # type: ignore[arg-type]
    second = CallerIdentity(name="other", **other)  # type: ignore[arg-type]
    for pair in ((first, second), (second, first)):
        with pytest.raises(SettingsError, match=kind) as caught:
            Directory(pair)
        assert "one" in str(caught.value)
        assert HASH not in str(caught.value)


def test_processes_that_differ_in_one_of_both_are_told_apart() -> None:
    Directory(
        (CallerIdentity(name="a", uids=(1,), gids=(2,)), CallerIdentity(name="b", uids=(1,), gids=(3,)))
    )


def test_the_number_of_all_unknown_users_is_nobodys() -> None:
    for ids in ({"uids": (65_534,)}, {"gids": (65_534,)}):
        with pytest.raises(SettingsError, match="65534"):
            Directory((CallerIdentity(name="nobody", **ids),))  # type: ignore[arg-type]


def test_a_name_is_given_once() -> None:
    with pytest.raises(SettingsError, match="same name"):
        Directory((GROUP, CallerIdentity(name="group", uids=(7,))))


def test_one_caller_may_be_named_twice_by_itself() -> None:
    twice = CallerIdentity(name="a", dns_names=("a.example", "A.example"), key_hashes=(HASH, HASH))
    assert Directory((twice,)).by_key(KEY) == (twice, HASH)


def test_what_a_refused_caller_gets() -> None:
    error = unproven("no", Proof.JWT)
    assert (error.reason, error.metadata, error.retryable) == (
        Reason.CALLER_UNAUTHENTICATED,
        {"proof": "jwt"},
        False,
    )
