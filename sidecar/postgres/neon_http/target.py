"""Where statements go: the role, host and database of a connection string, and the URL that is asked."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from sidecar.core.errors import SettingsError

_HOST: Final = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A database of a Neon endpoint. `role` is the one that the URL names, "" for none."""

    role: str
    host: str
    database: str

    @staticmethod
    def parse(database_url: str) -> Target:
        """The target in postgresql://role@host/database. Raises SettingsError, which never repeats it.

        What follows a question mark is for the wire protocol and left out: TLS is always on here.
        """
        try:
            url = urlsplit(database_url)
            host = (url.hostname or "").lower()
            password = url.password
        except ValueError:
            raise _wrong() from None
        if url.scheme not in ("postgresql", "postgres") or not _HOST.fullmatch(host) or _is_address(host):
            raise _wrong()
        database = unquote(url.path.removeprefix("/"))
        if not database or "/" in database:
            raise _wrong()
        if password is not None:
            raise SettingsError(
                "database_url: leave the password out; with database_backend=neon-http tokens take its place"
            )
        return Target(role=unquote(url.username or ""), host=host, database=database)

    @property
    def sql_url(self) -> str:
        """Where Neon takes statements with a token: the host's domain with `apiauth` in front."""
        return f"https://apiauth.{self.host.partition('.')[2]}/sql"

    def connection_string(self, role: str) -> str:
        """The header Neon-Connection-String of a request as this role."""
        return f"postgresql://{quote(role, safe='')}@{self.host}/{quote(self.database, safe='')}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _wrong() -> SettingsError:
    return SettingsError(
        "database_url must look like postgresql://role@ep-name.region.aws.neon.tech/database, "
        "for database_backend=neon-http"
    )
