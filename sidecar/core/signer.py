"""The signer: holds the current key ring, signs with its active key and verifies with its published ones.

Everyone reads the ring by one attribute; the rotator alone replaces it (rotation.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from sidecar.core import jws
from sidecar.core.claims import Claims, Json, to_json
from sidecar.core.clock import Clock
from sidecar.core.errors import Reason, UsherError
from sidecar.core.events import Observer, TokenIssued, TokenRefused, TokenReused
from sidecar.core.jws import VerifiedToken
from sidecar.core.keyring import KeyRing, PublishedKeys, may_sign, publish
from sidecar.core.keys import PublicKey, SigningKey
from sidecar.core.publication import Publication
from sidecar.core.revocations import Revocations
from sidecar.core.rotation_settings import RotationSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A token, or with an empty `compact` what it would be."""

    compact: str
    kid: str
    alg: str
    claims: Claims


class Signer:
    """Signs and verifies from memory, without I/O."""

    def __init__(
        self,
        ring: KeyRing,
        settings: RotationSettings,
        issuer: str,
        clock: Clock,
        observer: Observer,
        revocations: Revocations | None = None,
        time_trouble: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`ring` must have begun: a signer without a key cannot be made.

        `revocations` says which tokens are refused before they expire; None: none. `time_trouble` says why
        `clock` cannot be trusted, in public words, or None.
        """
        self._settings = settings
        self._issuer = issuer
        self._clock = clock
        self._observer = observer
        self._revocations = revocations
        self._time_trouble = time_trouble
        self._last_use, self._last_use_of = 0.0, ""
        self._told: list[Callable[[], None]] = []
        self._publication = Publication(publish(ring, settings), clock, observer)
        self.replace_ring(ring)

    @property
    def ring(self) -> KeyRing:
        """The ring now; immutable."""
        return self._ring

    @property
    def published(self) -> PublishedKeys:
        """The JWKS now: the same object until the ring changes or has settled. In any thread."""
        return self._publication.now

    @property
    def last_use(self) -> float:
        """The latest `iat` that the active key has signed; 0 for none."""
        return self._last_use

    def on_publish(self, told: Callable[[], None]) -> None:
        """Has `told` called at each change of `published` but those by time alone. Before the ring signs."""
        self._told.append(told)

    def replace_ring(self, ring: KeyRing) -> bool:
        """Puts another ring in force, whole, published before it signs; for the rotator only.

        Returns False, and leaves all as it was, when the publication refuses its set.
        """
        if ring.active is None or ring.active.private is None:
            raise ValueError("a ring in force has an active key that can sign")
        if not self._publication.offer(self._next(ring)):
            return False
        for told in self._told:
            told()
        if ring.active.key.kid != self._last_use_of:
            # Of each key its own: times of use before a clock was corrected must not hold later keys back.
            self._last_use, self._last_use_of = 0.0, ring.active.key.kid
        self._active = ring.active
        self._keys: Mapping[str, PublicKey] = {key.key.kid: key.key for key in ring.keys}
        self._ring = ring
        return True

    def sign(self, claims: Claims) -> Issued:
        """Signs claims. Raises UsherError SIGNING_UNAVAILABLE past the active key's hard end."""
        key = self._signing_key()
        compact = self._sign(key, claims.payload_json, claims.issued_at, claims.expires_at)
        return Issued(compact=compact, kid=key.public.kid, alg=key.public.algorithm.value, claims=claims)

    def reused(self, issued: Issued) -> None:
        """Reports that a token was given once more."""
        self._observer(TokenReused(alg=issued.alg, kid=issued.kid))

    def sign_payload(self, payload: Mapping[str, Json]) -> str:
        """Signs claims that were checked before, for a verifier that shows them to the database.

        `payload` must have `exp`. Raises as `sign` does.
        """
        key = self._signing_key()
        expires_at = payload["exp"]
        assert isinstance(expires_at, int)
        # Not its `iat`: claims may be signed anew long after they were issued.
        issued_at = min(int(self._clock.now()), expires_at)
        return self._sign(key, to_json(payload), issued_at, expires_at)

    def _sign(self, key: SigningKey, payload_json: bytes, issued_at: int, expires_at: int) -> str:
        compact = jws.sign_json(key, payload_json)
        self._last_use = max(self._last_use, issued_at)
        self._observer(
            TokenIssued(
                alg=key.public.algorithm.value, kid=key.public.kid, ttl_seconds=expires_at - issued_at
            )
        )
        return compact

    def signing_kid(self) -> str:
        """The kid of the key that `sign` would use. Raises as it does."""
        return self._signing_key().public.kid

    def preview(self, claims: Claims) -> Issued:
        """What `sign` would give, without a signature. Raises as it does."""
        key = self._signing_key()
        return Issued(compact="", kid=key.public.kid, alg=key.public.algorithm.value, claims=claims)

    def verify(self, compact: str, *, audience: str | None = None, path: str = "token") -> VerifiedToken:
        """Checks a token of this issuer; `path` is its place in the request message.

        Raises UsherError with one of the TOKEN reasons, or as Revocations.current.
        """
        try:
            token = jws.verify(
                compact,
                self._keys.get,
                now=self._clock.now(),
                issuer=self._issuer,
                audience=audience,
                path=path,
            )
            if self._revocations is not None:
                self._revocations.check(
                    path=path,
                    jti=token.jti,
                    subject=token.subject,
                    kid=token.kid,
                    issued_at=token.issued_at,
                )
            return token
        except UsherError as error:
            self._observer(TokenRefused(reason=error.reason.value))
            raise

    def trouble(self) -> str | None:
        """Why nothing can be signed now, in public words; None when it can."""
        if trouble := self._time_trouble():
            return trouble
        if may_sign(self._active, self._clock.now(), self._settings):
            return None
        return "the active key is past its hard end and no other is ready; the log says why rotation fails"

    def _next(self, ring: KeyRing) -> PublishedKeys:
        published = publish(ring, self._settings)
        # A ring that no store has numbered is newer than the one before.
        return published if ring.version else replace(published, version=self._publication.now.version + 1)

    def _signing_key(self) -> SigningKey:
        if trouble := self.trouble():
            raise UsherError(Reason.SIGNING_UNAVAILABLE, trouble)
        key = self._active.signing_key
        assert key is not None  # only retired keys lose their private half
        return key
