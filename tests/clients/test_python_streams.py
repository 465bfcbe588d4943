"""Streams and transactions of the Python client, where the scenarios do not look: what both its forms do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, Callable, Iterator
from typing import Any

import pytest
import usher

from tests.clients.playing import COLUMNS, SUMMARY, Player, chunk, playing
from tests.servers import Servers

SECONDS = 60
ENDLESS = "SELECT '{}', generate_series(1, 1000000000)"
RUNNING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE query LIKE '%{}%' AND state <> 'idle' AND pid <> pg_backend_pid()
"""
Read = Callable[..., tuple[list[Any], Any]]


async def _asynchronously(target: str, **options: Any) -> tuple[list[Any], Any]:
    rows: list[Any] = []
    async with usher.Client(target, retries=options.pop("retries", 3)) as client:
        stream = client.as_user("alice").stream(options.pop("sql", "SELECT 1"), **options)
        try:
            async for row in stream:
                rows.append(row[0])
        except usher.UsherError as error:
            return rows, error
        return rows, stream.summary


def asynchronously(target: str, **options: Any) -> tuple[list[Any], Any]:
    return asyncio.run(_asynchronously(target, **options))


def synchronously(target: str, **options: Any) -> tuple[list[Any], Any]:
    rows: list[Any] = []
    with usher.SyncClient(target, retries=options.pop("retries", 3)) as client:
        stream = client.as_user("alice").stream(options.pop("sql", "SELECT 1"), **options)
        try:
            rows += (row[0] for row in stream)
        except usher.UsherError as error:
            return rows, error
        return rows, stream.summary


@pytest.fixture(params=[asynchronously, synchronously])
def read(request: pytest.FixtureRequest) -> Iterator[Read]:
    """Reads the first column of a stream; the rows, and its summary or error."""
    return request.param  # type: ignore[no-any-return]


def test_rows_come_in_order(read: Read, live_sidecar: Any) -> None:
    rows, summary = read(live_sidecar.grpc_address, sql="SELECT g FROM generate_series(1, 20000) g")
    assert rows == list(range(1, 20001))
    assert summary == usher.Summary(row_count=20000, truncated=False, command_tag="SELECT 20000")


def test_what_limits_a_stream(read: Read, live_sidecar: Any) -> None:
    many = "SELECT g FROM generate_series(1, 100) g"
    rows, summary = read(live_sidecar.grpc_address, sql=many, max_rows=3)
    assert (rows, summary.truncated) == ([1, 2, 3], True)
    slow = "SELECT pg_sleep(20)"
    assert read(live_sidecar.grpc_address, sql=slow, timeout=0.3)[1].code == "DEADLINE_EXCEEDED"
    assert read(live_sidecar.grpc_address, sql=slow, statement_timeout=0.1)[1].reason == "STATEMENT_TIMEOUT"


def test_the_error_comes_after_the_rows_before_it(read: Read, live_sidecar: Any) -> None:
    rows, error = read(live_sidecar.grpc_address, sql="SELECT 6 / (4 - g) FROM generate_series(1, 9) g")
    assert rows == [2, 3, 6]
    assert (error.reason, error.sqlstate) == ("DATA_EXCEPTION", "22012")


@pytest.mark.parametrize("messages", [(), (COLUMNS,), (COLUMNS, chunk(1, 2))])
def test_without_its_summary_it_was_cut(read: Read, messages: tuple[Any, ...]) -> None:
    with playing(Player(*messages)) as target:
        rows, error = read(target)
    assert rows == ([1, 2] if len(messages) == 2 else [])
    assert (error.code, error.reason, error.retryable) == ("INTERNAL", "CLIENT_OTHER", False)
    assert "cut" in error.message


def test_it_is_tried_again_while_nothing_has_come(read: Read) -> None:
    player = Player(COLUMNS, chunk(1, 2), SUMMARY, away=2)
    with playing(player) as target:
        assert read(target)[0] == [1, 2]
    assert player.calls == 3


