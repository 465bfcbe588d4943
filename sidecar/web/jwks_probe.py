"""Asks a published key set as Neon's verifier does: one GET, HTTP/1.1, 2 s to connect, 5 s in all.

Follows no redirect, decompresses nothing, and says who it is: a fetch that called itself neon-proxy would be
counted as one of Neon's.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from sidecar.core.clock import Clock
from sidecar.core.publication import MAX_JWKS_BYTES

CONNECT_SECONDS: Final = 2.0
TOTAL_SECONDS: Final = 5.0
_HEAD_BYTES: Final = 64
_AGENT: Final = "usher-doctor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back. `body` is None when it is longer than Neon reads; `seconds` is the time of all of it.

    `headers` has lower-case names. `now` is this machine's time at the head of the answer.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes | None
    seconds: float
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to ask. `connect_to`: another host and port than the URL's, as long as its name leads elsewhere.

    `ca_file` holds the authorities to trust, the system's when None.
    """

    url: SplitResult
    ca_file: Path | None = None
    connect_to: tuple[str, int] | None = None

    @property
    def host(self) -> str:
        """The host in the URL."""
        return self.url.hostname or ""

    @property
    def port(self) -> int:
        """The port in the URL, or its scheme's."""
        return self.url.port or (443 if self.url.scheme == "https" else 80)

    @property
    def path(self) -> str:
        """The path in the URL."""
        return self.url.path or "/"

    def trust(self, *, verify: bool) -> ssl.SSLContext:
        """What to trust. Blocks, for the system's authorities tens of milliseconds. Raises OSError."""
        trust = ssl.create_default_context(cafile=self.ca_file)
        trust.minimum_version = ssl.TLSVersion.TLSv1_2
        if not verify:
            # For a look at the rest, once the certificate is known to be wrong; nothing secret is sent.
            trust.check_hostname = False
            trust.verify_mode = ssl.CERT_NONE
        return trust


async def ask(place: Place, clock: Clock, *, verify: bool = True) -> Answer:
    """The answer. Raises OSError (aiohttp's errors and time-outs are among what becomes one)."""
    trust = await asyncio.to_thread(place.trust, verify=verify)
    resolver = _Elsewhere(*place.connect_to) if place.connect_to else None
    connector = TCPConnector(ssl=trust, force_close=True, resolver=resolver)
    timeout = ClientTimeout(total=TOTAL_SECONDS, sock_connect=CONNECT_SECONDS)
    url = place.url._replace(netloc=f"{_bracketed(place.host)}:{place.port}", query="", fragment="").geturl()
    started = clock.monotonic()
    try:
        async with (
            ClientSession(
                connector=connector,
                timeout=timeout,
                auto_decompress=False,
                skip_auto_headers=("Accept-Encoding",),
            ) as session,
            session.get(url, headers={"User-Agent": _AGENT}, allow_redirects=False) as response,
        ):
            now = clock.now()
            body = bytearray()
            async for chunk in response.content.iter_chunked(16 * 1024):
                body += chunk
                if len(body) > MAX_JWKS_BYTES:
                    break
            return Answer(
                status=response.status,
                headers={name.lower(): value for name, value in response.headers.items()},
                body=bytes(body) if len(body) <= MAX_JWKS_BYTES else None,
                seconds=clock.monotonic() - started,
                now=now,
            )
    except (ClientError, ValueError) as error:
        if isinstance(error, OSError):
            raise
        raise ConnectionResetError("no HTTP/1.1 answer came") from None


async def certificate_end(place: Place) -> float:
    """When the server's certificate ends, in seconds since 1970. Raises OSError; ssl.SSLError is one."""
    async with _connected(place, await asyncio.to_thread(place.trust, verify=True)) as (_, writer):
        found: dict[str, Any] = writer.get_extra_info("peercert")
        return float(ssl.cert_time_to_seconds(found["notAfter"]))


async def status_with_bare_query(place: Place, *, verify: bool = True) -> int:
    """The status for the path with a `?` and nothing behind it, as Neon's local proxy may ask.

    By hand, because no library of ours would send that. Raises OSError.
    """
    trust = await asyncio.to_thread(place.trust, verify=verify) if place.url.scheme == "https" else None
    async with _connected(place, trust) as (reader, writer):
        standard = 443 if place.url.scheme == "https" else 80
        host = _bracketed(place.host) + (f":{place.port}" if place.port != standard else "")
        head = f"GET {place.path}? HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {_AGENT}\r\nAccept: */*\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode("ascii"))
        async with asyncio.timeout(TOTAL_SECONDS):
            line = (await reader.read(_HEAD_BYTES)).split(b"\r\n")[0].split(b" ")
        if len(line) < 2 or not line[0].startswith(b"HTTP/1.") or not line[1].isdigit():
            raise ConnectionResetError("no HTTP/1.1 answer came")
        return int(line[1])


async def addresses(place: Place) -> tuple[str, ...]:
    """The addresses that the host's name leads to. Raises OSError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(TOTAL_SECONDS):
        found = await loop.getaddrinfo(place.host, place.port, type=1)  # 1: a stream
    return tuple(sorted({str(entry[4][0]) for entry in found}))


@contextlib.asynccontextmanager
async def _connected(
    place: Place, trust: ssl.SSLContext | None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = place.connect_to or (place.host, place.port)
    async with asyncio.timeout(TOTAL_SECONDS):
        reader, writer = await asyncio.open_connection(
            host, port, ssl=trust, server_hostname=place.host if trust else None
        )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class _Elsewhere(AbstractResolver):
    """Says of every name that it is at one place."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        """See AbstractResolver."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=1)
        return [
            ResolveResult(
                hostname=host,
                host=str(entry[4][0]),
                port=self._port,
                family=entry[0],
                proto=entry[2],
                flags=0,
            )
            for entry in found
        ]

    async def close(self) -> None:
        """See AbstractResolver."""
