"""The sidecar's logins: one for each connection, so that Postgres itself keeps their users apart.

A role reads the statements of its own sessions in pg_stat_activity and may cancel them, and SQL can always
return to its login (`set_config('role', 'none', ...)`). With a login for each session there is nobody to
read. CONNECTION LIMIT 1 makes Postgres the judge of that, for any number of sidecars.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import asyncpg

from sidecar.core.errors import SettingsError

MARKER: Final = "usher_login"
"""The role whose members are the sidecar's logins: in their sessions missing claims are an error."""
MOST_LOGINS: Final = 1000

_ITERATIONS: Final = 4096
_PREFIX: Final = re.compile(r"[a-z_][a-z0-9_]{0,55}")
_ROUNDS: Final = 3
_PAUSE_SECONDS: Final = 0.1


def login_name(prefix: str, number: int) -> str:
    """The login with a number, from 1."""
    return f"{prefix}_{number}"


def check_prefix(prefix: str, count: int) -> None:
    """Raises SettingsError for what cannot name logins."""
    if not _PREFIX.fullmatch(prefix) or not 1 <= count <= MOST_LOGINS:
        raise SettingsError(
            f"logins: 1 to {MOST_LOGINS} of them, and a prefix of lower-case letters, digits and _"
        )


def scram_verifier(password: str, salt: bytes | None = None) -> str:
    """What Postgres stores of a password (RFC 5803, as in PostgreSQL's scram-common.c).

    Made here, so that the password itself is never in the text of a statement. `password` must be ASCII.
    """
    salt = salt or secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def logins_script(prefix: str, count: int, password: str) -> str:
    """SQL that makes the logins, or gives those that exist this password; their sessions go on.

    Raises SettingsError as check_prefix does.
    """
    check_prefix(prefix, count)
    verifier = scram_verifier(password)
    parts = []
    for number in range(1, count + 1):
        name = login_name(prefix, number)
        parts += [
            f"DO $$ BEGIN IF pg_catalog.to_regrole('{name}') IS NULL THEN"
            f" CREATE ROLE {name}; END IF; END $$;",
            f"ALTER ROLE {name} LOGIN NOINHERIT CONNECTION LIMIT 1 PASSWORD '{verifier}';",
            f"GRANT authenticated, anonymous, {MARKER} TO {name};",
        ]
    return "\n".join(parts)


def connector(database_url: str, count: int) -> Callable[..., Awaitable[asyncpg.Connection[Any]]]:
    """A `connect` for asyncpg's pool that takes the first login that is free, named after the URL's user.

    It starts at a random one, so that several sidecars do not try the same ones. A session that has just
    ended may keep its login for a moment: hence more than one round.
    """
    prefix = unquote(urlsplit(database_url).username or "")

    async def connect(*args: Any, **kwargs: Any) -> asyncpg.Connection[Any]:
        first = secrets.randbelow(count)
        for attempt in range(_ROUNDS * count):
            kwargs["user"] = login_name(prefix, (first + attempt) % count + 1)
            try:
                return await asyncpg.connect(*args, **kwargs)
            except asyncpg.TooManyConnectionsError:
                if attempt == _ROUNDS * count - 1:
                    raise
            if (attempt + 1) % count == 0:
                await asyncio.sleep(_PAUSE_SECONDS)
        raise AssertionError

    return connect
