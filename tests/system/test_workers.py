"""Real supervisors with real workers: keys, revocations and metrics of all, accidents, stops."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from google.protobuf.duration_pb2 import Duration
from usher import SyncClient
from usher.v1 import revocation_service_pb2 as pb
from usher.v1 import token_service_pb2, token_service_pb2_grpc

from tests.processes import Process, get, running, usher
from tests.servers import Servers
from tests.system.clients import DEADLINE, CachingVerifier, Client, as_user, connected, refusal

PATIENCE = 30.0
WITHOUT_DATABASE = {
    "database_backend": "neon-http",
    "database_url": "postgresql://authenticated@ep-quiet-hill-123456.eu-central-1.aws.neon.tech/app",
    "neon_sql_url": "http://127.0.0.1:1/sql",
    "shared_login": "true",
}
"""A deny list of Usher's own, because the database has none. Tokens need no database."""
POLICY = """\
[callers.anonymous]
methods = ["IssueToken"]
subjects = ["alice"]
rate_limit = {{ per_second = 0.001, burst = {burst} }}
"""


def holds(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def workers(folder: Path, settings: dict[str, str], count: int = 2, **more: str) -> Iterator[Process]:
    more = {"grpc_admin_address": f"unix:{folder}/admin.sock", "workers": str(count)} | more
    with running("serve", **(settings | more)) as process:
        yield process.wait_for("started")


@pytest.fixture(scope="module")
def two(demo: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """For every test that leaves two workers behind, the same or others."""
    with workers(tmp_path_factory.mktemp("two"), demo, pool_max_size="4") as process:
        holds(lambda: ready(process) == 2)
        yield process


@pytest.fixture
def own(demo: dict[str, str], tmp_path: Path) -> Iterator[Process]:
    """For a test that ends it."""
    with workers(tmp_path, demo, pool_max_size="4", drain_grace="20s") as process:
        holds(lambda: ready(process) == 2)
        yield process


def addresses(process: Process) -> list[str]:
    return process.grpc_address.split(",")


@contextmanager
def clients(process: Process) -> Iterator[list[Client]]:
    """One of each worker."""
    with ExitStack() as stack:
        yield [stack.enter_context(connected(address)) for address in addresses(process)]


def ready(process: Process) -> int:
    return len(re.findall(r"^usher_worker_ready\{.*\} 1\.0$", get(process.url("/metrics"))[1], re.MULTILINE))


def children(process: Process, program: str = "sidecar.app.") -> set[int]:
    """The processes that it has started and that run such a program."""
    done = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    found = (line.split(maxsplit=2) for line in done.stdout.splitlines())
    return {int(pid) for pid, parent, args in found if int(parent) == process.process.pid and program in args}


def alive(pid: int) -> bool:
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip() not in ("", "Z")


def kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def kids(each: list[Client]) -> set[str]:
    """What the workers sign with."""
    return {kid(client.issue("alice", {})) for client in each}


def verdict(client: Client, token: str) -> str:
    try:
        client.tokens.VerifyToken(token_service_pb2.VerifyTokenRequest(token=token), timeout=DEADLINE)
    except grpc.RpcError as error:
        return refusal(error)[1]
    return "OK"


def test_every_worker_issues_and_queries_and_one_key_set_verifies_all(two: Process) -> None:
    verifier = CachingVerifier(two.jwks_url, keep_seconds=60)
    with clients(two) as each:
        tokens = [client.issue("alice", {"tenant_id": "acme"}) for client in each]
        assert {verifier.verify(token)["sub"] for token in tokens} == {"alice"}
        assert len({kid(token) for token in tokens}) == 1
        for client in each:
            assert client.rows(as_user("alice", tenant_id="acme"), "select id from users") == [("alice",)]
            assert [verdict(client, token) for token in tokens] == ["OK", "OK"]


def test_metrics_show_the_calls_of_each_worker(two: Process) -> None:
    before = calls(two)
    for address, times in zip(addresses(two), (3, 1), strict=True):
        with connected(address) as client:
            for _ in range(times):
                client.issue("alice", {})
    assert [now - then for now, then in zip(calls(two), before, strict=True)] == [3, 1]
    text = get(two.url("/metrics"))[1]
    assert re.search(r'^usher_worker_restarts_total\{worker="1"\} \d', text, re.MULTILINE)
    assert text.count("# TYPE usher_rpcs_total ") == 1
    assert get(two.url("/readyz"))[0] == get(two.url("/livez"))[0] == 200
    assert get(two.jwks_url)[0] == 200


def test_rotations_reach_all_and_no_token_is_ever_unverifiable(two: Process) -> None:
    """A verifier that fetches the set whenever it sees a key that it does not know, as all of them do."""
    done = False

    def issue(address: str) -> list[str]:
        seen: dict[str, str] = {}
        fetched = jwt.PyJWKClient(two.jwks_url, lifespan=60, cooldown_duration=0)
        with connected(address) as client:
            while not done:
                token = client.issue("alice", {})
                key = fetched.get_signing_key_from_jwt(token)  # raises for a kid that is not in the set
                assert jwt.decode(token, key.key, algorithms=["ES256"], options={"verify_aud": False})
                seen[kid(token)] = token
        return list(seen)

    with ThreadPoolExecutor(2) as pool:
        issuing = [pool.submit(issue, address) for address in addresses(two)]
        rotated: set[str] = set()
        try:
            for _ in range(4):
                with clients(two) as each:
                    known = rotated | kids(each)
                    answer = usher("keys", "rotate", "--force", "--address", two.admin_grpc_address)
                    assert answer.returncode == 0, answer.stderr
                    holds(lambda: not kids(each) & known)  # noqa: B023 - asked before the next turn
                    rotated |= kids(each)
        finally:
            done = True
        assert len(rotated) == 4
        for one in issuing:
            assert rotated <= set(one.result())


def test_a_key_that_is_revoked_is_gone_everywhere(two: Process) -> None:
    with clients(two) as each:
        token = each[1].issue("alice", {})
        answer = usher("keys", "revoke", kid(token), "--address", two.admin_grpc_address)
        assert answer.returncode == 0, answer.stderr
        assert "has not confirmed" not in answer.stdout
        for client in each:
            assert verdict(client, token) == "TOKEN_KEY_UNKNOWN"
            assert kid(client.issue("alice", {})) != kid(token)
        assert kid(token) not in get(two.jwks_url)[1]


@pytest.mark.parametrize("kept", ["in the database", "by the supervisor"])
def test_tokens_that_are_revoked_are_refused_by_all(demo: dict[str, str], tmp_path: Path, kept: str) -> None:
    settings = demo | {"pool_max_size": "4"} if kept == "in the database" else WITHOUT_DATABASE
    with ExitStack() as stack:
        process = stack.enter_context(workers(tmp_path, settings))
        admin = stack.enter_context(connected(process.admin_grpc_address))
        each = stack.enter_context(clients(process))
        token = each[0].issue("mallory", {})
        holds(lambda: {verdict(client, token) for client in each} == {"OK"})
        request = pb.RevokeTokensRequest(revoked=pb.Revoked(sub="mallory"), duration=Duration(seconds=600))
        answer = admin.revocations.RevokeTokens(request, timeout=DEADLINE)
        assert answer.shared
        for client in each:
            holds(lambda client=client: verdict(client, token) == "TOKEN_REVOKED")
        # One that comes later hears of it as well.
        [other] = kill_one(process)
        with connected(other) as again:
            holds(lambda: answers(other) and verdict(again, token) == "TOKEN_REVOKED")


def kill_one(process: Process) -> list[str]:
    """Kills a worker; the addresses of all that ended, once it was noticed."""
    os.kill(min(children(process, "sidecar.app.worker")), signal.SIGKILL)
    ended = process.wait_for_event(lambda event: event.get("event") == "worker_ended")
    assert ended["code"] == -signal.SIGKILL
    return [addresses(process)[ended["worker"]]]


def answers(address: str) -> bool:
    with connected(address) as client:
        try:
            client.tokens.IssueToken(token_service_pb2.IssueTokenRequest(subject="alice"), timeout=DEADLINE)
        except grpc.RpcError:
            return False
    return True


def test_a_worker_that_is_killed_is_replaced_and_the_other_goes_on(two: Process) -> None:
    known = kid(issued(two, 0))
    [gone] = kill_one(two)
    [other] = set(addresses(two)) - {gone}
    assert answers(other)
    assert get(two.jwks_url)[0] == get(two.url("/readyz"))[0] == 200
    holds(lambda: answers(gone))
    holds(lambda: ready(two) == 2)
    assert {kid(issued(two, number)) for number in (0, 1)} == {known}
    assert re.search(r'usher_worker_restarts_total\{worker="\d"\} [1-9]', get(two.url("/metrics"))[1])
    # It is not waited for, and what it signed with may go.
    holds(lambda: replicas(two) == 3)


def replicas(process: Process) -> int:
    """How many sign or publish with these keys: two workers and their supervisor."""
    listing = usher("keys", "list", "--address", process.admin_grpc_address)
    return listing.stdout.count("\nreplica ")


def issued(process: Process, number: int) -> str:
    with connected(addresses(process)[number]) as client:
        return client.issue("alice", {})


def test_a_worker_that_hangs_is_replaced(two: Process) -> None:
    os.kill(min(children(two, "sidecar.app.worker")), signal.SIGSTOP)
    ended = two.wait_for_event(lambda event: event.get("event") == "worker_ended")
    assert ended["code"] == -signal.SIGKILL
    holds(lambda: ready(two) == 2)


def test_nobody_is_left_when_the_supervisor_is_killed(own: Process) -> None:
    left = children(own)
    assert len(left) == 3
    own.process.kill()
    holds(lambda: not any(alive(pid) for pid in left))


def test_a_stop_lets_calls_in_flight_end_in_all(own: Process) -> None:
    left = children(own)
    with ThreadPoolExecutor(2) as pool, clients(own) as each:
        scope = as_user("alice", tenant_id="acme")
        asked = [pool.submit(client.rows, scope, "select id from users, pg_sleep(3)") for client in each]
        holds(lambda: sum(busy(own)) == 2)
        own.process.send_signal(signal.SIGTERM)
        own.wait_for("draining")
        assert get(own.jwks_url)[0] == 200
        assert get(own.url("/readyz"))[0] == 503
        assert [answer.result() for answer in asked] == [[("alice",)]] * 2
    assert own.process.wait(PATIENCE) == 0
    assert not any(alive(pid) for pid in left)
    assert own.events("uncaught") == own.events("worker_ended") == []


def busy(process: Process) -> list[int]:
    """How many connections each worker uses."""
    text = get(process.url("/metrics"))[1]
    return [int(float(each)) for each in re.findall(r'connections\{state="in_use",worker="\d"\} (\S+)', text)]


def test_a_second_signal_ends_all_at_once(own: Process) -> None:
    left = children(own)
    with ThreadPoolExecutor(1) as pool, clients(own) as each:
        scope = as_user("alice", tenant_id="acme")
        asked = pool.submit(each[1].rows, scope, "select id from users, pg_sleep(30)", timeout=60)
        holds(lambda: sum(busy(own)) == 1)
        own.process.send_signal(signal.SIGINT)
        own.wait_for("draining")
        own.process.send_signal(signal.SIGINT)
        assert own.process.wait(PATIENCE) == 128 + signal.SIGINT
        assert isinstance(asked.exception(), grpc.RpcError)
    holds(lambda: not any(alive(pid) for pid in left))


def test_a_port_of_a_worker_that_is_taken_ends_the_start(demo: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        others = dict.fromkeys(("http_address", "admin_http_address"), "127.0.0.1:0")
        own = {"workers": "2", "pool_max_size": "4", "grpc_address": f"127.0.0.1:{port - 1}"}
        done = usher("serve", **(demo | own | others | {"issuer": "https://issuer.example"}))
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"usher: grpc_address: cannot listen on 127.0.0.1:{port}"), last
    assert "Traceback" not in done.stderr
    left = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True).stdout
    assert f"127.0.0.1:{port - 1}" not in left


def test_workers_on_sockets_have_one_each_beside_the_other(demo: dict[str, str], tmp_path: Path) -> None:
    settings = {"pool_max_size": "4", "connect_address": "127.0.0.1:0"}
    with workers(tmp_path, demo | settings, grpc_address=f"unix:{tmp_path}/usher.sock") as process:
        assert addresses(process) == [f"unix:{tmp_path}/usher.sock", f"unix:{tmp_path}/usher.sock.1"]
        assert all(answers(address) for address in addresses(process))
        connect = process.addresses["connect"].split(",")
        assert len(set(connect)) == 2
        for address in connect:
            request = urllib.request.Request(
                f"http://{address}/usher.v1.TokenService/IssueToken",
                b'{"subject": "alice"}',
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
                assert kid(json.load(answer)["token"])


def test_a_hangup_has_all_read_the_policy_whose_limit_they_share(
    demo: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY.format(burst=2))
    with workers(tmp_path, demo | {"policy_file": str(file)}, pool_max_size="4") as process:
        process.process.send_signal(signal.SIGHUP)
        holds(lambda: len(process.events("policy_loaded")) == 4)
        with clients(process) as each:
            for client in each:
                assert client.issue("alice", {})
                with pytest.raises(grpc.RpcError) as caught:
                    client.issue("alice", {})
                assert refusal(caught.value)[1] == "RATE_LIMITED"
        # One that cannot be divided changes nothing.
        file.write_text(POLICY.format(burst=1))
        holds(lambda: [event["outcome"] for event in process.events("policy_loaded")][4:] == ["refused"] * 2)


def test_a_policy_that_cannot_be_divided_ends_the_start(demo: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY.format(burst=1))
    free = dict.fromkeys(("grpc_address", "http_address", "admin_http_address"), "127.0.0.1:0")
    settings = demo | free | {"policy_file": str(file), "issuer": "https://issuer.example", "workers": "2"}
    done = usher("serve", **(settings | {"pool_max_size": "4"}))
    assert done.returncode == 2
    assert "rate_limit: a burst of 1 cannot be divided among 2 workers" in done.stderr.splitlines()[-1]


def test_a_client_with_round_robin_uses_all_of_them(two: Process) -> None:
    """The target that docs/workers.md gives to clients in Python."""
    options = (("grpc.lb_policy_name", "round_robin"), ("grpc.enable_http_proxy", 0))
    with grpc.insecure_channel(f"ipv4:{two.grpc_address}", options=options) as channel:
        stub = token_service_pb2_grpc.TokenServiceStub(channel)
        counts: list[int] = []
        before = calls(two)

        def both() -> bool:
            stub.IssueToken(
                token_service_pb2.IssueTokenRequest(subject="a"), wait_for_ready=True, timeout=DEADLINE
            )
            counts[:] = [now - then for now, then in zip(calls(two), before, strict=True)]
            return min(counts) > 2

        holds(both)


def test_the_projects_own_client_uses_all_of_them(two: Process) -> None:
    with SyncClient(two.grpc_address) as client:
        before = calls(two)

        def both() -> bool:
            client.issue_token("a")
            return min(now - then for now, then in zip(calls(two), before, strict=True)) > 2

        holds(both)


def calls(process: Process) -> list[int]:
    text = get(process.url("/metrics"))[1]
    pattern = r'usher_rpcs_total\{code="OK",method="IssueToken",service="[^"]*",worker="\d"\} (\S+)'
    return [int(float(each)) for each in re.findall(pattern, text)]


def test_a_key_store_in_postgres_is_shared_with_other_sidecars(
    postgres_servers: Servers, demo: dict[str, str], tmp_path: Path
) -> None:
    with postgres_servers.database() as dsn:
        settings = demo | {"pool_max_size": "4"} | postgres_servers.install_key_store(dsn)
        with workers(tmp_path, settings) as process:
            holds(lambda: replicas(process) == 3)
            verifier = CachingVerifier(process.jwks_url, keep_seconds=60)
            tokens = [issued(process, number) for number in (0, 1)]
            assert [verifier.verify(token)["sub"] for token in tokens] == ["alice", "alice"]
            [gone] = kill_one(process)
            holds(lambda: answers(gone))
            holds(lambda: replicas(process) == 3)
