"""Callers as settings and policy put them together, and callers whom nobody could be."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.app.callers import build_callers
from sidecar.config import Config, load, parse_policy
from sidecar.core.callers import CallerIdentity, Proof
from sidecar.core.errors import SettingsError
from sidecar.core.events import Lifecycle
from sidecar.core.keys import Algorithm, generate
from sidecar.core.policy import Policy, Rules
from sidecar.services.access import Listener
from tests import certificates
from tests.fakes import FakeClock, Recorder

ISSUER = "https://kubernetes.default.svc"
POLICY = {"policy_file": "policy.toml"}
ROBOT = CallerIdentity(name="robot", key_hashes=(hashlib.sha256(b"usher_x").hexdigest(),))


def config(**settings: str) -> Config:
    return load({}, settings, None)


def policy(*identities: CallerIdentity, anonymous: bool = False) -> Policy:
    names = [known.name for known in identities] + ["anonymous"] * anonymous
    return Policy(callers={name: Rules() for name in names}, identities=identities)


def built(settings: Config, chosen: Policy | None) -> tuple[Any, str]:
    """The parts, and what is said of them."""
    seen = Recorder()
    parts = build_callers(settings, chosen, FakeClock(), seen)
    (said,) = seen.of(Lifecycle)
    assert said.phase == "callers"
    return parts, said.detail


def test_without_a_policy_it_is_said_that_everyone_is_served() -> None:
    parts, said = built(config(grpc_admin_address="unix:admin.sock"), None)
    assert said.startswith("none are configured: every process that reaches the gRPC address is served")
    assert (parts.tls, parts.keys, parts.tasks()) == (None, None, {})
    data, admin = parts.doors[Listener.DATA], parts.doors[Listener.ADMIN]
    assert (data.for_admin, admin.for_admin) == (False, True)
    assert (data.relay, admin.relay) == (None, None)


def test_with_a_policy_sockets_know_who_comes() -> None:
    settings = config(grpc_address="unix:a.sock", grpc_admin_address="unix:admin.sock", **POLICY)
    parts, said = built(settings, policy(ROBOT, anonymous=True))
    assert said == "known by key; whoever proves nothing is taken as anonymous"
    assert all(parts.doors[listener].relay is not None for listener in Listener)
    _, said = built(settings, policy(ROBOT, CallerIdentity(name="local", uids=(1000,))))
    assert said == "known by unix, key; whoever proves nothing is refused"


@pytest.mark.parametrize(
    ("settings", "takes"),
    [
        ({"grpc_address": "127.0.0.1:1"}, True),
        ({"grpc_address": "unix:a.sock"}, True),
        ({"grpc_address": "0.0.0.0:1", "allow_anonymous": "true"}, True),
        ({"grpc_address": "0.0.0.0:1", "tls_cert_file": "server.pem", "tls_key_file": "server.key"}, False),
    ],
)
def test_anonymous_callers_come_from_this_machine(
    settings: dict[str, str], takes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    certificates.server(certificates.authority()).write(tmp_path, "server")
    clock = FakeClock(certificates_now())
    parts = build_callers(config(**settings, **POLICY), policy(ROBOT, anonymous=True), clock, Recorder())
    assert parts.doors[Listener.DATA].takes_anonymous is takes
    assert (parts.doors[Listener.DATA].tls is not None) is ("tls_cert_file" in settings)
    assert set(parts.tasks()) == ({"tls"} if "tls_cert_file" in settings else set())


def certificates_now() -> float:
    made = certificates.authority()
    return made.certificate.not_valid_before_utc.timestamp() + 3600


@pytest.mark.parametrize(
    ("known", "settings", "expected"),
    [
        ({"spiffe_ids": ("spiffe://a/b",)}, {}, "set tls_client_ca_file"),
        ({"dns_names": ("a.example",)}, {}, "set tls_client_ca_file"),
        ({"uids": (1000,)}, {}, "no address is a Unix socket"),
        ({"gids": (1000,)}, {}, "no address is a Unix socket"),
        ({"service_accounts": ((ISSUER, "a"),)}, {}, "is not caller_token_issuer"),
        (
            {"service_accounts": ((ISSUER + "/", "a"),)},
            {
                "caller_token_issuer": ISSUER,
                "caller_token_audience": "usher",
                "caller_jwks_file": "keys.json",
            },
            "is not caller_token_issuer",
        ),
    ],
)
def test_a_caller_that_nobody_could_be_is_refused_at_start_and_on_reload(
    known: dict[str, Any], settings: dict[str, str], expected: str
) -> None:
    nobody = policy(ROBOT, CallerIdentity(name="nobody", **known))
    with pytest.raises(SettingsError, match=expected) as caught:
        built(config(**settings, **POLICY), nobody)
    assert str(caught.value).startswith("callers.nobody ")
    parts, _ = built(config(**settings, **POLICY), policy(ROBOT))
    before = parts.callers._configured
    with pytest.raises(SettingsError, match=expected):
        parts.configure(nobody)
    assert parts.callers._configured is before


async def test_keys_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    settings = config(
        caller_token_issuer=ISSUER, caller_token_audience="usher", caller_jwks_file=str(path), **POLICY
    )
    known = policy(CallerIdentity(name="orders", service_accounts=((ISSUER, "a"),)))
    parts, said = built(settings, known)
    assert said == "known by jwt; whoever proves nothing is refused"
    assert set(parts.tasks()) == {"caller keys"}
    assert parts.keys.trouble() is not None
    jwk = dict(generate(Algorithm.ES256, 0).public.jwk)
    path.write_text(json.dumps({"keys": [jwk]}))
    assert await parts.keys._load()
    assert parts.keys.known(jwk["kid"]) is not None
    assert parts.keys.trouble() is None


def test_the_policy_of_the_docs_is_one_of_callers_that_can_be_told_apart() -> None:
    text = (Path(__file__).parent.parent.parent / "docs/policy.md").read_text()
    document = text.split("```toml\n", 1)[1].split("```", 1)[0]
    chosen = parse_policy(document, "policy.toml", None)
    settings = config(
        caller_token_issuer=ISSUER,
        caller_token_audience="usher",
        caller_jwks_file="keys.json",
        tls_client_ca_file="ca.pem",
        tls_cert_file="a",
        tls_key_file="b",
        **POLICY,
    )
    assert {proof.value for proof in Proof} >= {"mtls", "jwt", "key"}
    with pytest.raises(SettingsError, match="tls_cert_file: a cannot be read"):
        build_callers(settings, chosen, FakeClock(), Recorder())
