"""The settings of neon-http: what they come to, and what does not go together."""

from __future__ import annotations

import pytest

from sidecar.config import Config, load
from sidecar.config.neon_settings import neon_settings
from sidecar.core.errors import SettingsError

NEON = {
    "database_backend": "neon-http",
    "shared_login": "true",
    "database_url": "postgresql://authenticated@ep-quiet-hill-123456.eu-central-1.aws.neon.tech/app",
}


def loaded(**settings: str) -> Config:
    return load({}, NEON | settings, None)


def test_what_they_come_to() -> None:
    settings = neon_settings(
        loaded(
            neon_audience="project",
            pool_max_size="7",
            pool_acquire_timeout="2s",
            max_message_bytes="1MiB",
            show_database_messages="true",
            allow_privileged_login="true",
        )
    )
    assert (settings.role, settings.audience, settings.concurrency) == ("authenticated", "project", 7)
    assert (settings.acquire_timeout, settings.max_result_bytes) == (2.0, 1024**2)
    assert settings.show_database_messages
    assert settings.allow_privileged_role
    assert settings.target.sql_url == "https://apiauth.eu-central-1.aws.neon.tech/sql"


def test_the_role_is_the_urls_or_else_database_role() -> None:
    url = NEON["database_url"].replace("authenticated@", "")
    assert neon_settings(loaded(database_url=url)).role == "authenticated"
    assert neon_settings(loaded(database_url=url, database_role="app")).role == "app"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shared_login": "false"}, "^database_backend=neon-http needs shared_login"),
        ({"database_logins": "8", "pool_max_size": "7"}, "^database_logins has no meaning"),
        ({"claim_key": "k1:" + "0b" * 32}, "^claim_key has no meaning"),
        ({"unsigned_claims": "true"}, "^unsigned_claims needs"),
        ({"database_pooling": "transaction"}, "^database_pooling has no meaning"),
        ({"database_url": "postgresql://authenticated@localhost/app"}, "^database_url must look like"),
        ({"database_url": "postgresql://a:b@ep.neon.tech/app"}, "^database_url: leave the password out"),
        ({"neon_sql_url": "http://ep.neon.tech/sql"}, "^neon_sql_url: give an https"),
        ({"neon_sql_url": "https://user@ep.neon.tech/sql"}, "^neon_sql_url: give an https"),
        ({"neon_sql_url": "https://[/sql"}, "^neon_sql_url: give an https"),
        (
            {"database_backend": "postgres", "database_url": "", "neon_audience": "x"},
            "^neon_audience goes with",
        ),
        (
            {"database_backend": "postgres", "database_url": "", "neon_ca_file": "x"},
            "^neon_ca_file goes with",
        ),
        (
            {"database_backend": "postgres", "database_url": "", "neon_sql_url": "https://x"},
            "^neon_sql_url goes with",
        ),
    ],
)
def test_what_does_not_go_together(settings: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        loaded(**settings)


def test_a_url_of_this_machine_may_be_plain() -> None:
    for url in (
        "http://127.0.0.1:8080/sql",
        "http://[::1]/sql",
        "http://localhost/sql",
        "https://x.example/sql",
    ):
        loaded(neon_sql_url=url)
