"""The least that a verifier must do: one key set, given once. No cache ages, no fetches."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import jwt

from sidecar.core.clock import Clock

LEEWAY_SECONDS = 30


class TokenRefused(Exception):
    """A token does not hold; `text` is what Neon's client is told."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class PlainVerifier:
    """Takes tokens of a key set for some roles; the texts of refusals are Neon's."""

    def __init__(
        self, jwks: Mapping[str, Any], roles: Collection[str], clock: Clock, audience: str | None = None
    ) -> None:
        self._keys = {key["kid"]: jwt.PyJWK(key) for key in jwks["keys"]}
        self._roles = roles
        self._clock = clock
        self._audience = audience

    async def verify(self, token: str, endpoint: str, role: str) -> Mapping[str, Any]:
        """See sql_endpoint.Verifier. Raises TokenRefused."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise TokenRefused("Provided authentication token is not a valid JWT encoding") from None
        if "kid" not in header:
            raise TokenRefused("missing key id")
        key = self._keys.get(header["kid"]) if role in self._roles else None
        if key is None:
            raise TokenRefused("jwk not found")
        try:
            payload = jwt.PyJWS(algorithms=["ES256", "RS256"]).decode(token, key, [key.algorithm_name])
        except jwt.PyJWTError:
            raise TokenRefused("signature error") from None
        claims: dict[str, Any] = json.loads(payload)
        audiences = claims.get("aud", [])
        if self._audience is not None and self._audience not in (
            audiences if isinstance(audiences, list) else [audiences]
        ):
            raise TokenRefused("invalid JWT token audience")
        now = self._clock.now()
        if now >= claims.get("exp", now) + LEEWAY_SECONDS:
            raise TokenRefused(f"JWT token has expired (exp={claims['exp']})")
        if claims.get("nbf", 0) >= now + LEEWAY_SECONDS:
            raise TokenRefused(f"JWT token is not yet ready to use (nbf={claims['nbf']})")
        return claims
