"""The rules that bind the settings of callers, addresses and TLS to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sidecar.config.addresses import is_local
from sidecar.core.errors import SettingsError

if TYPE_CHECKING:
    from sidecar.config.settings import Config


def check_caller_settings(config: Config) -> None:
    """Raises SettingsError for settings that let more in than they seem to, or contradict each other."""
    _check_tls(config)
    _check_addresses(config)
    _check_tokens(config)
    if config.grpc_socket_mode != "0600" and not config.policy_file:
        raise SettingsError(
            "grpc_socket_mode: without policy_file whoever reaches a socket is served; leave it at 0600"
        )


def _check_tls(config: Config) -> None:
    if bool(config.tls_cert_file) != bool(config.tls_key_file):
        raise SettingsError("tls_cert_file and tls_key_file: give both")
    if config.tls_client_ca_file and not config.tls_cert_file:
        raise SettingsError("tls_client_ca_file needs tls_cert_file and tls_key_file")
    addresses = (config.grpc_address, config.grpc_admin_address, config.connect_address)
    if config.tls_cert_file and all(not address or address.startswith("unix:") for address in addresses):
        raise SettingsError("tls_cert_file: there is no TLS on a Unix socket; give grpc_address a port")


def _check_addresses(config: Config) -> None:
    authenticated = bool(config.tls_cert_file and config.policy_file)
    for name in ("grpc_address", "grpc_admin_address", "connect_address"):
        address = getattr(config, name)
        if not (config.allow_anonymous or authenticated or is_local(address)):
            raise SettingsError(
                f"{name}: {address} can be reached from other machines, and callers are not authenticated; "
                "give policy_file, tls_cert_file and tls_key_file, or listen on 127.0.0.1 or unix:/path, "
                "or set allow_anonymous to accept it"
            )
    admin = config.grpc_admin_address
    if admin and not admin.startswith("unix:") and not config.policy_file:
        raise SettingsError(
            f"grpc_admin_address: every process that reaches {admin} would be an admin; listen on "
            "unix:/path, which is for this user alone, or name an admin caller in policy_file"
        )


def _check_tokens(config: Config) -> None:
    given = [
        name
        for name in (
            "caller_token_issuer",
            "caller_token_audience",
            "caller_jwks_url",
            "caller_jwks_file",
            "caller_jwks_ca_file",
            "caller_jwks_token_file",
        )
        if getattr(config, name)
    ]
    if not given:
        return
    if not config.policy_file:
        raise SettingsError(f"{given[0]} needs policy_file, which names the callers")
    if not (config.caller_token_issuer and config.caller_token_audience):
        raise SettingsError("caller_token_issuer and caller_token_audience: give both")
    if bool(config.caller_jwks_url) == bool(config.caller_jwks_file):
        raise SettingsError("caller_jwks_url and caller_jwks_file: give one of them")
    # Whoever may have a token of ours issued would name the caller in it.
    if config.caller_token_issuer == config.issuer_url:
        raise SettingsError("caller_token_issuer must not be this sidecar's own issuer")
    if config.caller_jwks_file:
        if config.caller_jwks_ca_file or config.caller_jwks_token_file:
            raise SettingsError("caller_jwks_ca_file and caller_jwks_token_file go with caller_jwks_url")
        return
    if not _is_safe_url(config.caller_jwks_url):
        raise SettingsError(
            "caller_jwks_url: give an https:// URL; http:// is for this machine alone, because whoever can "
            "change the answer makes the callers"
        )


def _is_safe_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        host = url.hostname
        port = url.port or 80
    except ValueError:
        return False
    if not host or url.username is not None or url.fragment:
        return False
    return url.scheme == "https" or (url.scheme == "http" and is_local(f"{host}:{port}"))
