"""A claim key replaced under a sidecar that goes on serving: no call fails on the way."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.processes import USHER, get, running
from tests.servers import Servers
from tests.system.clients import as_user, connected


def test_a_claim_key_is_replaced_without_a_failed_call(postgres_servers: Servers, tmp_path: Path) -> None:
    file = tmp_path / "claim.key"
    with postgres_servers.database() as dsn:
        settings = postgres_servers.install_demo(dsn)
        old = settings.pop("claim_key")
        file.write_text(old)
        with running("serve", **settings, claim_key_file=str(file)) as sidecar:
            sidecar.wait_for("ready")
            with connected(sidecar.grpc_address) as client:

                def served() -> bool:
                    return client.rows(as_user("alice"), "select name from users") == [("Alice Archer",)]

                assert served()
                printed = usher(dsn, "db", "key", "add")
                file.write_text(printed.strip().rpartition("=")[2].strip("'\""))
                sidecar.wait_for_event(lambda event: event.get("event") == "claim_key_loaded")
                usher(dsn, "db", "key", "remove", old.partition(":")[0])
                assert all(served() for _ in range(20))
                assert get(sidecar.url("/readyz"))[0] == 200
            key = file.read_text().partition(":")[2]
            assert not any(key in line or old.partition(":")[2] in line for line in sidecar.lines)


def usher(dsn: str, *words: str) -> str:
    done = subprocess.run(
        [USHER, *words, "--database-url", dsn], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
