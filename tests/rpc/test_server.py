"""Listeners: addresses that can and cannot be had, health, reflection, and an orderly stop."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from usher.v1 import key_service_pb2, query_service_pb2, token_service_pb2

from sidecar.core.errors import SettingsError
from sidecar.core.events import RpcFinished
from sidecar.rpc.doors import Door
from sidecar.rpc.peer_relay import PeerRelay
from sidecar.rpc.server import RpcListener
from sidecar.services.access import Listener
from sidecar.services.rpcs import KEY_SERVICE, QUERY_SERVICE, REVOCATION_SERVICE, TOKEN_SERVICE
from tests.rpc.running import (
    ISSUE,
    LIST_KEYS,
    MIB,
    PATIENCE,
    RUN,
    Running,
    issue,
    new_handlers,
    new_parts,
    run,
    running,
    until,
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def listener(address: str, served: Listener = Listener.DATA, *, reflection: bool = True) -> RpcListener:
    _, every = new_handlers(new_parts())
    return RpcListener(served, address, every, max_message_bytes=MIB, reflection=reflection)


async def refusal_to_start(address: str, served: Listener = Listener.DATA) -> str:
    refused = listener(address, served)
    with pytest.raises(SettingsError) as caught:
        await refused.start()
    await refused.stop(0)
    assert str(caught.value).startswith(f"{served.value}: ")
    assert f"--{served.value.replace('_', '-')}" in str(caught.value)
    return str(caught.value)


async def issued(address: str) -> bool:
    """Whether tokens are issued there."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(f"/{ISSUE}")
        return bool(await call(issue().SerializeToString(), timeout=PATIENCE))  # type: ignore[misc]


async def health(there: Running, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(there.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE)).status


# --- addresses ---


async def test_port_0_becomes_a_port() -> None:
    async with running() as there:
        host, _, port = there.listener.address.rpartition(":")
        assert host == "127.0.0.1"
        assert 0 < int(port) < 65_536


@pytest.mark.parametrize("address", ["localhost:0", "[::1]:0"])
async def test_other_forms_of_loopback(address: str) -> None:
    if address.startswith("[") and not _has_ipv6():
        pytest.skip("no IPv6 here")
    async with running(address=address) as there:
        assert await issued(there.listener.address)


async def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert address in await refusal_to_start(address)
        # Half of localhost is not enough: callers would reach the other process.
        assert "taken by another process" in await refusal_to_start(f"localhost:{address.partition(':')[2]}")


async def test_two_sidecars_do_not_share_a_port() -> None:
    async with running() as there:
        assert "taken" in await refusal_to_start(there.listener.address)
        assert await issued(there.listener.address)


async def test_an_address_of_another_machine() -> None:
    assert "an address of this machine" in await refusal_to_start("192.0.2.1:0")


