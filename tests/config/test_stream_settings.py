"""Settings of streams: they leave connections for queries, and may take longer than other calls."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sidecar.config import Config
from sidecar.config.stream_settings import stream_settings
from sidecar.core.errors import SettingsError


def config(**settings: Any) -> Config:
    made = dataclasses.replace(Config(), **settings)
    made.validate()
    return made


@pytest.mark.parametrize(
    ("pool", "asked", "streams"), [(10, 0, 5), (3, 0, 1), (2, 0, 1), (1, 0, 1), (1, 1, 1), (10, 9, 9)]
)
def test_by_default_half_of_the_connections_may_stream(pool: int, asked: int, streams: int) -> None:
    settings = stream_settings(config(pool_max_size=pool, max_streams=asked))
    assert settings.max_streams == streams


def test_rows_have_no_limit_unless_one_is_set() -> None:
    assert stream_settings(config()).max_rows == 0
    assert stream_settings(config(stream_max_rows=500_000)).max_rows == 500_000


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_streams": 10}, "max_streams"),
        ({"pool_max_size": 2, "max_streams": 2}, "max_streams"),
        ({"max_stream_deadline": 0.0}, "max_stream_deadline"),
    ],
)
def test_what_contradicts_is_refused_by_name(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        config(**settings)
