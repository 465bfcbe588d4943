"""What an entry covers and for how long; two entries for one thing are as wide and as long as both."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.deny_list import By, DenyList, Revocation

NOW = 1000.0
ALICE = {"jti": "id-1", "subject": "alice", "kid": "key-1", "issued_at": 900}
NAMED = {By.JTI: "id-1", By.SUB: "alice", By.KID: "key-1"}


def entry(by: By, value: str, *, until: float = 2000.0, issued_until: int | None = None) -> Revocation:
    return Revocation(by=by, value=value, issued_until=issued_until, revoked_at=NOW, expires_at=until)


@pytest.mark.parametrize("by", By)
def test_an_entry_names_one_thing_and_nothing_else(by: By) -> None:
    revoked = DenyList([entry(by, NAMED[by])])
    assert revoked.finds(**ALICE, now=NOW) is by
    assert revoked.finds(jti="id-2", subject="bob", kid="key-2", issued_at=900, now=NOW) is None
    # The same text in another place is another thing.
    others = dict.fromkeys(("jti", "subject", "kid"), NAMED[by])
    others[{By.JTI: "jti", By.SUB: "subject", By.KID: "kid"}[by]] = "other"
    assert revoked.finds(**others, issued_at=900, now=NOW) is None


@pytest.mark.parametrize("by", By)
def test_an_entry_is_over_at_its_end(by: By) -> None:
    revoked = DenyList([entry(by, NAMED[by], until=2000.0)])
    assert revoked.finds(**ALICE, now=1999.9) is by
    assert revoked.finds(**ALICE, now=2000.0) is None
    assert len(revoked.in_force(1999.9)) == 1
    assert revoked.in_force(2000.0) == []


def test_a_user_who_was_signed_out_may_sign_in_again() -> None:
    revoked = DenyList([entry(By.SUB, "alice", issued_until=900)])
    assert revoked.finds(**ALICE | {"issued_at": 899}, now=NOW) is By.SUB
    assert revoked.finds(**ALICE | {"issued_at": 900}, now=NOW) is By.SUB
    assert revoked.finds(**ALICE | {"issued_at": 901}, now=NOW) is None


def test_what_is_revoked_most_precisely_is_named() -> None:
    every = [entry(by, value) for by, value in NAMED.items()]
    assert DenyList(every).finds(**ALICE, now=NOW) is By.JTI
    assert DenyList(every[1:]).finds(**ALICE, now=NOW) is By.SUB
    assert DenyList(every[2:]).finds(**ALICE, now=NOW) is By.KID


def test_a_scope_without_a_token_has_no_key() -> None:
    revoked = DenyList([entry(By.KID, "key-1")])
    assert revoked.finds(jti="id-1", subject="alice", kid="", issued_at=900, now=NOW) is None


def test_the_newest_comes_first() -> None:
    older, newer = entry(By.JTI, "a"), replace(entry(By.KID, "b"), revoked_at=NOW + 1)
    assert DenyList([older, newer]).in_force(NOW) == [newer, older]


revocations = st.builds(
    Revocation,
    by=st.just(By.SUB),
    value=st.just("alice"),
    issued_until=st.none() | st.integers(0, 10),
    revoked_at=st.floats(0, 10),
    expires_at=st.floats(0, 20),
)
moments = st.floats(0, 25)


@given(older=revocations, newer=revocations, issued_at=st.integers(0, 12), now=moments)
def test_a_second_revocation_never_lets_through_what_either_refuses(
    older: Revocation, newer: Revocation, issued_at: int, now: float
) -> None:
    def refused(revocation: Revocation) -> bool:
        found = DenyList([revocation]).finds(jti="j", subject="alice", kid="k", issued_at=issued_at, now=now)
        return found is not None

    both = older.merged(newer)
    if refused(older) or refused(newer):
        assert refused(both)
    # Nor does it make up anything: what it covers, and until when, is one of the two.
    assert both.issued_until in (older.issued_until, newer.issued_until)
    assert both.expires_at in (older.expires_at, newer.expires_at)
    assert both.revoked_at == newer.revoked_at


@given(
    entries=st.lists(
        st.builds(
            entry,
            st.sampled_from(By),
            st.sampled_from(["a", "b"]),
            until=st.floats(0, 20),
        ),
        unique_by=lambda one: (one.by, one.value),
    ),
    asked=st.tuples(*[st.sampled_from(["a", "b", "c"])] * 3),
    now=moments,
)
def test_the_list_refuses_exactly_what_an_entry_in_force_names(
    entries: list[Revocation], asked: tuple[str, str, str], now: float
) -> None:
    named = dict(zip(By, asked, strict=True))
    found = DenyList(entries).finds(
        jti=named[By.JTI], subject=named[By.SUB], kid=named[By.KID], issued_at=5, now=now
    )
    hits = {one.by for one in entries if named[one.by] == one.value and now < one.expires_at}
    assert (found is not None) is bool(hits)
    assert found is None or found in hits
    assert DenyList(entries).in_force(now) == sorted(
        (one for one in entries if now < one.expires_at), key=lambda one: (one.by, one.value)
    )
