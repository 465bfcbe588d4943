"""The checks of a public key set: for each, what is good and what is not."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import email.utils
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from sidecar.core.clock import SystemClock
from sidecar.core.keys import Algorithm, generate
from sidecar.core.publication import MAX_JWKS_BYTES
from sidecar.web import jwks_check, jwks_probe
from sidecar.web.jwks_check import Looked
from sidecar.web.jwks_probe import Place
from tests import certificates
from tests.fakes import FakeClock
from tests.web.published import CA, DOCUMENT, KEY, PATH, answering, plain, published

CLOCK = SystemClock()
LONG = certificates.server(CA, ends=datetime.timedelta(days=90))
LEAD = 3900


async def looked(
    folder: Path,
    body: bytes = DOCUMENT,
    status: int = 200,
    headers: dict[str, str] | None = None,
    lead: int = LEAD,
) -> Looked:
    handler, _ = answering(body, status, headers)
    async with published(handler, folder, certified=LONG) as place:
        return await jwks_check.look(place, lead, CLOCK)


def told(looked: Looked, check: str) -> tuple[str, str]:
    """The worst verdict of a check, and all that it says."""
    found = [one for one in looked.found if one.check == check]
    verdicts = [one.verdict.value for one in found]
    worst = next(verdict for verdict in ("failed", "warning", "ok") if verdict in verdicts)
    return worst, " ".join(f"{one.seen} {one.remedy}" for one in found)


async def test_a_good_one(tmp_path: Path) -> None:
    found = await looked(tmp_path)
    assert tuple(one.check for one in found.found) == jwks_check.CHECKS
    worse = {one.check: one.seen for one in found.found if one.verdict.value != "ok"}
    # Nobody looked the name up.
    assert list(worse) == ["jwks_address"]
    assert found.kids == {KEY.kid}


async def test_nobody_there_is_told_once_and_leaves_the_rest_open() -> None:
    async with plain(answering()[0]) as place:
        pass
    found = await jwks_check.look(place, LEAD, CLOCK)
    assert {one.check for one in found.found} == set(jwks_check.CHECKS)
    assert told(found, "jwks_answer") == (
        "failed",
        "no connection can be made open port 443 of the host, and let it pass the path on to http_address",
    )
    assert told(found, "jwks_keys")[0] == "warning"
    assert found.kids is None


@pytest.mark.parametrize(
    ("url", "verdict", "said"),
    [
        ("https://auth.example/.well-known/jwks.json", "ok", "https on port 443 at auth.example"),
        ("https://auth.example:443/x", "ok", ""),
        ("http://auth.example/x", "failed", "is not https://"),
        ("https://auth.example:8443/x", "failed", "names port 8443"),
        ("https://canary:s3cret@auth.example/x", "failed", "has a user"),
        ("https://auth.example/x?canary=1", "failed", "query"),
        ("https://auth.example/x#canary", "failed", "fragment"),
        ("https://127.0.0.1/x", "warning", "names an address"),
    ],
)
async def test_the_url_itself(url: str, verdict: str, said: str) -> None:
    # Nothing listens at port 1: only the URL is looked at.
    found = await jwks_check.look(Place(url=urlsplit(url), connect_to=("127.0.0.1", 1)), LEAD, CLOCK)
    assert told(found, "jwks_url")[0] == verdict
    assert said in told(found, "jwks_url")[1]
    assert "canary" not in str(found.found)
    assert "s3cret" not in str(found.found)


async def test_where_the_name_leads() -> None:
    assert jwks_check.where_it_leads("h", ("10.0.0.1", "8.8.8.8")).verdict.value == "ok"
    assert (
        jwks_check.where_it_leads("h", ("10.0.0.1", "127.0.0.1", "fe80::1%eth0")).verdict.value == "warning"
    )
    found = await jwks_check.look(Place(url=urlsplit("https://nowhere.invalid/x")), LEAD, CLOCK)
    assert told(found, "jwks_address")[0] == "failed"
    async with plain(answering()[0]) as place:
        found = await jwks_check.look(place, LEAD, CLOCK)
    assert told(found, "jwks_address")[0] == "warning"


@pytest.mark.parametrize(
    ("certified", "host", "verdict", "said"),
    [
        (LONG, "localhost", "ok", "valid for localhost until"),
        (certificates.server(CA, ends=datetime.timedelta(days=3)), "localhost", "warning", "2 days from now"),
        (certificates.server(CA, ends=-datetime.timedelta(hours=1)), "localhost", "failed", "has expired"),
        (LONG, "elsewhere.example", "failed", "for another name"),
        (certificates.server(certificates.authority()), "localhost", "failed", "no known authority"),
    ],
    ids=["valid", "soon over", "expired", "another name", "a stranger's"],
)  # fmt: skip
async def test_the_certificate(
    tmp_path: Path, certified: certificates.Certified, host: str, verdict: str, said: str
) -> None:
    handler, _ = answering()
    async with published(handler, tmp_path, certified=certified, host=host) as place:
        found = await jwks_check.look(place, LEAD, CLOCK)
    assert told(found, "jwks_certificate")[0] == verdict
    assert said in told(found, "jwks_certificate")[1]
    # Whatever the certificate is, the rest is looked at.
    assert told(found, "jwks_keys")[0] == told(found, "jwks_query")[0] == "ok"
    assert found.kids == {KEY.kid}


async def test_an_authority_that_neon_does_not_know(tmp_path: Path) -> None:
    handler, _ = answering()
    async with published(handler, tmp_path, certified=LONG) as place:
        found = await jwks_check.look(place, LEAD, CLOCK, for_neon=True)
    assert told(found, "jwks_certificate")[0] == "warning"
    assert "Neon does not know" in told(found, "jwks_certificate")[1]


async def test_something_without_tls_at_the_https_port(tmp_path: Path) -> None:
    async with plain(answering()[0]) as there:
        place = Place(url=urlsplit("https://localhost/x"), connect_to=("127.0.0.1", there.port))
        found = await jwks_check.look(place, LEAD, CLOCK)
    assert told(found, "jwks_certificate") == (
        "failed",
        "the TLS handshake failed let the server speak TLS 1.2 or 1.3",
    )
    assert told(found, "jwks_answer")[0] == "failed"


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (301, {"Location": "https://elsewhere.example/"}, "a redirect (301)"),
        (404, {}, "answers 404"),
        (503, {}, "answers 503"),
        (200, {"Content-Encoding": "gzip"}, "compressed"),
    ],
)
async def test_an_answer_that_neon_cannot_use(
    tmp_path: Path, status: int, headers: dict[str, str], said: str
) -> None:
    found = await looked(tmp_path, status=status, headers=headers)
    assert told(found, "jwks_answer")[0] == "failed"
    assert said in told(found, "jwks_answer")[1]
    assert told(found, "jwks_keys")[0] == "warning"
    assert found.kids is None


async def test_a_slow_one(tmp_path: Path) -> None:
    """By a clock on which every look takes two seconds."""

    class Slow(FakeClock):
        def monotonic(self) -> float:
            self._monotonic += 2.0
            return self._monotonic

    handler, _ = answering()
    async with published(handler, tmp_path, certified=LONG) as place:
        found = await jwks_check.look(place, LEAD, Slow())
    assert told(found, "jwks_time") == (
        "warning",
        "answered in 2000 ms; Neon gives up after 5 s find out what holds it up",
    )


async def test_one_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks_probe, "TOTAL_SECONDS", 0.1)

    async def handler(request: web.BaseRequest) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with plain(handler) as place:
        found = await jwks_check.look(place, LEAD, CLOCK)
    assert told(found, "jwks_answer")[0] == "failed"
    assert "after which Neon gives up" in told(found, "jwks_answer")[1]


async def test_a_server_that_trips_over_a_bare_question_mark() -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        return web.Response(status=404 if request._message.path.endswith("?") else 200, body=DOCUMENT)

    async with plain(handler) as place:
        found = await jwks_check.look(place, LEAD, CLOCK)
    assert told(found, "jwks_query")[0] == "failed"
    assert told(found, "jwks_answer")[0] == "ok"


async def test_a_set_that_is_too_long(tmp_path: Path) -> None:
    found = await looked(tmp_path, DOCUMENT + b" " * MAX_JWKS_BYTES)
    assert told(found, "jwks_size")[0] == "failed"
    assert told(found, "jwks_keys")[0] == "warning"


async def test_a_set_that_neon_cannot_use(tmp_path: Path) -> None:
    found = await looked(tmp_path, b'{"keys":[]}')
    assert (told(found, "jwks_keys")[0], found.kids) == ("failed", None)
    two = [dict(generate(Algorithm.ES256, 0).public.jwk) | {"kid": "one"} for _ in range(2)]
    found = await looked(tmp_path, json.dumps({"keys": two}).encode())
    assert told(found, "jwks_keys")[0] == "failed"


@pytest.mark.parametrize(
    ("control", "age", "lead", "verdict"),
    [
        ("public, max-age=300", "", 3900, "ok"),
        ("public, max-age=300", "300", 3900, "ok"),
        ("public, max-age=300", "301", 3900, "warning"),
        ("public, max-age=301", "", 3900, "warning"),
        ("max-age=82", "", 330, "ok"),
        ("max-age=83", "", 330, "warning"),
        ("max-age=330", "", 330, "failed"),
        ("max-age=10, s-maxage=86400", "", 3900, "failed"),
        ("MAX-AGE=86400", "", 3900, "failed"),
        ("no-store", "", 3900, "ok"),
        ("no-cache, max-age=86400", "", 3900, "ok"),
        ("public", "", 3900, "warning"),
        ("", "", 3900, "warning"),
    ],
)
async def test_what_caches_in_front_may_do(
    tmp_path: Path, control: str, age: str, lead: int, verdict: str
) -> None:
    headers = {"Cache-Control": control} | ({"Age": age} if age else {})
    assert told(await looked(tmp_path, headers=headers, lead=lead), "jwks_cache")[0] == verdict


@pytest.mark.parametrize(
    ("behind", "age", "verdict"), [(0, 0, "ok"), (10, 0, "warning"), (-40, 0, "failed"), (60, 60, "ok")]
)
async def test_the_clock_of_the_server(tmp_path: Path, behind: int, age: int, verdict: str) -> None:
    date = email.utils.formatdate(CLOCK.now() - behind, usegmt=True)
    found = await looked(tmp_path, headers={"Date": date, "Age": str(age), "Cache-Control": "no-store"})
    assert told(found, "jwks_clock")[0] == verdict
    strange = await looked(tmp_path, headers={"Date": "yesterday"})
    assert told(strange, "jwks_clock")[0] == "warning"


async def test_no_address_and_no_path_is_told(tmp_path: Path) -> None:
    handler, _ = answering()
    async with published(handler, tmp_path, certified=LONG) as place:
        private = dataclasses.replace(place, url=urlsplit(f"https://u:s3cret@localhost{PATH}?k=s3cret"))
        found = await jwks_check.look(private, LEAD, CLOCK)
    assert "s3cret" not in str(found.found)
    assert "127.0.0.1" not in str(found.found)
