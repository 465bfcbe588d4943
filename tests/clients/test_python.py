"""The Python client: its README, its synchronous form, and its package in an empty environment."""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import math
import pickle
import re
import socket
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import usher

from tests.clients import example_app

FOLDER = Path(__file__).parents[2] / "clients/python"
SECONDS = 120


def example() -> str:
    found = re.search(r"```python\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    assert found
    return found[1]


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=environment or None,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readme_runs_from_the_installed_wheel(live_sidecar: Any, tmp_path: Path) -> None:
    wheels, empty = tmp_path / "wheels", tmp_path / "empty"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(FOLDER), cwd=tmp_path)
    (wheel,) = wheels.iterdir()
    venv.create(empty, with_pip=False)
    python = str(empty / "bin/python")
    run(*pip, "--python", python, "install", "--no-deps", str(wheel), cwd=tmp_path)
    strictly = (
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--python-executable",
        python,
        "--cache-dir",
        ".types",
    )
    (tmp_path / "checked.py").write_text(example())
    run(*strictly, "checked.py", cwd=tmp_path)
    (tmp_path / "misspelt.py").write_text(example().replace('"alice")', '"alice", readonly=True)', 1))
    with pytest.raises(AssertionError, match='argument "readonly"'):
        run(*strictly, "misspelt.py", cwd=tmp_path)
    # Its two dependencies are taken from here; nothing else of this environment is seen.
    import google.protobuf
    import grpc
    import typing_extensions

    beside = tmp_path / "beside"
    beside.mkdir()
    site = Path(grpc.__file__).parents[1]
    for name in ("grpc", "google", Path(typing_extensions.__file__).name):
        (beside / name).symlink_to(site / name)
    assert google.protobuf
    (tmp_path / "example.py").write_text(example().replace("127.0.0.1:50051", live_sidecar.grpc_address))
    printed = run(python, "example.py", cwd=tmp_path, PYTHONPATH=str(beside))
    assert printed.startswith("Alice Archer\n")


def test_the_synchronous_client_does_the_same(live_sidecar: Any) -> None:
    with usher.SyncClient(live_sidecar.grpc_address) as client:
        alice = client.as_user("alice", {"tenant_id": "acme"})
        (row,) = alice.query("SELECT name, 1.50::numeric AS n FROM users", read_only=True)
        assert (row["name"], row[1]) == ("Alice Archer", decimal.Decimal("1.50"))
        assert alice.who_am_i().user_id == "alice"
        token = client.issue_token("alice", ttl=60, audiences=["a"])
        assert client.verify_token(token.token, audience="a").subject == "alice"
        with pytest.raises(usher.UsherError) as refused:
            client.with_token(token).query("SELECT FROM nowhere")
        assert (refused.value.reason, refused.value.sqlstate) == ("UNDEFINED_OBJECT", "42P01")
        source = client.token_source("alice", ttl=60)
        with ThreadPoolExecutor(8) as threads:
            assert len({token.token for token in threads.map(lambda _: source.token(), range(8))}) == 1
    with pytest.raises(usher.UsherError, match="CLIENT_CLOSED"):
        alice.query("SELECT 1")


def test_the_synchronous_client_may_be_closed_by_another_thread(live_sidecar: Any) -> None:
    client = usher.SyncClient(live_sidecar.grpc_address)
    failures: list[str] = []

    def wait() -> None:
        try:
            client.as_user("alice").query("SELECT pg_sleep(5)")
        except usher.UsherError as error:
            failures.append(error.reason)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not failures and waiting.is_alive():
        client.close()
    waiting.join(SECONDS)
    assert failures == ["CLIENT_CLOSED"]


