"""`usher health`: exit code 0 only for what serves."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Sidecar, Usher


@pytest.mark.parametrize(
    ("service", "code", "status"),
    [
        ("", 0, "SERVING"),
        ("usher.v1.QueryService", 1, "NOT_SERVING"),
        ("usher.v1.TokenService", 1, "NOT_SERVING"),
        ("usher.v1.KeyService", 1, "SERVICE_UNKNOWN"),
        ("nothing", 1, "SERVICE_UNKNOWN"),
    ],
)
def test_health(usher: Usher, sidecar: Sidecar, service: str, code: int, status: str) -> None:
    done = usher("health", "--address", sidecar.address, "--service", service)
    assert (done.code, done.out, done.err) == (code, f"{status}\n", "")
    assert usher("health", "--json", "--address", sidecar.address, "--service", service).out == (
        f'{{"status": "{status}"}}\n'
    )