async def test_a_unix_socket_is_for_this_user_alone(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        async with running(Listener.ADMIN, f"unix:{tmp_path}/admin.sock") as there:
            mode = (tmp_path / "admin.sock").stat().st_mode
            assert stat.S_ISSOCK(mode)
            assert stat.S_IMODE(mode) == 0o600
            assert there.listener.address == f"unix:{tmp_path}/admin.sock"
            assert os.umask(0) == 0, "the mask of the process is as before"
    finally:
        os.umask(mask)
    assert not (tmp_path / "admin.sock").exists()


async def test_a_relative_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.sock", "folder/a.sock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        async with running(address=f"unix:{name}") as there:
            assert (tmp_path / name).is_socket()
            assert await issued(there.listener.address)


async def test_a_socket_on_which_another_process_listens_is_left_alone(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/a.sock"
    async with running(address=address):
        before = (tmp_path / "a.sock").stat().st_ino
        assert "another process listens there" in await refusal_to_start(address)
        assert (tmp_path / "a.sock").stat().st_ino == before
        assert await issued(address)


async def test_a_socket_of_a_busy_process_is_left_alone(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(tmp_path / "a.sock"))
        busy.listen(0)
        waiting.connect(str(tmp_path / "a.sock"))  # its queue is full now
        assert "another process" in await refusal_to_start(f"unix:{tmp_path}/a.sock")


async def test_a_socket_that_a_killed_process_left_is_taken_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(tmp_path / "a.sock"))
    assert (tmp_path / "a.sock").is_socket()
    async with running(address=f"unix:{tmp_path}/a.sock") as there:
        assert await issued(there.listener.address)


async def test_a_file_that_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("precious")
    await refusal_to_start(f"unix:{tmp_path}/notes")
    assert (tmp_path / "notes").read_text() == "precious"


async def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    message = await refusal_to_start(f"unix:{tmp_path}/none/a.sock", Listener.ADMIN)
    assert "folder does not exist; create it" in message


async def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    assert "at most 100 bytes" in await refusal_to_start(f"unix:{tmp_path}/{'x' * 120}")


# --- what is served ---


async def test_keys_are_out_of_reach_on_the_data_address(tmp_path: Path) -> None:
    async with running() as data, running(Listener.ADMIN, f"unix:{tmp_path}/a.sock") as admin:
        refused = await data.refusal(LIST_KEYS, key_service_pb2.ListKeysRequest())
        assert refused.code == "UNIMPLEMENTED"
        assert (await admin.refusal(ISSUE, issue())).code == "UNIMPLEMENTED"
        assert (await admin.refusal(RUN, run())).code == "UNIMPLEMENTED"
        await admin.answer(LIST_KEYS, key_service_pb2.ListKeysRequest(), key_service_pb2.ListKeysResponse)


async def test_health_begins_as_not_serving() -> None:
    async with running() as there:
        assert [await health(there, name) for name in ("", TOKEN_SERVICE, QUERY_SERVICE)] == [NOT_SERVING] * 3


async def test_health_is_told_by_service() -> None:
    async with running() as there:
        states = {"": False, TOKEN_SERVICE: True, QUERY_SERVICE: False, KEY_SERVICE: True}
        await there.listener.set_serving(states)
        assert await health(there, TOKEN_SERVICE) == SERVING
        assert await health(there, QUERY_SERVICE) == NOT_SERVING
        assert await health(there) == NOT_SERVING
        for unknown in (KEY_SERVICE, "nothing"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await health(there, unknown)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_health_can_be_watched() -> None:
    async with running() as there:
        stub = health_pb2_grpc.HealthStub(there.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=""), timeout=PATIENCE)
        seen: AsyncIterator[health_pb2.HealthCheckResponse] = watch.__aiter__()
        assert (await anext(seen)).status == NOT_SERVING
        for serving in (True, False, True):
            await there.listener.set_serving({"": serving})
            assert (await anext(seen)).status == (SERVING if serving else NOT_SERVING)
        stopping = asyncio.ensure_future(there.listener.stop(0.2))
        assert (await anext(seen)).status == NOT_SERVING
        await stopping


async def test_health_calls_are_not_counted_as_calls_of_the_contract() -> None:
    async with running() as there:
        await health(there)
        assert there.seen.of(RpcFinished) == []


async def reflected(there: Running, **asked: str) -> reflection_pb2.ServerReflectionResponse:
    stub = reflection_pb2_grpc.ServerReflectionStub(there.channel)
    requests = iter([reflection_pb2.ServerReflectionRequest(**asked)])  # type: ignore[arg-type]
    answers = [answer async for answer in stub.ServerReflectionInfo(requests, timeout=PATIENCE)]
    return answers[0]


async def test_reflection_lists_what_is_served_here(tmp_path: Path) -> None:
    standard = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    async with running() as data, running(Listener.ADMIN, f"unix:{tmp_path}/a.sock") as admin:
        for there, services in (
            (data, {TOKEN_SERVICE, QUERY_SERVICE}),
            (admin, {KEY_SERVICE, REVOCATION_SERVICE}),
        ):
            answer = await reflected(there, list_services="")
            assert {service.name for service in answer.list_services_response.service} == (
                services | standard
            )


async def test_reflection_describes_the_contract() -> None:
    async with running() as there:
        answer = await reflected(there, file_containing_symbol=TOKEN_SERVICE)
        files = answer.file_descriptor_response.file_descriptor_proto
        assert token_service_pb2.DESCRIPTOR.serialized_pb in files


async def test_reflection_can_be_switched_off() -> None:
    quiet = listener("127.0.0.1:0", reflection=False)
    await quiet.start()
    try:
        async with grpc.aio.insecure_channel(quiet.address) as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                [answer async for answer in stub.ServerReflectionInfo(requests, timeout=PATIENCE)]
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    finally:
        await quiet.stop(0)


# --- stopping ---


async def test_a_call_in_flight_ends_within_the_grace() -> None:
    async with running() as there:
        there.backend.released.clear()
        call = there.start(RUN, run())
        await there.backend.started.wait()
        stopping = asyncio.ensure_future(there.listener.stop(PATIENCE))
        await refused_connection(there.listener.address)
        assert not stopping.done()
        there.backend.released.set()
        assert query_service_pb2.RunScopedQueryResponse.FromString(await call).row_count == 3
        await asyncio.wait_for(stopping, PATIENCE)


async def test_after_the_grace_a_call_is_cancelled() -> None:
    async with running() as there:
        there.backend.released.clear()
        call = there.start(RUN, run())
        await there.backend.started.wait()
        await there.listener.stop(0.05)
        await asyncio.wait_for(there.backend.cancelled.wait(), PATIENCE)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        await until(lambda: there.seen.of(RpcFinished))
        assert [event.code for event in there.seen.of(RpcFinished)] == ["CANCELLED"]


async def test_a_new_call_finds_nobody_while_others_end() -> None:
    async with running() as there:
        there.backend.released.clear()
        call = there.start(RUN, run())
        await there.backend.started.wait()
        stopping = asyncio.ensure_future(there.listener.stop(PATIENCE))
        await refused_connection(there.listener.address)
        refused = await there.refusal(ISSUE, issue())
        if refused.code == "CANCELLED":  # it crossed gRPC's goodbye on the wire
            refused = await there.refusal(ISSUE, issue())
        assert refused.code == "UNAVAILABLE"
        there.backend.released.set()
        await call
        await stopping


async def test_a_second_stop_may_be_quicker() -> None:
    async with running() as there:
        there.backend.released.clear()
        there.start(RUN, run())
        await there.backend.started.wait()
        patient = asyncio.ensure_future(there.listener.stop(3600))
        await refused_connection(there.listener.address)
        await there.listener.stop(0)
        await asyncio.wait_for(patient, PATIENCE)
        assert there.backend.cancelled.is_set()


async def test_a_stop_never_raises(tmp_path: Path) -> None:
    never = listener("127.0.0.1:0")
    await never.stop(0)
    once = listener(f"unix:{tmp_path}/a.sock")
    await once.start()
    (tmp_path / "a.sock").unlink()
    for _ in range(3):
        await once.stop(0)


async def test_nothing_is_left_of_a_socket(tmp_path: Path) -> None:
    for _ in range(3):
        once = listener(f"unix:{tmp_path}/a.sock")
        await once.start()
        await once.stop(0)
        assert os.listdir(tmp_path) == []


async def refused_connection(address: str) -> None:
    """Waits until nobody listens any more."""
    host, _, port = address.rpartition(":")

    def closed() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) != 0

    await until(closed)


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


