"""Issuing: from a request to checked claims, a signed token, or the scope of a query."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sidecar.core.claims import (
    KID_CLAIM,
    REGISTERED,
    Claims,
    Json,
    check_audiences,
    check_subject,
    custom_claims,
    to_json,
)
from sidecar.core.clock import Clock
from sidecar.core.errors import Reason, SettingsError, UsherError, invalid_field
from sidecar.core.revocations import Revocations
from sidecar.core.signer import Issued, Signer
from sidecar.core.token_reuse import TokenReuse


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerSettings:
    """Who issues, and for how long. Times in seconds."""

    issuer: str
    default_ttl: int = 300
    max_ttl: int = 3600
    reuse: int = 0
    """How long after it was signed a token may answer the same caller's equal request; 0: not at all."""

    def validate(self) -> None:
        """Raises SettingsError for a lifetime or issuer that cannot be."""
        if not self.issuer.strip() or len(self.issuer) > 255:
            raise SettingsError("issuer must be 1 to 255 characters, usually the public URL of this server")
        if not 1 <= self.default_ttl <= self.max_ttl:
            raise SettingsError("token_ttl must lie between 1 s and max_token_ttl")
        if not 0 <= self.reuse <= self.max_ttl:
            raise SettingsError("token_reuse must lie between 0 and max_token_ttl")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What the caller asks to be signed. `ttl` in seconds, None for the default.

    `max_ttl` is the caller's own longest lifetime, None for the server's. `caller` is who asks.
    """

    subject: str
    audiences: Sequence[str] = ()
    claims: Mapping[str, Any]
    ttl: float | None = None
    max_ttl: int | None = None
    caller: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The end user of a query. `payload` is the full set of claims, `payload_json` the same as text.

    `role` is the Postgres role to run as, None for the setting database_role. `kid` names the key of the
    token that the scope is from, None when it is from none. `token` is a token of this issuer that says just
    these claims, where the caller gave one.
    """

    subject: str
    payload: Mapping[str, Json]
    role: str | None = None
    kid: str | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def payload_json(self) -> str:
        """Compact JSON, as Postgres is given it: the claims, and the token's key as KID_CLAIM."""
        if self.kid is None:
            return to_json(self.payload).decode()
        return to_json({**self.payload, KID_CLAIM: self.kid}).decode()

    @property
    def custom(self) -> dict[str, Json]:
        """The custom claims."""
        return {name: value for name, value in self.payload.items() if name not in REGISTERED}

    @property
    def audiences(self) -> tuple[str, ...]:
        """The `aud` claim, a text or a list of texts (RFC 7519 section 4.1.3)."""
        aud = self.payload.get("aud")
        if isinstance(aud, list):
            return tuple(str(audience) for audience in aud)
        return () if aud is None else (str(aud),)


class Issuer:
    """Turns requests into claims, tokens and scopes."""

    def __init__(
        self,
        signer: Signer,
        settings: IssuerSettings,
        clock: Clock,
        new_jti: Callable[[], str] = lambda: str(uuid.uuid4()),
        revocations: Revocations | None = None,
    ) -> None:
        """`revocations` says for whom nothing is issued, and who is no scope's subject; None: nobody."""
        self._signer = signer
        self._settings = settings
        self._clock = clock
        self._new_jti = new_jti
        self._revocations = revocations
        self._reuse = TokenReuse(settings.reuse) if settings.reuse else None

    def claims(self, request: TokenRequest, *, path: str = "") -> Claims:
        """The checked claims of a request; `path` is the prefix of field names in errors.

        Raises UsherError: INVALID_FIELD, TTL_OUT_OF_RANGE or one of the CLAIM reasons.
        """
        check_subject(request.subject, f"{path}subject")
        check_audiences(request.audiences)
        issued_at = int(self._clock.now())
        claims = Claims(
            issuer=self._settings.issuer,
            subject=request.subject,
            audiences=tuple(request.audiences),
            issued_at=issued_at,
            expires_at=issued_at + self._ttl(request.ttl, request.max_ttl),
            jti=self._new_jti(),
            custom=custom_claims(request.claims, f"{path}claims"),
        )
        claims.check_size()
        return claims

    def issue(self, request: TokenRequest) -> Issued:
        """Signs a token. Raises UsherError as `claims` does, SIGNING_UNAVAILABLE or TOKEN_REVOKED."""
        claims = self._checked(request)
        if self._reuse is None:
            return self._signer.sign(claims)
        earlier = self._reuse.find(request.caller, self._signer.signing_kid(), claims)
        if earlier is not None and not self._is_revoked(earlier):
            self._signer.reused(earlier)
            return earlier
        issued = self._signer.sign(claims)
        self._reuse.keep(request.caller, issued)
        return issued

    def preview(self, request: TokenRequest) -> Issued:
        """What `issue` would give, without a signature. Raises as it does."""
        return self._signer.preview(self._checked(request))

    def scope_of_principal(self, request: TokenRequest) -> Scope:
        """The scope of a subject named directly.

        Raises as `claims`, naming fields of scope.principal, and as Revocations.check.
        """
        claims = self.claims(request, path="scope.principal.")
        if self._revocations is not None:
            self._revocations.check(
                path="scope.principal.subject",
                jti=claims.jti,
                subject=claims.subject,
                issued_at=claims.issued_at,
            )
        return Scope(subject=claims.subject, payload=claims.payload)

    def scope_of_token(self, compact: str) -> Scope:
        """The scope of a token issued earlier. Raises UsherError with a TOKEN reason."""
        verified = self._signer.verify(compact, path="scope.token")
        return Scope(subject=verified.subject, payload=verified.claims, kid=verified.kid, token=compact)

    def _checked(self, request: TokenRequest) -> Claims:
        """The claims of a token, unless it would be refused at once.

        A list that is not current stops nobody here: signing goes on while the database is away, and whoever
        is asked to believe the token looks again.
        """
        claims = self.claims(request)
        if self._revocations is not None:
            self._check_known(self._revocations, claims, self._signer.signing_kid())
        return claims

    def _check_known(self, revocations: Revocations, claims: Claims, kid: str) -> None:
        revocations.check_known(
            path="subject", jti=claims.jti, subject=claims.subject, kid=kid, issued_at=claims.issued_at
        )

    def _is_revoked(self, issued: Issued) -> bool:
        if self._revocations is None:
            return False
        try:
            self._check_known(self._revocations, issued.claims, issued.kid)
        except UsherError:
            return True
        return False

    def sign(self, payload: Mapping[str, Json]) -> str:
        """A token that says a scope's claims. Raises UsherError SIGNING_UNAVAILABLE."""
        return self._signer.sign_payload(payload)

    def _ttl(self, asked: float | None, callers_longest: int | None) -> int:
        longest = min(self._settings.max_ttl, callers_longest or self._settings.max_ttl)
        if asked is None:
            return min(self._settings.default_ttl, longest)
        if not asked.is_integer():
            raise invalid_field("ttl", "must be whole seconds", Reason.TTL_OUT_OF_RANGE)
        if not 1 <= asked <= longest:
            raise invalid_field(
                "ttl",
                f"must lie between 1 s and {longest} s, this server's longest lifetime",
                Reason.TTL_OUT_OF_RANGE,
            )
        return int(asked)
