"""A ring as rows of texts and numbers, the private halves sealed: what a store outside this process keeps.

A row is what JSON holds. Its private half is PKCS#8 in DER, sealed for this very row of this very store.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sidecar.core.errors import SettingsError
from sidecar.core.keyring import KeyRing, KeyState, RingKey
from sidecar.core.keys import PrivateKey, PublicKey, public_half, public_key
from sidecar.core.sealing import Sealed, Sealer

_TABLE: Final = "usher_keys.key"
_TIMES: Final = ("activated_at", "retired_at", "served_at", "idle_at", "revoke_at")

Row = Mapping[str, Any]


def rows_of(ring: KeyRing, store_id: str, sealer: Sealer) -> list[dict[str, Any]]:
    """The keys of a ring, oldest first."""
    return [_row(place, key, store_id, sealer) for place, key in enumerate(ring.keys)]


def ring_of(rows: Sequence[Row], version: int, store_id: str, sealer: Sealer | None) -> KeyRing:
    """The ring of such rows; without `sealer` its public halves alone.

    Raises SettingsError when a row is none that `rows_of` has made, or cannot be opened.
    """
    try:
        keys = tuple(_key(row, store_id, sealer) for row in sorted(rows, key=lambda row: int(row["place"])))
    except (KeyError, TypeError, ValueError):
        # Of ValueErrors, too, nothing is shown: they may repeat what was read.
        raise SettingsError("a row of the key store is damaged; restore the store from a backup") from None
    return KeyRing(keys=keys, version=version, shared=True)


def resealable(rows: Sequence[Row], sealer: Sealer) -> list[str]:
    """The kids of rows that another key than the sealer's first has sealed."""
    return [str(row["kid"]) for row in rows if row["sealed"] is not None and row["kek"] != sealer.kek_id]


def _row(place: int, key: RingKey, store_id: str, sealer: Sealer) -> dict[str, Any]:
    sealed = None
    if key.private is not None:
        plain = key.private.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        sealed = sealer.seal(plain, _binding(key.key, key.published_in, store_id))
    return {
        "kid": key.key.kid,
        "place": place,
        "alg": key.key.algorithm.value,
        "jwk": dict(key.key.jwk),
        "state": key.state.value,
        "published_at": key.published_at,
        "published_in": key.published_in,
        "retired_in": key.retired_in,
        "token_ttl": key.token_ttl,
        "sealed": None if sealed is None else base64.b64encode(sealed.octets).decode(),
        "kek": None if sealed is None else sealed.kek_id,
    } | {name: getattr(key, name) for name in _TIMES}


def _key(row: Row, store_id: str, sealer: Sealer | None) -> RingKey:
    public = public_key(row["jwk"])
    if public.kid != row["kid"] or public.algorithm.value != row["alg"]:
        raise ValueError
    return RingKey(
        key=public,
        private=None if sealer is None else _private(row, public, store_id, sealer),
        state=KeyState(row["state"]),
        published_at=float(row["published_at"]),
        published_in=int(row["published_in"]),
        retired_in=int(row["retired_in"]),
        token_ttl=int(row["token_ttl"]),
        **{name: None if row[name] is None else float(row[name]) for name in _TIMES},
    )


def _private(row: Row, public: PublicKey, store_id: str, sealer: Sealer) -> PrivateKey | None:
    if row["state"] == KeyState.RETIRED.value:
        return None
    try:
        octets = base64.b64decode(row["sealed"], validate=True)
    except binascii.Error:
        raise ValueError from None
    sealed = Sealed(kek_id=str(row["kek"]), octets=octets)
    plain = sealer.open(sealed, _binding(public, int(row["published_in"]), store_id))
    private = serialization.load_der_private_key(plain, None)
    if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError
    if public_half(private).kid != public.kid:
        raise ValueError
    return private


def _binding(public: PublicKey, published_in: int, store_id: str) -> tuple[str, ...]:
    """What a sealed key belongs to: this store, this table, this row, this key and this algorithm."""
    return store_id, _TABLE, str(published_in), public.kid, public.algorithm.value