# --- behind a relay ---


async def test_a_socket_with_a_relay(tmp_path: Path) -> None:
    path = f"{tmp_path}/a.sock"
    async with running(address=f"unix:{path}", door=Door(relay=PeerRelay(path, 0o660))) as there:
        assert there.listener.address == f"unix:{path}"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
        assert await issued(there.listener.address)
        assert "another process listens there" in await refusal_to_start(f"unix:{path}")
    assert os.listdir(tmp_path) == []


async def test_a_call_in_flight_ends_behind_a_relay_too(tmp_path: Path) -> None:
    path = f"{tmp_path}/a.sock"
    async with running(address=f"unix:{path}", door=Door(relay=PeerRelay(path))) as there:
        there.backend.released.clear()
        call = there.start(RUN, run())
        await there.backend.started.wait()
        stopping = asyncio.ensure_future(there.listener.stop(PATIENCE))
        await until(lambda: not os.path.exists(path))
        assert not stopping.done()
        there.backend.released.set()
        assert query_service_pb2.RunScopedQueryResponse.FromString(await call).row_count == 3
        await asyncio.wait_for(stopping, PATIENCE)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("trouble", ["long", "folder", "file"])
async def test_a_relay_that_cannot_be_had(tmp_path: Path, trouble: str) -> None:
    path = f"{tmp_path}/" + ("x" * (95 - len(str(tmp_path))) if trouble == "long" else "a.sock")
    if trouble == "folder":
        os.mkdir(f"{path}~", 0o755)
    elif trouble == "file":
        (tmp_path / "a.sock").mkdir()
    _, every = new_handlers(new_parts())
    refused = RpcListener(
        Listener.DATA,
        f"unix:{path}",
        every,
        max_message_bytes=MIB,
        reflection=False,
        door=Door(relay=PeerRelay(path)),
    )
    with pytest.raises(SettingsError, match=r"^grpc_address: cannot listen on"):
        await refused.start()
    await refused.stop(0)
