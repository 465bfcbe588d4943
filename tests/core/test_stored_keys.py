"""Rings as rows: they come back whole, and a row that was tampered with does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.core import keyring
from sidecar.core.errors import SettingsError
from sidecar.core.keyring import KeyRing, RotationSettings
from sidecar.core.keys import Algorithm, generate
from sidecar.core.sealing import Sealer, new_key
from sidecar.core.stored_keys import resealable, ring_of, rows_of
from tests.key_stores import KEYS, begun, shown

STORE = "store-1"
SEALER = Sealer.parse(new_key())


def a_ring() -> KeyRing:
    ring = begun(1000.5, KEYS[4])
    ring, _ = keyring.rotate(ring, 2000.25, 0, RotationSettings(), force=True)
    return keyring.prepare(ring, KEYS[3], 2000.75, 60)[0]


def as_stored(ring: KeyRing, store: str = STORE) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(json.dumps(rows_of(ring, store, SEALER)))
    return rows


def test_a_ring_comes_back() -> None:
    found = ring_of(list(reversed(as_stored(a_ring()))), 9, STORE, SEALER)
    assert shown(found) == shown(a_ring())
    assert (found.version, found.shared) == (9, True)


def test_no_private_half_is_in_the_rows() -> None:
    text = json.dumps(as_stored(a_ring()))
    for key in KEYS:
        numbers: Any = key.private.private_numbers()
        secret = numbers.private_value if key.public.algorithm is Algorithm.ES256 else numbers.d
        assert str(secret) not in text
        assert f"{secret:x}" not in text


def test_without_a_sealer_only_the_public_halves_are_read() -> None:
    rows = [
        {name: value for name, value in row.items() if name not in ("sealed", "kek")}
        for row in as_stored(a_ring())
    ]
    found = ring_of(rows, 1, STORE, None)
    assert [key.private for key in found.keys] == [None, None, None]
    assert (
        keyring.publish(found, RotationSettings()).body == keyring.publish(a_ring(), RotationSettings()).body
    )


def swap_sealed(rows: list[dict[str, Any]]) -> None:
    rows[1]["sealed"], rows[2]["sealed"] = rows[2]["sealed"], rows[1]["sealed"]


def other_key(rows: list[dict[str, Any]]) -> None:
    """A key of the attacker's own under the kid of ours."""
    rows[1]["jwk"] = dict(generate(Algorithm.ES256, 0).public.jwk)


@pytest.mark.parametrize(
    "tamper",
    [
        swap_sealed,
        other_key,
        lambda rows: rows[1].update(alg="RS256"),
        lambda rows: rows[1].update(kid="another"),
        lambda rows: rows[1].update(published_in=5),
        lambda rows: rows[1].update(sealed=None),
        lambda rows: rows[1].update(sealed="!"),
        lambda rows: rows[1].update(state="unknown"),
        lambda rows: rows[1].update(jwk={"kty": "EC"}),
        lambda rows: rows[1].pop("kek"),
    ],
)
def test_a_row_that_was_changed_is_refused(tamper: Callable[[list[dict[str, Any]]], None]) -> None:
    rows = as_stored(a_ring())
    tamper(rows)
    with pytest.raises(SettingsError, match="key store"):
        ring_of(rows, 1, STORE, SEALER)


def test_rows_of_another_store_do_not_open() -> None:
    with pytest.raises(SettingsError, match="another row"):
        ring_of(as_stored(a_ring()), 1, "store-2", SEALER)


def test_what_an_older_key_sealed_is_known() -> None:
    rows = as_stored(a_ring())
    assert resealable(rows, SEALER) == []
    assert resealable(rows, Sealer.parse(new_key())) == [KEYS[1].public.kid, KEYS[3].public.kid]
