"""The command line against a live sidecar, where a backend that only plays one would not show enough."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.postgres import installer
from tests.processes import USHER, Process, environment, stopping, usher
from tests.servers import Servers

AS_ALICE = ("--sub", "alice", "--claim", "tenant_id=acme")

EVERY_KIND = """
    SELECT true AS b, 9223372036854775807 AS i, -0.5::float8 AS f, 'infinity'::float8 AS inf, '' AS empty,
           'two' || chr(10) || 'lines, "quoted"' AS t, ' edges ' AS e, NULL::text AS n, '\\x00ff'::bytea AS o,
           0.0000001::numeric AS num, '0044-03-15 BC'::date AS ides, '20000-01-01'::date AS far,
           '24:00'::time AS midnight, '2024-02-29 12:00:00.5'::timestamp AS ts,
           '0044-03-15 01:02:03+00 BC'::timestamptz AS tz, '-infinity'::timestamptz AS never,
           '1 year 2 mons -3 days -00:00:00.5'::interval AS span,
           '123e4567-e89b-42d3-a456-426614174000'::uuid AS u, '{"a": [1, "x"]}'::jsonb AS j,
           ARRAY['a "b" \\c', NULL, '', 'NULL']::text[] AS ta, ARRAY[1, NULL]::int4[] AS ia,
           ARRAY['2024-02-29'::date] AS da
"""


def test_of_several_addresses_those_that_are_there_answer(live_sidecar: Any) -> None:
    several = f"127.0.0.1:1,{live_sidecar.grpc_address}"
    for _ in range(2):
        done = usher("query", *AS_ALICE, "--address", several, "--output", "csv", "SELECT id FROM users")
        assert (done.stdout, done.returncode) == ("id\nalice\n", 0)
    refused = usher("status", "--address", several)
    assert refused.returncode == 2
    assert "--address: this asks one sidecar; give one address" in refused.stderr
    for address in ("127.0.0.1:1,192.0.2.1:1", "192.0.2.1:1,127.0.0.1:1"):
        refused = usher("query", *AS_ALICE, "--key", "usher_k", "--address", address, "SELECT 1")
        assert "--key is sent to another machine by TLS only" in refused.stderr


def test_csv_is_read_back_by_postgres(
    live_sidecar: Any, fresh_database: str, postgres_servers: Servers
) -> None:
    done = usher("query", *AS_ALICE, "--address", live_sidecar.grpc_address, "--output", "csv", EVERY_KIND)
    assert done.stderr == ""
    script = f"""
        SET timezone = 'UTC';
        CREATE TABLE here AS {EVERY_KIND};
        CREATE TABLE back (LIKE here);
    """
    postgres_servers.execute(fresh_database, script)

    async def differences() -> Any:
        connection = await installer.connect(fresh_database)
        try:
            await connection.copy_to_table(
                "back", source=_Text(done.stdout), format="csv", header=True, timeout=30
            )
            return await connection.fetch(
                "SELECT here::text AS sent, back::text AS came FROM here, back WHERE here::text <> back::text"
            )
        finally:
            await connection.close()

    assert [dict(row) for row in postgres_servers.run(differences())] == []


class _Text:
    """A text as an asynchronous source of bytes."""

    def __init__(self, text: str) -> None:
        self._left = [text.encode()]

    def __aiter__(self) -> _Text:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


@pytest.mark.parametrize("command", [("query", *AS_ALICE, "-"), ("token", "decode", "-")])
@pytest.mark.parametrize(
    ("redirected", "said"), [("< octets", "is not UTF-8 text"), ("<&-", "there is no standard input")]
)
def test_what_standard_input_holds_is_text(
    command: tuple[str, ...], redirected: str, said: str, tmp_path: Path
) -> None:
    """In the C locale Python itself lets any bytes pass; and a shell may have closed it."""
    (tmp_path / "octets").write_bytes(b"select '\xff'")
    line = shlex.join((USHER, *command)) + f" {redirected}"
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=tmp_path,
        env=environment() | {"LC_ALL": "C"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, said in done.stderr.decode()) == (2, True)


def test_a_statement_that_runs_too_long_is_the_servers_word(live_sidecar: Any) -> None:
    options = ("--address", live_sidecar.grpc_address, "--statement-timeout", "100ms")
    done = usher("query", *AS_ALICE, *options, "select pg_sleep(20)")
    assert done.returncode == 1
    assert "DEADLINE_EXCEEDED STATEMENT_TIMEOUT" in done.stderr


def test_a_stream_shows_rows_as_they_come_and_is_left_by_an_interrupt(
    live_sidecar: Any, postgres_servers: Servers
) -> None:
    running = """
        SELECT count(*) FROM pg_stat_activity
        WHERE query LIKE '%left_by_interrupt%' AND state <> 'idle' AND pid <> pg_backend_pid()
    """
    sql = """
        SELECT 'left_by_interrupt', CASE WHEN g > 5000 THEN pg_sleep(100) END FROM generate_series(1, 9999) g
    """
    terminal, theirs = os.openpty()
    process = subprocess.Popen(
        [USHER, "query", *AS_ALICE, "--address", live_sidecar.grpc_address, "--stream", "--json", sql],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    try:
        assert process.stdout is not None
        assert "left_by_interrupt" in process.stdout.readline()
        shown = ""
        while "lines so far" not in shown:
            shown += os.read(terminal, 4096).decode()
        assert postgres_servers.value(running) == 1
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        shown += rest_of(terminal)
        assert (process.returncode, shown.count("\n")) == (130, 0), shown
        assert shown.endswith("\r\x1b[K")
        live_sidecar.wait_for_event(cancelled("StreamScopedQuery"))
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def test_a_transaction_is_left_by_an_interrupt(live_sidecar: Any, postgres_servers: Servers) -> None:
    running = (
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(101)%' AND pid <> pg_backend_pid()"
    )
    address = ("--address", live_sidecar.grpc_address)
    process = subprocess.Popen(
        [USHER, "transaction", *address, *AS_ALICE, "--sql", "select 1", "--sql", "select pg_sleep(101)"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not postgres_servers.value(running):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 130
        live_sidecar.wait_for_event(cancelled("RunScopedTransaction"))
    finally:
        process.kill()
        process.wait()


def cancelled(method: str) -> Callable[[dict[str, Any]], bool]:
    """The sidecar's own word that a call of the method was cancelled, and not cut by a deadline."""
    return lambda event: (
        (event.get("event"), event.get("method"), event.get("code"))
        == (
            "rpc_finished",
            method,
            "CANCELLED",
        )
    )


