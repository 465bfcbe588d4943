"""What a call costs by transport: CPU microseconds of the server process, in alternating rounds.

python bench/connect_transport.py [ROUNDS] [CALLS]

First an echo (140 bytes in, 640 out) by each HTTP server that is installed, with nothing behind it: ours, and
connectrpc on granian and on uvicorn. Then IssueToken (ES256) and a 10-row query, whose backend answers at
once, by all that is around a call, over gRPC and Connect.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

OUTSTANDING = 32
SMALL, LARGE = b"x" * 140, b"y" * 640
ECHO = "echo.v1.EchoService/Echo"
ISSUE, RUN = "usher.v1.TokenService/IssueToken", "usher.v1.QueryService/RunScopedQuery"


def installed(*modules: str) -> bool:
    return all(importlib.util.find_spec(module) for module in modules)


# Servers. Each prints its port and runs until it is killed.


class Echo:
    """Ours, with nothing behind it but the rules of the protocol."""

    def body_limit(self, path: str) -> int:
        return 4096

    async def answer(self, request: Any) -> Any:
        from sidecar.connect.messages import Response
        from sidecar.connect.opening import PROTO_TYPE, UNARY, Opened

        if not isinstance(UNARY.opened(request), Opened):
            return UNARY.unsupported()
        return Response(200, PROTO_TYPE, LARGE)


async def ours() -> None:
    from sidecar.connect.server import ConnectListener

    listener = ConnectListener("127.0.0.1:0", Echo(), lambda event: None)
    await listener.start()
    say(listener.address)


def connect_app() -> Any:
    """connectrpc, handing bytes through: protobuf is no part of the comparison."""
    from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
    from connectrpc.server import ConnectASGIApplication, Endpoint

    class Bytes:
        def name(self) -> str:
            return "proto"

        def encode(self, message: bytes) -> bytes:
            return message

        def decode(self, data: Any, message_class: Any) -> bytes:
            return bytes(data)

    service, _, name = ECHO.partition("/")
    method: Any = MethodInfo(
        name=name,
        service_name=service,
        input=bytes,
        output=bytes,
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=StreamType.UNARY,
    )

    async def echo(request: bytes, context: Any) -> bytes:
        return LARGE

    class App(ConnectASGIApplication):  # type: ignore[type-arg]
        path = f"/{service}"

    return App(
        service=object(),
        endpoints=lambda _: {f"/{ECHO}": Endpoint.unary(method=method, function=echo)},
        codecs=[Bytes()],
    )


async def plain_app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]) -> None:
    """ASGI with no protocol in it: what the server alone costs."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/proto"), (b"content-length", b"640")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": LARGE, "more_body": False})


async def granian(app: Any) -> None:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    port = free_port()
    server = Server(app, address="127.0.0.1", port=port, interface=Interfaces.ASGINL, log_enabled=False)
    running.append(asyncio.ensure_future(server.serve()))
    await asyncio.sleep(0.5)
    say(f"127.0.0.1:{port}")


async def uvicorn(app: Any) -> None:
    import uvicorn as library

    port = free_port()
    config = library.Config(
        app, port=port, http="httptools", access_log=False, log_level="error", lifespan="off"
    )
    running.append(asyncio.ensure_future(library.Server(config).serve()))
    await asyncio.sleep(0.5)
    say(f"127.0.0.1:{port}")


async def product(transport: str) -> None:
    """Everything around a call and its method, with the scripted backend of the tests."""
    from sidecar.connect.methods import Methods
    from sidecar.connect.server import ConnectListener
    from sidecar.core.callers import ANONYMOUS
    from sidecar.core.clock import SystemClock
    from sidecar.rpc.server import RpcListener, handlers
    from sidecar.services.access import Listener
    from tests.rpc.running import integers, new_calls, new_parts

    parts = new_parts()
    parts.backend.result = integers(*range(10))
    parts.seen.__class__.__call__ = lambda self, event: None  # type: ignore[method-assign]
    calls, factory, rpcs = new_calls(parts)

    async def identify(request: Any) -> Any:
        return ANONYMOUS

    listener: Any
    if transport == "grpc":
        listener = RpcListener(
            Listener.DATA, "127.0.0.1:0", handlers(factory, rpcs), max_message_bytes=2**22, reflection=False
        )
    else:
        unary = Methods(calls, rpcs, identify, SystemClock())
        listener = ConnectListener("127.0.0.1:0", unary, lambda event: None)
    running.append(listener)
    await listener.start()
    say(listener.address)


running: list[Any] = []


