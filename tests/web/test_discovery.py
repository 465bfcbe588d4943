"""The public paths as a verifier meets them: on a real socket, byte by byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from sidecar.core.events import JwksServed
from sidecar.core.keyring import PublishedKeys
from sidecar.web.discovery import JWKS_PATH, METADATA_PATH, Discovery, agent_class, metadata
from tests.fakes import Recorder
from tests.web.raw_client import RawClient, connected, listening

KEYS = PublishedKeys(
    body=b'{"keys":[{"kty":"EC","kid":"one"}]}',
    etag='"tag-one"',
    max_age=275,
    algorithms=("ES256",),
    version=7,
)
PATHS = (JWKS_PATH, METADATA_PATH)


class Published:
    """What a signer publishes, to be changed between requests."""

    def __init__(self) -> None:
        self.now = KEYS

    def __call__(self) -> PublishedKeys:
        return self.now


@pytest.fixture
def published() -> Published:
    return Published()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def client(published: Published, recorder: Recorder) -> AsyncIterator[RawClient]:
    discovery = Discovery("https://issuer.example", published, recorder, ["my-edge"])
    async with listening(discovery.answer, recorder) as address, connected(address) as client:
        yield client


async def test_the_key_set_with_its_headers(client: RawClient) -> None:
    reply = await client.ask("GET", JWKS_PATH)
    assert (reply.status, reply.body) == (200, KEYS.body)
    del reply.headers["date"]
    assert reply.headers == {
        "server": "usher",
        "content-type": "application/json",
        "content-length": str(len(KEYS.body)),
        "cache-control": "public, max-age=275",
        "etag": '"tag-one"',
        "access-control-allow-origin": "*",
    }


async def test_the_metadata(client: RawClient) -> None:
    reply = await client.ask("GET", METADATA_PATH)
    assert reply.status == 200
    assert json.loads(reply.body) == metadata("https://issuer.example", ("ES256",))
    assert json.loads(reply.body) == {
        "issuer": "https://issuer.example",
        "jwks_uri": "https://issuer.example/.well-known/jwks.json",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "claims_supported": ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"],
    }
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "public, max-age=275"


def test_the_jwks_uri_has_one_slash() -> None:
    for issuer in ("https://issuer.example/a", "https://issuer.example/a/"):
        assert metadata(issuer, ())["jwks_uri"] == "https://issuer.example/a/.well-known/jwks.json"


async def test_an_issuer_that_is_no_url_has_keys_but_no_metadata() -> None:
    discovery = Discovery("my-issuer", lambda: KEYS, Recorder())
    async with listening(discovery.answer) as address, connected(address) as client:
        assert (await client.ask("GET", METADATA_PATH)).status == 404
        assert (await client.ask("GET", JWKS_PATH)).status == 200


@pytest.mark.parametrize("path", PATHS)
async def test_head_has_the_headers_of_get_and_no_body(client: RawClient, path: str) -> None:
    get = await client.ask("GET", path)
    head = await client.ask("HEAD", path)
    assert (head.status, head.headers | {"date": ""}) == (200, get.headers | {"date": ""})
    # Had a body followed, this response could not be read.
    assert (await client.ask("GET", path)).body == get.body


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_client_that_has_it_gets_304(client: RawClient, path: str, method: str) -> None:
    etag = (await client.ask("GET", path)).headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        reply = await client.ask(method, path, If_None_Match=known)
        assert (reply.status, reply.headers["etag"]) == (304, etag)
        assert reply.headers["cache-control"] == "public, max-age=275"
        assert "content-type" not in reply.headers
    for unknown in ('"other"', etag.strip('"'), "", f"{etag} junk"):
        assert (await client.ask(method, path, If_None_Match=unknown)).status == 200


async def test_a_list_of_tags_in_two_fields(client: RawClient) -> None:
    fields = f'If-None-Match: "other"\r\nIf-None-Match: {KEYS.etag}\r\n'
    await client.send(f"GET {JWKS_PATH} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode())
    assert (await client.reply()).status == 304


async def test_a_change_of_the_ring_changes_both_documents(client: RawClient, published: Published) -> None:
    before = [await client.ask("GET", path) for path in PATHS]
    published.now = replace(
        KEYS, body=b'{"keys":[]}', etag='"tag-two"', max_age=10, algorithms=("ES256", "RS256")
    )
    after = [
        await client.ask("GET", path, If_None_Match=old.headers["etag"])
        for path, old in zip(PATHS, before, strict=True)
    ]
    assert [reply.status for reply in after] == [200, 200]
    assert after[0].body == b'{"keys":[]}'
    assert json.loads(after[1].body)["id_token_signing_alg_values_supported"] == ["ES256", "RS256"]
    assert {reply.headers["cache-control"] for reply in after} == {"public, max-age=10"}


async def test_documents_are_made_once_a_change_not_once_a_request() -> None:
    discovery = Discovery("https://issuer.example", lambda: KEYS, Recorder())
    async with listening(discovery.answer) as address, connected(address) as client:
        await client.ask("GET", JWKS_PATH)
        made = discovery._documents
        await client.ask("GET", METADATA_PATH)
        assert discovery._documents is made


@pytest.mark.parametrize("suffix", ["?", "?x=1&y=%00", "?" + "q" * 2000])
async def test_any_query_is_ignored(client: RawClient, suffix: str) -> None:
    """Neon's proxy may send the path with a bare question mark."""
    for path in PATHS:
        assert (await client.ask("GET", path + suffix)).status == 200


