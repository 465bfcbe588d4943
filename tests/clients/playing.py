"""A gRPC server that plays a sidecar which is cut, is away, or has more rows than anybody takes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from usher.v1 import query_service_pb2 as pb
from usher.v1 import query_service_pb2_grpc, values_pb2

COLUMNS = pb.StreamScopedQueryResponse(
    columns=[values_pb2.Column(name="n", type_name="int8", kind=values_pb2.KIND_INT)]
)
SUMMARY = pb.StreamScopedQueryResponse(summary=pb.StreamSummary(row_count=2, command_tag="SELECT 2"))


def chunk(*numbers: int) -> pb.StreamScopedQueryResponse:
    """Rows of COLUMNS."""
    return pb.StreamScopedQueryResponse(data=[values_pb2.ColumnData(ints=numbers)], row_count=len(numbers))


class Player(query_service_pb2_grpc.QueryServiceServicer):
    """Answers a stream with `messages`, and is away for as many calls, or at once after those messages."""

    def __init__(self, *messages: pb.StreamScopedQueryResponse, away: int = 0, breaks: bool = False) -> None:
        self._messages, self._away, self._breaks = messages, away, breaks
        self.calls = 0
        self.sent = 0

    def StreamScopedQuery(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self._call(context)
        for message in self._messages:
            yield message
            self.sent += 1
        if self._breaks:
            context.abort(grpc.StatusCode.UNAVAILABLE, "away")

    def RunScopedTransaction(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._call(context)
        return pb.RunScopedTransactionResponse()

    def _call(self, context: grpc.ServicerContext) -> None:
        self.calls += 1
        if self.calls <= self._away:
            context.abort(grpc.StatusCode.UNAVAILABLE, "away")


@contextlib.contextmanager
def playing(player: Player) -> Iterator[str]:
    """Runs it for the time of the block; gives its address."""
    server = grpc.server(ThreadPoolExecutor(4))
    query_service_pb2_grpc.add_QueryServiceServicer_to_server(player, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
