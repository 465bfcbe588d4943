"""A proxy that puts a distance between a client and a server: python bench/distance.py HOST PORT SECONDS

Everything arrives SECONDS later, in either direction, as much as there is: the link is slow to react, not
narrow. It prints its own port. A process of its own, so that its work is nobody else's CPU.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable


def carry(delay: float, write: Callable[[bytes], None], close: Callable[[], None]) -> type[asyncio.Protocol]:
    """A protocol that hands on what it receives, `delay` seconds later."""
    loop = asyncio.get_running_loop()

    class Carrier(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            loop.call_later(delay, write, data)

        def connection_lost(self, error: Exception | None) -> None:
            loop.call_later(delay, close)

    return Carrier


async def serve(host: str, port: int, delay: float) -> None:
    loop = asyncio.get_running_loop()
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    print(listening.getsockname()[1], flush=True)
    while True:
        client, _ = await loop.sock_accept(listening)
        there = socket.create_connection((host, port))
        for one in (client, there):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.setblocking(False)
        await connect(loop, client, there, delay)


async def connect(
    loop: asyncio.AbstractEventLoop, client: socket.socket, there: socket.socket, delay: float
) -> None:
    far: list[asyncio.WriteTransport] = []
    near, _ = await loop.create_connection(
        carry(delay, lambda data: far[0].write(data), lambda: far[0].close()), sock=client
    )
    transport, _ = await loop.create_connection(carry(delay, near.write, near.close), sock=there)
    far.append(transport)


def main(host: str, port: str, seconds: str) -> None:
    serving: Awaitable[None] = serve(host, int(port), float(seconds))
    asyncio.run(serving)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:])
