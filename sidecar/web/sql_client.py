"""Posts statements to Neon's `/sql` over connections that are kept alive. Follows no redirect."""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    TCPConnector,
)

MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""Longest answer that is read; Neon's end after 10 MiB and one row."""
CONNECT_SECONDS: Final = 5.0
_KEEP_ALIVE_SECONDS: Final = 15.0
"""Not longer: a server that hangs up on an idle connection may do it under a request."""


class SqlClient:
    """One URL, and at most so many connections to it.

    `ca_file` holds the authorities to trust, the system's when None; it is read once. The peer's certificate
    and name are always checked.
    """

    def __init__(self, url: str, connections: int, ca_file: Path | None = None) -> None:
        self._url = url
        self._connections = connections
        self._ca_file = ca_file
        self._session: ClientSession | None = None
        self._opening = asyncio.Lock()

    async def post(self, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes | None]:
        """The status and the body of the answer, None for one that is too long.

        Raises ConnectionRefusedError when there is no connection, so that nothing was sent, and
        ConnectionResetError when the request may have been sent and no whole answer came. Both say why in
        words that give nothing away. A cancelled request's connection is closed, which ends it in Neon.
        """
        return await self._ask("POST", headers, body)

    async def ping(self) -> None:
        """Asks the URL what it allows, which takes no token and no database. Raises as `post`."""
        status, _ = await self._ask("OPTIONS", {}, b"")
        if status >= 500:
            raise ConnectionResetError(f"Neon answers {status}")

    async def close(self) -> None:
        """Closes all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(self, method: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes | None]:
        session = await self._opened()
        try:
            async with session.request(
                method, self._url, headers=headers, data=io.BytesIO(body), allow_redirects=False
            ) as response:
                return response.status, await _read(response)
        except (ClientConnectorError, ConnectionTimeoutError) as error:
            raise ConnectionRefusedError(_why(error)) from None
        except (ClientError, OSError):
            raise ConnectionResetError("Neon's answer was lost") from None

    async def _opened(self) -> ClientSession:
        async with self._opening:
            if self._session is None:
                try:
                    trust = await asyncio.to_thread(self._trust)
                except (OSError, ssl.SSLError):
                    raise ConnectionRefusedError("neon_ca_file cannot be read") from None
                self._session = ClientSession(
                    connector=TCPConnector(
                        ssl=trust, limit=self._connections, keepalive_timeout=_KEEP_ALIVE_SECONDS
                    ),
                    # Each request has its own time, and whoever sends it knows it.
                    timeout=ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                    headers={"User-Agent": "usher", "Accept-Encoding": "identity"},
                    auto_decompress=False,
                )
            return self._session

    def _trust(self) -> ssl.SSLContext:
        """Blocks, for the system's authorities tens of milliseconds."""
        trust = ssl.create_default_context(cafile=self._ca_file)
        trust.minimum_version = ssl.TLSVersion.TLSv1_2
        return trust


async def _read(response: ClientResponse) -> bytes | None:
    body = bytearray()
    async for chunk in response.content.iter_chunked(256 * 1024):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            response.close()
            return None
    return bytes(body)


def _why(error: Exception) -> str:
    """Why there is no connection, in words that give away no address."""
    if isinstance(error, ClientConnectorCertificateError):
        return "the certificate of Neon's host is not trusted; look at neon_ca_file"
    if isinstance(error, ClientConnectorSSLError):
        return "the TLS handshake with Neon failed"
    if isinstance(error, ClientConnectorDNSError):
        return "the host name of Neon's URL is not known"
    if isinstance(error, TimeoutError):
        return "Neon's host does not answer in time"
    return "Neon's host refuses the connection"
