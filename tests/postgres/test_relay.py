"""Several statements in one round trip on a real server, and the stream cut at every byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from sidecar.postgres.codecs import TypedConnection, prepare
from sidecar.postgres.driver import exchange_of, execute_limited
from sidecar.postgres.exchange import Budget, Exchange, Part
from sidecar.postgres.relay import Relay
from sidecar.postgres.wire import Answer, Step, answer
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
READY, IDLE = _message(b"Z", b"T"), _message(b"Z", b"I")
STATUS = _message(b"S", b"a\0b\0")


class Heard:
    """In asyncpg's place: keeps what reaches it."""

    def __init__(self) -> None:
        self.data = b""
        self.aborted = False
        self.cancelling = False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def abort(self) -> None:
        self.aborted = True

    def is_closed(self) -> bool:
        return self.aborted

    def _is_cancelling(self) -> bool:
        return self.cancelling


class Wire(asyncio.Transport):
    """A transport to nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass

    def write(self, data: object) -> None:
        pass

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


SIZES = pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 64, 1000])
DESCRIBED = _message(b"t", b"\0\0") + _message(b"T", b"columns")
USUAL = answer("SELECT 1", b"x")
UNUSUAL = answer("SELECT 1", b"y")


@SIZES
@pytest.mark.parametrize("usual", [None, USUAL, UNUSUAL], ids=["not known", "usual", "unusual"])
@pytest.mark.parametrize("described", [b"", DESCRIBED, DESCRIBED * 2])
def test_wherever_the_stream_is_cut_asyncpg_sees_its_own(
    size: int, usual: Answer | None, described: bytes
) -> None:
    heard = Heard()
    relay = Relay(heard, Wire())
    step = Step(sql="BEGIN", usual=usual)
    exchange = Exchange((step,), description=b"Parse", described=described, after=(step,))
    relay._exchange = exchange
    stream = (
        OURS + STATUS + _message(b"1") + DESCRIBED + STATEMENT + STATUS + READY + OURS + READY + STATUS + ROW
    )
    for at in range(0, len(stream), size):
        relay.data_received(stream[at : at + size])
    assert heard.data == STATUS + STATEMENT + STATUS + READY + STATUS + ROW
    assert exchange.rows == [(b"x",), (b"x",)]
    assert exchange.described == DESCRIBED


@SIZES
def test_what_is_as_usual_is_found_byte_for_byte(size: int) -> None:
    heard = Heard()
    relay = Relay(heard, Wire())
    steps = (Step(sql="BEGIN", usual=answer("BEGIN")), Step(sql="SELECT 1", usual=USUAL))
    exchange = Exchange(steps, description=b"Parse", described=DESCRIBED, after=steps[1:])
    relay._exchange = exchange
    begun = _message(b"1") + _message(b"2") + _message(b"C", b"BEGIN\0")
    # A row of the caller's that holds the very bytes which end the exchange ends nothing.
    sly = _message(b"D", READY + OURS + READY)
    stream = begun + OURS + _message(b"1") + DESCRIBED + sly + STATEMENT + sly + READY + OURS + READY
    for at in range(0, len(stream), size):
        relay.data_received(stream[at : at + size])
    assert heard.data == sly + STATEMENT + sly + READY
    assert exchange.rows == [(), (b"x",), (b"x",)]
    assert relay._exchange is None


@SIZES
async def test_what_is_asked_is_read_up_to_its_end(size: int) -> None:
    heard = Heard()
    relay = Relay(heard, Wire())
    asked = relay.ask("BEGIN; SELECT")
    columns = _message(b"T", b"columns")
    answer = _message(b"C", b"BEGIN\0") + STATUS + columns + ROW + _message(b"C", b"SELECT 1\0") + IDLE
    stream = answer + STATUS * 2
    for at in range(0, len(stream), size):
        assert asked.done() == (at >= len(answer))
        assert relay.at_rest == (at == len(answer))
        relay.data_received(stream[at : at + size])
    assert await asked == (b"x",)
    assert heard.data == STATUS * 3


async def test_what_is_asked_fails_as_asyncpg_would(connection: asyncpg.Connection) -> None:
    await connection.execute("BEGIN")
    with pytest.raises(asyncpg.DivisionByZeroError, match="division"):
        await connection.relay.ask("COMMIT; SELECT 1; SELECT 1 / 0; SELECT 2")
    assert await connection.relay.ask("SELECT 'one', NULL; SELECT 'tw\u00f6', 2") == (
        "tw\u00f6".encode(),
        b"2",
    )
    assert not connection.is_in_transaction()
    assert await connection.fetchval("SELECT 3") == 3
    with pytest.raises(asyncpg.InterfaceError, match="transaction"):
        await connection.relay.ask("BEGIN; SELECT 1")


async def test_while_something_is_asked_nothing_else_is(
    connection: asyncpg.Connection, postgres_dsn: str
) -> None:
    pid = connection.get_server_pid()
    asked = connection.relay.ask("SELECT pg_sleep(60)")
    with pytest.raises(asyncpg.InterfaceError, match="busy"):
        connection.relay.ask("SELECT 1")
    with pytest.raises(asyncpg.InterfaceError, match="busy"):
        await connection.relay.finish(Exchange((BEGIN,)))
    async with connected(postgres_dsn) as other:
        await until(other, ASLEEP, pid)
        await other.execute("SELECT pg_terminate_backend($1)", pid)
    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        await asked
    with pytest.raises(asyncpg.InterfaceError, match="closed"):
        connection.relay.ask("SELECT 1")


SUSPENDED = _message(b"s")
COMPLETE = _message(b"C", b"SELECT 1\0")
ERROR = _message(b"E", b"\0")
ABORTED = _message(b"E", b"M\0")
CUT = SUSPENDED + READY


async def answers(calls: list[bytes], size: int, budget: Budget) -> tuple[list[bytes], Relay]:
    """What asyncpg sees of each call, one after the other, until the last is not cut.

    `calls` are Postgres' answers, each sent as soon as its call is made, in pieces of this size; a transport
    that is paused sends no more until it is resumed.
    """
    heard, wire = Heard(), Wire()
    relay = Relay(heard, wire)
    seen: list[bytes] = []
    on_the_way = b""

    async def call() -> None:
        """As asyncpg: writes, then waits until the answer has ended."""
        await asyncio.sleep(0)
        nonlocal on_the_way
        while not heard.data.endswith(READY) and not heard.aborted:
            assert on_the_way, "it waits for ever"
            assert not wire.paused
            piece, on_the_way = on_the_way[:size], on_the_way[size:]
            relay.data_received(piece)

    for one in calls:
        on_the_way += one
        heard.data = b""
        await relay.run(Exchange(budget=budget), call())
        seen.append(heard.data)
    return seen, relay


SMALL = Budget(rows=3 * len(ROW), row=100)
NEXT = ROW + SUSPENDED + READY
"""The answer to a call for one row."""


@SIZES
async def test_within_its_budget_a_call_is_not_cut(size: int) -> None:
    seen, relay = await answers([ROW * 4 + SUSPENDED + READY, COMPLETE + READY], size, SMALL)
    assert seen == [ROW * 4 + CUT, COMPLETE + READY]
    assert relay.owed == 0


@SIZES
async def test_a_call_is_cut_at_its_budget_and_no_row_is_lost(size: int) -> None:
    seen, relay = await answers([ROW * 9 + SUSPENDED + READY, NEXT, NEXT, COMPLETE + READY], size, SMALL)
    assert seen == [ROW * 4 + CUT, ROW * 4 + CUT, ROW * 3 + CUT, COMPLETE + READY]
    assert relay.owed == 0


@SIZES
async def test_the_end_of_all_rows_is_seen_after_a_cut(size: int) -> None:
    after = _message(b"C", b"SELECT 0\0") + READY
    seen, relay = await answers([ROW * 6 + COMPLETE + READY, after], size, SMALL)
    assert seen == [ROW * 4 + CUT, ROW * 2 + COMPLETE + READY]
    assert relay.owed == 0


@SIZES
async def test_rows_before_an_error_are_not_lost(size: int) -> None:
    seen, relay = await answers([ROW * 2 + ERROR + READY, ABORTED + READY], size, SMALL)
    assert seen == [ROW * 2 + CUT, ERROR + READY]
    assert relay.owed == 0


@SIZES
async def test_a_call_that_is_being_cancelled_is_not_cut(size: int) -> None:
    heard = Heard()
    relay = Relay(heard, Wire())
    relay._exchange = Exchange(budget=SMALL)
    heard.cancelling = True
    answer = ROW * 9 + ERROR + READY
    for at in range(0, len(answer), size):
        relay.data_received(answer[at : at + size])
    assert (heard.data, relay.owed) == (answer, 0)


@SIZES
async def test_a_row_above_the_budget_is_not_read(size: int) -> None:
    huge = _message(b"D", b"\0\1\0\0\0\1" + b"x" * 200)
    heard = Heard()
    relay = Relay(heard, Wire())
    relay._exchange = exchange = Exchange(budget=SMALL)
    for at in range(0, len(ROW + huge), size):
        relay.data_received((ROW + huge)[at : at + size])
        if heard.aborted:
            break
    assert heard.aborted
    assert exchange.too_large
    assert len(heard.data) <= len(ROW)


async def test_after_a_cut_the_transport_is_paused_and_what_comes_is_kept() -> None:
    heard, wire = Heard(), Wire()
    relay = Relay(heard, wire)
    relay._exchange = Exchange(budget=SMALL)
    relay.data_received(ROW * 5)
    assert (heard.data, wire.paused, relay.owed) == (ROW * 4 + CUT, True, 1)
    heard.data = b""
    relay.data_received(SUSPENDED)
    assert heard.data == b""
