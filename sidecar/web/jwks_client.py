"""Fetches another issuer's JWK Set over HTTP. Bounded in time and size; follows no redirect."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Final

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from sidecar.core.trusted_keys import MAX_SET_BYTES

TOTAL_SECONDS: Final = 5.0
"""For one fetch, from the name look-up to the last byte."""


class JwksClient:
    """One URL.

    `ca_file` holds the authorities to trust, the system's when None. `token_file` holds a bearer token that
    the server asks for, as Kubernetes does; it is read for each fetch, because it changes.
    """

    def __init__(self, url: str, ca_file: Path | None = None, token_file: Path | None = None) -> None:
        self._url = url
        self._ca_file = ca_file
        self._token_file = token_file

    async def fetch(self) -> bytes:
        """The document. Raises OSError (aiohttp's and time-outs are such) or ValueError."""
        trust, token = await asyncio.to_thread(self._read_files)
        headers = {"Accept": "application/jwk-set+json, application/json", "User-Agent": "usher"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connector = TCPConnector(ssl=trust, force_close=True)
        timeout = ClientTimeout(total=TOTAL_SECONDS)
        # A session for each fetch, which is once in minutes: nothing to keep alive or to go stale.
        async with (
            ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session,
            session.get(self._url, headers=headers, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise OSError(f"the server of the key set answered {response.status}")
            if "Content-Encoding" in response.headers:
                raise ValueError("the key set is compressed")
            document = bytearray()
            async for chunk in response.content.iter_chunked(64 * 1024):
                document += chunk
                if len(document) > MAX_SET_BYTES:
                    raise ValueError(f"the key set has more than {MAX_SET_BYTES} bytes")
            return bytes(document)

    def _read_files(self) -> tuple[ssl.SSLContext, str]:
        """Blocks, for the system's authorities tens of milliseconds."""
        trust = ssl.create_default_context(cafile=self._ca_file)
        trust.minimum_version = ssl.TLSVersion.TLSv1_2
        token = self._token_file.read_text("ascii").strip() if self._token_file is not None else ""
        return trust, token