@pytest.mark.parametrize("target", ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/usher.sock"])
async def test_a_key_goes_to_this_machine_in_the_clear(target: str) -> None:
    await usher.Client(target, key="usher_k").close()


@pytest.mark.parametrize("target", ["example.org:1", "192.0.2.1:1", "127.example.org:1", "localhost.org:1"])
async def test_a_key_goes_nowhere_else_in_the_clear(target: str) -> None:
    with pytest.raises(usher.UsherError, match="key"):
        usher.Client(target, key="usher_k")


PEM = b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("make", [usher.Client, usher.SyncClient])
@pytest.mark.parametrize(
    ("given", "named"),
    [
        *[
            ({"target": target}, "target")
            for target in ("localhost", "x:70000", "a@b:1", "dns:///x:1", "unix:")
        ],
        ({"tls_ca": b"none"}, "tls_ca"),
        ({"tls_ca": PEM.decode()}, "tls_ca"),
        ({"tls_cert": PEM}, "tls_cert, tls_key"),  # gRPC would end the process
        ({"tls_ca": PEM, "tls_key": PEM}, "tls_cert, tls_key"),
        ({"tls_cert": PEM, "tls_key": PEM}, "tls_key"),
        ({"key": "a b"}, "key"),
        ({"key": ""}, "key"),
    ],
)
def test_a_client_that_cannot_work_is_not_made(make: Any, given: dict[str, Any], named: str) -> None:
    with pytest.raises(usher.UsherError, match=f"CLIENT_INVALID: {named}: "):
        make(**given)


def test_a_client_may_be_made_before_its_loop_and_goes_on_in_the_next(live_sidecar: Any) -> None:
    client = usher.Client(live_sidecar.grpc_address)
    source = client.token_source("alice")

    async def ask() -> str:
        result = await client.as_user("alice", {"tenant_id": "acme"}).query("SELECT name FROM users")
        assert (await source.token()).kid
        return str(result[0]["name"])

    async def elsewhere() -> None:
        await ask()
        with ThreadPoolExecutor(1) as thread:
            refused = thread.submit(asyncio.run, ask()).exception
            assert "another event loop" in str(await asyncio.to_thread(refused))
        await client.close()

    assert asyncio.run(ask()) == asyncio.run(ask()) == "Alice Archer"
    asyncio.run(elsewhere())
    with pytest.raises(usher.UsherError, match="CLIENT_CLOSED"):
        asyncio.run(ask())


async def test_who_cancels_and_closes_has_cancelled(live_sidecar: Any) -> None:
    client = usher.Client(live_sidecar.grpc_address)
    await client.issue_token("alice")
    task = asyncio.ensure_future(client.as_user("alice").query("SELECT pg_sleep(5)"))
    asyncio.get_running_loop().call_later(0.1, task.cancel)
    asyncio.get_running_loop().call_later(0.1, lambda: asyncio.ensure_future(client.close()))
    with pytest.raises(asyncio.CancelledError):
        await task


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


async def test_who_waited_for_a_token_shares_the_failure() -> None:
    """20 deadlines one after the other would take longer than this test may."""
    with silent() as target:
        async with usher.Client(target, timeout=3, retries=0) as client:
            source = client.token_source("alice")
            asked = [source.token() for _ in range(20)]
            failures = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 10)
        with usher.SyncClient(target, timeout=3, retries=0) as waiting, ThreadPoolExecutor(20) as threads:
            again = waiting.token_source("alice")
            calls = [threads.submit(again.token) for _ in range(20)]
            failures += [call.exception(10) for call in calls]
    assert {type(failure) for failure in failures} == {usher.UsherError}


async def test_a_token_source_asks_again_after_a_failure(live_sidecar: Any) -> None:
    async with usher.Client(live_sidecar.grpc_address) as client:
        source = client.token_source("alice", ttl=0.5)
        for _ in range(2):
            with pytest.raises(usher.UsherError, match="TTL_OUT_OF_RANGE"):
                await source.token()


@pytest.mark.parametrize("timeout", [math.inf, 1e12])
async def test_a_deadline_may_be_as_far_as_one_likes(live_sidecar: Any, timeout: float) -> None:
    async with usher.Client(live_sidecar.grpc_address) as client:
        assert (await client.issue_token("alice", timeout=timeout)).token


