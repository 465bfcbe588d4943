"""The room's parts on a real socket, with those of tests/rpc behind them, and a client as plain as curl."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from google.rpc import error_details_pb2

from sidecar.connect.doors import Door
from sidecar.connect.methods import Methods
from sidecar.connect.origins import Origins
from sidecar.connect.server import MAX_CONNECTIONS, ConnectListener
from sidecar.connect.tls import TlsPaths
from sidecar.core.callers import ANONYMOUS, Caller
from sidecar.core.policy import Policy
from sidecar.services.callers import Callers
from sidecar.services.calls import Calls
from tests.rpc.running import MIB, PATIENCE, Parts, new_calls, new_parts

PROTO = "application/proto"
JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    closed: bool

    @property
    def json(self) -> Any:
        """The body, which is JSON."""
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """The reason of an error, from its details."""
        (info,) = (detail for detail in self.json["details"] if detail["type"] == "google.rpc.ErrorInfo")
        text = info["value"]
        packed = base64.b64decode(text + "=" * (-len(text) % 4))
        return error_details_pb2.ErrorInfo.FromString(packed).reason


@dataclass
class Client:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(
        self, path: str, body: bytes = b"", *, method: str = "POST", headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Writes a request."""
        lines = [f"{method} {path} HTTP/1.1", "host: test", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        self.writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        await self.writer.drain()

    async def answer(self) -> Answer:
        """Reads a response."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").rstrip().split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
            }
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
            closed = headers.get("connection") == "close"
            if closed:
                assert await self.reader.read() == b""
        return Answer(status=int(first.split()[1]), headers=headers, body=body, closed=closed)

    async def call(
        self, path: str, body: bytes | Message | Mapping[str, Any], *, method: str = "POST", **headers: str
    ) -> Answer:
        """A whole call: a message as protobuf, a mapping as JSON, bytes as they are."""
        kind = PROTO if isinstance(body, Message) else JSON
        if isinstance(body, Message):
            data = body.SerializeToString()
        else:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        given.setdefault("content-type", kind)
        await self.send(
            path if path.startswith("/") else f"/{path}", data, method=method, headers=given.items()
        )
        return await self.answer()


@dataclass
class Running:
    """A listener that listens, and its parts."""

    listener: ConnectListener
    calls: Calls
    parts: Parts
    tls: ssl.SSLContext | None = None
    clients: list[Client] = field(default_factory=list)

    async def client(self) -> Client:
        """A new connection."""
        if self.listener.address.startswith("unix:"):
            opened = await asyncio.open_unix_connection(self.listener.address.removeprefix("unix:"))
        else:
            host, _, port = self.listener.address.rpartition(":")
            opened = await asyncio.open_connection(host, int(port), ssl=self.tls)
        self.clients.append(Client(*opened))
        return self.clients[-1]

    async def call(self, path: str, body: Any, **options: Any) -> Answer:
        """A call over a new connection."""
        return await (await self.client()).call(path, body, **options)


@contextlib.asynccontextmanager
async def running(
    address: str = "127.0.0.1:0",
    *,
    max_message_bytes: int = 4 * MIB,
    default_deadline: float = PATIENCE,
    policy: Policy | None = None,
    caller: Caller = ANONYMOUS,
    callers: Callers | None = None,
    door: Door | None = None,
    origins: Iterable[str] = (),
    tls: TlsPaths | None = None,
    client_tls: ssl.SSLContext | None = None,
    mode: int = 0o600,
    max_connections: int = MAX_CONNECTIONS,
) -> AsyncIterator[Running]:
    """A started listener for the time of the block. Every call is `caller`'s, unless `callers` says whose."""
    parts = new_parts(policy=policy, caller=caller, callers=callers)
    calls, _, rpcs = new_calls(parts, max_message_bytes, default_deadline)
    through = door or Door()

    async def identify(request: Any) -> Caller:
        return caller if callers is None else await callers.identify_at(through, request)

    listener = ConnectListener(
        address,
        Methods(calls, rpcs, identify, parts.clock, Origins(origins)),
        parts.seen,
        tls=tls,
        mode=mode,
        max_connections=max_connections,
    )
    await listener.start()
    there = Running(listener, calls, parts, client_tls)
    try:
        yield there
    finally:
        for client in there.clients:
            client.writer.close()
        await listener.stop(0)
        for client in there.clients:
            with contextlib.suppress(OSError):
                await client.writer.wait_closed()
