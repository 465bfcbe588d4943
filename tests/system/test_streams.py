"""Streams of the real process: memory, connections, a stop, and callers that do not read or go away."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from usher.v1 import query_service_pb2 as pb

from tests.processes import Process, get, running
from tests.servers import Servers
from tests.system.clients import DEADLINE, Client, as_user, connected, refusal

ALICE = as_user("alice", tenant_id="acme")
MIB = 1024**2
WIDE = "select n::text, repeat('x', 200) from generate_series(1, {}) n"
"""Text of more than 200 bytes a row."""


def request(sql: str) -> pb.StreamScopedQueryRequest:
    return pb.StreamScopedQueryRequest(scope=ALICE, sql=sql)


def stream(client: Client, sql: str, timeout: float = 60) -> Iterator[pb.StreamScopedQueryResponse]:
    found: Iterator[pb.StreamScopedQueryResponse] = client.queries.StreamScopedQuery(
        request(sql), timeout=timeout
    )
    return found


def until(holds: Callable[[], bool]) -> None:
    """Returns when it holds."""
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def memory(process: Process, name: str) -> int:
    """Of the kernel's figures, in bytes."""
    text = Path(f"/proc/{process.process.pid}/status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0]) * 1024


@pytest.fixture(scope="module")
def narrow(demo: dict[str, str]) -> Iterator[Process]:
    """A sidecar with two connections, and so with one stream at a time."""
    with running("serve", **demo, pool_max_size="2", log_level="debug") as process:
        yield process.wait_for("ready")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read as Linux tells it")
@pytest.mark.parametrize("reads", ["as fast as it can", "nothing at first"])
def test_memory_does_not_grow_with_the_rows(demo: dict[str, str], reads: str) -> None:
    with running("serve", **demo) as process, connected(process.wait_for("ready").grpc_address) as client:
        for _ in stream(client, WIDE.format(5000)):  # what a first stream needs of modules and buffers
            pass
        Path(f"/proc/{process.process.pid}/clear_refs").write_text("5")
        before = memory(process, "VmRSS")
        parts = stream(client, WIDE.format(400_000))
        if reads == "nothing at first":
            next(parts)
            taken = -1.0
            while (spent := cpu(process)) != taken:  # until it waits for its caller
                taken = spent
                time.sleep(0.5)
        assert sum(part.row_count for part in parts) == 400_000
        assert memory(process, "VmHWM") - before < 32 * MIB


def cpu(process: Process) -> float:
    """Seconds that it has computed."""
    fields = Path(f"/proc/{process.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_streams_that_nobody_reads_leave_room_for_queries(
    narrow: Process, demo: dict[str, str], postgres_servers: Servers
) -> None:
    database = demo["database_url"].rpartition("/")[2]
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        f" WHERE datname = '{database}' AND state = 'idle in transaction' AND query ~ '^select n::text'"
    )
    with connected(narrow.grpc_address) as client:
        with connected(narrow.grpc_address) as stuck:
            parts = stream(stuck, WIDE.format(10_000_000), timeout=600)
            next(parts)
            until(lambda: postgres_servers.value(waiting) == 1)
            assert client.rows(ALICE, "select id from users") == [("alice",)]
            with pytest.raises(grpc.RpcError) as caught:
                list(stream(client, "select 1"))
            assert refusal(caught.value) == ("RESOURCE_EXHAUSTED", "TOO_MANY_CALLS")
        # Its channel is closed: it is gone.
        until(lambda: postgres_servers.value(waiting) == 0)
        until(lambda: admitted(client))
    assert narrow.events("rpc_fault") == []


def admitted(client: Client) -> bool:
    try:
        return [part.row_count for part in stream(client, "select 1")] == [0, 1, 0]
    except grpc.RpcError as error:
        assert refusal(error)[1] == "TOO_MANY_CALLS"  # noqa: PT017
        return False


def test_a_stream_is_counted_by_its_name(narrow: Process) -> None:
    with connected(narrow.grpc_address) as client:
        until(lambda: admitted(client))
    counted = 'usher_rpcs_total{code="OK",method="StreamScopedQuery",service="usher.v1.QueryService"}'
    assert counted in get(narrow.url("/metrics"))[1]


def test_a_stop_lets_a_stream_end(demo: dict[str, str]) -> None:
    with running("serve", **demo) as process, connected(process.wait_for("ready").grpc_address) as client:
        parts = stream(client, WIDE.format(100_000))
        rows = next(parts).row_count
        process.process.send_signal(signal.SIGTERM)
        process.wait_for("draining")
        last = pb.StreamScopedQueryResponse()
        for last in parts:
            rows += last.row_count
        assert rows == last.summary.row_count == 100_000
        assert process.process.wait(20) == 0


def test_a_stop_ends_a_stream_that_takes_too_long(demo: dict[str, str]) -> None:
    with running("serve", **demo, drain_grace="200ms") as process:
        process.wait_for("ready")
        with connected(process.grpc_address) as client:
            parts = stream(client, WIDE.format(10_000_000))
            next(parts)
            process.process.send_signal(signal.SIGTERM)
            assert process.process.wait(20) == 0
            with pytest.raises(grpc.RpcError) as caught:
                list(parts)
            assert caught.value.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    assert process.events("uncaught") == []
