"""A database with the demo behind the double of `POST /sql`, and the backend neon-http in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from sidecar.core.clock import Clock, SystemClock
from sidecar.core.events import DatabaseStateChanged
from sidecar.core.issuer import Issuer, IssuerSettings, TokenRequest
from sidecar.core.keyring import RotationSettings
from sidecar.core.rotation import first_ring
from sidecar.core.signer import Signer
from sidecar.postgres import installer
from sidecar.postgres.neon_http.backend import NeonHttpBackend
from sidecar.postgres.neon_http.exchange import Exchange, NeonSettings
from sidecar.postgres.neon_http.target import Target
from sidecar.postgres.neon_http.watch import Watch
from sidecar.web.sql_client import SqlClient
from tests.fakes import START
from tests.neon.local_proxy import STAND_IN, Identity, LocalProxy, Login, TableIdentity
from tests.neon.plain_verifier import PlainVerifier
from tests.neon.sql_endpoint import SqlEndpoint, serving
from tests.postgres.scoped import MORE_TABLES, Watcher
from tests.servers import VERSIONS, Servers
from tests.session_jwt import extension


class StillClock(SystemClock):
    """Durations are real, the time of day stands still: what is signed is the same in every run."""

    def now(self) -> float:
        return START


ENDPOINT = "ep-quiet-hill-123456"
HOST = f"{ENDPOINT}.eu-central-1.double.test"
ROLES = ("authenticated", "anonymous")
ISSUER = "https://issuer.example"
PASSWORD = secrets.token_hex(8)
"""Of the roles, which log in themselves; Neon's local proxy needs none."""
_IN_USE: Counter[str] = Counter()
"""Databases of each server. Roles belong to the server: elsewhere they must not log in."""


@contextlib.contextmanager
def database(servers: Servers, version: int | None = None) -> Iterator[str]:
    """The superuser's address of a database with roles that log in, until the end of the block."""
    with servers.database(version) if version else servers.database() as dsn:
        server = dsn.rpartition("/")[0]
        _IN_USE[server] += 1
        servers.execute(
            dsn,
            "".join(
                f"DO $$ BEGIN IF pg_catalog.to_regrole('{role}') IS NULL THEN CREATE ROLE {role};"
                f" END IF; END $$; ALTER ROLE {role} LOGIN PASSWORD '{PASSWORD}';"
                for role in ROLES
            ),
        )
        try:
            yield dsn
        finally:
            _IN_USE[server] -= 1
            if not _IN_USE[server]:
                servers.execute(dsn, "".join(f"ALTER ROLE {role} NOLOGIN PASSWORD NULL;" for role in ROLES))


async def set_up(dsn: str, *, session_jwt: bool = False) -> None:
    """The demo, on functions for TableIdentity, or on pg_session_jwt or what stands in for it."""
    connection = await asyncpg.connect(dsn)
    try:
        if session_jwt:
            await extension.create(connection)
            await connection.execute(f"GRANT USAGE ON SCHEMA auth TO {', '.join(ROLES)}")
        else:
            await connection.execute(STAND_IN)
        await connection.execute(installer.demo_script())
        await connection.execute(MORE_TABLES)
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All of it, running."""

    backend: NeonHttpBackend
    watch: Watch
    exchange: Exchange
    endpoint: SqlEndpoint
    url: str
    issuer: Issuer
    signer: Signer
    target: Target
    clock: Clock
    observed: Watcher
    login: Login
    identity: Identity


@contextlib.asynccontextmanager
async def standing(
    dsn: str,
    *,
    sessions: int = 1,
    clock: Clock | None = None,
    audience: str | None = None,
    neon_audience: str = "",
    identity: Identity | None = None,
    ready: bool = True,
    **settings: Any,
) -> AsyncIterator[Standing]:
    """The backend on the double, ready for use. The double has so many sessions of Postgres.

    `audience` is what the double wants, `neon_audience` what the backend gives; the rest is of NeonSettings.
    """
    clock, observed = clock or StillClock(), Watcher()
    rotation = RotationSettings(unsafe_timing=True)
    signer = Signer(await first_ring(rotation, clock, observed), rotation, ISSUER, clock, observed)
    issuer = Issuer(signer, IssuerSettings(issuer=ISSUER), clock)
    url = urlsplit(dsn)
    identity = identity or TableIdentity(dsn)
    login = Login(host=url.hostname or "", port=url.port or 5432, password=PASSWORD)
    proxy = LocalProxy(login, identity, sessions)
    jwks = {"keys": [dict(key.key.jwk) for key in signer.ring.keys]}
    endpoint = SqlEndpoint(PlainVerifier(jwks, ROLES, clock, audience), proxy)
    target = Target.parse(f"postgresql://authenticated@{HOST}{url.path}")
    chosen = NeonSettings(target=target, acquire_timeout=20.0, audience=neon_audience, **settings)
    chosen.validate()
    async with serving(endpoint) as address:
        client = SqlClient(address, chosen.concurrency)
        exchange = Exchange(client.post, issuer.sign, chosen, clock)
        probe = TokenRequest(subject="usher-probe", claims={})
        watch = Watch(
            exchange, client.ping, lambda: issuer.scope_of_principal(probe), chosen, clock, observed
        )
        running = asyncio.create_task(watch.run())
        try:
            if ready:
                await observed.until(lambda: bool(observed.of(DatabaseStateChanged)))
                assert watch.trouble is None, watch.trouble
            yield Standing(
                backend=NeonHttpBackend(exchange, chosen, watch),
                watch=watch,
                exchange=exchange,
                endpoint=endpoint,
                url=address,
                issuer=issuer,
                signer=signer,
                target=target,
                clock=clock,
                observed=observed,
                login=login,
                identity=identity,
            )
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await watch.close(5.0)
            await client.close()
            await proxy.close()
            await identity.close()


def token(standing: Standing, subject: str, **claims: object) -> str:
    """A token of the standing's issuer."""
    return standing.issuer.issue(TokenRequest(subject=subject, claims=claims)).compact


__all__ = ["VERSIONS", "NeonSettings", "Servers", "Standing", "database", "set_up", "standing", "token"]
