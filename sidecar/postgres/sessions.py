"""Sessions of Postgres: how they are set, who shares them, and what cleans them between two users."""

from __future__ import annotations

import enum
import random
from typing import Final

from sidecar.core.transactions import Isolation

_RANDOM: Final = random.SystemRandom()

SESSION_SETTINGS: Final = {
    # The text forms of values depend on these; RESET ALL returns to them.
    "client_encoding": "UTF8",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "application_name": "usher",
    # Nobody reads notices, and a function may raise any number of them.
    "client_min_messages": "error",
    # A session whose sidecar hangs must not hold a transaction open for ever.
    "idle_in_transaction_session_timeout": "60s",
}

SCRUB: Final = """
RESET SESSION AUTHORIZATION;
RESET ROLE;
RESET ALL;
CLOSE ALL;
UNLISTEN *;
SELECT pg_catalog.pg_advisory_unlock_all(), pg_catalog.setseed({seed});
DISCARD TEMP;
DISCARD SEQUENCES;
DISCARD PLANS
"""
"""Everything a statement may leave behind in a session. The order matters: RESET SESSION AUTHORIZATION sets
the role, RESET ALL restores search_path before a function is called by name. Functions keep plans, with the
value of whatever is marked IMMUTABLE, by mistake or not. DISCARD ALL would also drop the prepared statements
that asyncpg relies on."""

MAY_WRITE: Final = "SET TRANSACTION READ WRITE"
"""What goes before a scrub that fetches a number: one Query is one transaction, and it begins as the user has
left default_transaction_read_only."""


class Pooling(enum.StrEnum):
    """Who shares a session of Postgres."""

    DIRECT = "direct"
    """The sidecar alone; a session is scrubbed before it is lent again."""
    TRANSACTION = "transaction"
    """PgBouncer in transaction mode: a session is scrubbed at the head of each transaction (see `head`)."""


def scrub() -> str:
    """What cleans a session. A user cannot foresee the random numbers of the next."""
    return SCRUB.format(seed=_RANDOM.uniform(-1, 1))


def head(pooling: Pooling, *, read_only: bool, isolation: Isolation | None = None) -> str:
    """What begins a transaction; `isolation` None: at the database's default level."""
    begin = f"BEGIN ISOLATION LEVEL {isolation}" if isolation else "BEGIN"
    if pooling is Pooling.DIRECT:
        return f"{begin} READ ONLY" if read_only else begin
    settings = "".join(f"SET LOCAL {name} = '{value}'; " for name, value in SESSION_SETTINGS.items())
    # DISCARD TEMP writes; a transaction may become read-only later, not the other way. And it begins as the
    # user before has set it, whatever is reset in it.
    begin, end = (begin, "SET TRANSACTION READ ONLY") if read_only else (f"{begin} READ WRITE", "")
    return f"{begin}; {scrub()}; {settings}{end}"
