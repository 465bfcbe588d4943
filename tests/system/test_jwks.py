"""The key set of the real process, whatever else happens to it."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack

from tests.processes import USHER, Process, get, stopping


def test_a_crowd_at_the_grpc_port_takes_no_files_from_verifiers(demo: dict[str, str]) -> None:
    """As many connections as the process may have files by default, and verifiers are served all the same."""
    limited = Process(
        ["-c", 'ulimit -Sn 200 && exec "$0" "$@"', USHER, "serve"], dict(demo), command="/bin/sh"
    )
    with stopping(limited) as process, ExitStack() as crowd:
        process.wait_for("ready")
        host, _, port = process.grpc_address.rpartition(":")
        for _ in range(250):
            crowd.enter_context(socket.create_connection((host, int(port)), 5))
        status, body = get(process.jwks_url)
        assert status == 200
        assert json.loads(body)["keys"]
