"""The kinds of backend that the suite runs on: one entry of KINDS each.

A new kind needs a way to set a database up, a way to open a backend on it, and to say where it differs.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.core.transactions import TransactionBackend
from sidecar.postgres.scoped_backend import ClaimSettings, Identity
from tests.fakes import START
from tests.neon import standing as neon
from tests.postgres.scoped import PATIENCE, Place, connected, running_backend, set_up
from tests.servers import Servers
from tests.session_jwt import extension


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a test wants its backend. With one connection, what is left behind meets the next user."""

    connections: int = 1
    show_messages: bool = False
    max_result_bytes: int = 4 * 1024**2


Open = Callable[[Place, Options], AbstractAsyncContextManager[TransactionBackend]]


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
    """A statement that changes its claims fails. Otherwise they stay what they are, or are gone at most."""
    streams: bool = True
    differs: Mapping[str, str] = field(default_factory=dict)
    """Tests that must fail on this kind, each with the reason; by name, and parameters where only some do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A database for all tests of a module, which leave it as it was."""

    kind: Kind
    place: Place

    def open(self, **options: Any) -> AbstractAsyncContextManager[TransactionBackend]:
        """A backend of the kind on it; the options are those of Options."""
        return self.kind.open(self.place, Options(**options))


NEON_HTTP_DIFFERS: Final = {
    "test_a_result_that_cannot_be_delivered_leaves_nothing_written": (
        "Neon has committed before it answers; the error says so"
    ),
    "test_results_that_cannot_be_delivered_leave_nothing_written": (
        "Neon has committed before it answers; the error says so"
    ),
    "test_an_administrator_may_end_a_statement[pg_terminate_backend-DATABASE_UNAVAILABLE-57P01]": (
        "the answer does not tell whether it was in the commit, so that the outcome is open"
    ),
    "test_a_scope_may_run_as_another_role": (
        "a role logs in itself, and Neon must know it: a membership is neither needed nor enough"
    ),
}
"""docs/neon.md tells users of each."""


def _opened(identity: Identity, *, keyed: bool) -> Open:
    """Opens a backend on Postgres connections."""
    return functools.partial(_on_postgres, identity=identity, keyed=keyed)


@asynccontextmanager
async def _on_postgres(
    place: Place, options: Options, *, identity: Identity, keyed: bool
) -> AsyncIterator[TransactionBackend]:
    settings = ClaimSettings(
        identity=identity,
        shared_login=True,
        show_database_messages=options.show_messages,
        max_result_bytes=options.max_result_bytes,
    )
    async with running_backend(
        place.login,
        settings=settings,
        keyed=keyed,
        max_size=options.connections,
        acquire_timeout=PATIENCE,
    ) as backend:
        yield backend


async def _with_extension(admin: str) -> Place:
    """What an operator does on a database that has, or is to have, pg_session_jwt."""
    place = await set_up(admin, first=extension.create)
    async with connected(admin) as connection:
        await connection.execute("GRANT USAGE ON SCHEMA auth TO authenticated")
    return place


def _without_jti(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The extension needs `jti` for its own numbers."""
    return {name: value for name, value in payload.items() if name != "jti"}


@asynccontextmanager
async def _neon_http(place: Place, options: Options) -> AsyncIterator[TransactionBackend]:
    async with neon.standing(
        place.admin,
        sessions=options.connections,
        show_database_messages=options.show_messages,
        max_result_bytes=options.max_result_bytes,
    ) as standing:
        yield standing.backend


async def _behind_neon(dsn: str) -> Place:
    await neon.set_up(dsn)
    return Place(admin=dsn, login=dsn)


def _with_an_end(payload: Mapping[str, Any]) -> dict[str, Any]:
    """No token leaves the sidecar without one."""
    return {**payload, "exp": int(START) + 60}


KINDS: Final = {
    "postgres": Kind(name="postgres", open=_opened(Identity.SIGNED_CLAIMS, keyed=False)),
    "postgres-detected": Kind(name="postgres", open=_opened(Identity.AUTO, keyed=True)),
    "pg_session_jwt": Kind(
        name="pg_session_jwt",
        open=_opened(Identity.AUTO, keyed=True),
        set_up=_with_extension,
        database=extension.database,
        session=_without_jti,
        forgery_is_refused=False,
    ),
    "neon-http": Kind(
        name="neon-http",
        open=_neon_http,
        set_up=_behind_neon,
        database=neon.database,
        session=_with_an_end,
        forgery_is_refused=False,
        streams=False,
        differs=NEON_HTTP_DIFFERS,
    ),
}
"""Every kind by the name under which its tests are shown."""
