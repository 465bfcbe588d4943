"""`usher token`: issue, verify here and there, decode."""

from __future__ import annotations

import io
import json

import pytest

from tests.cli.conftest import Done, Sidecar, Usher, publishing


def issue(usher: Usher, sidecar: Sidecar, *options: str) -> Done:
    return usher(
        "token",
        "issue",
        "--address",
        sidecar.address,
        "--sub",
        "alice",
        "--claim",
        "tenant_id=acme",
        *options,
    )


def issued(usher: Usher, sidecar: Sidecar, *options: str) -> str:
    done = issue(usher, sidecar, *options)
    assert (done.code, done.err) == (0, "")
    return done.out.strip()


def test_issue_prints_the_token_alone(usher: Usher, sidecar: Sidecar) -> None:
    token = issued(usher, sidecar)
    assert token.count(".") == 2
    decoded = json.loads(usher("token", "decode", token).out)
    assert decoded["header"] == {
        "alg": "ES256",
        "kid": sidecar.parts.signer.ring.keys[0].key.kid,
        "typ": "JWT",
    }
    assert (decoded["claims"]["sub"], decoded["claims"]["tenant_id"]) == ("alice", "acme")


def test_options_of_issue(usher: Usher, sidecar: Sidecar) -> None:
    token = issued(usher, sidecar, "--aud", "a", "--aud", "b", "--ttl", "60", "--claim", "level:=7")
    claims = json.loads(usher("token", "decode", token).out)["claims"]
    assert claims["aud"] == ["a", "b"]
    assert claims["exp"] - claims["iat"] == 60
    assert claims["level"] == 7


def test_issue_as_json(usher: Usher, sidecar: Sidecar) -> None:
    done = issue(usher, sidecar, "--json", "--claim", "level:=7")
    answer = json.loads(done.out)
    assert set(answer) == {"token", "kid", "alg", "jti", "issue_time", "expire_time", "claims"}
    assert '"level": 7' in done.out
    assert isinstance(answer["claims"]["exp"], int)


def test_validate_only_shows_the_claims_and_no_token(usher: Usher, sidecar: Sidecar) -> None:
    answer = json.loads(issue(usher, sidecar, "--validate-only").out)
    assert "token" not in answer
    assert answer["claims"]["sub"] == "alice"


@pytest.mark.parametrize("ttl", ["0", "-1", "3601"])
def test_a_lifetime_that_the_server_refuses(usher: Usher, sidecar: Sidecar, ttl: str) -> None:
    done = issue(usher, sidecar, f"--ttl={ttl}")
    assert done.code == 1
    assert "TTL_OUT_OF_RANGE: ttl: must lie between 1 s and 3600 s" in done.err


@pytest.mark.parametrize("ttl", ["soon", "1.5", "9" * 40, "-" + "9" * 40])
def test_a_lifetime_that_is_none(usher: Usher, sidecar: Sidecar, ttl: str) -> None:
    assert issue(usher, sidecar, f"--ttl={ttl}").code == 2


def test_verify_by_the_server(usher: Usher, sidecar: Sidecar) -> None:
    token = issued(usher, sidecar, "--aud", "app", "--claim", "level:=7")
    done = usher("token", "verify", "--address", sidecar.address, token, "--aud", "app")
    claims = json.loads(done.out)
    assert (done.code, claims["sub"], claims["level"]) == (0, "alice", 7)
    assert "7.0" not in done.out
    assert f'"exp": {claims["exp"]}' in done.out
    whole = json.loads(usher("token", "verify", "--json", "--address", sidecar.address, token).out)
    assert set(whole) == {"subject", "kid", "alg", "jti", "issue_time", "expire_time", "claims"}
    assert whole["claims"] == claims


@pytest.mark.parametrize(
    ("token", "reason"),
    [("no.token.here", "TOKEN_MALFORMED"), ("eyJhbGciOiJub25lIn0.e30.", "TOKEN_ALGORITHM_REFUSED")],
)
def test_a_token_that_the_server_refuses_is_exit_code_1(
    usher: Usher, sidecar: Sidecar, token: str, reason: str
) -> None:
    done = usher("token", "verify", "--address", sidecar.address, token)
    assert (done.code, done.out) == (1, "")
    assert f"UNAUTHENTICATED {reason}" in done.err


def test_verify_here_with_the_published_keys(usher: Usher, sidecar: Sidecar) -> None:
    token = issued(usher, sidecar, "--aud", "app")
    with publishing(sidecar.parts.signer.published.body) as url:
        done = usher("token", "verify", "--jwks", url, token)
        assert (done.code, json.loads(done.out)["tenant_id"]) == (0, "acme")
        assert usher("token", "verify", "--jwks", url, "--aud", "app", token).code == 0
        refused = usher("token", "verify", "--jwks", url, "--aud", "other", token)
        assert (refused.code, refused.out) == (1, "")
        assert "the token does not verify: Audience" in refused.err


def test_a_token_that_does_not_verify_here_is_exit_code_1(usher: Usher, sidecar: Sidecar) -> None:
    header, payload, signature = issued(usher, sidecar).split(".")
    other = "A" if signature[0] != "A" else "B"
    with publishing(sidecar.parts.signer.published.body) as url:
        for token in (f"{header}.{payload}.{other}{signature[1:]}", "no.token.here", "x", ""):
            done = usher("token", "verify", "--jwks", url, token)
            assert (done.code, done.out) == (1, "")
            assert "the token does not verify" in done.err
    with publishing(b'{"keys":[]}') as url:
        assert usher("token", "verify", "--jwks", url, f"{header}.{payload}.{signature}").code == 1


def test_an_expired_token_does_not_verify_here(usher: Usher, sidecar: Sidecar) -> None:
    sidecar.parts.clock.set_back(600)
    token = issued(usher, sidecar)
    with publishing(sidecar.parts.signer.published.body) as url:
        done = usher("token", "verify", "--jwks", url, token)
        assert (done.code, "expired" in done.err) == (1, True)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"keys":[{"kty":"none"}]}', b"\xff"])
def test_a_url_that_holds_no_keys(usher: Usher, body: bytes) -> None:
    with publishing(body) as url:
        done = usher("token", "verify", "--jwks", url, "x.y.z")
        assert (done.code, done.out) == (1, "")
        assert f"{url} holds no JSON Web Key Set" in done.err or "does not verify" in done.err


def test_a_url_that_cannot_be_fetched(usher: Usher) -> None:
    with publishing(b"", 404) as url:
        done = usher("token", "verify", "--jwks", url, "x.y.z")
    assert (done.code, "cannot be fetched: HTTP Error 404" in done.err) == (1, True)
    done = usher("token", "verify", "--jwks", url, "x.y.z")
    assert (done.code, "is `usher serve` running there?" in done.err) == (1, True)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "/.well-known/jwks.json"])
def test_only_http_urls_are_fetched(usher: Usher, url: str) -> None:
    done = usher("token", "verify", "--jwks", url, "x.y.z")
    assert (done.code, done.err) == (2, "usher: --jwks: give an http:// or https:// URL\n")


def test_a_token_is_read_from_standard_input(
    usher: Usher, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = issued(usher, sidecar)
    for command in (("decode",), ("verify", "--address", sidecar.address)):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{token}\n"))
        done = usher("token", *command, "-")
        assert (done.code, "acme" in done.out) == (0, True)


@pytest.mark.parametrize("token", ["x", "a.b.c", "", "e30.e30"])
def test_what_is_no_token_cannot_be_decoded(usher: Usher, token: str) -> None:
    done = usher("token", "decode", token)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("usher: this is no token: ")