def test_it_is_not_tried_again_once_something_came(read: Read) -> None:
    player = Player(COLUMNS, chunk(1, 2), breaks=True)
    with playing(player) as target:
        rows, error = read(target)
    assert (rows, player.calls) == ([1, 2], 1)
    assert (error.reason, error.retryable) == ("CLIENT_UNREACHABLE", True)


def test_it_reads_no_further_than_its_caller() -> None:
    """All is 300 MB; what is on its way is gRPC's window, which is far from that."""
    numbers = range(1 << 50, (1 << 50) + 16_000)
    player = Player(COLUMNS, *[chunk(*numbers)] * 3000, SUMMARY)
    with playing(player) as target, usher.SyncClient(target) as client:
        alice = client.as_user("alice")
        rows = iter(alice.stream("SELECT 1"))
        for _ in range(len(numbers) * 20):
            next(rows)
        # Calls that take their turn on the same connection while the stream is not read.
        for _ in range(200):
            alice.transaction([])
        assert player.sent < 300


async def test_who_leaves_the_loop_cancels_the_statement(
    live_sidecar: Any, postgres_servers: Servers
) -> None:
    async with usher.Client(live_sidecar.grpc_address) as client:
        alice = client.as_user("alice")
        stream = alice.stream(ENDLESS.format("left_by_async"))
        async for row in stream:
            if row[1] == 3:
                break
        await _until(0, "left_by_async", postgres_servers)
        assert stream.summary is None
        assert len(await alice.query("SELECT 1")) == 1
        async with alice.stream(ENDLESS.format("left_by_block")) as left:
            assert [column.name for column in left.columns] == ["?column?", "generate_series"]
        await _until(0, "left_by_block", postgres_servers)
        task = asyncio.ensure_future(_all(alice.stream("SELECT 'left_by_task', pg_sleep(100)")))
        await _until(1, "left_by_task", postgres_servers)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await _until(0, "left_by_task", postgres_servers)


async def _all(rows: AsyncIterable[usher.Row]) -> list[usher.Row]:
    return [row async for row in rows]


async def _until(count: int, statement: str, servers: Servers) -> None:
    """Waits until so many such statements run."""
    async with asyncio.timeout(SECONDS):
        while await asyncio.to_thread(servers.value, RUNNING.format(statement)) != count:
            pass


def test_who_leaves_a_synchronous_loop_cancels_it_too(live_sidecar: Any, postgres_servers: Servers) -> None:
    with usher.SyncClient(live_sidecar.grpc_address) as client:
        stream = client.as_user("alice").stream(ENDLESS.format("left_by_for"))
        for row in stream:
            if row[1] == 3:
                break
        while postgres_servers.value(RUNNING.format("left_by_for")):
            pass
        with pytest.raises(usher.UsherError, match="once"):
            list(stream)


def test_columns_are_known_before_the_first_row(live_sidecar: Any) -> None:
    with usher.SyncClient(live_sidecar.grpc_address) as client:
        with client.as_user("alice").stream("SELECT 1 AS a, 'x' AS b WHERE false") as stream:
            assert [(column.name, column.kind) for column in stream.columns] == [("a", "INT"), ("b", "TEXT")]
            assert list(stream) == []
        assert stream.summary is not None
        assert stream.summary.row_count == 0


def test_a_client_that_is_closed_ends_its_streams(live_sidecar: Any) -> None:
    client = usher.SyncClient(live_sidecar.grpc_address)
    failures: list[str] = []

    def wait() -> None:
        try:
            list(client.as_user("alice").stream("SELECT pg_sleep(100)"))
        except usher.UsherError as error:
            failures.append(error.reason)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not failures and waiting.is_alive():
        client.close()
    waiting.join(SECONDS)
    assert failures == ["CLIENT_CLOSED"]


