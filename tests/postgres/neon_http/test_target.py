"""Connection strings of Neon, and what is none."""

from __future__ import annotations

import pytest

from sidecar.core.errors import SettingsError
from sidecar.postgres.neon_http.target import Target

URL = "postgresql://authenticated@ep-quiet-hill-123456.eu-central-1.aws.neon.tech/app"


def test_a_target_and_where_it_is_asked() -> None:
    target = Target.parse(URL + "?sslmode=require&channel_binding=require")
    assert (target.role, target.database) == ("authenticated", "app")
    assert target.sql_url == "https://apiauth.eu-central-1.aws.neon.tech/sql"
    assert target.connection_string("other") == URL.replace("authenticated", "other")


def test_names_are_quoted_in_the_header() -> None:
    target = Target.parse("postgres://a%40b@EP.neon.tech/my%20db")
    assert (target.role, target.host, target.database) == ("a@b", "ep.neon.tech", "my db")
    assert target.connection_string("x/y:z\r\n") == "postgresql://x%2Fy%3Az%0D%0A@ep.neon.tech/my%20db"


def test_a_role_may_be_left_out() -> None:
    assert Target.parse("postgresql://ep.neon.tech/app").role == ""


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://a@ep.neon.tech/app",
        "postgresql://a@localhost/app",
        "postgresql://a@127.0.0.1/app",
        "postgresql://a@[::1]/app",
        "postgresql://a@[/app",
        "postgresql://a@ep.neon.tech",
        "postgresql://a@ep.neon.tech/",
        "postgresql://a@ep.neon.tech/app/more",
        "postgresql://a@one.neon.tech,two.neon.tech/app",
    ],
)
def test_what_is_no_target(url: str) -> None:
    with pytest.raises(SettingsError, match="database_url must look like"):
        Target.parse(url)


def test_a_password_is_not_needed_and_not_repeated() -> None:
    with pytest.raises(SettingsError, match="leave the password out") as refused:
        Target.parse(URL.replace("@", ":s3cret@"))
    assert "s3cret" not in str(refused.value)
