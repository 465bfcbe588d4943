"""Streams: the rows of one reading statement, as fast as the caller takes them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Final

from sidecar.core.clock import Clock
from sidecar.core.errors import Reason, UsherError
from sidecar.core.events import Observer
from sidecar.core.issuer import Scope
from sidecar.core.policy import UNLIMITED, Grant
from sidecar.core.queries import (
    Backend,
    Deliver,
    QueryRequest,
    QuerySettings,
    ScopedQueries,
    Tally,
    reported,
)
from sidecar.core.sql import WRITING_VERBS
from sidecar.core.statements import Catalog
from sidecar.core.values import Column, Rows, StreamEnd

CHUNK_BYTES: Final = 128 * 1024
"""What a chunk is to have. Smaller ones cost more calls, larger ones more memory on either side."""
LARGEST_CHUNK_BYTES: Final = 256 * 1024
"""What a chunk has at most, unless a single row has more."""
_NO_LIMIT: Final = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """Limits of streams beside those of queries."""

    max_rows: int = 0
    """Most rows of a stream; 0: as many as there are."""
    max_streams: int = 5
    """Most streams at a time: each holds a database connection, however slow its caller is."""
    longest_stall: float = 45.0
    """Seconds that a caller may take for a portion. Postgres ends a transaction that idles for 60 s."""


class ScopedStreams:
    """Checks a request as ScopedQueries does, and has the backend stream it."""

    def __init__(
        self,
        backend: Backend,
        queries: QuerySettings,
        settings: StreamSettings,
        clock: Clock,
        observer: Observer,
        catalog: Catalog | None = None,
    ) -> None:
        most = settings.max_rows or _NO_LIMIT
        limits = replace(queries, default_max_rows=most, max_rows=most)
        self._checks = ScopedQueries(backend, limits, clock, observer, catalog)
        self._backend = backend
        self._settings = settings
        self._clock = clock
        self._observer = observer
        self._running = 0

    async def run(
        self, scope: Scope, request: QueryRequest, deliver: Deliver, grant: Grant = UNLIMITED
    ) -> None:
        """Streams the request as the scope's subject; see Backend.stream.

        Raises UsherError: TOO_MANY_CALLS, READ_ONLY for a statement that writes, DEADLINE_EXCEEDED when the
        caller is too slow, and what a query raises.
        """
        statement = self._checks.statement(replace(request, read_only=True), grant)
        if statement.verb in WRITING_VERBS:
            raise _writes()
        self._enter()
        try:
            with reported(self._backend, self._clock, self._observer) as tally:
                await self._backend.stream(scope, statement, self._patient(deliver, tally))
        except UsherError as error:
            # A WITH that writes, or a function.
            raise _writes(error) if error.reason is Reason.READ_ONLY else error from None
        finally:
            self._running -= 1

    def _enter(self) -> None:
        most = self._settings.max_streams
        if self._running >= most:
            raise UsherError(
                Reason.TOO_MANY_CALLS,
                f"{most} streams are running, as many as max_streams admits; retry later",
                {"limit": str(most)},
            )
        self._running += 1

    def _patient(self, deliver: Deliver, tally: Tally) -> Deliver:
        """`deliver`, with what it takes written into the tally, and an end to its patience."""

        async def delivered(part: tuple[Column, ...] | Rows | StreamEnd) -> int:
            started = self._clock.monotonic()
            stall = asyncio.timeout(self._settings.longest_stall)
            try:
                async with stall:
                    size = await deliver(part)
            except TimeoutError:
                if not stall.expired():
                    raise
                raise UsherError(
                    Reason.DEADLINE_EXCEEDED,
                    f"the caller did not take the last rows within {self._settings.longest_stall:g} s; take "
                    "them sooner, or ask for less",
                ) from None
            finally:
                tally.waited += self._clock.monotonic() - started
            if isinstance(part, Rows):
                tally.rows += part.row_count
            elif isinstance(part, StreamEnd):
                tally.truncated = part.truncated
            return size

        return delivered


def _writes(error: UsherError | None = None) -> UsherError:
    return UsherError(
        Reason.READ_ONLY,
        "the statement writes, but a stream runs in a READ ONLY transaction; use RunScopedQuery",
        error.metadata if error else {},
    )
