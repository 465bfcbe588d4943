"""Several statements in one round trip on a real server, and the stream cut at every byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from sidecar.postgres.codecs import TypedConnection, prepare
from sidecar.postgres.driver import exchange_of, execute_limited
from sidecar.postgres.relay import Exchange, Part, Relay
from sidecar.postgres.wire import Step
from tests.postgres.scoped import connected, until

BEGIN, COMMIT = Step(sql="BEGIN"), Step(sql="COMMIT")
ASLEEP = "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $1"
FAILS = Step(sql="SELECT 1 / 0")


@pytest.fixture
async def connection(postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(postgres_dsn, connection_class=TypedConnection) as connection:
        yield connection


async def run(
    connection: asyncpg.Connection, sql: str, *, before: tuple[Step, ...] = (BEGIN,), after: Any = (COMMIT,)
) -> tuple[list[Any], Exchange]:
    """The first column, and the exchange; the error too, in place of rows."""
    prepared = await prepare(connection, sql)
    exchange = exchange_of(prepared, before, after)
    try:
        found = await execute_limited(connection, prepared, (), 10, exchange=exchange)
    except asyncpg.PostgresError as error:
        return [error.sqlstate], exchange
    return [record[0] for record in found.records], exchange


async def test_all_is_answered_to_whom_it_was_meant(connection: asyncpg.Connection) -> None:
    one, two = (Step(sql="SELECT $1, NULL", arguments=(text,)) for text in ("one", "tw\u00f6"))
    found, exchange = await run(
        connection, "SELECT generate_series(1, 3)", before=(BEGIN, one), after=(two, COMMIT)
    )
    assert found == [1, 2, 3]
    assert exchange.rows == [(), (b"one", None), ("tw\u00f6".encode(), None), ()]
    assert exchange.failed is None
    assert not connection.is_in_transaction()
    assert await connection.fetchval("SELECT 4") == 4


@pytest.mark.parametrize(
    ("before", "sql", "after", "failed"),
    [
        ((BEGIN, FAILS), "INSERT INTO t VALUES (1)", (COMMIT,), Part.BEFORE),
        ((BEGIN,), "INSERT INTO t SELECT 1 / n FROM t", (COMMIT,), Part.CALL),
        ((BEGIN,), "INSERT INTO t VALUES (1)", (FAILS, COMMIT), Part.AFTER),
        ((BEGIN,), "INSERT INTO t VALUES (1)", (Step(sql="BEGIN; BEGIN"),), Part.AFTER),
    ],
)
async def test_an_error_stops_what_comes_behind_it(
    connection: asyncpg.Connection, before: Any, sql: str, after: Any, failed: Part
) -> None:
    await connection.execute("CREATE TEMP TABLE t (n int); INSERT INTO t VALUES (0)")
    (state,), exchange = await run(connection, sql, before=before, after=after)
    assert state in ("22012", "42601")
    assert exchange.failed is failed
    await connection.execute("ROLLBACK")
    assert await connection.fetchval("SELECT count(*) FROM t") == 1


async def test_the_first_error_is_the_one_that_is_told(connection: asyncpg.Connection) -> None:
    found, exchange = await run(connection, "SELECT 1 / (SELECT 0)", after=(Step(sql="SELECT 1"),))
    assert (found, exchange.failed) == (["22012"], Part.CALL)
    assert connection.is_in_transaction()
    await connection.execute("ROLLBACK")


async def test_the_end_of_a_failed_transaction_writes_nothing(connection: asyncpg.Connection) -> None:
    await connection.execute("CREATE TEMP TABLE t (n int)")
    insert = Step(sql="INSERT INTO t VALUES (1)")
    await run(connection, "SELECT 1 / (SELECT 0)", before=(BEGIN, insert))
    assert not connection.is_in_transaction()
    assert await connection.fetchval("SELECT count(*) FROM t") == 0


async def test_a_changed_description_is_seen(connection: asyncpg.Connection) -> None:
    await connection.execute("CREATE TEMP TABLE t (n int); INSERT INTO t VALUES (7)")
    prepared = await prepare(connection, "SELECT n FROM t")
    described = []
    for change in ("SELECT 1", "SELECT 1", "ALTER TABLE t RENAME n TO m; ALTER TABLE t ADD n text"):
        await connection.execute(change)
        exchange = exchange_of(prepared, (BEGIN,))
        await execute_limited(connection, prepared, (), 1, exchange=exchange)
        described.append(exchange.described)
        await connection.execute("ROLLBACK")
    assert described[0] == described[1] != described[2]


async def test_a_cancelled_call_leaves_the_connection_usable(
    connection: asyncpg.Connection, postgres_dsn: str
) -> None:
    pid = connection.get_server_pid()
    for sql in ("SELECT pg_sleep(60)", "SELECT 1"):
        sleeping = asyncio.create_task(run(connection, sql, after=(Step(sql="SELECT pg_sleep(60)"),)))
        async with connected(postgres_dsn) as other:
            await until(other, ASLEEP, pid)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        await connection.execute("ROLLBACK")
        assert await connection.fetchval("SELECT 1") == 1


async def test_an_argument_that_cannot_be_encoded_costs_the_connection(
    connection: asyncpg.Connection,
) -> None:
    prepared = await prepare(connection, "SELECT $1::text")
    with pytest.raises(asyncpg.DataError):
        await execute_limited(connection, prepared, ("\ud800",), 1, exchange=exchange_of(prepared, (BEGIN,)))
    with pytest.raises(asyncpg.InterfaceError):
        await connection.relay.finish(Exchange((BEGIN,)))
    assert connection.is_closed()


async def test_a_busy_connection_is_refused_before_anything_is_sent(
    connection: asyncpg.Connection, postgres_dsn: str
) -> None:
    sleeping = asyncio.create_task(run(connection, "SELECT pg_sleep(60)"))
    async with connected(postgres_dsn) as other:
        await until(other, ASLEEP, connection.get_server_pid())
    with pytest.raises(asyncpg.InterfaceError, match="busy"):
        await connection.relay.finish(Exchange((BEGIN,)))
    sleeping.cancel()
    await asyncio.gather(sleeping, return_exceptions=True)


def _message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


ROW = _message(b"D", b"\0\1\0\0\0\1x")
OURS = _message(b"1") + _message(b"2") + ROW + _message(b"C", b"SELECT 1\0")
STATEMENT = _message(b"2") + ROW * 3 + _message(b"C", b"SELECT 3\0")
READY = _message(b"Z", b"T")
STATUS = _message(b"S", b"a\0b\0")


class Heard:
    """In asyncpg's place: keeps what reaches it."""

    def __init__(self) -> None:
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data


class Wire(asyncio.Transport):
    """A transport to nowhere."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 64, 1000])
def test_wherever_the_stream_is_cut_asyncpg_sees_its_own(size: int) -> None:
    heard = Heard()
    relay = Relay(heard, Wire())
    exchange = Exchange((BEGIN,), description=b"described", after=(COMMIT,))
    relay._exchange = exchange
    description = _message(b"1") + _message(b"t", b"\0\0") + _message(b"T", b"columns")
    stream = OURS + STATUS + description + STATEMENT + READY + OURS + READY + STATUS + ROW
    for at in range(0, len(stream), size):
        relay.data_received(stream[at : at + size])
    assert heard.data == STATUS + STATEMENT + READY + STATUS + ROW
    assert exchange.rows == [(b"x",), (b"x",)]
    assert exchange.described == b"\0\0columns"
