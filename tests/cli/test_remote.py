"""Talking to a sidecar: addresses, scopes, claims, and what is said when nobody answers."""

from __future__ import annotations

import argparse
import socket
from pathlib import Path

import pytest
import usher as usher_client

from sidecar.cli.remote import add_address, add_scope, check_scope, claims_of, describe, seconds
from sidecar.core.errors import Reason, SettingsError, UsherError
from tests.cli.conftest import Sidecar, Usher


def chosen_address(setting: str, *arguments: str) -> str:
    parser = argparse.ArgumentParser()
    add_address(parser, setting)
    return str(parser.parse_args(arguments).address)


def chosen_scope(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    add_scope(parser)
    check_scope(parser.parse_args(arguments))


def test_the_address_is_the_settings_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_address("grpc_address") == "127.0.0.1:50051"
    monkeypatch.setenv("USHER_GRPC_ADDRESS", "127.0.0.1:7")
    assert chosen_address("grpc_address") == "127.0.0.1:7"
    monkeypatch.setenv("USHER_ADDRESS", "127.0.0.1:8")  # what all clients read
    assert chosen_address("grpc_address") == "127.0.0.1:8"
    assert chosen_address("grpc_address", "--address", "unix:/x") == "unix:/x"


def test_the_admin_address_is_where_usher_dev_puts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_address("grpc_admin_address") == "unix:.usher/admin.sock"
    monkeypatch.setenv("USHER_DEV_DATA_DIR", "data")
    assert chosen_address("grpc_admin_address") == "unix:data/admin.sock"
    monkeypatch.setenv("USHER_GRPC_ADMIN_ADDRESS", "unix:/run/usher.sock")
    assert chosen_address("grpc_admin_address") == "unix:/run/usher.sock"


def test_claims_are_text_or_json() -> None:
    texts = [
        "tenant_id=acme",
        "eq=a=b",
        "empty=",
        "level:=7",
        'permissions:=["read"]',
        "none:=null",
        "n:=0.5",
    ]
    assert claims_of(texts) == {
        "tenant_id": "acme",
        "eq": "a=b",
        "empty": "",
        "level": 7,
        "permissions": ["read"],
        "none": None,
        "n": 0.5,
    }


@pytest.mark.parametrize(
    "text", ["hunter2", "=hunter2", ":=1", "pin:=hunter2", "pin:={", "pin:=" + "[" * 100_000]
)
def test_claims_that_are_not_name_and_value(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^--claim") as caught:
        claims_of([text])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id:=9007199254740993", Reason.CLAIM_NOT_EXACT),
        ("id:=1" + "0" * 400, Reason.CLAIM_NOT_EXACT),
        ("id:=NaN", Reason.CLAIM_NOT_EXACT),
        ("exp:=1", Reason.CLAIM_RESERVED),
        ("a:=" + "[" * 50 + "]" * 50, Reason.CLAIMS_TOO_DEEP),
    ],
)
def test_claims_that_no_token_can_hold(text: str, reason: Reason) -> None:
    """Seen here: on the way into a message a large number would be rounded, and pass for another."""
    with pytest.raises(UsherError) as caught:
        claims_of([text])
    assert caught.value.reason is reason


def test_a_scope_is_a_subject_or_a_token() -> None:
    chosen_scope("--sub", "alice", "--claim", "tenant_id=acme")
    chosen_scope("--token", "x.y.z")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--sub", ""),
        ("--claim", "a=b"),
        ("--sub", "alice", "--token", "x"),
        ("--token", "x", "--claim", "a=b"),
    ],
)
def test_a_scope_that_is_nobody_or_two(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match="--sub"):
        chosen_scope(*arguments)


