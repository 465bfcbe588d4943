"""The rules that bind the settings of the database to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.core.errors import SettingsError
from sidecar.postgres.claim_key import ClaimKey

if TYPE_CHECKING:
    from sidecar.config.settings import Config


def check_database_settings(config: Config) -> None:
    """Raises SettingsError for settings that contradict each other."""
    if config.claim_key:
        ClaimKey.parse(config.claim_key)
    if config.database_logins and config.pool_max_size + config.workers > config.database_logins:
        raise SettingsError(
            "pool_max_size must be less than database_logins: each connection needs its own, and the "
            "deny list has one as well" + (", in each of the workers" if config.workers > 1 else "")
        )
    if config.database_pooling == "transaction" and not config.shared_login:
        raise SettingsError(
            "database_pooling=transaction needs shared_login: all sessions of a pooler are one login's"
        )
    if config.database_backend == "pg_session_jwt" and not config.pool_settings.own_sessions:
        raise SettingsError(
            "database_backend=pg_session_jwt needs a key in each session, which a pooler in transaction "
            "mode would hand to others or drop; use database_pooling=direct, and a host without -pooler"
        )
    if config.unsigned_claims and config.database_backend != "postgres":
        raise SettingsError(
            "unsigned_claims needs database_backend=postgres: any other way the claims cannot be forged"
        )
