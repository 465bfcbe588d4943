"""Settings: every source, every parser, every rule, and no secret in any message."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sidecar.config import DECLARED, Config, is_local, load, suggestion
from sidecar.core.errors import SettingsError

SECRET = "hunter2"


def loaded(
    environment: Mapping[str, str] | None = None,
    arguments: Mapping[str, str] | None = None,
    file: Path | None = None,
    **defaults: Any,
) -> Config:
    return load(environment or {}, arguments or {}, file, **defaults)


def refusal(**sources: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        loaded(**sources)
    return str(caught.value)


# --- sources ---


def test_without_any_source_the_defaults_hold() -> None:
    assert loaded() == Config()
    Config().validate()


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "usher.toml"
    file.write_text("token_ttl = 10\nmax_rows = 2000\nlog_level = 'debug'\n")
    config = loaded(
        {"USHER_MAX_ROWS": "3000", "USHER_LOG_LEVEL": "error"}, {"log_level": "warning"}, file, token_ttl=5
    )
    assert (config.token_ttl, config.max_rows, config.log_level) == (10, 3000, "warning")


def test_a_mode_may_bring_its_own_defaults() -> None:
    address = "unix:.usher/admin.sock"
    assert loaded(grpc_admin_address=address).grpc_admin_address == address
    assert loaded({"USHER_GRPC_ADMIN_ADDRESS": ""}, grpc_admin_address=address).grpc_admin_address == ""


def test_other_variables_are_none_of_ours() -> None:
    environment = {
        "PATH": "/bin",
        "XUSHER_MAX_ROWS": "x",
        "USHER_CONFIG": "/somewhere",
        "USHER_ADDRESS": "127.0.0.1:1",
        "USHER_ADMIN_DATABASE_URL": "postgresql://x",
        "USHER_KEY": "usher_x",
        "USHER_TEST_POSTGRES": "17",
    }
    assert loaded(environment) == Config()


def test_every_form_of_value_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "usher.toml"
    file.write_text(
        "reflection = false\nstatement_timeout = 2.5\ntoken_ttl = '5m'\n"
        "max_message_bytes = '1 MiB'\nmax_rows = 5000\n"
    )
    config = loaded(file=file)
    assert (config.reflection, config.statement_timeout, config.token_ttl) == (False, 2.5, 300)
    assert (config.max_message_bytes, config.max_rows) == (1024**2, 5000)


@pytest.mark.parametrize(
    ("sources", "source"),
    [
        ({"environment": {"USHER_MAX_ROWZ": "5"}}, "environment variable USHER_MAX_ROWZ"),
        ({"arguments": {"max_rowz": "5"}}, "option --max-rowz"),
    ],
)
def test_a_misspelt_name_is_refused_with_a_suggestion(sources: dict[str, Any], source: str) -> None:
    message = refusal(**sources)
    assert message.startswith(f"{source}: there is no setting max_rowz")
    assert "did you mean max_rows?" in message


def test_a_misspelt_name_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "usher.toml"
    for name in ("max-rows", "Max_rows", "max_row"):
        file.write_text(f"{name} = 5\n")
        assert "did you mean max_rows?" in refusal(file=file)
        assert str(file) in refusal(file=file)


def test_a_name_that_resembles_none() -> None:
    assert "`usher serve --help` lists them" in refusal(environment={"USHER_XYZ": "1"})
    assert suggestion("xyz", DECLARED) == ""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"max_rows = ", "is not TOML"),
        (b"\xff", "is not TOML"),
        (b"max_rows = [1]", "max_rows must be a text"),
        (b"[log_level]\nx = 1", "log_level must be a text"),
        (b"[database]\nurl = 'hunter2'", "did you mean database_url?"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "usher.toml"
    file.write_bytes(content)
    message = refusal(file=file)
    assert expected in message
    assert SECRET not in message


def test_a_file_that_is_missing_or_a_folder(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory)" in refusal(file=tmp_path / "none.toml")
    assert "cannot be read" in refusal(file=tmp_path)


def test_a_secret_is_in_no_message(tmp_path: Path) -> None:
    file = tmp_path / "usher.toml"
    file.write_text(f"database_url = ['{SECRET}']\n")
    url = f"postgresql://app:{SECRET}@db:x/app"
    for sources in (
        {"file": file},
        {"environment": {"USHER_DATABASE_URL": url}},
        {"environment": {"USHER_DATABSE_URL": url}},
        {"arguments": {"database_url": url}},
    ):
        assert SECRET not in refusal(**sources)


def test_a_secret_that_does_not_fit_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = dataclasses.replace(DECLARED["max_rows"], secret=True)
    monkeypatch.setitem(DECLARED, "max_rows", declared)
    message = refusal(environment={"USHER_MAX_ROWS": SECRET})
    assert message.endswith("the value does not fit max_rows; expected a whole number")


def test_a_value_that_does_not_fit_names_its_source_and_what_fits() -> None:
    message = refusal(environment={"USHER_TOKEN_TTL": "soon"})
    assert message == (
        "environment variable USHER_TOKEN_TTL: 'soon' does not fit token_ttl; expected a duration such as "
        "500ms, 30s, 15m, 24h or 7d"
    )


# --- rules ---


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("", True),
        ("unix:/run/usher.sock", True),
        ("unix:.usher/admin.sock", True),
        ("127.0.0.1:1", True),
        ("127.8.9.10:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("LOCALHOST:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("[::ffff:0.0.0.0]:1", False),
        ("10.0.0.1:1", False),
        ("[fe80::1]:1", False),
        ("192.0.2.1:1", False),
        ("localhost.example:1", False),
        ("db:1", False),
        ("127.1:1", False),
    ],
)
def test_addresses_that_only_this_machine_reaches(address: str, local: bool) -> None:
    assert is_local(address) is local


@pytest.mark.parametrize("name", ["grpc_address", "grpc_admin_address"])
@pytest.mark.parametrize("address", ["0.0.0.0:50099", "[::]:50099", "10.0.0.1:50099", "db.example:50099"])
def test_grpc_is_not_opened_to_the_network_by_accident(name: str, address: str) -> None:
    message = refusal(arguments={name: address})
    assert message.startswith(f"{name}: {address} can be reached from other machines")
    assert "allow_anonymous" in message
    admins = {"policy_file": "policy.toml"} if name == "grpc_admin_address" else {}
    config = loaded(arguments={name: address, "allow_anonymous": "true"} | admins)
    assert getattr(config, name) == address
    assert [setting for setting, _ in config.weakened()] == ["allow_anonymous"]


def test_http_may_be_public_but_the_admin_one_is_said_to_weaken() -> None:
    config = loaded(arguments={"http_address": "0.0.0.0:8080", "issuer": "https://auth.example.com"})
    assert config.weakened() == []
    config = loaded(arguments={"admin_http_address": "0.0.0.0:9090"})
    ((setting, consequence),) = config.weakened()
    assert setting == "admin_http_address"
    assert "metrics" in consequence


@pytest.mark.parametrize("address", ["0.0.0.0:8080", "[::]:8080", "127.0.0.1:0", "localhost:00000"])
def test_an_issuer_that_nobody_could_reach_is_refused(address: str) -> None:
    assert refusal(arguments={"http_address": address}).startswith(f"issuer: {address} is no address")


def test_every_switch_that_weakens_is_off_and_says_its_consequence() -> None:
    assert Config().weakened() == []
    weakening = {name for name, declared in DECLARED.items() if declared.weakens}
    assert weakening == {
        "allow_anonymous",
        "allow_privileged_login",
        "allow_stale_revocations",
        "shared_login",
        "show_database_messages",
        "unsafe_rotation_timing",
        "unsigned_claims",
    }
    config = loaded(arguments=dict.fromkeys(weakening, "true") | {"database_backend": "postgres"})
    assert dict(config.weakened()) == {name: DECLARED[name].weakens for name in weakening}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"default_deadline": "0s"}, "default_deadline"),
        ({"pool_acquire_timeout": "0s"}, "pool_acquire_timeout"),
        ({"max_message_bytes": "65535"}, "max_message_bytes"),
        ({"max_deadline": "14s"}, "max_deadline"),
        ({"max_concurrent_calls": "0"}, "max_concurrent_calls"),
        ({"max_unread_calls": "0"}, "max_unread_calls"),
        ({"max_message_bytes": "513MiB"}, "max_message_bytes"),
        ({"http_address": "127.0.0.1:50051"}, "must all be different"),
        ({"grpc_admin_address": "127.0.0.1:9090"}, "must all be different"),
        ({"http_address": "localhost:9090"}, "must all be different"),
        ({"http_address": "LOCALHOST:09090"}, "must all be different"),
        ({"grpc_address": "[::1]:50052", "grpc_admin_address": "[0:0::1]:50052"}, "must all be different"),
        ({"grpc_address": "unix:/a:0", "grpc_admin_address": "unix:/a:0"}, "must all be different"),
        ({"dev_postgres_port": "65536"}, "dev_postgres_port"),
        ({"pool_min_size": "11"}, "pool_min_size"),
        ({"claim_key": "k1:beef"}, "claim_key"),
        ({"database_logins": "10"}, "pool_max_size must be less than database_logins"),
        ({"revocation_max_age": "9s"}, "revocation_max_age"),
        ({"database_pooling": "transaction"}, "shared_login"),
        ({"unsigned_claims": "true"}, "needs database_backend=postgres"),
        ({"unsigned_claims": "true", "database_backend": "pg_session_jwt"}, "database_backend=postgres"),
        (
            {"database_backend": "pg_session_jwt", "database_pooling": "transaction", "shared_login": "true"},
            "use database_pooling=direct",
        ),
        (
            {
                "database_backend": "pg_session_jwt",
                "database_url": "postgresql://u:p@ep-a-pooler.eu.example/db",
            },
            "a host without -pooler",
        ),
        ({"pool_max_size": "0", "pool_min_size": "0"}, "pool_max_size"),
        ({"pool_max_size": "1001"}, "pool_max_size"),
        ({"database_url": "mysql://db/app"}, "database_url"),
        ({"database_role": ""}, "database_role"),
        ({"database_role": "none"}, "database_role"),
        ({"statement_timeout": "0s"}, "statement_timeout"),
        ({"statement_timeout": "61m"}, "statement_timeout"),
        ({"default_max_rows": "0"}, "default_max_rows"),
        ({"default_max_rows": "10001"}, "default_max_rows"),
        ({"max_sql_bytes": "0"}, "max_sql_bytes"),
        ({"issuer": " "}, "issuer"),
        ({"issuer": "x" * 256}, "issuer"),
        ({"token_ttl": "0s"}, "token_ttl"),
        ({"token_ttl": "2h"}, "token_ttl"),
        ({"algorithm": "RS256", "rsa_bits": "1024"}, "rsa_bits"),
        ({"rotation_period": "1h"}, "rotation_period"),
        ({"rotation_lead_time": "5m"}, "rotation_lead_time"),
        ({"rotation_lead_time": "0s", "unsafe_rotation_timing": "true"}, "rotation_lead_time"),
        ({"max_token_ttl": "365d"}, "max_token_ttl"),
    ],
)
def test_settings_that_break_a_guarantee(arguments: dict[str, str], expected: str) -> None:
    assert expected in refusal(arguments=arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"drain_grace": "0s"},
        {"pool_min_size": "0", "pool_max_size": "1"},
        {"grpc_address": "127.0.0.1:0", "admin_http_address": "127.0.0.1:0"},
        {
            "http_address": "127.0.0.1:0",
            "admin_http_address": "127.0.0.1:0",
            "issuer": "https://auth.example",
        },
        {"grpc_address": "unix:/run/usher/a:0", "grpc_admin_address": "unix:/run/usher/b:0"},
        {
            "rotation_lead_time": "10s",
            "rotation_period": "10s",
            "max_token_ttl": "5m",
            "unsafe_rotation_timing": "true",
        },
        {"algorithm": "RS256", "rsa_bits": "4096"},
        {"database_url": "postgresql:///app?host=/run/postgresql"},
        {"database_backend": "pg_session_jwt", "database_url": "postgresql://u:p@ep-a.eu.example/db"},
        {"database_backend": "postgres", "unsigned_claims": "true"},
        {"database_url": "postgresql://u:p@ep-a-pooler.eu.example/db"},
    ],
)
def test_settings_that_hold(arguments: dict[str, str]) -> None:
    loaded(arguments=arguments).validate()


def test_the_issuer_is_derived_from_the_public_address() -> None:
    assert Config().issuer_url == "http://127.0.0.1:8080"
    assert loaded(arguments={"issuer": "https://auth.example"}).issuer_url == "https://auth.example"


def test_each_room_gets_its_share() -> None:
    config = loaded(
        {
            "USHER_ISSUER": "https://auth.example",
            "USHER_TOKEN_TTL": "1m",
            "USHER_MAX_TOKEN_TTL": "10m",
            "USHER_ALGORITHM": "RS256",
            "USHER_RSA_BITS": "3072",
            "USHER_ROTATION_PERIOD": "2d",
            "USHER_ROTATION_LEAD_TIME": "2h",
            "USHER_STATEMENT_TIMEOUT": "5s",
            "USHER_DEFAULT_MAX_ROWS": "10",
            "USHER_MAX_ROWS": "20",
            "USHER_MAX_SQL_BYTES": "1KiB",
            "USHER_DATABASE_URL": "postgresql://app@db/app",
            "USHER_POOL_MIN_SIZE": "2",
            "USHER_POOL_MAX_SIZE": "3",
            "USHER_POOL_ACQUIRE_TIMEOUT": "250ms",
            "USHER_DATABASE_ROLE": "member",
            "USHER_SHOW_DATABASE_MESSAGES": "yes",
        }
    )
    issuer, rotation = config.issuer_settings, config.rotation_settings
    assert (issuer.issuer, issuer.default_ttl, issuer.max_ttl) == ("https://auth.example", 60, 600)
    assert (rotation.algorithm, rotation.rsa_bits, rotation.max_token_ttl) == ("RS256", 3072, 600)
    assert (rotation.period, rotation.lead_time, rotation.unsafe_timing) == (172_800, 7200, False)
    queries, pool, claims = config.query_settings, config.pool_settings, config.claim_settings
    assert (queries.statement_timeout, queries.default_max_rows, queries.max_rows) == (5.0, 10, 20)
    assert queries.max_sql_bytes == 1024
    assert (pool.database_url, pool.min_size, pool.max_size) == ("postgresql://app@db/app", 2, 3)
    assert pool.acquire_timeout == 0.25
    assert (claims.role, claims.allow_privileged_login, claims.show_database_messages) == (
        "member",
        False,
        True,
    )


def test_the_shares_of_the_defaults_are_the_rooms_own_defaults() -> None:
    """What a room thinks usual and what this file declares must not drift apart."""
    config = Config()
    for share in (
        config.issuer_settings,
        config.rotation_settings,
        config.query_settings,
        config.pool_settings,
    ):
        for field in dataclasses.fields(share):
            if field.default is not dataclasses.MISSING:
                assert getattr(share, field.name) == field.default, field.name


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, declared in DECLARED.items() if not declared.help] == []
    assert [name for name, declared in DECLARED.items() if declared.secret] == [
        "database_url",
        "claim_key",
        "key_store_url",
        "key_encryption_key",
    ]


def test_the_documented_defaults_are_the_real_ones() -> None:
    text = (Path(__file__).parent.parent / "docs/settings.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (?:`([^`]+)`|empty)", text, re.MULTILINE))
    assert {name: DECLARED[name].parse(default) for name, default in rows.items() if name in DECLARED} == {
        field.name: field.default for field in dataclasses.fields(Config)
    }


def test_a_claim_key_may_lie_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("k1:" + "0b" * 32 + "\n")
    assert loaded(arguments={"claim_key_file": str(path)}).claim_key == "k1:" + "0b" * 32
    both = refusal(arguments={"claim_key_file": str(path), "claim_key": "k1:" + "0c" * 32})
    assert "give one of them" in both
    assert "0c0c" not in both
    assert "cannot be read" in refusal(arguments={"claim_key_file": str(tmp_path / "none")})