def rest_of(terminal: int) -> str:
    """What a process that has ended left on its terminal."""
    text = b""
    with contextlib.suppress(OSError):  # EIO, which is how Linux says that nobody can write to it any more
        while more := os.read(terminal, 4096):
            text += more
    return text.decode()


def test_streamed_csv_is_that_of_a_query(live_sidecar: Any) -> None:
    options = ("query", *AS_ALICE, "--address", live_sidecar.grpc_address, "--output", "csv", EVERY_KIND)
    streamed = usher(*options, "--stream")
    assert (streamed.returncode, streamed.stderr) == (0, "usher: SELECT 1\n")
    assert streamed.stdout == usher(*options).stdout


def test_a_transaction_writes_all_or_nothing(demo: dict[str, str], live_sidecar: Any) -> None:
    options = ("transaction", *AS_ALICE, "--address", live_sidecar.grpc_address, "--json")
    rename = ("--sql", "UPDATE users SET email = $1", "--param", "new@acme.example")
    failed = usher(*options, *rename, "--sql", "SELECT email FROM users", "--sql", "SELECT 1 / 0")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert json.loads(failed.stderr)["error"]["statement_index"] == 2
    seen = usher(*options, "--read-only", "--isolation", "serializable", "--sql", "SELECT email FROM users")
    assert json.loads(seen.stdout)["rows"] == [{"email": "alice@acme.example"}]


def test_a_call_that_the_end_of_the_grace_cuts_is_told_from_a_missing_sidecar(
    demo: dict[str, str], postgres_servers: Servers
) -> None:
    process = Process(["serve"], demo | {"drain_grace": "100ms"})
    under_way = (
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(19)%' AND pid <> pg_backend_pid()"
    )
    with stopping(process):
        process.wait_for("ready")
        waiting = subprocess.Popen(
            [USHER, "query", *AS_ALICE, "--address", process.grpc_address, "select pg_sleep(19)"],
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        while not postgres_servers.value(under_way):
            assert waiting.poll() is None
        process.stop()
        _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 1
    assert said.startswith(f"usher: the connection to {process.grpc_address} ended before the answer came")


def test_status_of_a_live_sidecar(live_sidecar: Any) -> None:
    options = ("--address", live_sidecar.grpc_address, "--admin-address", live_sidecar.admin_grpc_address)
    done = usher("status", *options, "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(answer["services"].values()) == {answer["status"]} == {"SERVING"}
    assert answer["keys"]["ACTIVE"] == 1
