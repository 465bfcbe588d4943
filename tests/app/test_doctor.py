"""The checks combined: none hides another, and what one sees the next is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from sidecar.app import doctor
from sidecar.app.doctor import Asked, diagnose, guarded, url_of
from sidecar.config import load
from sidecar.core.clock import SystemClock
from sidecar.core.diagnosis import Diagnosis
from sidecar.core.keys import Algorithm, generate
from tests.web.published import KEY, Handler, answering, plain, published

CLOCK = SystemClock()
OTHER = generate(Algorithm.ES256, 0).public
NEON = {
    "database_backend": "neon-http",
    "database_url": "postgresql://authenticated@ep-x.neon.invalid/app",
    "shared_login": "true",
}


class There:
    """A sidecar that says so."""

    def __init__(self, state: str | None = "SERVING", kid: str | None = KEY.kid) -> None:
        self.state = state
        self.kid = kid
        self.asked: list[tuple[str, Sequence[str]]] = []

    async def health(self) -> str | None:
        return self.state

    async def token(self, subject: str, audiences: Sequence[str]) -> tuple[str, str] | None:
        self.asked.append((subject, audiences))
        return ("s3cret.s3cret.s3cret", self.kid) if self.kid else None


def by_check(found: Sequence[Diagnosis]) -> dict[str, Diagnosis]:
    assert [one.check for one in found] == sorted((one.check for one in found), key=doctor.CHECKS.index)
    return {one.check: one for one in found}


async def look(sidecar: There, *, jwks_url: str = "", **settings: str) -> dict[str, Diagnosis]:
    asked = Asked(config=load({}, settings, None), jwks_url=jwks_url)
    return by_check(await diagnose(asked, sidecar, CLOCK))


async def with_set(
    sidecar: There, public: Handler, local: Handler | None = None, **settings: str
) -> dict[str, Diagnosis]:
    """With a public set, and one at http_address."""
    async with plain(public) as place, plain(local or public) as own:
        return await look(
            sidecar,
            jwks_url=place.url.geturl(),
            http_address=f"127.0.0.1:{own.port if local else 1}",
            **settings,
        )


def of(*keys: object) -> Handler:
    return answering(json.dumps({"keys": [dict(key.jwk) for key in keys]}).encode())[0]  # type: ignore[attr-defined]


async def test_with_nothing_there_every_check_is_told_and_none_is_good_for_lack_of_a_look() -> None:
    found = await look(There(None))
    assert set(doctor.CHECKS) - set(found) == {"neon_token"}  # which is for neon-http
    good = {check for check, one in found.items() if one.verdict.value == "ok"}
    assert good == {"settings", "files", "safety", "lead_time", "key_store"}
    assert found["database"].verdict.value == "failed"


@pytest.mark.parametrize(
    ("state", "kid", "verdict", "said"),
    [
        ("SERVING", KEY.kid, "ok", "it serves, and signs"),
        ("SERVING", None, "warning", "gives this caller no token"),
        ("NOT_SERVING", KEY.kid, "failed", "is not ready: NOT_SERVING"),
        (None, None, "warning", "no sidecar answers"),
    ],
)
async def test_the_sidecar(state: str | None, kid: str | None, verdict: str, said: str) -> None:
    sidecar = There(state, kid)
    found = (await look(sidecar))["sidecar"]
    assert (found.verdict.value, said in found.seen) == (verdict, True)
    assert sidecar.asked == ([("usher-probe", [])] if state else [])


async def test_what_a_sidecar_lacks_that_is_not_ready() -> None:
    checks = [
        {"name": "keys", "ok": True, "detail": "ok"},
        {"name": "database", "ok": False, "detail": "gone"},
    ]
    handler, _ = answering(json.dumps({"ready": False, "checks": checks}).encode(), 503)
    async with plain(handler) as place:
        found = await look(There("NOT_SERVING"), admin_http_address=f"127.0.0.1:{place.port}")
    assert found["sidecar"].seen == "it answers, and is not ready: database: gone"


async def test_the_public_set_is_the_sidecars() -> None:
    current = (await with_set(There(), of(KEY, OTHER), of(KEY, OTHER)))["jwks_current"]
    assert (current.verdict.value, current.seen) == ("ok", "it is the running sidecar's")
    # The key that it signs with is enough, where its own port cannot be asked.
    assert (await with_set(There(), of(KEY)))["jwks_current"].verdict.value == "ok"


@pytest.mark.parametrize(
    ("sidecar", "public", "local", "verdict", "said"),
    [
        (There(kid=OTHER.kid), of(KEY), of(KEY), "failed", "signs with is not in the public set"),
        (There(), of(KEY), of(KEY, OTHER), "failed", "lacks 1 of the sidecar's keys"),
        (There(), of(KEY, OTHER), of(KEY), "warning", "has 1 keys that the sidecar does not have"),
        (There(None), of(KEY), of(KEY), "warning", "no sidecar to compare with"),
        (There(), answering(b"{}")[0], of(KEY), "warning", "no public key set was seen"),
    ],
)
async def test_the_public_set_is_another(
    sidecar: There, public: Handler, local: Handler, verdict: str, said: str
) -> None:
    current = (await with_set(sidecar, public, local))["jwks_current"]
    assert (current.verdict.value, said in current.seen) == (verdict, True)


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        ({}, "warning"),
        (NEON, "failed"),
        ({"issuer": "my issuer"}, "failed"),
        ({"issuer": "ftp://h/"}, "failed"),
    ],
)
async def test_an_issuer_that_nobody_could_ask(settings: dict[str, str], verdict: str) -> None:
    found = await look(There(None), **settings)
    assert found["jwks_url"].verdict.value == verdict
    assert found["jwks_keys"].verdict.value == "warning"


async def test_the_issuers_own_url_is_asked_by_the_name_and_the_authority_given(tmp_path: Path) -> None:
    handler, asked = answering()
    async with published(handler, tmp_path) as place:
        asked_for = Asked(
            config=load({}, {"issuer": "https://localhost/"}, None),
            ca_file=place.ca_file,
            connect_to=place.connect_to,
        )
        found = by_check(await diagnose(asked_for, There(), CLOCK))
    assert {request.path for request in asked} == {"/.well-known/jwks.json"}
    assert found["jwks_url"].verdict.value == found["jwks_keys"].verdict.value == "ok"
    assert found["jwks_current"].verdict.value == "ok"


async def test_neon_is_shown_no_key_that_it_cannot_know() -> None:
    """A token whose key is not in the public set would keep Neon's verifier busy for minutes."""
    statements, asked = answering(b'{"message": "missing key id"}', 400)
    async with plain(statements) as neon:
        settings = NEON | {"neon_sql_url": neon.url.geturl()}
        unknown = await with_set(There(kid=OTHER.kid), of(KEY), **settings)
        assert len(asked) == 1  # the one without a kid
        known = await with_set(There(), of(KEY), **settings)
    assert unknown["database"].verdict.value == "ok"
    assert "is not in the public set" in unknown["neon_token"].seen
    assert known["neon_token"].verdict.value == "failed"
    assert "s3cret" not in str(known)