async def test_an_asynchronous_client_that_is_closed_ends_its_streams(live_sidecar: Any) -> None:
    client = usher.Client(live_sidecar.grpc_address)
    rows = aiter(client.as_user("alice").stream(ENDLESS.format("closed")))
    await anext(rows)
    await client.close()
    with pytest.raises(usher.UsherError, match="CLIENT_CLOSED"):
        await _all(rows)


async def test_a_transaction_is_repeated_only_when_it_reads() -> None:
    for read_only, calls in ((False, 1), (True, 2)):
        player = Player(away=1)
        with playing(player) as target:
            async with usher.Client(target) as client:
                call = client.as_user("alice").transaction([usher.Statement("SELECT 1")], read_only=read_only)
                if read_only:
                    assert await call == []
                else:
                    with pytest.raises(usher.UsherError) as failed:
                        await call
                    assert (failed.value.reason, failed.value.retryable) == ("CLIENT_UNREACHABLE", False)
        assert player.calls == calls


def test_a_synchronous_transaction(live_sidecar: Any) -> None:
    with usher.SyncClient(live_sidecar.grpc_address) as client:
        alice = client.as_user("alice", {"tenant_id": "acme"})
        statements = [
            usher.Statement("SELECT name FROM users WHERE id = $1", ["alice"]),
            usher.Statement("SELECT g FROM generate_series(1, 9) g", max_rows=2),
        ]
        user, numbers = alice.transaction(statements, isolation="serializable", read_only=True)
        assert (user[0]["name"], len(numbers), numbers.truncated) == ("Alice Archer", 2, True)
        with pytest.raises(usher.UsherError) as failed:
            alice.transaction([statements[0], usher.Statement("SELECT 1 / 0")])
        assert (failed.value.reason, failed.value.statement_index) == ("DATA_EXCEPTION", 1)
        with pytest.raises(usher.UsherError) as missing:
            alice.transaction([usher.Statement(name="missing")])
        assert (missing.value.reason, missing.value.statement_index) == ("NAMED_STATEMENT_UNKNOWN", 0)
        with pytest.raises(usher.UsherError) as refused:
            alice.query("SELECT 1 / 0")
        assert refused.value.statement_index is None


@pytest.mark.parametrize(
    ("statement", "options", "place"),
    [
        (usher.Statement("SELECT $1", [object()]), {}, r"statements\[1\].parameters\[0\]"),
        (usher.Statement("SELECT 1", max_rows=-1), {}, r"statements\[1\]: .*max_rows"),
        (usher.Statement("SELECT '\ud800'"), {}, r"statements\[1\]: sql"),
        (usher.Statement("SELECT 1"), {"isolation": "chaos"}, "isolation: one of read committed"),
        (usher.Statement("SELECT 1"), {"statement_timeout": "soon"}, "statement_timeout"),
    ],
)
async def test_what_cannot_be_sent_names_its_place(
    statement: usher.Statement, options: dict[str, Any], place: str
) -> None:
    async with usher.Client("127.0.0.1:1") as client:
        with pytest.raises(usher.UsherError, match=place) as refused:
            await client.as_user("a").transaction([usher.Statement("SELECT 1"), statement], **options)
        assert refused.value.reason == "CLIENT_INVALID"


async def test_a_stream_that_cannot_be_sent_is_refused_at_once() -> None:
    async with usher.Client("127.0.0.1:1") as client:
        scope = client.as_user("a")
        for refused in (
            lambda: scope.stream("SELECT $1", object()),
            lambda: scope.stream("SELECT 1", max_rows=2**63),
            lambda: scope.stream_statement("\ud800"),
        ):
            with pytest.raises(usher.UsherError, match="CLIENT_INVALID"):
                refused()


def test_a_statement_does_not_show_its_parameters() -> None:
    assert "secret" not in repr(usher.Statement("SELECT $1", ["secret"]))
