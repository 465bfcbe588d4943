"""More calls than can be served, to the real process: the excess is refused, the rest is answered."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures import ThreadPoolExecutor as Threads

import grpc
from usher.v1 import query_service_pb2 as pb

from tests.processes import get, running
from tests.system.clients import DEADLINE, Client, as_user, connected, refusal

ALICE = as_user("alice", tenant_id="acme")
SLOW = "select pg_sleep(0.2)::text"


def slow(client: Client) -> tuple[str, str]:
    """How one slow call ends: code and reason, both empty for an answer."""
    request = pb.RunScopedQueryRequest(scope=ALICE, sql=SLOW)
    try:
        client.queries.RunScopedQuery(request, timeout=DEADLINE)
    except grpc.RpcError as error:
        return refusal(error)
    return "", ""


def test_the_excess_is_refused_and_the_rest_is_answered(demo: dict[str, str]) -> None:
    settings = {"pool_max_size": "2", "pool_acquire_timeout": "4s"}
    with running("serve", **demo, **settings) as process, Threads(150) as threads:
        process.wait_for("ready")
        with connected(process.grpc_address) as client:
            # Twenty are for two connections; some have ended, others still wait: their pace is known.
            first = [threads.submit(slow, client) for _ in range(20)]
            left = set(first)
            while len(left) > 14:
                _, left = wait(left, DEADLINE, FIRST_COMPLETED)
            # 4 s are 40 times a tenth of a second: some of these may wait so long, most may not.
            more = [threads.submit(slow, client) for _ in range(120)]
            ended = [future.result() for future in first + more]
            assert client.rows(ALICE, "select id from users") == [("alice",)]
        assert ended.count(("", "")) >= 20
        assert ended.count(("RESOURCE_EXHAUSTED", "TOO_MANY_CALLS")) >= 40
        # One whose turn comes a little later than foreseen was let in, and waits as long as anybody may.
        assert {end for end in ended if end[0]} <= {
            ("RESOURCE_EXHAUSTED", "TOO_MANY_CALLS"),
            ("RESOURCE_EXHAUSTED", "POOL_EXHAUSTED"),
        }
        assert process.events("calls_refused")
        _, metrics = get(process.url("/metrics"))
        assert 'usher_rpc_errors_total{blame="service",reason="TOO_MANY_CALLS"}' in metrics
