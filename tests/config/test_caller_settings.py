"""What callers, addresses and TLS demand of each other before anything listens."""

from __future__ import annotations

import pytest

from sidecar.config import Config, load
from sidecar.core.errors import SettingsError

POLICY = {"policy_file": "policy.toml"}
TLS = {"tls_cert_file": "cert.pem", "tls_key_file": "key.pem"}
TOKENS = POLICY | {
    "caller_token_issuer": "https://kubernetes.default.svc",
    "caller_token_audience": "usher",
    "caller_jwks_url": "https://kubernetes.default.svc/openid/v1/jwks",
}


def loaded(arguments: dict[str, str]) -> Config:
    return load({}, arguments, None)


def without(settings: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in settings.items() if name not in names}


@pytest.mark.parametrize("name", ["grpc_address", "grpc_admin_address", "connect_address"])
def test_a_public_address_needs_both_tls_and_callers(name: str) -> None:
    loaded(TLS | POLICY | {name: "0.0.0.0:50099"})
    for settings in (TLS, POLICY):
        with pytest.raises(SettingsError, match=rf"^{name}: 0.0.0.0:50099 can be reached"):
            loaded(settings | {name: "0.0.0.0:50099"})


def test_admins_come_by_a_socket_or_are_named_in_a_policy() -> None:
    loaded({"grpc_admin_address": "unix:admin.sock"})
    loaded(POLICY | {"grpc_admin_address": "127.0.0.1:50099"})
    for more in ({}, {"allow_anonymous": "true"}):
        with pytest.raises(SettingsError, match=r"^grpc_admin_address: every process that reaches"):
            loaded({"grpc_admin_address": "127.0.0.1:50099"} | more)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"tls_cert_file": "cert.pem"}, "tls_cert_file and tls_key_file: give both"),
        ({"tls_key_file": "key.pem"}, "tls_cert_file and tls_key_file: give both"),
        ({"tls_client_ca_file": "ca.pem"}, "tls_client_ca_file needs tls_cert_file"),
        (TLS | {"grpc_address": "unix:a.sock"}, "no TLS on a Unix socket"),
        ({"grpc_socket_mode": "0660"}, "grpc_socket_mode: without policy_file"),
        (without(TOKENS, "policy_file"), "caller_token_issuer needs policy_file"),
        (without(TOKENS, "caller_token_issuer"), "caller_token_issuer and caller_token_audience"),
        (without(TOKENS, "caller_token_audience"), "caller_token_issuer and caller_token_audience"),
        (without(TOKENS, "caller_jwks_url"), "give one of them"),
        (TOKENS | {"caller_jwks_file": "keys.json"}, "give one of them"),
        (POLICY | {"caller_jwks_ca_file": "ca.pem"}, "caller_token_issuer and caller_token_audience"),
        (TOKENS | {"issuer": "https://kubernetes.default.svc"}, "must not be this sidecar's own issuer"),
        (
            without(TOKENS, "caller_jwks_url") | {"caller_jwks_file": "a", "caller_jwks_token_file": "b"},
            "go with caller_jwks_url",
        ),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, str], expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        loaded(settings)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://issuer.example/jwks.json", True),
        ("https://issuer.example:8443/jwks.json?x=1", True),
        ("http://127.0.0.1:8080/jwks", True),
        ("http://localhost/jwks", True),
        ("http://[::1]:8080/jwks", True),
        ("http://issuer.example/jwks.json", False),
        ("http://localhost.example/jwks.json", False),
        ("http://127.0.0.1@issuer.example/jwks.json", False),
        ("https://user:hunter2@issuer.example/", False),
        ("https:///jwks.json", False),
        ("https://issuer.example:port/", False),
        ("file:///etc/passwd", False),
        ("issuer.example", False),
    ],
)
def test_keys_come_over_https_or_from_this_machine(url: str, safe: bool) -> None:
    if safe:
        assert loaded(TOKENS | {"caller_jwks_url": url}).caller_jwks_url == url
        return
    with pytest.raises(SettingsError, match=r"^caller_jwks_url: give an https:// URL") as caught:
        loaded(TOKENS | {"caller_jwks_url": url})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("text", "mode"), [("0600", "0600"), ("660", "0660"), ("0666", "0666")])
def test_the_mode_of_sockets_is_octal(text: str, mode: str) -> None:
    assert loaded(POLICY | {"grpc_socket_mode": text}).grpc_socket_mode == mode


@pytest.mark.parametrize("text", ["", "0o600", "888", "1777", "rw"])
def test_what_is_no_mode(text: str) -> None:
    with pytest.raises(SettingsError, match="permissions in octal"):
        loaded(POLICY | {"grpc_socket_mode": text})


def test_a_unix_socket_of_connect_alone_is_one_that_tls_is_not_for() -> None:
    sockets = {"grpc_address": "unix:a.sock", "connect_address": "unix:b.sock"}
    with pytest.raises(SettingsError, match="no TLS on a Unix socket"):
        loaded(TLS | sockets)
    loaded(TLS | sockets | {"connect_address": "127.0.0.1:50098"})


def test_origins_are_listed_as_browsers_write_them() -> None:
    listed = loaded({"connect_origins": " https://App.example.org, http://localhost:3000 "})
    assert listed.connect_origins == "https://app.example.org,http://localhost:3000"
    for wrong in ("*", "app.example.org", "https://app.example.org/", "https://*.example.org", "null"):
        with pytest.raises(SettingsError, match="connect_origins"):
            loaded({"connect_origins": wrong})
