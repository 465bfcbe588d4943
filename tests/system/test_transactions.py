"""Transactions through a sidecar as it runs in production: a process, sockets, and a real database."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from usher.v1 import query_service_pb2 as pb
from usher.v1 import values_pb2

from tests.processes import Process, running
from tests.servers import Servers
from tests.system.clients import Client, as_user, connected, refusal

DEADLINE = 20.0
SLEEPING = (
    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'select pg_sleep(41)%' AND state = 'active'"
)
RENAME = "update users set name = $1 where id = 'alice' returning name"


def request(*statements: tuple[str, ...], **options: object) -> pb.RunScopedTransactionRequest:
    """Statements, each a text and its parameters."""
    return pb.RunScopedTransactionRequest(
        scope=as_user("alice", tenant_id="acme"),
        statements=[
            pb.ScopedStatement(sql=sql, parameters=[values_pb2.Value(text_value=one) for one in parameters])
            for sql, *parameters in statements
        ],
        options=pb.TransactionOptions(**options),  # type: ignore[arg-type]
    )


def name_of_alice(client: Client) -> str:
    ((name,),) = client.rows(as_user("alice", tenant_id="acme"), "select name from users")
    return name


@pytest.fixture
def sidecar(demo: dict[str, str]) -> Iterator[Process]:
    """A sidecar with one connection: what is not given back is missed."""
    with running("serve", **demo, pool_max_size="1", log_level="debug") as process:
        yield process.wait_for("ready")


def test_all_or_none(sidecar: Process) -> None:
    with connected(sidecar.grpc_address) as client:
        before = name_of_alice(client)
        rename = (RENAME, "marked-7777")
        with pytest.raises(grpc.RpcError) as caught:
            client.queries.RunScopedTransaction(
                request(rename, ("insert into users values ('globex', 'm', 'm', 'm')",)), timeout=DEADLINE
            )
        assert refusal(caught.value) == ("PERMISSION_DENIED", "ROW_LEVEL_SECURITY")
        assert "statements[1]: " in (caught.value.details() or "")
        assert name_of_alice(client) == before
        done = client.queries.RunScopedTransaction(
            request(rename, ("select name from users",), (RENAME, before)), timeout=DEADLINE
        )
        assert [list(result.data[0].texts) for result in done.results] == [
            ["marked-7777"],
            ["marked-7777"],
            [before],
        ]
        assert name_of_alice(client) == before
    ended = [event for event in sidecar.events("query_finished") if event["statements"] > 1]
    assert [(event["outcome"], event["statements"]) for event in ended] == [
        ("ROW_LEVEL_SECURITY", 2),
        ("ok", 3),
    ]
    assert [line for line in sidecar.lines if "marked-7777" in line] == []


def test_a_deadline_in_the_middle_frees_the_connection(sidecar: Process, postgres_servers: Servers) -> None:
    with connected(sidecar.grpc_address) as client:
        before = name_of_alice(client)
        endless = request((RENAME, "other"), ("select pg_sleep(41)",), ("select 1",))
        with pytest.raises(grpc.RpcError) as caught:
            client.queries.RunScopedTransaction(endless, timeout=0.5)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert name_of_alice(client) == before
        assert postgres_servers.value(SLEEPING) == 0


def test_serializable_transactions_that_meet_are_run_again(demo: dict[str, str]) -> None:
    """Eight clients add to one number by reading and writing it; what may be run again is."""
    add = "update users set name = (select name::int + 1 from users)::text where id = 'alice'"
    adding = request(("select name from users",), (add,), isolation_level=pb.ISOLATION_LEVEL_SERIALIZABLE)
    with (
        running("serve", **demo, pool_max_size="4") as process,
        connected(process.wait_for("ready").grpc_address) as client,
    ):
        before = name_of_alice(client)
        client.queries.RunScopedTransaction(request((RENAME, "0")), timeout=DEADLINE)

        def tried() -> tuple[str, str]:
            try:
                client.queries.RunScopedTransaction(adding, timeout=DEADLINE)
            except grpc.RpcError as error:
                return refusal(error)
            return ("OK", "")

        def failures_of_one(number: int) -> set[tuple[str, str]]:
            """How the tries before the first that succeeded have ended."""
            failures = set()
            while (end := tried()) != ("OK", ""):
                failures.add(end)
            return failures

        try:
            with ThreadPoolExecutor(8) as threads:
                failures = set().union(*threads.map(failures_of_one, range(24)))
            assert failures <= {("ABORTED", "SERIALIZATION_FAILURE")}
            assert name_of_alice(client) == "24"
        finally:
            client.queries.RunScopedTransaction(request((RENAME, before)), timeout=DEADLINE)
