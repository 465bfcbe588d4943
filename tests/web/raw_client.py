"""An HTTP client that hides nothing: bytes out, bytes in, one real connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from sidecar.core.events import Observer
from sidecar.web.server import Handler, HttpListener
from tests.fakes import Recorder

PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Reply:
    """One response, with header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def reply(self, *, to_head: bool = False) -> Reply:
        """The next response. It must have a Content-Length, unless it has no body."""
        async with asyncio.timeout(PATIENCE):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(head[0].split(" ")[1])
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            bodiless = to_head or status == 304
            body = b"" if bodiless else await self._reader.readexactly(int(headers["content-length"]))
            return Reply(status, headers, body)

    async def ask(self, method: str, target: str, **headers: str) -> Reply:
        """A well-formed request and its response. Header names are given with _ for -."""
        fields = {"Host": "test"} | {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        await self.send("\r\n".join([*lines, "", ""]).encode())
        return await self.reply(to_head=method == "HEAD")

    async def rest(self) -> bytes:
        """All that still comes until the server closes."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self._reader.read()
            except ConnectionResetError:
                return b""

    async def close(self) -> None:
        """Closes the connection."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


@contextlib.asynccontextmanager
async def connected(address: str, *, source: str | None = None) -> AsyncIterator[RawClient]:
    """A connection to host:port for the time of the block, from an address of this machine."""
    host, _, port = address.rpartition(":")
    local = (source, 0) if source else None
    client = RawClient(*await asyncio.open_connection(host.strip("[]"), int(port), local_addr=local))
    try:
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def listening(
    handler: Handler,
    observer: Observer | None = None,
    *,
    request_seconds: float = 10.0,
    max_connections: int = 512,
) -> AsyncIterator[str]:
    """A listener on a free port for the time of the block; its address."""
    listener = HttpListener(
        "http_address",
        "127.0.0.1:0",
        handler,
        observer or Recorder(),
        request_seconds=request_seconds,
        max_connections=max_connections,
    )
    address = await listener.start()
    try:
        yield address
    finally:
        await listener.stop(1.0)
