"""Keys for pg_session_jwt: one for each session, which is started with it, and the tokens it signs.

The extension takes its key from the startup options alone and keeps it for as long as the session lives, so
that nobody but who opened the session can make a token for it. Neon's local proxy does the same
(docs/adr/0011-three-backends.md).
"""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sidecar.core.claims import to_json
from sidecar.core.errors import Reason, UsherError
from sidecar.core.issuer import Scope
from sidecar.core.keys import base64url
from sidecar.postgres.errors import DRIVER_ERRORS, connection_trouble
from sidecar.postgres.pool import Connect

EXTENSION: Final = "pg_session_jwt"

_INSTALLED: Final = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) $1)
"""
_BECOME: Final = "SELECT pg_catalog.set_config('role', $1, true)"


class SessionKey:
    """An Ed25519 key (RFC 8037) and the numbers of its tokens."""

    def __init__(self) -> None:
        self._private = Ed25519PrivateKey.generate()
        self._last = 0
        self.believed = False
        """Whether the extension was there when the session was opened, and has taken the key."""

    @property
    def option(self) -> str:
        """The startup option that gives the key to the extension. Postgres splits options at blanks."""
        x = base64url(self._private.public_key().public_bytes_raw())
        return f'-c {EXTENSION}.jwk={{"kty":"OKP","crv":"Ed25519","x":"{x}"}}'

    def token(self, scope: Scope, now: float) -> tuple[int, str]:
        """A new token of the scope's claims, and its number, which takes the place of `jti`.

        The extension takes numbers only in rising order. It accepts a token again without another look at
        its times, so none is ever given twice, and `exp` is looked at here. Raises UsherError: TOKEN_EXPIRED.
        """
        claims = json.loads(scope.payload_json)
        expires_at = claims.get("exp")
        if isinstance(expires_at, int | float) and now >= expires_at:
            raise UsherError(
                Reason.TOKEN_EXPIRED,
                "scope.token: the token has expired; issue a new one",
                {"field": "scope.token"},
            )
        self._last += 1
        return self._last, self._signed(claims | {"jti": self._last})

    def _signed(self, claims: dict[str, Any]) -> str:
        message = f"{_HEADER}.{base64url(to_json(claims))}"
        return f"{message}.{base64url(self._private.sign(message.encode()))}"


_HEADER: Final = base64url(b'{"alg":"EdDSA"}')


def session_key(connection: asyncpg.Connection[Any]) -> SessionKey | None:
    """The key that a connection was opened with; None when it was opened without."""
    found = getattr(connection, "session_key", None)
    return found if isinstance(found, SessionKey) else None


async def extension_installed(connection: asyncpg.Connection[Any]) -> bool:
    """Whether the database has the extension. Raises asyncpg's errors."""
    return bool(await connection.fetchval(_INSTALLED, EXTENSION))


def with_session_key(connect: Connect, database_url: str, role: str) -> Connect:
    """The same as `connect`, with a new key in each session.

    Where the extension is not installed the key is a setting that nobody reads. Where it is, auth.init() must
    take the key, called as `role`, or there is no connection: without a key the extension believes claims
    that any SQL can forge. What is raised then is an UsherError: DATABASE_NOT_INSTALLED.
    """
    options = parse_qs(urlsplit(database_url).query).get("options", [])

    async def connect_with_key(*args: Any, **kwargs: Any) -> asyncpg.Connection[Any]:
        key = SessionKey()
        settings = dict(kwargs.pop("server_settings", None) or {})
        settings["options"] = " ".join([*options, key.option])
        connection = await connect(*args, server_settings=settings, **kwargs)
        try:
            if await extension_installed(connection):
                await _init(connection, role)
                key.believed = True
        except BaseException:
            connection.terminate()
            raise
        connection.session_key = key
        return connection

    return connect_with_key


async def _init(connection: asyncpg.Connection[Any], role: str) -> None:
    try:
        async with connection.transaction(readonly=True):
            await connection.fetchval(_BECOME, role)
            await connection.execute("SELECT auth.init()")
    except asyncpg.InvalidParameterValueError:
        trouble = f"the role {role} does not exist; run `usher db install`, or name another database_role"
    except asyncpg.InsufficientPrivilegeError:
        trouble = (
            f"the login may not become the role {role}, or that may not use the schema auth; run "
            f"`usher db install --logins ...` and `GRANT USAGE ON SCHEMA auth TO {role}`"
        )
    # A missing key has the SQLSTATE 02000, which asyncpg counts among the warnings.
    except DRIVER_ERRORS as error:
        if getattr(error, "sqlstate", None) is None:
            raise
        trouble = (
            f"{EXTENSION} does not take the sidecar's key ({connection_trouble(error)}); it must come in the "
            "startup options, which a pooler between them may drop"
        )
    else:
        return
    raise UsherError(Reason.DATABASE_NOT_INSTALLED, trouble)
