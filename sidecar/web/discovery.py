"""The public paths: the JWKS (RFC 7517) and the issuer's metadata (OpenID Connect Discovery 1.0), no others.

Verifiers that fail to get the keys refuse every token for minutes, so nothing here can redirect, compress,
rate-limit or depend on anything but memory. docs/http.md has the reasons and their sources.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from sidecar.core.events import JwksServed, Observer
from sidecar.core.keyring import PublishedKeys
from sidecar.web.answers import ALLOWED_METHODS, COMMON_HEADERS, method_not_allowed, refusal
from sidecar.web.etags import has_match

JWKS_PATH: Final = "/.well-known/jwks.json"
METADATA_PATH: Final = "/.well-known/openid-configuration"

NEON_PROXY: Final = "neon-proxy"

_CLAIMS: Final = ("iss", "sub", "aud", "exp", "nbf", "iat", "jti")


@dataclass(frozen=True, slots=True)
class _Document:
    """A body with its headers, made once a change of what is published. A 304 has no Content-Type."""

    body: bytes
    etag: str
    headers: Mapping[str, str]
    unchanged_headers: Mapping[str, str]


class Discovery:
    """The handler of the public listener."""

    def __init__(
        self,
        issuer: str,
        published: Callable[[], PublishedKeys],
        observer: Observer,
        verifiers: Collection[str] = (),
    ) -> None:
        """`published` gives the key set of the moment: the same object until it changes. `verifiers` are user
        agents that are told apart, in lower case."""
        self._issuer = issuer
        self._published = published
        self._observer = observer
        self._verifiers = frozenset(verifiers)
        self._made_from: PublishedKeys | None = None
        self._documents: dict[str, _Document] = {}

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answers one request."""
        published = self._published()
        if published is not self._made_from:
            self._documents = _documents(self._issuer, published)
            self._made_from = published
        path = request.path
        document = self._documents.get(path)
        response = refusal(404) if document is None else _respond(request, document)
        agent = agent_class(request.headers.get("User-Agent", ""), self._verifiers)
        # Neon's proxy wants nothing but keys: a path of its that is not here is a wrong URL in its settings.
        if path == JWKS_PATH or (document is None and agent == NEON_PROXY):
            # An answer to HEAD has no keys in it.
            has = response.status == 304 or (response.status == 200 and request.method == "GET")
            version = published.version if has else 0
            self._observer(JwksServed(status=response.status, agent=agent, version=version))
        return response


def agent_class(user_agent: str, verifiers: Collection[str] = ()) -> str:
    """The class of a User-Agent: the verifier that its product names, else neon-proxy, browser or other."""
    product = re.split(r"[/ ]", user_agent, maxsplit=1)[0].lower()
    if product in verifiers:
        return product
    if user_agent.startswith(NEON_PROXY):
        return NEON_PROXY
    return "browser" if user_agent.startswith("Mozilla/") else "other"


def metadata(issuer: str, algorithms: tuple[str, ...]) -> dict[str, object]:
    """The issuer's metadata (OpenID Connect Discovery 1.0 section 3).

    Tokens are issued over gRPC, so there is no authorization or token endpoint to name.
    """
    return {
        "issuer": issuer,
        # Section 4.1: a slash at the end of the issuer is removed before the path is appended.
        "jwks_uri": issuer.removesuffix("/") + JWKS_PATH,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": list(algorithms),
        "claims_supported": list(_CLAIMS),
    }


def _respond(request: web.BaseRequest, document: _Document) -> web.Response:
    if request.method not in ALLOWED_METHODS:
        return method_not_allowed()
    # A list may come in several fields of the name (RFC 9110 section 5.3).
    listed = request.headers.getall("If-None-Match", None)
    if listed is not None and has_match(",".join(listed), document.etag):
        return web.Response(status=304, headers=document.unchanged_headers)
    return web.Response(body=document.body, headers=document.headers)


def _documents(issuer: str, published: PublishedKeys) -> dict[str, _Document]:
    documents = {JWKS_PATH: _document(published.body, published.etag, published.max_age)}
    # An issuer that is no URL has no place where its metadata could be looked for.
    if issuer.startswith(("https://", "http://")):
        body = json.dumps(metadata(issuer, published.algorithms), separators=(",", ":")).encode("ascii")
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        documents[METADATA_PATH] = _document(body, etag, published.max_age)
    return documents


def _document(body: bytes, etag: str, max_age: int) -> _Document:
    unchanged = COMMON_HEADERS | {
        "ETag": etag,
        "Cache-Control": f"public, max-age={max_age}",
        # Public keys are for everyone; JOSE libraries in browsers fetch them across origins.
        "Access-Control-Allow-Origin": "*",
    }
    return _Document(body, etag, unchanged | {"Content-Type": "application/json"}, unchanged)