def say(address: str) -> None:
    print(address, flush=True)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SERVERS: dict[str, Callable[[], Awaitable[None]]] = {
    "ours": ours,
    "granian+connectrpc": lambda: granian(connect_app()),
    "granian": lambda: granian(plain_app),
    "uvicorn+connectrpc": lambda: uvicorn(connect_app()),
    "uvicorn": lambda: uvicorn(plain_app),
    "grpc": lambda: product("grpc"),
    "connect": lambda: product("connect"),
}


async def _serve(name: str) -> None:
    await SERVERS[name]()
    await asyncio.Event().wait()


# Load. One process beside the server; what it costs itself is not counted.


def requests() -> dict[str, tuple[str, bytes]]:
    from tests.rpc.running import issue, run

    scope = {"principal": {"subject": "alice", "claims": {"tenant_id": "acme"}}}
    in_json = {
        ISSUE: {"subject": "alice", "claims": {"tenant_id": "acme"}},
        RUN: {"sql": "select id from things", "scope": scope},
    }
    messages = {ISSUE: issue(tenant_id="acme"), RUN: run()}
    return {
        "echo": (ECHO, post(ECHO, "proto", SMALL)),
        **{
            f"{path.rpartition('/')[2]} {form}": (path, post(path, form, body))
            for path in (ISSUE, RUN)
            for form, body in (
                ("proto", messages[path].SerializeToString()),
                ("json", json.dumps(in_json[path]).encode()),
            )
        },
        **{
            f"{path.rpartition('/')[2]} grpc": (path, messages[path].SerializeToString()) for path in messages
        },
    }


def post(path: str, form: str, body: bytes) -> bytes:
    return (
        f"POST /{path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/{form}\r\n"
        f"connect-protocol-version: 1\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body


async def over_http(address: str, request: bytes, calls: int) -> None:
    host, _, port = address.rpartition(":")

    async def one(count: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in range(count):
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200"), head
            if b"chunked" in head:  # connectrpc gives no length
                await reader.readuntil(b"0\r\n\r\n")
            else:
                await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        writer.close()

    await asyncio.gather(*(one(calls // OUTSTANDING) for _ in range(OUTSTANDING)))


async def over_grpc(address: str, path: str, request: bytes, calls: int) -> None:
    import grpc.aio

    async with grpc.aio.insecure_channel(address) as channel:
        method: Any = channel.unary_unary(f"/{path}")

        async def one(count: int) -> None:
            for _ in range(count):
                await method(request)

        await asyncio.gather(*(one(calls // OUTSTANDING) for _ in range(OUTSTANDING)))


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(server: str, case: str, loop: str, calls: int) -> float:
    """CPU microseconds of the server for each call, after some to warm up."""
    path, request = requests()[case]
    command = [sys.executable, __file__, "serve", server, loop]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()

            def load(count: int) -> None:
                if case.endswith("grpc"):
                    asyncio.run(over_grpc(address, path, request, count))
                else:
                    asyncio.run(over_http(address, request, count))

            load(calls // 5)
            before = cpu_of(process.pid)
            load(calls)
            return (cpu_of(process.pid) - before) / (calls // OUTSTANDING * OUTSTANDING) * 1e6
        finally:
            process.kill()


def main() -> None:
    rounds, calls = (*(int(given) for given in sys.argv[1:]), 3, 6400)[:2] if len(sys.argv) > 2 else (3, 6400)
    loops = ["asyncio", *(["uvloop"] if installed("uvloop") else [])]
    names = ["ours"]
    for library in ("granian", "uvicorn"):
        if installed(library):
            names += [library, *([f"{library}+connectrpc"] if installed("connectrpc") else [])]
    cases = [(name, "echo", loop) for loop in loops for name in names]
    for work in ("IssueToken", "RunScopedQuery"):
        cases += [
            (server, f"{work} {form}", loop)
            for loop in loops
            for server, form in (("grpc", "grpc"), ("connect", "proto"), ("connect", "json"))
        ]
    found: dict[tuple[str, str, str], list[float]] = {}
    for _ in range(rounds):
        for case in cases:
            found.setdefault(case, []).append(measure(*case, calls))
    print(
        f"CPU us a call, {OUTSTANDING} outstanding, median of {rounds} rounds of {calls} (lowest to highest)"
    )
    for (server, case, loop), times in found.items():
        print(
            f"{server:20} {case:22} {loop:8} {statistics.median(times):6.0f} "
            f"({min(times):.0f} to {max(times):.0f})"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        if sys.argv[3] == "uvloop":
            import uvloop

            uvloop.install()
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_serve(sys.argv[2]))
    else:
        main()