async def test_the_absolute_form_of_a_target(client: RawClient) -> None:
    """RFC 9112 section 3.2.2: a server must accept it."""
    assert (await client.ask("GET", f"http://test{JWKS_PATH}")).body == KEYS.body


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/.well-known/jwks.json/",
        "/.well-known/openid-configuration/",
        "/.well-known",
        "//.well-known/jwks.json",
        "/.WELL-KNOWN/jwks.json",
        "/x/../.well-known/jwks.json",
        "/.well-known/jwks.json%00",
        "/metrics",
        "/readyz",
        "*",
    ],
)
async def test_nothing_else_is_served_and_nothing_redirects(client: RawClient, target: str) -> None:
    reply = await client.ask("OPTIONS" if target == "*" else "GET", target)
    assert (reply.status, reply.body) == (404, b'{"error":"not found"}\n')
    assert "location" not in reply.headers
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_other_methods_are_refused(client: RawClient, method: str) -> None:
    for path in PATHS:
        reply = await client.ask(method, path)
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


async def test_nothing_is_compressed(client: RawClient) -> None:
    reply = await client.ask("GET", JWKS_PATH, Accept_Encoding="gzip, deflate, br, zstd")
    assert reply.body == KEYS.body
    assert {"content-encoding", "transfer-encoding", "vary"}.isdisjoint(reply.headers)


async def test_any_accept_header_gets_json(client: RawClient) -> None:
    for accept in ("text/html", "application/jwk-set+json", "nonsense"):
        reply = await client.ask("GET", JWKS_PATH, Accept=accept)
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")


async def test_no_rate_limit(client: RawClient) -> None:
    request = f"GET {JWKS_PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    for _ in range(20):
        await client.send(request * 50)
        for _ in range(50):
            assert (await client.reply()).status == 200


async def test_every_request_for_the_keys_is_an_event(client: RawClient, recorder: Recorder) -> None:
    await client.ask("GET", JWKS_PATH, User_Agent="neon-proxy")
    await client.ask("HEAD", JWKS_PATH, User_Agent="Mozilla/5.0 (X11)", If_None_Match=KEYS.etag)
    await client.ask("POST", JWKS_PATH)
    await client.ask("GET", METADATA_PATH)
    await client.ask("GET", "/other")
    await client.ask("GET", JWKS_PATH, User_Agent="My-Edge/2 (of ours)")
    await client.ask("HEAD", JWKS_PATH, User_Agent="my-edge")
    assert recorder.events == [
        JwksServed(status=200, agent="neon-proxy", version=7),
        JwksServed(status=304, agent="browser", version=7),
        JwksServed(status=405, agent="other"),
        JwksServed(status=200, agent="my-edge", version=7),
        # It has asked, and was told nothing of any key.
        JwksServed(status=200, agent="my-edge", version=0),
    ]


async def test_what_neons_proxy_asks_for_in_vain_is_seen(client: RawClient, recorder: Recorder) -> None:
    for agent in ("neon-proxy", "curl/8"):
        for target in (f"{JWKS_PATH}/", METADATA_PATH):
            await client.ask("GET", target, User_Agent=agent)
    assert recorder.events == [JwksServed(status=404, agent="neon-proxy")]


def test_agents_come_in_three_classes_and_named_verifiers() -> None:
    texts = {"neon-proxy/1.0": "neon-proxy", "Mozilla/5.0": "browser", "": "other", "a neon-proxy": "other"}
    assert {text: agent_class(text) for text in texts} == texts
    named = {"Edge": "edge", "edge/1": "edge", "edge 1": "edge", "edger": "other", "neon-proxy": "neon-proxy"}
    assert {text: agent_class(text, {"edge"}) for text in named} == named


async def test_many_verifiers_at_once() -> None:
    discovery = Discovery("https://issuer.example", lambda: KEYS, Recorder())
    async with listening(discovery.answer) as address:

        async def fetch() -> int:
            async with connected(address) as client:
                return (await client.ask("GET", JWKS_PATH)).status

        assert set(await asyncio.gather(*(fetch() for _ in range(200)))) == {200}
