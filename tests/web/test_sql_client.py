"""Posting to a real server, with every way in which it can disappoint."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from sidecar.web import sql_client
from sidecar.web.sql_client import SqlClient
from tests import certificates

CA = certificates.authority()
SERVER = certificates.server(CA)
PATIENCE = 20.0

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def asking(
    handler: Handler, tls: ssl.SSLContext | None = None, ca_file: Path | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[SqlClient]:
    """A client of a server that answers so."""
    server = web.Server(handler, handler_cancellation=True)  # type: ignore[arg-type]
    listening = await asyncio.get_running_loop().create_server(server, host, 0, ssl=tls)
    scheme = "https" if tls else "http"
    client = SqlClient(f"{scheme}://{host}:{listening.sockets[0].getsockname()[1]}/sql", 2, ca_file)
    try:
        yield client
    finally:
        await client.close()
        listening.close()
        await server.shutdown(0.01)


async def echo(request: web.BaseRequest) -> web.Response:
    return web.Response(body=await request.read(), headers={"Given": request.headers.get("Sent", "")})


async def test_a_request_and_its_answer_over_one_connection_kept_alive() -> None:
    seen: list[web.BaseRequest] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append(request)
        return web.Response(status=400 if len(seen) > 2 else 200, body=await request.read())

    async with asking(handler) as client:
        for status in (200, 200, 400):
            assert await client.post({"Sent": "this"}, b"body") == (status, b"body")
    assert [(request.method, request.path) for request in seen] == [("POST", "/sql")] * 3
    assert {request.headers["Sent"] for request in seen} == {"this"}
    assert {request.headers["User-Agent"] for request in seen} == {"usher"}
    assert len({request.transport.get_extra_info("peername") for request in seen if request.transport}) <= 1


async def test_a_large_request() -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        size = 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
        return web.Response(text=str(size))

    async with asking(handler) as client:
        assert await client.post({}, b"x" * (10 * 1024 * 1024)) == (200, b"10485760")


@pytest.mark.parametrize("status", [301, 302, 307, 401, 500, 507])
async def test_a_status_is_given_as_it_is_and_no_redirect_followed(status: int) -> None:
    count = 0

    async def handler(request: web.BaseRequest) -> web.Response:
        nonlocal count
        count += 1
        return web.Response(status=status, headers={"Location": "/elsewhere"}, body=b"words")

    async with asking(handler) as client:
        assert await client.post({}, b"x") == (status, b"words")
    assert count == 1


async def test_an_answer_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_client, "MAX_ANSWER_BYTES", 1000)

    async def handler(request: web.BaseRequest) -> web.Response:
        return web.Response(body=b"x" * int(await request.read()))

    async with asking(handler) as client:
        assert await client.post({}, b"1000") == (200, b"x" * 1000)
        assert await client.post({}, b"1001") == (200, None)
        assert await client.post({}, b"1") == (200, b"x")


async def test_only_the_named_authority_and_name_are_trusted(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    (tmp_path / "other.pem").write_bytes(certificates.authority().pem)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*SERVER.write(tmp_path, "server"))
    async with asking(echo, tls, tmp_path / "ca.pem") as client:
        assert await client.post({}, b"x") == (200, b"x")
    for trusted in (tmp_path / "other.pem", None):
        async with asking(echo, tls, trusted) as client:
            with pytest.raises(ConnectionRefusedError, match="not trusted; look at neon_ca_file"):
                await client.post({}, b"x")
    # The certificate names 127.0.0.1 and localhost.
    async with asking(echo, tls, tmp_path / "ca.pem", host="127.0.0.2") as client:
        with pytest.raises(ConnectionRefusedError, match="not trusted"):
            await client.post({}, b"x")


async def test_a_host_that_nobody_knows() -> None:
    client = SqlClient("https://apiauth.double.invalid/sql", 1)
    with pytest.raises(ConnectionRefusedError, match="host name of Neon's URL is not known"):
        await client.post({}, b"x")
    await client.close()


async def test_authorities_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for path in (tmp_path / "none.pem", tmp_path / "empty.pem"):
        async with asking(echo, ca_file=path) as client:
            with pytest.raises(ConnectionRefusedError, match="neon_ca_file cannot be read"):
                await client.post({}, b"x")


async def test_nobody_there_is_told_from_an_answer_that_was_lost() -> None:
    async with asking(echo) as client:
        pass
    with pytest.raises(ConnectionRefusedError, match="refuses the connection"):
        await client.post({}, b"x")
    await client.close()

    async def hang_up(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with asking(hang_up) as client:
        with pytest.raises(ConnectionResetError, match="lost"):
            await client.post({}, b"x")

    async def half(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 100
        await response.prepare(request)
        await response.write(b"x")
        assert request.transport is not None
        request.transport.close()
        return response

    async with asking(half) as client:
        with pytest.raises(ConnectionResetError, match="lost"):
            await client.post({}, b"x")


async def test_a_tls_server_that_is_none() -> None:
    async with asking(echo) as plain:
        client = SqlClient(plain._url.replace("http:", "https:"), 1)
        with pytest.raises(ConnectionRefusedError, match="TLS handshake"):
            await client.post({}, b"x")
        await client.close()


async def test_a_cancelled_request_hangs_up() -> None:
    reached, ended = asyncio.Event(), asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.Response:
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return web.Response()

    async with asking(handler) as client:
        asked = asyncio.create_task(client.post({}, b"x"))
        await asyncio.wait_for(reached.wait(), PATIENCE)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await asyncio.wait_for(ended.wait(), PATIENCE)


async def test_a_ping_asks_for_what_is_allowed_and_nothing_else() -> None:
    methods, status = [], 200

    async def handler(request: web.BaseRequest) -> web.Response:
        methods.append((request.method, await request.read()))
        return web.Response(status=status)

    async with asking(handler) as client:
        await client.ping()
        assert methods == [("OPTIONS", b"")]
        status = 503
        with pytest.raises(ConnectionResetError, match="503"):
            await client.ping()
