"""The tag, byte for byte, and what is a key."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import SettingsError
from sidecar.postgres.claim_key import ClaimKey

BINDING = bytes.fromhex("0002a0b1c2d3e4f500001234")
KEY = ClaimKey.parse("k1:" + "0b" * 32)


def test_the_vector_of_the_decision_record() -> None:
    """docs/adr/0006-signed-claims.md."""
    tag = KEY.tag(BINDING, "authenticated", '{"sub":"alice"}')
    assert tag == "k1.d00622edb17ac21fe11f750381e97d8f1d86a133a1114ec6ec7333079e788f2a"


def test_the_vector_for_a_session() -> None:
    """docs/adr/0014-round-trips.md."""
    tag = KEY.session_tag(0x0102030405060708, 0x1234, "authenticated", '{"sub":"alice"}')
    message = b"usher claims v2\1\2\3\4\5\6\7\x08\0\0\x12\x34\0\0\0\x0dauthenticated" + b'{"sub":"alice"}'
    assert tag == "k1.s." + hmac.digest(bytes.fromhex("0b" * 32), message, "sha256").hex()
    assert KEY.session_tag(7, 1, "a", "{}") not in (
        KEY.session_tag(8, 1, "a", "{}"),
        KEY.session_tag(7, 2, "a", "{}"),
    )


@given(st.binary(min_size=12, max_size=12), st.text(max_size=10), st.text(max_size=10))
def test_no_part_can_stand_in_for_another(binding: bytes, role: str, claims: str) -> None:
    """The role's length is part of what is signed: its end and the claims' start cannot be moved."""
    tag = KEY.tag(binding, role, claims)
    if role:
        assert KEY.tag(binding, role[:-1], role[-1] + claims) != tag
    assert KEY.tag(bytes(12), role, claims) != tag or binding == bytes(12)
    assert KEY.tag(binding, role, claims + " ") != tag


@pytest.mark.parametrize(
    "text", ["", "k1", "k1:", "k1:0b", "K1:" + "0b" * 32, "k1:" + "0B" * 32, "k" * 17 + ":" + "0b" * 32]
)
def test_what_is_no_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        ClaimKey.parse(text)
    assert "0b0b" not in str(caught.value)
    assert "0B0B" not in str(caught.value)


def test_the_secret_does_not_show() -> None:
    assert "secret" not in repr(KEY)
    assert ClaimKey.parse("  k1:" + "0b" * 32 + "\n") == KEY
