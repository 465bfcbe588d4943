"""TokenService: issue and verify."""

from __future__ import annotations

from usher.v1 import token_service_pb2 as pb

from sidecar.core.callers import Caller
from sidecar.core.issuer import Issuer, TokenRequest
from sidecar.core.policy import Ask, Authorizer, Principal
from sidecar.core.signer import Signer
from sidecar.services.convert import dict_to_struct, fill_struct, seconds, struct_to_dict, timestamp


class TokenService:
    """Methods of usher.v1.TokenService."""

    def __init__(self, issuer: Issuer, signer: Signer, authorizer: Authorizer) -> None:
        self._issuer = issuer
        self._signer = signer
        self._authorizer = authorizer

    async def issue_token(self, request: pb.IssueTokenRequest, caller: Caller) -> bytes:
        """Signs a token, or says what it would be."""
        audiences = tuple(request.audiences)
        claims = struct_to_dict(request.claims)
        ttl = seconds(request.ttl) if request.HasField("ttl") else None
        principal = Principal(subject=request.subject, claims=claims, audiences=audiences)
        grant = self._authorizer.decide(caller, Ask(method="IssueToken", principal=principal, ttl=ttl))
        asked = TokenRequest(
            subject=request.subject,
            audiences=audiences,
            claims={**claims, **grant.claims},
            ttl=ttl,
            max_ttl=grant.max_ttl,
            caller=caller.name,
        )
        issued = self._issuer.preview(asked) if request.validate_only else self._issuer.issue(asked)
        response = pb.IssueTokenResponse(
            token=issued.compact, kid=issued.kid, alg=issued.alg, jti=issued.claims.jti
        )
        # In place: each part that is made apart would be copied.
        response.issue_time.seconds = issued.claims.issued_at
        response.expire_time.seconds = issued.claims.expires_at
        fill_struct(response.claims, issued.claims.payload)
        return response.SerializeToString()

    async def verify_token(self, request: pb.VerifyTokenRequest, caller: Caller) -> bytes:
        """Returns a token's claims, or raises why it is refused."""
        self._authorizer.decide(caller, Ask(method="VerifyToken"))
        verified = self._signer.verify(request.token, audience=request.audience or None)
        claims = verified.claims
        return pb.VerifyTokenResponse(
            claims=dict_to_struct(claims),
            subject=verified.subject,
            kid=verified.kid,
            alg=verified.alg,
            jti=verified.jti,
            issue_time=timestamp(verified.issued_at),
            expire_time=timestamp(verified.expires_at),
        ).SerializeToString()
