"""A proxy that counts round trips to a server: how often a client that has heard something speaks again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Flights:
    """The count so far, of all connections through the proxy.

    It runs on the client's event loop: all that the client writes in one go is read in one go.
    """

    def __init__(self, dsn: str) -> None:
        self._server = urlsplit(dsn)
        self._tasks: set[asyncio.Task[None]] = set()
        self.count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(self._server.hostname, self._server.port)
        client_spoke = False

        async def out() -> None:
            nonlocal client_spoke
            while data := await reader.read(2**16):
                self.count += not client_spoke
                client_spoke = True
                server_writer.write(data)
            server_writer.close()

        async def back() -> None:
            nonlocal client_spoke
            while data := await server_reader.read(2**16):
                client_spoke = False
                writer.write(data)
            writer.close()

        await asyncio.gather(out(), back(), return_exceptions=True)


@asynccontextmanager
async def counted(dsn: str) -> AsyncIterator[tuple[str, Flights]]:
    """The same address by way of the proxy, and the count."""
    flights = Flights(dsn)
    server = await asyncio.start_server(flights.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield dsn.replace(f":{urlsplit(dsn).port}/", f":{port}/"), flights
    finally:
        server.close()
