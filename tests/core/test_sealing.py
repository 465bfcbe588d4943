"""Sealing: what opens, and what does not."""

from __future__ import annotations

import base64

import pytest

from sidecar.core.errors import SettingsError
from sidecar.core.sealing import KEY_BYTES, Sealed, Sealer, new_key

OLD, NEW = new_key(), new_key()
PLACE = ("store", "table", "7", "kid", "ES256")


def test_what_was_sealed_opens_in_its_place_and_shows_nothing() -> None:
    sealer = Sealer.parse(OLD)
    sealed = sealer.seal(b"private", PLACE)
    assert sealer.open(sealed, PLACE) == b"private"
    assert b"private" not in sealed.octets
    assert sealed.kek_id == sealer.kek_id
    assert sealed.octets != sealer.seal(b"private", PLACE).octets


@pytest.mark.parametrize("at", range(len(PLACE)))
def test_it_opens_in_no_other_place(at: int) -> None:
    sealer = Sealer.parse(OLD)
    other = list(PLACE)
    other[at] += "x"
    with pytest.raises(SettingsError, match="moved to another row"):
        sealer.open(sealer.seal(b"private", PLACE), other)


def test_two_bindings_never_look_alike() -> None:
    sealer = Sealer.parse(OLD)
    with pytest.raises(SettingsError):
        sealer.open(sealer.seal(b"private", ("ab", "c")), ("a", "bc"))


@pytest.mark.parametrize("at", [0, 11, 12, -17, -1])
def test_a_changed_octet_is_seen(at: int) -> None:
    sealer = Sealer.parse(OLD)
    sealed = sealer.seal(b"private", PLACE)
    octets = bytearray(sealed.octets)
    octets[at] ^= 1
    with pytest.raises(SettingsError, match="changed"):
        sealer.open(Sealed(kek_id=sealed.kek_id, octets=bytes(octets)), PLACE)


@pytest.mark.parametrize("octets", [b"", b"short"])
def test_what_is_no_ciphertext_is_refused(octets: bytes) -> None:
    sealer = Sealer.parse(OLD)
    with pytest.raises(SettingsError, match="changed"):
        sealer.open(Sealed(kek_id=sealer.kek_id, octets=octets), PLACE)


def test_the_first_of_several_seals_and_all_open() -> None:
    old = Sealer.parse(OLD).seal(b"private", PLACE)
    both = Sealer.parse(f"{NEW}, {OLD}\n")
    assert both.open(old, PLACE) == b"private"
    assert both.seal(b"private", PLACE).kek_id == Sealer.parse(NEW).kek_id


def test_a_key_that_is_missing_is_named_by_its_id_alone() -> None:
    sealed = Sealer.parse(OLD).seal(b"private", PLACE)
    with pytest.raises(SettingsError, match=sealed.kek_id) as caught:
        Sealer.parse(NEW).open(sealed, PLACE)
    assert OLD not in str(caught.value)
    assert NEW not in str(caught.value)
    assert base64.urlsafe_b64decode(OLD + "=").hex()[:16] != sealed.kek_id


@pytest.mark.parametrize(
    "text", ["", "  ", "abc", OLD[:-1], OLD + "AA", f"{OLD} x", OLD.replace(OLD[3], "!")]
)
def test_what_is_no_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(SettingsError, match="32 bytes in base64url") as caught:
        Sealer.parse(text)
    assert not text.strip() or text not in str(caught.value)


def test_a_key_may_be_padded() -> None:
    assert Sealer.parse(OLD + "=").kek_id == Sealer.parse(OLD).kek_id
    assert len(base64.urlsafe_b64decode(OLD + "=")) == KEY_BYTES
