"""Sealing: how a private key is encrypted before it leaves this process.

AES-256-GCM (NIST SP 800-38D) with a fresh nonce of 96 random bits each time. What the ciphertext belongs to
is its associated data, so that one which is moved to another place does not open.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sidecar.core.errors import SettingsError

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{43}=?")
_LABEL: Final = b"usher sealed key v1"
_ID_LABEL: Final = b"usher key-encryption key id v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A ciphertext, its nonce in front and its tag behind, and the id of the key that opens it."""

    kek_id: str
    octets: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kek:
    id: str
    secret: bytes = field(repr=False)


class Sealer:
    """Seals by the first of its key-encryption keys, and opens by any of them."""

    def __init__(self, secrets_: Sequence[bytes]) -> None:
        """`secrets_` are 32 bytes each; at least one."""
        self._keks = tuple(_Kek(id=_id_of(secret), secret=secret) for secret in secrets_)

    @staticmethod
    def parse(text: str) -> Sealer:
        """From one or more keys of 32 bytes in base64url, separated by commas or white space.

        Raises SettingsError, which repeats nothing of them.
        """
        words = [word for word in re.split(r"[\s,]+", text) if word]
        if not words or not all(_TEXT.fullmatch(word) for word in words):
            raise SettingsError(
                "key_encryption_key must be 32 bytes in base64url, as `usher keys install` prints them; "
                "several are separated by commas"
            )
        return Sealer([_octets(word) for word in words])

    @property
    def kek_id(self) -> str:
        """The id of the key that seals."""
        return self._keks[0].id

    def seal(self, plain: bytes, binding: Sequence[str]) -> Sealed:
        """The ciphertext of `plain`, bound to the texts of `binding`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(self._keks[0].secret).encrypt(nonce, plain, _associated(binding))
        return Sealed(kek_id=self.kek_id, octets=nonce + sealed)

    def open(self, sealed: Sealed, binding: Sequence[str]) -> bytes:
        """The plain octets. Raises SettingsError when no key of ours opens them, or they were changed."""
        for kek in self._keks:
            if kek.id == sealed.kek_id:
                nonce, rest = sealed.octets[:_NONCE_BYTES], sealed.octets[_NONCE_BYTES:]
                try:
                    return AESGCM(kek.secret).decrypt(nonce, rest, _associated(binding))
                except (InvalidTag, ValueError):
                    raise SettingsError(
                        "a private key in the key store was changed or moved to another row; restore the "
                        "store from a backup"
                    ) from None
        raise SettingsError(
            f"key_encryption_key: the key store is sealed with the key {sealed.kek_id}, and this process has "
            f"{', '.join(kek.id for kek in self._keks)}; give both, the new one first, until all is re-sealed"
        )


def new_key() -> str:
    """A fresh key-encryption key as text."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).rstrip(b"=").decode()


def _id_of(secret: bytes) -> str:
    """A name that tells nothing of a random key."""
    return hashlib.sha256(_ID_LABEL + secret).hexdigest()[:16]


def _octets(word: str) -> bytes:
    try:
        return base64.b64decode(word.rstrip("=") + "=", b"-_", validate=True)
    except binascii.Error:
        raise SettingsError("key_encryption_key must be 32 bytes in base64url") from None


def _associated(binding: Sequence[str]) -> bytes:
    """The texts with their lengths, so that no two bindings look alike."""
    parts = [text.encode() for text in binding]
    return _LABEL + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
