"""The kinds of backend that the suite runs on: one entry of KINDS each.

A new kind needs a way to set a database up, a way to open a backend on it, and to say where it differs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.core.queries import Backend
from sidecar.postgres.signed_claims import ClaimSettings
from tests.postgres.scoped import PATIENCE, Place, running_backend, set_up
from tests.servers import Servers


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a test wants its backend. With one connection, what is left behind meets the next user."""

    connections: int = 1
    show_messages: bool = False
    max_result_bytes: int = 4 * 1024**2


Open = Callable[[Place, Options], AbstractAsyncContextManager[Backend]]


def as_sent(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The claims that auth.session() tells are those of the scope."""
    return dict(payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of backend, and where it differs from the others."""

    name: str
    """What `Backend.kind` says."""
    open: Open
    """A backend that is ready, on a database that was set up."""
    set_up: Callable[[str], Coroutine[Any, Any, Place]] = set_up
    """Makes an empty database ready, given its superuser's address: the demo, and scoped.MORE_TABLES."""
    database: Callable[[Servers], AbstractContextManager[str]] = field(default=Servers.database)
    """The superuser's address of an empty database."""
    session: Callable[[Mapping[str, Any]], dict[str, Any]] = as_sent
    """What of a scope's claims auth.session() must tell. `jti` is compared only where it is in here."""
    forgery_is_refused: bool = True
    """A statement that changes its claims fails. Otherwise they stay what they are, or are gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A database for all tests of a module, which leave it as it was."""

    kind: Kind
    place: Place

    def open(self, **options: Any) -> AbstractAsyncContextManager[Backend]:
        """A backend of the kind on it; the options are those of Options."""
        return self.kind.open(self.place, Options(**options))


@asynccontextmanager
async def _signed_claims(place: Place, options: Options) -> AsyncIterator[Backend]:
    settings = ClaimSettings(
        shared_login=True,
        show_database_messages=options.show_messages,
        max_result_bytes=options.max_result_bytes,
    )
    async with running_backend(
        place.login, settings=settings, max_size=options.connections, acquire_timeout=PATIENCE
    ) as backend:
        yield backend


KINDS: Final = {kind.name: kind for kind in (Kind(name="postgres", open=_signed_claims),)}
"""Every kind by its name."""