@pytest.mark.parametrize(
    "command",
    [
        ("token", "issue", "--sub", "alice"),
        ("token", "verify", "x"),
        ("query", "--sub", "alice", "select 1"),
        ("whoami", "--sub", "alice"),
        ("keys", "list"),
        ("health",),
        ("status",),
    ],
)
def test_when_nobody_answers_it_says_what_to_do(
    usher: Usher, command: tuple[str, ...], tmp_path: Path
) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # it does not listen
        for address in (f"127.0.0.1:{reserved.getsockname()[1]}", f"unix:{tmp_path}/none.sock"):
            done = usher(*command, "--address", address)
            assert (done.code, done.out) == (1, "")
            expected = f"nothing answers at {address}; is usher running there? Choose another with --address"
            assert done.err == f"usher: {expected}\n"


def test_when_nobody_answers_at_several_addresses_it_says_so_too(usher: Usher) -> None:
    with socket.socket() as one, socket.socket() as other:
        for reserved in (one, other):
            reserved.bind(("127.0.0.1", 0))  # it does not listen
        addresses = ",".join(f"127.0.0.1:{reserved.getsockname()[1]}" for reserved in (one, other))
        done = usher("query", "--sub", "alice", "select 1", "--address", addresses)
    assert done.code == 1
    assert done.err.startswith(f"usher: nothing answers at {addresses}; ")


def test_a_refusal_is_one_line_with_its_reason(usher: Usher, sidecar: Sidecar) -> None:
    done = usher("token", "issue", "--address", sidecar.address, "--sub", " ")
    assert (done.code, done.out) == (1, "")
    assert (
        done.err == "usher: INVALID_ARGUMENT INVALID_FIELD: subject: must not be empty; name the end user\n"
    )


def test_the_wrong_address_is_told_from_a_missing_server(usher: Usher, sidecar: Sidecar) -> None:
    done = usher("keys", "list", "--address", sidecar.address)
    assert done.code == 1
    assert f"{sidecar.address} does not serve this" in done.err
    assert "admin address" in done.err


def test_unavailable_with_a_reason_is_the_servers_own_word(usher: Usher, sidecar: Sidecar) -> None:
    sidecar.parts.backend.failure = UsherError(Reason.DATABASE_UNAVAILABLE, "the database is away; retry")
    done = usher("whoami", "--address", sidecar.address, "--sub", "alice")
    assert done.err == "usher: UNAVAILABLE DATABASE_UNAVAILABLE: the database is away; retry\n"


def test_a_proxy_of_the_environment_is_not_used(
    usher: Usher, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert usher("health", "--address", sidecar.address).code == 0


def test_a_call_that_was_cut_is_told_from_a_missing_server() -> None:
    """The words are gRPC's, as a sidecar that is killed and one whose grace has ended leave them."""
    chosen = argparse.Namespace(address="db-1:1", timeout=2.0)
    for said in ("Stream removed (Socket closed)", "Cancelling all calls"):
        told = describe(usher_client.UsherError("UNAVAILABLE", "CLIENT_UNREACHABLE", said), chosen)
        assert told.startswith("the connection to db-1:1 ended before the answer came")
        assert "look before you repeat a write" in told


def test_of_a_stream_that_was_cut_it_says_that_rows_are_missing() -> None:
    chosen = argparse.Namespace(address="db-1:1", timeout=2.0, stream=True)
    cut = describe(usher_client.UsherError("UNAVAILABLE", "CLIENT_UNREACHABLE", "Socket closed"), chosen)
    late = describe(usher_client.UsherError("DEADLINE_EXCEEDED", "CLIENT_DEADLINE", "late"), chosen)
    assert cut.endswith("not all rows came: run it again")
    assert late == "not all rows came from db-1:1 within 2 s; --timeout gives them longer"


def test_a_silent_server_is_waited_for_as_long_as_was_said(usher: Usher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        done = usher("token", "issue", "--sub", "a", "--address", address, "--timeout", "200ms")
    assert done.code == 1
    assert done.err.startswith(f"usher: no answer from {address} within 0.2 s; --timeout gives it longer")


def test_a_duration_is_seconds() -> None:
    assert [seconds(text) for text in ("500ms", "90", "90s", "2m")] == [0.5, 90.0, 90.0, 120.0]
