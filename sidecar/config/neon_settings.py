"""The settings of the backend neon-http: the rules that bind them, and what they come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from sidecar.config.addresses import is_local
from sidecar.core.errors import SettingsError
from sidecar.postgres.neon_http.exchange import NeonSettings
from sidecar.postgres.neon_http.target import Target

if TYPE_CHECKING:
    from sidecar.config.settings import Config

NEON_HTTP: Final = "neon-http"


def check_neon_settings(config: Config) -> None:
    """Raises SettingsError for settings that do not go together, whichever the backend is."""
    if config.database_backend != NEON_HTTP:
        given = [name for name in ("neon_sql_url", "neon_ca_file", "neon_audience") if getattr(config, name)]
        if given:
            raise SettingsError(f"{given[0]} goes with database_backend=neon-http")
        return
    if not config.shared_login:
        raise SettingsError(
            "database_backend=neon-http needs shared_login: in Neon all users of a role share its login"
        )
    for name in ("database_logins", "claim_key"):
        if getattr(config, name):
            raise SettingsError(f"{name} has no meaning with database_backend=neon-http; leave it out")
    if config.database_pooling != "direct":
        raise SettingsError("database_pooling has no meaning with database_backend=neon-http; leave it out")
    if config.neon_sql_url and not _is_safe_url(config.neon_sql_url):
        raise SettingsError(
            "neon_sql_url: give an https:// URL; http:// is for this machine alone, because it carries tokens"
        )
    if config.database_url:
        neon_settings(config).validate()


def neon_settings(config: Config) -> NeonSettings:
    """The backend's share. Raises SettingsError for a database_url that is none of Neon's."""
    target = Target.parse(config.database_url)
    return NeonSettings(
        target=target,
        role=target.role or config.database_role,
        audience=config.neon_audience,
        concurrency=config.pool_max_size,
        acquire_timeout=config.pool_acquire_timeout,
        allow_privileged_role=config.allow_privileged_login,
        show_database_messages=config.show_database_messages,
        max_result_bytes=config.max_message_bytes,
    )


def _is_safe_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port or 80
    except ValueError:
        return False
    if not host or url.username is not None or url.fragment:
        return False
    return url.scheme == "https" or (url.scheme == "http" and is_local(f"{host}:{port}"))
