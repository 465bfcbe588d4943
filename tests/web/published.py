"""A real HTTPS server of a key set, under a name whose port is not the real one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from sidecar.core.keys import Algorithm, generate
from sidecar.web.jwks_probe import Place
from tests import certificates
from tests.certificates import Certified

CA = certificates.authority()
SERVER = certificates.server(CA)
KEY = generate(Algorithm.ES256, 0).public
DOCUMENT = json.dumps({"keys": [dict(KEY.jwk)]}).encode()
PATH = "/.well-known/jwks.json"

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def answering(
    body: bytes = DOCUMENT, status: int = 200, headers: dict[str, str] | None = None
) -> tuple[Handler, list[web.BaseRequest]]:
    """A handler that answers every request so, and the requests that it saw."""
    asked: list[web.BaseRequest] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        asked.append(request)
        given = {"Cache-Control": "public, max-age=300"} if headers is None else headers
        return web.Response(body=body, status=status, headers=given)

    return handler, asked


@contextlib.asynccontextmanager
async def published(
    handler: Handler, folder: Path, *, certified: Certified = SERVER, host: str = "localhost"
) -> AsyncIterator[Place]:
    """Serves it at https://HOST/.well-known/jwks.json, which is asked for at a free port of this machine."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certified.write(folder, "server"))
    (folder / "ca.pem").write_bytes(CA.pem)
    async with _listening(handler, tls) as port:
        yield Place(
            url=urlsplit(f"https://{host}{PATH}"),
            ca_file=folder / "ca.pem",
            connect_to=("127.0.0.1", port),
        )


@contextlib.asynccontextmanager
async def plain(handler: Handler) -> AsyncIterator[Place]:
    """The same by HTTP, at its real port."""
    async with _listening(handler, None) as port:
        yield Place(url=urlsplit(f"http://127.0.0.1:{port}{PATH}"))


@contextlib.asynccontextmanager
async def _listening(handler: Handler, tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    server = web.Server(handler)  # type: ignore[arg-type]
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, ssl=tls)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await server.shutdown(0.01)
