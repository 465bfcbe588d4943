"""What a transaction costs beside the same statements as queries, and what it costs to enter again.

Usage: python bench/transaction_cost.py [ROUNDS [LOOP]]. Database, connection, distance and figures as in
round_trips.py. Three ways take turns in each round:

- one by one: each statement is a query;
- together: all are one transaction, as it is served;
- entered once: the same without claims, role and timeout set again before each further statement.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from typing import Any, Final

from claims_cost import ALICE, backend_cpu, folder, opened
from round_trips import FAR, NEAR, STATEMENTS, at_distance, fill

from sidecar.app.event_loop import run
from sidecar.core.queries import Statement
from sidecar.core.transactions import Transaction
from sidecar.embedded.server import EmbeddedPostgres
from sidecar.postgres.claim_key import CurrentKey
from sidecar.postgres.driver import CLOSE_RESULT
from sidecar.postgres.entry import Entry
from sidecar.postgres.pool import Pool
from sidecar.postgres.scoped_backend import ClaimSettings
from sidecar.postgres.signed_claims import SignedClaimsBackend
from sidecar.postgres.wire import Step

WAYS: Final = ("one by one", "together", "entered once")
READ, INSERT = STATEMENTS["select"], STATEMENTS["insert"]
WORKS: Final = {
    "2 reads": (READ, READ),
    "read, insert": (READ, INSERT),
    "read, 4 inserts": (READ, *[INSERT] * 4),
}


class Once(Entry):
    """An entry that is not repeated; what stands in its place says only that it is not SERIALIZABLE."""

    def again(self) -> Entry:
        return Once(
            role=self.role,
            begin=(CLOSE_RESULT,),
            identity=(Step(sql="SELECT false"),),
            explain=self.explain,
        )


class EnteredOnce(SignedClaimsBackend):
    """What is served, less the guard of later statements."""

    async def entry(self, *arguments: Any, **options: Any) -> Entry:
        made = await super().entry(*arguments, **options)
        return Once(
            role=made.role,
            begin=made.begin,
            identity=made.identity,
            by_number=made.by_number,
            explain=made.explain,
        )


async def once(backend: SignedClaimsBackend, way: str, work: tuple[Statement, ...], chosen: Pool) -> float:
    """Runs the statements; the seconds until the last answer, scrubs behind it left out."""
    if way != "one by one":
        started = time.perf_counter()
        await backend.run_transaction(ALICE, Transaction(statements=work), lambda results: None)
        return time.perf_counter() - started
    waited = 0.0
    for statement in work:
        started = time.perf_counter()
        await backend.run(ALICE, statement, lambda result: None)
        waited += time.perf_counter() - started
        await asyncio.gather(*chosen._returning)
    return waited


async def turn(
    backend: SignedClaimsBackend, way: str, work: tuple[Statement, ...], chosen: Pool, count: int
) -> tuple[float, ...]:
    """Microseconds for all statements: CPU here, CPU of the backend, time waited. Scrubs are in both CPUs."""
    async with chosen.lease() as connection:
        pid = connection.get_server_pid()
    for _ in range(10):
        await once(backend, way, work, chosen)
        await asyncio.gather(*chosen._returning)
    here, there, waited = time.process_time(), backend_cpu(pid), 0.0
    for _ in range(count):
        waited += await once(backend, way, work, chosen)
        await asyncio.gather(*chosen._returning)
    here, there = time.process_time() - here, backend_cpu(pid) - there
    return tuple(seconds / count * 1e6 for seconds in (here, there, waited))


async def measure(server: EmbeddedPostgres, rounds: int) -> dict[tuple[str, ...], list[tuple[float, ...]]]:
    key = CurrentKey(await fill(server, "numbered", None))
    near = server.superuser_dsn("numbered").rpartition("@")[2].partition("/")[0]
    found: dict[tuple[str, ...], list[tuple[float, ...]]] = {}
    with at_distance(near) as far:
        for number in range(rounds):
            for where, address, count in (("near", near, NEAR), ("far", far, FAR)):
                async with opened(f"{address}/numbered") as chosen:
                    for way in WAYS[number % 3 :] + WAYS[: number % 3]:
                        kind = EnteredOnce if way == WAYS[2] else SignedClaimsBackend
                        backend = kind(chosen, ClaimSettings(), key)
                        for name, work in WORKS.items():
                            seen = await turn(backend, way, work, chosen, count)
                            found.setdefault((where, name, way), []).append(seen)
    return found


async def main(rounds: int) -> None:
    with folder() as place:
        server = EmbeddedPostgres(place, fsync=False)
        await server.start()
        try:
            found = await measure(server, rounds)
        finally:
            await server.stop()
    print(
        f"{'us for all':32} {'sidecar CPU':>12} {'Postgres CPU':>12} {'near waited':>12} {'far waited':>12}"
    )
    for name in WORKS:
        for way in WAYS:
            here, there, waited = map(statistics.median, zip(*found["near", name, way], strict=True))
            far = statistics.median(seen[2] for seen in found["far", name, way])
            print(f"{name:16} {way:15} {here:12.0f} {there:12.0f} {waited:12.0f} {far:12.0f}")


if __name__ == "__main__":
    rounds, loop = (*sys.argv[1:], *("5", "auto")[len(sys.argv) - 1 :])
    run(main(int(rounds)), loop)
