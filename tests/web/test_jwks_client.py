"""Fetching a key set: from a real server, with every way in which it can disappoint."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from sidecar.core.trusted_keys import MAX_SET_BYTES
from sidecar.web import jwks_client
from sidecar.web.jwks_client import JwksClient
from tests import certificates

CA = certificates.authority()
SERVER = certificates.server(CA)
DOCUMENT = json.dumps({"keys": []}).encode()

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The address of a server that answers so."""
    server = web.Server(handler)  # type: ignore[arg-type]
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        await server.shutdown(0.01)


async def good(request: web.BaseRequest) -> web.Response:
    return web.Response(body=DOCUMENT)


def server_tls(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*SERVER.write(folder, "server"))
    return context


async def test_a_document() -> None:
    asked: list[web.BaseRequest] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        asked.append(request)
        return await good(request)

    async with serving(handler) as address:
        client = JwksClient(f"http://{address}/jwks?x=1")
        assert await client.fetch() == DOCUMENT
        assert await client.fetch() == DOCUMENT
    assert [request.path_qs for request in asked] == ["/jwks?x=1"] * 2
    assert "Authorization" not in asked[0].headers
    assert asked[0].headers["User-Agent"] == "usher"


async def test_a_token_is_read_for_each_fetch(tmp_path: Path) -> None:
    path, asked = tmp_path / "token", []

    async def handler(request: web.BaseRequest) -> web.Response:
        asked.append(request.headers.get("Authorization"))
        return await good(request)

    async with serving(handler) as address:
        client = JwksClient(f"http://{address}/", token_file=path)
        for token in ("one", "two"):
            path.write_text(token + "\n")
            await client.fetch()
        path.unlink()
        with pytest.raises(FileNotFoundError):
            await client.fetch()
    assert asked == ["Bearer one", "Bearer two"]


async def test_only_the_named_authority_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    (tmp_path / "other.pem").write_bytes(certificates.authority().pem)
    async with serving(good, server_tls(tmp_path)) as address:
        assert await JwksClient(f"https://{address}/", tmp_path / "ca.pem").fetch() == DOCUMENT
        for trusted in (tmp_path / "other.pem", None):
            with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
                await JwksClient(f"https://{address}/", trusted).fetch()


async def test_a_name_that_is_not_the_servers(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    async with serving(good, server_tls(tmp_path)) as address:
        # The certificate names 127.0.0.1; the same server under another loopback address.
        other = address.replace("127.0.0.1", "127.0.0.2")
        with pytest.raises(OSError):  # noqa: PT011 - refused or of the wrong name, by the system
            await JwksClient(f"https://{other}/", tmp_path / "ca.pem").fetch()


@pytest.mark.parametrize("status", [204, 301, 302, 401, 404, 500, 503])
async def test_any_other_status_is_a_failure(status: int) -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    async with serving(handler) as address:
        with pytest.raises(OSError, match=f"answered {status}"):
            await JwksClient(f"http://{address}/").fetch()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_document_without_end(chunked: bool) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        if not chunked:
            response.content_length = 2 * MAX_SET_BYTES
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(32):
                await response.write(b"x" * (MAX_SET_BYTES // 16))
        return response

    async with serving(handler) as address:
        with pytest.raises(ValueError, match="more than"):
            await JwksClient(f"http://{address}/").fetch()


async def test_a_compressed_document() -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        response = web.Response(body=DOCUMENT)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with serving(handler) as address:
        with pytest.raises(ValueError, match="compressed"):
            await JwksClient(f"http://{address}/").fetch()


async def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks_client, "TOTAL_SECONDS", 0.1)

    async def handler(request: web.BaseRequest) -> web.Response:
        await asyncio.sleep(60)
        return await good(request)

    async with serving(handler) as address:
        with pytest.raises(TimeoutError):
            await JwksClient(f"http://{address}/").fetch()


async def test_nobody_there() -> None:
    async with serving(good) as address:
        pass
    with pytest.raises(OSError):  # noqa: PT011 - the system's words
        await JwksClient(f"http://{address}/").fetch()
