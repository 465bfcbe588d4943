"""The relay: who is at the other end of a Unix socket, and nobody past it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from sidecar.rpc.peer_relay import MAX_CONNECTIONS_EACH, PeerRelay
from sidecar.services.peers import PeerCredentials, peer_credentials
from tests.rpc.running import PATIENCE, until

ME = PeerCredentials(uid=os.geteuid(), gid=os.getegid())
MIB = 1024**2


class Relayed:
    """A gRPC server that says who calls, behind a relay."""

    def __init__(self, path: str, relay: PeerRelay) -> None:
        self.path = path
        self.relay = relay
        self.peers: list[str] = []
        self.seen: list[PeerCredentials | None] = []

    async def ask(self, address: str, data: bytes = b"", timeout: float = PATIENCE) -> bytes:
        """One call on a connection of its own."""
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            call: Any = channel.unary_unary("/x.X/Echo")
            return bytes(await call(data, timeout=timeout))

    async def _echo(self, data: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        self.peers.append(context.peer())
        self.seen.append(self.relay.credentials(context.peer()))
        return data

    def server(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=(("grpc.max_receive_message_length", -1),))
        handler = grpc.unary_unary_rpc_method_handler(self._echo)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("x.X", {"Echo": handler}),))
        return server


@contextlib.asynccontextmanager
async def relayed(path: str, mode: int = 0o600) -> AsyncIterator[Relayed]:
    relay = PeerRelay(path, mode)
    there = Relayed(path, relay)
    relay.prepare()
    server = there.server()
    server.add_insecure_port(relay.inner_address)
    await server.start()
    try:
        await relay.start()
        yield there
    finally:
        relay.stop_accepting()
        await server.stop(0)
        await relay.close()


async def test_a_caller_is_known_by_user_and_group(tmp_path: Path) -> None:
    async with relayed(f"{tmp_path}/a.sock") as there:
        assert await there.ask(f"unix:{there.path}", b"hello") == b"hello"
        assert there.seen == [ME]


async def test_a_burst_of_connections_turns_nobody_away(tmp_path: Path) -> None:
    """They wait in the queue of the kernel, while this process has no time for them."""
    async with relayed(f"{tmp_path}/a.sock") as there, contextlib.AsyncExitStack() as stack:
        for _ in range(min(500, socket.SOMAXCONN - 1)):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.setblocking(False)
            connection.connect(there.path)  # BlockingIOError: the queue is full


async def test_another_users_process_is_known_as_such() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    program = (
        "import os, socket, sys; os.setgroups([]); os.setgid(4243); os.setuid(4242); "
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); sys.stdin.read()"
    )
    # Every folder down to it must be open to the other user; pytest's are not.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chmod(folder, 0o711)
        async with relayed(f"{folder}/a.sock", 0o666) as there:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, there.path, stdin=subprocess.PIPE
            )
            try:
                await until(lambda: there.relay._peers)
                assert list(there.relay._peers.values()) == [PeerCredentials(uid=4242, gid=4243)]
            finally:
                assert process.stdin is not None
                process.stdin.close()
                assert await process.wait() == 0
            await until(lambda: not there.relay._peers)


async def test_each_connection_has_a_name_that_never_comes_again(tmp_path: Path) -> None:
    async with relayed(f"{tmp_path}/a.sock") as there:
        for _ in range(3):
            await there.ask(f"unix:{there.path}")
            await until(lambda: not there.relay._peers)
        assert len(set(there.peers)) == 3
        for peer in there.peers:
            assert there.relay.credentials(peer) is None


@pytest.mark.parametrize("folder", ["plain", "with space", "q?a#b", "sn\N{SNOWMAN}w"])
async def test_names_are_found_in_whatever_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / folder)
    for path in ("a.sock", f"../{folder}/b.sock", f"{tmp_path}/{folder}/c.sock"):
        async with relayed(path) as there:
            # A client of another kind: gRPC's own would need the address escaped.
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            assert await asyncio.wait_for(reader.read(9), PATIENCE)
            (name,) = there.relay._peers
            assert there.relay.credentials(f"unix:{name}") == ME
            writer.close()
            await writer.wait_closed()


async def test_past_the_relay_nobody_is_known(tmp_path: Path) -> None:
    async with relayed(f"{tmp_path}/a.sock") as there:
        await there.ask(there.relay.inner_address)
        assert there.seen == [None]
    for peer in ("", "unix:", "ipv4:127.0.0.1:1", "unix:/elsewhere/1", f"unix:{tmp_path}/a.sock~/1"):
        assert there.relay.credentials(peer) is None


async def test_the_folder_is_private_and_the_socket_as_open_as_asked(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        for mode in (0o600, 0o660, 0o666):
            async with relayed(f"{tmp_path}/a.sock", mode) as there:
                await there.ask(f"unix:{there.path}")
                assert stat.S_IMODE(os.stat(there.path).st_mode) == mode
                assert stat.S_IMODE(os.stat(f"{there.path}~").st_mode) == 0o700
                assert os.listdir(f"{there.path}~") == ["grpc"]
            assert os.umask(0) == 0
            assert os.listdir(tmp_path) == []
    finally:
        os.umask(mask)


async def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    path = f"{tmp_path}/a.sock"
    os.mkdir(f"{path}~", 0o700)
    for left in (path, f"{path}~/grpc", f"{path}~/7"):
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(left)
    async with relayed(path) as there:
        assert await there.ask(f"unix:{path}", b"x") == b"x"
        assert there.seen == [ME]


@pytest.mark.parametrize("kind", ["open", "link", "file", "other user's"])
def test_a_folder_that_is_not_private_is_not_used(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "a.sock~"
    if kind == "open":
        folder.mkdir()
        folder.chmod(0o750)
    elif kind == "link":
        (tmp_path / "private").mkdir(0o700)
        folder.symlink_to(tmp_path / "private")
    elif kind == "file":
        folder.write_text("precious")
    else:
        if os.geteuid() != 0:
            pytest.skip("only root can make another user's folder")
        folder.mkdir(0o700)
        os.chown(folder, 4242, 4242)
    with pytest.raises(OSError, match="no private folder"):
        PeerRelay(f"{tmp_path}/a.sock").prepare()
    assert kind != "file" or folder.read_text() == "precious"


@pytest.mark.parametrize("size", [0, 1, 70_000, 20 * MIB])
async def test_bytes_go_through_unchanged(tmp_path: Path, size: int) -> None:
    data = os.urandom(min(size, 65_536)) * (size // 65_536 + 1)
    async with relayed(f"{tmp_path}/a.sock") as there:
        assert await there.ask(f"unix:{there.path}", data[:size]) == data[:size]


async def test_a_slow_reader_is_waited_for(tmp_path: Path) -> None:
    """What is not read piles up at the sender, and not in this process."""
    path = f"{tmp_path}/a.sock"
    relay = PeerRelay(path)
    relay.prepare()
    got: list[asyncio.StreamWriter] = []

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]

    inner = await asyncio.start_unix_server(accepted, relay.inner_address.removeprefix("unix:"))
    await relay.start()
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        client.connect(path)
        await until(lambda: got)
        sent = 0
        for _ in range(2000):
            with contextlib.suppress(BlockingIOError):
                sent += client.send(b"x" * 65_536)
            await asyncio.sleep(0)
        assert sent < 4 * MIB
    got[0].transport.abort()
    inner.close()
    await relay.close()


async def test_one_user_cannot_keep_the_others_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.rpc.peer_relay.MAX_CONNECTIONS_EACH", 3)
    assert MAX_CONNECTIONS_EACH > 3
    async with relayed(f"{tmp_path}/a.sock") as there:
        open_ones = [await asyncio.open_unix_connection(there.path) for _ in range(3)]
        await until(lambda: len(there.relay._peers) == 3)
        reader, writer = await asyncio.open_unix_connection(there.path)
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.close()
        for _, one in open_ones:
            one.close()
        await until(lambda: not there.relay._peers)
        assert await there.ask(f"unix:{there.path}", b"again") == b"again"


async def test_without_grpc_a_connection_is_closed(tmp_path: Path) -> None:
    relay = PeerRelay(f"{tmp_path}/a.sock")
    relay.prepare()
    await relay.start()
    reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/a.sock")
    assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
    writer.close()
    await until(lambda: not relay._open)
    assert relay._peers == {}
    await relay.close()


async def test_a_close_waits_for_nobody_for_long(tmp_path: Path) -> None:
    async with relayed(f"{tmp_path}/a.sock") as there:
        reader, writer = await asyncio.open_unix_connection(there.path)
        await until(lambda: there.relay._peers)
    assert await asyncio.wait_for(reader.read(), PATIENCE) is not None
    assert there.relay._peers == {}
    assert there.relay._open == set()
    writer.close()


async def test_a_socket_without_a_peer() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert peer_credentials(one) == ME
    with socket.socket(socket.AF_UNIX) as lonely, pytest.raises(OSError, match="no peer"):
        peer_credentials(lonely)
