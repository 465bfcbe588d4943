"""The ceiling of gRPC for Python: a server that answers bytes of a wanted size, and does nothing.

Usage: python -m bench.peers.echo. The method /bench.Echo/N answers with N bytes. On uvloop where it is
installed.
"""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

from bench.loops import fast_loop


class Echo(grpc.GenericRpcHandler):
    """One handler for each size that is asked for."""

    def __init__(self) -> None:
        self._handlers: dict[str, Any] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = handler_call_details.method
        if method not in self._handlers:
            answer = bytes(int(method.rpartition("/")[2]))

            async def handle(request: bytes, context: Any) -> bytes:
                return answer

            self._handlers[method] = grpc.unary_unary_rpc_method_handler(handle)
        return self._handlers[method]


async def main() -> None:
    """Serves until it is ended."""
    server = grpc.aio.server(options=[("grpc.max_send_message_length", 64 * 1024**2)])
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    with fast_loop() as runner:
        runner.run(main())
