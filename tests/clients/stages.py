"""The servers that the scenarios need: real sidecars, and two that refuse as the product does."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from usher.v1 import query_service_pb2

from sidecar.core.errors import Reason, UsherError
from sidecar.rpc.status import CODES, Refusal
from tests import certificates
from tests.processes import Process, get, running, stopping
from tests.servers import Servers

KEY = "usher_forTheScenariosOnlyForTheScenariosOnlyForTh"
STATEMENT = "-- name: own_name\n-- params:\n-- result: name text\nSELECT name FROM users\n"
POLICY = """
[callers.app]
key_sha256 = "{digest}"
methods = ["RunScopedQuery", "StreamScopedQuery", "RunScopedTransaction"]
subjects = ["alice"]
other_claims = true
sql = ["own_name"]
"""
# It sends more than gRPC's clients take by default, which is 4 MiB, and leaves logins to the others.
MORTAL = {"max_message_bytes": "16MiB", "pool_max_size": "4"}


class Stage:
    """All servers, and what a scenario calls them."""

    def __init__(self, servers: Servers, demo: dict[str, str], folder: Path) -> None:
        self._stack = contextlib.ExitStack()
        self._demo = demo | {"connect_address": "127.0.0.1:0"}
        main = self._serve(grpc_admin_address=f"unix:{folder}/admin.sock")
        issuer, other = certificates.authority(), certificates.authority("another authority")
        cert, private = certificates.server(issuer).write(folder, "server")
        (folder / "ca.pem").write_bytes(issuer.pem)
        client = certificates.client(issuer, dns=["orders.internal"])
        policy = folder / "tls.toml"
        policy.write_text(
            '[callers.orders]\ndns = "orders.internal"\nmethods = ["RunScopedQuery"]\n'
            'subjects = ["*"]\nother_claims = true\nsql = "free"\n'
        )
        tls = self._serve(
            policy_file=str(policy),
            tls_cert_file=str(cert),
            tls_key_file=str(private),
            tls_client_ca_file=str(folder / "ca.pem"),
        )
        statements = folder / "statements"
        statements.mkdir()
        (statements / "own_name.sql").write_text(STATEMENT)
        keyed = folder / "keyed.toml"
        keyed.write_text(POLICY.format(digest=hashlib.sha256(KEY.encode()).hexdigest()))
        policed = self._serve(policy_file=str(keyed), statements_dir=str(statements))
        self._mortal_addresses = {"grpc_admin_address": f"unix:{folder}/mortal.sock"}
        self._main, self.mortal = main, self._started()
        self.refusing = self._stack.enter_context(_answering(_Refusing()))
        self.flaky = _Flaky(main.grpc_address)
        self._stack.callback(self.flaky.close)
        self.names = {
            "$main": main.grpc_address,
            "$admin": main.admin_grpc_address,
            "$tls": tls.grpc_address,
            "$policed": policed.grpc_address,
            "$mortal": self.mortal.grpc_address,
            "$pair": f"{self.mortal.grpc_address},{main.grpc_address}",
            "$half": f"127.0.0.1:1,{main.grpc_address}",
            "$admin_pair": f"{self.mortal.admin_grpc_address},{main.admin_grpc_address}",
            "$tls_pair": f"{tls.grpc_address},{tls.grpc_address}",
            "$refusing": self.refusing,
            "$flaky": self._stack.enter_context(_answering(self.flaky)),
            "$key": KEY,
            "$ca": issuer.pem.decode(),
            "$other_ca": other.pem.decode(),
            "$cert": client.pem.decode(),
            "$private_key": client.key_pem.decode(),
            "$foreign": FOREIGN,
        }
        """What they are called by those who speak gRPC."""
        sidecars = {"$main": main, "$tls": tls, "$policed": policed, "$mortal": self.mortal}
        by_connect = {name: sidecar.addresses["connect"] for name, sidecar in sidecars.items()}
        by_connect["$pair"] = f"{by_connect['$mortal']},{by_connect['$main']}"
        by_connect["$tls_pair"] = f"{by_connect['$tls']},{by_connect['$tls']}"
        by_connect["$half"] = f"127.0.0.1:1,{by_connect['$main']}"
        self.connect_names = self.names | by_connect
        """The same for those who speak Connect; who has only gRPC keeps that address."""
        self._mortal_addresses |= {
            f"{protocol}_address": self.mortal.addresses[protocol] for protocol in ("grpc", "connect")
        }
        self._answered = {"main": 0.0, "mortal": 0.0}

    def act(self, request: dict[str, Any]) -> Any:
        """What is done to a server rather than by a client."""
        verb = request["do"].removeprefix("server.")
        if verb == "fail":
            self.flaky.failures, self.flaky.calls = request["times"], 0
        elif verb == "cut":
            self.flaky.cut = (request["messages"], request.get("reason"))
        elif verb == "calls":
            return {"calls": self.flaky.calls}
        elif verb == "used":
            return {"used": self._used()}
        elif verb == "kill":
            self.mortal.kill()
            self._answered["mortal"] = 0.0
        elif verb == "start":
            self.mortal = self._started()
        return None

    def _used(self) -> list[str]:
        """Which of $pair have answered a quarter of both's calls at least, since this was last asked."""
        before = self._answered
        alive = {"main": self._main} | ({"mortal": self.mortal} if self.mortal.process.poll() is None else {})
        self._answered = before | {name: _calls(process) for name, process in alive.items()}
        fresh = {name: calls - before[name] for name, calls in self._answered.items()}
        return [name for name, calls in fresh.items() if calls and calls >= sum(fresh.values()) / 4]

    def close(self) -> None:
        """Stops all."""
        self._stack.close()

    def _serve(self, **settings: str) -> Process:
        process = self._stack.enter_context(running("serve", **(self._demo | settings)))
        return process.wait_for("ready")

    def _started(self) -> Process:
        process = Process(["serve"], self._demo | MORTAL | self._mortal_addresses)
        self._stack.enter_context(stopping(process))
        return process.wait_for("ready")


