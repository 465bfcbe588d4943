"""What is asked of a public key set, and what is made of the answer."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from sidecar.core.clock import SystemClock
from sidecar.core.publication import MAX_JWKS_BYTES
from sidecar.web import jwks_probe
from sidecar.web.jwks_probe import Place
from tests import certificates
from tests.web.published import CA, DOCUMENT, PATH, SERVER, answering, plain, published

CLOCK = SystemClock()


async def test_one_get_that_says_who_it_is_and_asks_for_no_compression(tmp_path: Path) -> None:
    handler, asked = answering(headers={"Age": "7"})
    async with published(handler, tmp_path) as place:
        answer = await jwks_probe.ask(place, CLOCK)
    assert (answer.status, answer.body, answer.headers["age"]) == (200, DOCUMENT, "7")
    assert 0 <= answer.seconds < jwks_probe.TOTAL_SECONDS
    (request,) = asked
    assert (request.method, request.path_qs, request.version) == ("GET", PATH, (1, 1))
    assert request.host.partition(":")[0] == "localhost"
    assert "Accept-Encoding" not in request.headers
    # As neon-proxy it would be counted as one of Neon's own fetches.
    assert request.headers["User-Agent"] == "usher-doctor"


async def test_what_neon_leaves_out_of_a_url_is_left_out() -> None:
    handler, asked = answering()
    async with plain(handler) as place:
        url = urlsplit(place.url.geturl().replace("127.0.0.1", "user:s3cret@127.0.0.1") + "?x=1#y")
        await jwks_probe.ask(Place(url=url), CLOCK)
    assert asked[0].path_qs == PATH
    assert "Authorization" not in asked[0].headers


async def test_a_redirect_is_an_answer() -> None:
    handler, asked = answering(status=302, headers={"Location": "/elsewhere"})
    async with plain(handler) as place:
        assert (await jwks_probe.ask(place, CLOCK)).status == 302
    assert len(asked) == 1


async def test_no_more_is_read_than_neon_reads() -> None:
    for size, whole in ((MAX_JWKS_BYTES, True), (MAX_JWKS_BYTES + 1, False)):
        handler, _ = answering(b"x" * size)
        async with plain(handler) as place:
            assert ((await jwks_probe.ask(place, CLOCK)).body is not None) is whole


async def test_an_answer_without_end_is_left() -> None:
    left = asyncio.Event()

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 16 * 1024)
        finally:
            left.set()

    async with plain(endless) as place:
        answer = await jwks_probe.ask(place, CLOCK)
        assert (answer.status, answer.body) == (200, None)
        await left.wait()


async def test_nothing_is_decompressed() -> None:
    handler, _ = answering(b"as it is", headers={"Content-Encoding": "gzip"})
    async with plain(handler) as place:
        assert (await jwks_probe.ask(place, CLOCK)).body == b"as it is"


async def test_who_signs_the_certificate_matters_unless_it_is_known_to_be_wrong(tmp_path: Path) -> None:
    handler, asked = answering()
    async with published(handler, tmp_path) as place:
        other = tmp_path / "other.pem"
        other.write_bytes(certificates.authority().pem)
        stranger = dataclasses.replace(place, ca_file=other)
        for ask in (jwks_probe.ask(stranger, CLOCK), jwks_probe.certificate_end(stranger)):
            with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
                await ask
        assert asked == []
        assert (await jwks_probe.ask(stranger, CLOCK, verify=False)).status == 200


async def test_the_end_of_the_certificate(tmp_path: Path) -> None:
    handler, _ = answering()
    async with published(handler, tmp_path) as place:
        end = await jwks_probe.certificate_end(place)
    assert end == SERVER.certificate.not_valid_after_utc.timestamp()


@pytest.mark.parametrize(
    ("host", "certified", "code"),
    [
        ("elsewhere.example", SERVER, (62,)),
        ("localhost", certificates.server(CA, ends=-datetime.timedelta(hours=1)), (10,)),
    ],
    ids=["another name", "expired"],
)
async def test_a_certificate_that_does_not_hold(
    tmp_path: Path, host: str, certified: certificates.Certified, code: tuple[int, ...]
) -> None:
    handler, _ = answering()
    async with published(handler, tmp_path, certified=certified, host=host) as place:
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            await jwks_probe.certificate_end(place)
    assert caught.value.verify_code in code


async def test_a_bare_question_mark_is_sent_as_it_is(tmp_path: Path) -> None:
    handler, asked = answering(status=404)
    async with published(handler, tmp_path) as place:
        assert await jwks_probe.status_with_bare_query(place) == 404
    async with plain(handler) as place:
        assert await jwks_probe.status_with_bare_query(place) == 404
        port = place.port
    assert [request._message.path for request in asked] == [f"{PATH}?"] * 2
    # The port belongs to Host where it is not the scheme's (RFC 9110 section 7.2).
    assert [request.headers["Host"] for request in asked] == ["localhost", f"127.0.0.1:{port}"]


async def test_what_speaks_no_http() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"220 mail.example\r\n")
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        place = Place(url=urlsplit(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{PATH}"))
        for ask in (jwks_probe.ask(place, CLOCK), jwks_probe.status_with_bare_query(place)):
            with pytest.raises(ConnectionResetError):
                await ask


async def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks_probe, "TOTAL_SECONDS", 0.1)

    async def handler(request: web.BaseRequest) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with plain(handler) as place:
        for ask in (jwks_probe.ask(place, CLOCK), jwks_probe.status_with_bare_query(place)):
            with pytest.raises(TimeoutError):
                await ask


async def test_nobody_there() -> None:
    async with plain(answering()[0]) as place:
        pass
    for ask in (jwks_probe.ask(place, CLOCK), jwks_probe.status_with_bare_query(place)):
        with pytest.raises(OSError):  # noqa: PT011 - the system's words
            await ask


async def test_addresses() -> None:
    place = Place(url=urlsplit("https://localhost/x"))
    assert set(await jwks_probe.addresses(place)) <= {"127.0.0.1", "::1"}
    with pytest.raises(OSError):  # noqa: PT011 - the system's words
        await jwks_probe.addresses(Place(url=urlsplit("https://nowhere.invalid/x")))