async def test_a_group_that_breaks_hides_no_other_and_says_nothing_secret() -> None:
    async def breaks() -> list[Diagnosis]:
        raise RuntimeError("s3cret")

    found = await guarded(("a", "b"), breaks)
    told = ("failed", "the check itself broke (RuntimeError)")
    assert [(one.check, one.verdict.value, one.seen) for one in found] == [("a", *told), ("b", *told)]


class Breaking(There):
    async def health(self) -> str | None:
        raise RuntimeError("s3cret")


async def test_a_check_that_breaks_leaves_the_others() -> None:
    found = await look(Breaking())
    assert found["sidecar"].verdict.value == "failed"
    assert set(doctor.CHECKS) - set(found) == {"neon_token"}
    assert "s3cret" not in str(found)


@pytest.mark.parametrize(
    ("text", "usable"),
    [
        ("https://a.example/x", True),
        ("http://a.example", True),
        ("ftp://a.example/x", False),
        ("https:///x", False),
        ("https://a.example:99999/", False),
        ("https://a example/", False),
        ("https://a.example/\n", False),
        ("https://\u00e4.example/", False),
        ("https://[::1/", False),
        ("", False),
    ],
)
def test_urls(text: str, usable: bool) -> None:
    assert (url_of(text) is not None) is usable