def _calls(process: Process) -> float:
    counted = re.findall(r"^usher_rpcs_total{.*} (.*)$", get(process.url("/metrics"))[1], re.MULTILINE)
    return sum(map(float, counted))


# Signed by nobody who is here: its key was thrown away.
FOREIGN = (
    "eyJhbGciOiJFUzI1NiIsImtpZCI6Im5vYm9keSJ9.eyJzdWIiOiJhIiwiaXNzIjoiaHR0cHM6Ly9pc3N1ZXIuZXhhbXBsZSIsImV4"
    "cCI6NDEwMjQ0NDgwMCwiaWF0IjoxNzAwMDAwMDAwfQ." + "A" * 86
)


class _Refusing(grpc.GenericRpcHandler):
    """Refuses each query and transaction with the reason that its SQL names, in the product's own form."""

    def service(self, handler_call_details: Any) -> Any:
        transaction = handler_call_details.method.endswith("/RunScopedTransaction")
        return grpc.unary_unary_rpc_method_handler(self._refuse_all if transaction else self._refuse)

    def _refuse(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return self._as_asked(query_service_pb2.RunScopedQueryRequest.FromString(request).sql, context)

    def _refuse_all(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        asked = query_service_pb2.RunScopedTransactionRequest.FromString(request)
        return self._as_asked(asked.statements[0].sql, context)

    def _as_asked(self, reason: str, context: grpc.ServicerContext) -> bytes:
        _abort(context, UsherError(Reason[reason], "as asked", {}))
        return b""


class _Flaky(grpc.GenericRpcHandler):
    """Passes calls on to a sidecar, after so many that it refuses; of a stream it may pass a part only."""

    def __init__(self, target: str) -> None:
        self.failures = 0
        self.calls = 0
        self.cut: tuple[int, str | None] | None = None
        """Messages that pass of the next stream, and the reason that ends it; without one it ends well."""
        self._channel = grpc.insecure_channel(target)

    def service(self, handler_call_details: Any) -> Any:
        if handler_call_details.method.endswith("/StreamScopedQuery"):
            return self._streaming(handler_call_details.method)
        method: Callable[[bytes], bytes] = self._channel.unary_unary(handler_call_details.method)

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            self._count(context)
            return method(request)

        return grpc.unary_unary_rpc_method_handler(answer)

    def _streaming(self, name: str) -> Any:
        method: Callable[[bytes], Any] = self._channel.unary_stream(name)

        def answer(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            self._count(context)
            (limit, reason), self.cut = self.cut or (None, None), None
            messages = method(request)
            yield from itertools.islice(messages, limit)
            messages.cancel()
            if reason:
                _abort(context, UsherError(Reason[reason], "as asked", retry_after=0.05))

        return grpc.unary_stream_rpc_method_handler(answer)

    def _count(self, context: grpc.ServicerContext) -> None:
        self.calls += 1
        if self.failures:
            self.failures -= 1
            _abort(context, UsherError(Reason.DATABASE_UNAVAILABLE, "as asked", retry_after=0.05))

    def close(self) -> None:
        self._channel.close()


def _abort(context: grpc.ServicerContext, error: UsherError) -> None:
    context.abort_with_status(Refusal(error, "scenario"))


@contextlib.contextmanager
def _answering(handler: grpc.GenericRpcHandler) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(8), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)


def reasons() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """A step for every reason that the product knows."""
    again = {"SERIALIZATION_FAILURE", "DEADLOCK", "LOCK_NOT_AVAILABLE", "SHUTTING_DOWN"}
    steps = []
    for reason in Reason:
        request = {
            "do": "query",
            "client": "refusing",
            "scope": {"sub": "a"},
            "sql": reason.value,
        }
        error = {
            "reason": reason.value,
            "code": CODES[reason].name,
            "retryable": UsherError(reason, "").retryable or reason.value in again,
        }
        steps.append((request, {"error": error}))
    return steps
