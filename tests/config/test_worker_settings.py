"""Where workers listen, and what each may use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import Config, load
from sidecar.config.stream_settings import stream_settings
from sidecar.config.worker_settings import addresses, share
from sidecar.core.errors import SettingsError


def config(**settings: str) -> Config:
    return load({}, settings, None)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:50051", ["127.0.0.1:50051", "127.0.0.1:50052", "127.0.0.1:50053"]),
        ("[::1]:50051", ["[::1]:50051", "[::1]:50052", "[::1]:50053"]),
        (
            "unix:/run/usher.sock",
            ["unix:/run/usher.sock", "unix:/run/usher.sock.1", "unix:/run/usher.sock.2"],
        ),
        ("127.0.0.1:0", ["127.0.0.1:0"] * 3),
    ],
)
def test_the_first_listens_where_one_process_would_and_the_next_beside_it(
    address: str, expected: list[str]
) -> None:
    made = config(workers="3", grpc_address=address)
    assert addresses(made, "grpc_address") == expected
    assert [share(made, number, {}).grpc_address for number in range(3)] == expected
    assert addresses(made, "http_address") == ["127.0.0.1:8080"]
    assert addresses(made, "connect_address") == ["", "", ""]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"workers": "0"}, "workers must lie"),
        ({"workers": "65"}, "workers must lie"),
        ({"workers": "2", "pool_max_size": "1"}, "pool_max_size must be at least workers"),
        ({"workers": "2", "max_concurrent_calls": "1"}, "max_concurrent_calls must be at least workers"),
        ({"workers": "2", "max_streams": "1"}, "max_streams must be at least workers"),
        ({"workers": "3", "max_streams": "9"}, "max_streams must be less than pool_max_size"),
        ({"workers": "2", "database_logins": "11"}, "in each of the workers"),
        ({"workers": "3", "connect_address": "127.0.0.1:8078"}, "one for each worker"),
        ({"workers": "2", "connect_address": "127.0.0.1:50052"}, "one for each worker"),
        ({"workers": "2", "grpc_address": "127.0.0.1:65535"}, "worker 1 would be 127.0.0.1:65536"),
        ({"workers": "2", "grpc_address": f"unix:/{'a' * 98}"}, "worker 1"),
    ],
)
def test_workers_without_an_address_or_a_share_are_refused(settings: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        config(**settings)


@given(
    workers=st.integers(1, 64),
    pool=st.integers(64, 1000),
    least=st.integers(0, 64),
    waiting=st.integers(0, 1000),
    calls=st.integers(64, 5000),
    streams=st.integers(0, 1000),
)
def test_shares_are_never_more_than_the_whole(
    workers: int, pool: int, least: int, waiting: int, calls: int, streams: int
) -> None:
    # What the settings accept, for that many workers.
    largest = pool // workers
    streams = min(streams, max(1, largest - 1) * workers) if streams >= workers else 0
    whole = config(
        workers=str(workers),
        pool_max_size=str(pool),
        pool_min_size=str(least),
        pool_max_waiting=str(waiting),
        max_concurrent_calls=str(calls),
        max_streams=str(streams),
    )
    each = [share(whole, number, {}) for number in range(workers)]
    assert all(one.workers == 1 for one in each)
    assert sum(one.pool_max_size for one in each) <= pool
    assert sum(one.max_concurrent_calls for one in each) <= calls
    assert sum(one.pool_min_size for one in each) >= min(least, each[0].pool_max_size * workers)
    assert all(1 <= one.pool_max_size >= one.pool_min_size for one in each)
    assert all(one.max_concurrent_calls >= 1 for one in each)
    at_a_time = [stream_settings(one).max_streams for one in each]
    assert sum(at_a_time) <= (streams or max(workers, pool // 2))
    assert all(
        1 <= most < one.pool_max_size or one.pool_max_size == 1
        for most, one in zip(at_a_time, each, strict=True)
    )


def test_only_the_first_has_the_admin_address_and_all_keep_the_ports_they_had() -> None:
    made = config(workers="2", grpc_admin_address="unix:/run/admin.sock", grpc_address="127.0.0.1:0")
    assert [share(made, number, {}).grpc_admin_address for number in (0, 1)] == ["unix:/run/admin.sock", ""]
    known = {"grpc_address": "127.0.0.1:40001", "grpc_admin_address": "", "connect_address": ""}
    assert share(made, 1, known).grpc_address == "127.0.0.1:40001"
