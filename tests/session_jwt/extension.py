"""Databases with pg_session_jwt: the stand-in on our own servers, or the real one on a server that has it.

USHER_TEST_PG_SESSION_JWT_DSN is a superuser's address on a server where `CREATE EXTENSION pg_session_jwt`
works. With it the whole suite runs on the real extension.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sidecar.embedded.binaries import DEFAULT_VERSION
from sidecar.postgres import installer
from tests.servers import Servers

REAL: Final = os.environ.get("USHER_TEST_PG_SESSION_JWT_DSN", "")
"""A server with the real extension; empty: the stand-in is used."""
FOLDER: Final = Path(__file__).parent
HEADER: Final = "eyJhbGciOiJFZERTQSJ9"
"""{"alg":"EdDSA"}"""


@contextmanager
def database(servers: Servers, version: int = DEFAULT_VERSION) -> Iterator[str]:
    """The superuser's address of a new database in which the extension can be made."""
    if not REAL:
        with servers.database(version) as dsn:
            yield dsn
        return
    name = f"session_jwt_{secrets.token_hex(4)}"
    servers.execute(REAL, f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        yield f"{REAL.rpartition('/')[0]}/{name}"
    finally:
        servers.execute(REAL, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def create(admin: asyncpg.Connection) -> None:
    """`CREATE EXTENSION pg_session_jwt`, which grants nothing."""
    if REAL:
        await admin.execute("CREATE EXTENSION pg_session_jwt")
    else:
        await admin.execute(stand_in())


def stand_in() -> str:
    """The SQL of the stand-in, for a superuser."""
    scripts = [(FOLDER / name).read_text() for name in ("ed25519.sql", "stand_in.sql")]
    return "\n".join(["BEGIN;", *scripts, "COMMIT;"])


async def create_at(dsn: str) -> None:
    """The same, given the superuser's address."""
    admin = await installer.connect(dsn)
    try:
        await create(admin)
    finally:
        await admin.close()


class TestKey:
    """A key of a session as a test makes it, with tokens of any content."""

    __test__ = False

    def __init__(self) -> None:
        self._private = Ed25519PrivateKey.generate()

    def jwk(self, **other: Any) -> str:
        """The public key, as the session is started with it; with members replaced."""
        x = base64url(self._private.public_key().public_bytes_raw())
        return compact({"kty": "OKP", "crv": "Ed25519", "x": x} | other)

    def options(self, **other: Any) -> dict[str, str]:
        """The settings with which a session is started."""
        return {"options": f"-c pg_session_jwt.jwk={self.jwk(**other)}"}

    def token(self, payload: Mapping[str, Any] | bytes) -> str:
        """A token with this payload, whatever it is."""
        octets = payload if isinstance(payload, bytes) else compact(payload).encode()
        signed = f"{HEADER}.{base64url(octets)}"
        return f"{signed}.{base64url(self._private.sign(signed.encode()))}"


def compact(value: Mapping[str, Any]) -> str:
    """JSON without white space, which startup options must not have."""
    return json.dumps(value, separators=(",", ":"))


def base64url(octets: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")
