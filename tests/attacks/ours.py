"""The product: `usher serve` as a process, by its gRPC API."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from grpc_status import rpc_status
from usher.v1 import query_service_pb2, values_pb2

from tests.attacks.corpus import CLAIMS, Step
from tests.attacks.targets import Outcome
from tests.processes import Process
from tests.system.clients import Client, as_user, connected

DEADLINE = 30.0
OPTIONS = (("grpc.max_receive_message_length", -1),)


class Ours:
    """Two sidecars on one database, each with one connection: whatever is left in it meets the next user.

    Steps in the background run on the second.
    """

    def __init__(self, first: Process, second: Process, clients: tuple[Client, Client]) -> None:
        self._process = first
        self.processes = (first, second)
        self._clients = clients
        self.streams = False
        """Whether statements are streamed."""

    def start(self, step: Step) -> Callable[[], Outcome]:
        """See Target."""
        started = time.monotonic()
        if self.streams and not step.before:
            return self._start_stream(step, started)
        queries = self._clients[step.background].queries
        call = (
            queries.RunScopedTransaction.future(together(step), timeout=DEADLINE)
            if step.before
            else queries.RunScopedQuery.future(request(step), timeout=DEADLINE)
        )

        def answer() -> Outcome:
            try:
                response = call.result(DEADLINE + 5)
            except grpc.FutureTimeoutError:
                return Outcome(error="no answer", seconds=time.monotonic() - started)
            except grpc.RpcError as error:
                return Outcome(error=everything(error), seconds=time.monotonic() - started)
            results = response.results if step.before else [response]
            found = tuple(row for result in results for row in rows(result))
            return Outcome(rows=found, seconds=time.monotonic() - started)

        return answer

    def _start_stream(self, step: Step, started: float) -> Callable[[], Outcome]:
        parts = self._clients[step.background].queries.StreamScopedQuery(streamed(step), timeout=DEADLINE)
        found: list[tuple[str, ...]] = []

        def answer() -> Outcome:
            try:
                for part in parts:
                    found.extend(rows(part))
            except grpc.RpcError as error:
                # What came before is read as well.
                return Outcome(rows=tuple(found), error=everything(error), seconds=time.monotonic() - started)
            return Outcome(rows=tuple(found), seconds=time.monotonic() - started)

        return answer

    def forget(self) -> None:
        """Nothing but the high-water mark of memory: the sidecar itself must see to the rest."""
        self._low = self._status("VmRSS")
        with contextlib.suppress(OSError):  # on Linux; elsewhere memory is not looked at
            Path(f"/proc/{self._process.process.pid}/clear_refs").write_text("5")

    def memory(self, outcome: Outcome) -> int:
        """How far the process rose above where it was."""
        return self._status("VmHWM") - self._low

    def _status(self, field: str) -> int:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self._process.process.pid}/status").read_text().splitlines():
                if line.startswith(f"{field}:"):
                    return int(line.split()[1]) * 1024
        return 0


@contextlib.contextmanager
def attacked(first: Process, second: Process) -> Iterator[Ours]:
    """The target that these two sidecars are."""
    with connected(first.grpc_address) as one, connected(second.grpc_address) as two:
        yield Ours(first, second, (one, two))


def request(step: Step) -> query_service_pb2.RunScopedQueryRequest:
    """The step as a request."""
    claims: dict[str, Any] = dict(CLAIMS[step.who])
    options = query_service_pb2.QueryOptions(read_only=step.read_only, max_rows=10_000)
    if step.timeout is not None:
        options.statement_timeout.FromTimedelta(timedelta(seconds=step.timeout))
    return query_service_pb2.RunScopedQueryRequest(
        scope=as_user(claims.pop("sub"), **claims),
        sql=step.sql,
        parameters=[
            values_pb2.Value(int_value=value)
            if isinstance(value, int)
            else values_pb2.Value(text_value=value)
            for value in step.params
        ],
        options=options,
    )


def together(step: Step) -> query_service_pb2.RunScopedTransactionRequest:
    """The step with what runs before it."""
    alone = request(step)
    options = query_service_pb2.TransactionOptions(read_only=step.read_only)
    if step.timeout is not None:
        options.statement_timeout.CopyFrom(alone.options.statement_timeout)
    return query_service_pb2.RunScopedTransactionRequest(
        scope=alone.scope,
        statements=[
            *(query_service_pb2.ScopedStatement(sql=sql) for sql in step.before),
            query_service_pb2.ScopedStatement(sql=step.sql, parameters=alone.parameters, max_rows=10_000),
        ],
        options=options,
    )


def streamed(step: Step) -> query_service_pb2.StreamScopedQueryRequest:
    """The step as a request for a stream."""
    asked = request(step)
    options = query_service_pb2.StreamOptions(max_rows=asked.options.max_rows)
    if asked.options.HasField("statement_timeout"):
        options.statement_timeout.CopyFrom(asked.options.statement_timeout)
    return query_service_pb2.StreamScopedQueryRequest(
        scope=asked.scope, sql=asked.sql, parameters=asked.parameters, options=options
    )


def rows(
    response: query_service_pb2.RunScopedQueryResponse | query_service_pb2.StreamScopedQueryResponse,
) -> tuple[tuple[str, ...], ...]:
    """The rows as text, whatever their types."""
    columns = [_cells(data) for data in response.data]
    return tuple(zip(*columns, strict=True))


def _cells(data: values_pb2.ColumnData) -> list[str]:
    for name in ("bools", "ints", "floats", "texts", "dates", "times"):
        if values := getattr(data, name):
            return [str(value) for value in values]
    if data.blobs:
        return [blob.decode("utf-8", "replace") for blob in data.blobs]
    # Any form does for the rest: nobody but the search for a leak reads it.
    if data.HasField("arrays"):
        return [str(data.arrays.elements)] * len(data.arrays.lengths)
    if data.HasField("timestamps"):
        return [str(seconds) for seconds in data.timestamps.seconds]
    return [str(part) for part in data.intervals.micros]


def everything(error: grpc.RpcError) -> str:
    """All that a refused call says, its details included."""
    return f"{error.code().name} {error.details()} {rpc_status.from_call(error)}"