async def test_what_no_message_holds_is_refused() -> None:
    async with usher.Client("127.0.0.1:1", retries=0) as client:
        for call in (
            client.issue_token("a", audiences="orders"),
            client.issue_token("a", timeout=math.nan),
            client.verify_token("\ud800"),
            client.revoke_key("\ud800"),
        ):
            with pytest.raises(usher.UsherError, match="CLIENT_INVALID"):
                await call
        with pytest.raises(usher.UsherError, match="CLIENT_INVALID"):
            client.with_token("\ud800")


def test_an_error_goes_to_another_process_and_back() -> None:
    error = usher.UsherError("INVALID_ARGUMENT", "SQL_SYNTAX", "a message")
    error.metadata = {"sqlstate": "42601"}
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.code, copied.sqlstate) == (str(error), error.code, "42601")


async def test_nothing_shows_a_token_or_claims(live_sidecar: Any) -> None:
    async with usher.Client(live_sidecar.grpc_address, key="secret") as client:
        token = await client.issue_token("alice", {"n": "secret"})
        verified = await client.verify_token(token.token)
        for shown in (client, token, verified, client.with_token(token), client.token_source("secret")):
            assert token.token not in repr(shown)
            assert "secret" not in repr(shown)


@pytest.mark.parametrize("value", [object(), {"a": 1}, "\ud800", [[object()]], usher.Json(float("nan"))])
async def test_what_cannot_be_sent_names_its_place(value: Any) -> None:
    async with usher.Client("127.0.0.1:1") as client:
        with pytest.raises(usher.UsherError, match=r"parameters\[1\]") as refused:
            await client.as_user("a").query("SELECT $1, $2", 1, value)
    assert refused.value.reason == "CLIENT_INVALID"


async def test_a_server_that_is_slow_to_take_a_connection_is_waited_for(live_sidecar: Any) -> None:
    """Longer than the shortest wait between two attempts: a handshake over a slow line."""
    host, _, port = live_sidecar.grpc_address.rpartition(":")

    done = asyncio.Event()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(copy(reader, back), copy(there, writer))
        done.set()

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while octets := await source.read(65536):
            sink.write(octets)
        sink.close()
        await sink.wait_closed()

    async with await asyncio.start_server(pass_on, "127.0.0.1", 0) as server:
        target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with usher.Client(target, retries=0) as client:
            assert (await client.issue_token("alice")).token
        await done.wait()


async def test_no_error_shows_a_token_or_claim() -> None:
    async with usher.Client("127.0.0.1:1", retries=0) as client:
        for scope in (client.with_token("secret-token"), client.as_user("secret-sub", {"n": "secret"})):
            with pytest.raises(usher.UsherError) as failed:
                await scope.query("SELECT 'secret'", "secret")
            assert "secret" not in repr(failed.value)


async def test_a_cancelled_call_is_a_cancelled_task(live_sidecar: Any) -> None:
    async with usher.Client(live_sidecar.grpc_address) as client:
        task = asyncio.ensure_future(client.as_user("alice").query("SELECT pg_sleep(5)"))
        asyncio.get_running_loop().call_later(0.2, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_rows_are_views_by_position_and_name(live_sidecar: Any) -> None:
    async with usher.Client(live_sidecar.grpc_address) as client:
        result = await client.as_user("a").query(
            "SELECT g AS n, g AS n, 'x' AS t FROM generate_series(1, 3) g"
        )
    assert [row.as_dict() for row in result] == [{"n": g, "t": "x"} for g in (1, 2, 3)]
    assert list(result[0].as_dict()) == ["n", "t"]
    assert list(result[-1]) == [3, 3, "x"] == result[2][:]
    assert [list(row) for row in result[1:]] == [[2, 2, "x"], [3, 3, "x"]]
    with pytest.raises(IndexError):
        result[3]
    with pytest.raises(KeyError):
        result[0]["missing"]


def test_the_example_answers_with_the_rows_of_the_user(live_sidecar: Any) -> None:
    command = [sys.executable, "example/app.py"]
    with example_app.running(command, FOLDER, live_sidecar.grpc_address) as address:
        example_app.check(address, live_sidecar.grpc_address)


def test_the_example_is_short() -> None:
    assert len((FOLDER / "example/app.py").read_text().splitlines()) < 60
