"""The listener of the Connect protocol: an address, its connections, and how both end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import struct
from collections import Counter
from typing import Final

from sidecar.connect.http import Connection, peer_certificate
from sidecar.connect.messages import Application, Peer
from sidecar.connect.tls import TlsPaths
from sidecar.core.errors import SettingsError
from sidecar.core.events import Observer, RpcFault
from sidecar.services.peers import PeerCredentials, credentials_behind

UNIX: Final = "unix:"
SETTING: Final = "connect_address"
MAX_CONNECTIONS: Final = 1024
"""Past it the one that has been idle longest is closed; while none is, new ones are."""
MAX_CONNECTIONS_EACH: Final = 256
"""Of one user of a Unix socket at a time, so that none keeps the others out."""
_LONGEST_SOCKET_PATH: Final = 100
_BACKLOG: Final = 128


class ConnectListener:
    """The address `connect_address`. `mode` is for a Unix socket's file."""

    def __init__(
        self,
        address: str,
        application: Application,
        observer: Observer,
        *,
        tls: TlsPaths | None = None,
        mode: int = 0o600,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._application = application
        self._observer = observer
        self._on_socket = address.startswith(UNIX)
        self._tls = None if self._on_socket else tls
        self._mode = mode
        self._max_connections = max_connections
        self._bound: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._idle: dict[Connection, None] = {}
        self._all: dict[Connection, Peer] = {}
        self._users: Counter[PeerCredentials | None] = Counter()
        self.draining = False
        """Whether each connection ends after its response."""
        self.address = address
        """Where it listens, with the port that port 0 became."""

    async def start(self) -> str:
        """Listens, and returns the address. Raises SettingsError when it cannot be had."""
        try:
            if self._on_socket:
                self._bound = [self._bind_file(self.address.removeprefix(UNIX))]
            else:
                self._bound = await self._bind_port()
                port = self._bound[0].getsockname()[1]
                self.address = f"{self.address.rpartition(':')[0]}:{port}"
            await self.renew()
        except (OSError, UnicodeError) as error:
            cause = getattr(error, "strerror", None) or type(error).__name__
            raise SettingsError(
                f"{SETTING}: cannot listen on {self.address}; {cause}. Choose another with --connect-address"
            ) from None
        return self.address

    async def renew(self) -> None:
        """Listens with the TLS files as they are now; connections that are there go on. Raises OSError."""
        context = await asyncio.to_thread(self._tls.context) if self._tls is not None else None
        loop = asyncio.get_running_loop()
        before, self._servers = self._servers, []
        for bound in self._bound:
            again = bound.dup()
            again.setblocking(False)
            create = loop.create_unix_server if self._on_socket else loop.create_server
            self._servers.append(await create(self._connection, sock=again, ssl=context, backlog=_BACKLOG))
        for server in before:
            server.close()

    async def stop(self, grace: float) -> None:
        """Takes no new connection, lets responses go out for `grace` seconds, then drops what is left."""
        self.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._all:  # noqa: ASYNC110 - each connection ends by itself
                    await asyncio.sleep(0.01)
        for connection in list(self._all):
            connection.abort()

    def drain(self) -> None:
        """Listens no more, and closes each connection as soon as it is idle."""
        self.draining = True
        for server in self._servers:
            server.close()
        if self._on_socket and self._bound:
            with contextlib.suppress(OSError):
                os.unlink(self.address.removeprefix(UNIX))
        for bound in self._bound:
            bound.close()
        self._servers, self._bound = [], []
        for connection in list(self._all):
            connection.close_when_idle()

    def admit(self, connection: Connection, transport: asyncio.Transport) -> Peer | None:
        """Takes a new connection and says who is there; None when it is not taken."""
        peer = Peer(certificate=peer_certificate(transport))
        if self._on_socket:
            try:
                peer = Peer(process=credentials_behind(transport))
            except (OSError, struct.error):
                return None
            if self._users[peer.process] >= MAX_CONNECTIONS_EACH:
                return None
        if len(self._all) >= self._max_connections:
            longest_idle = next(iter(self._idle), None)
            if longest_idle is None:
                return None
            self.forget(longest_idle)
            longest_idle.abort()
        if self.draining:
            return None
        self._all[connection] = peer
        self._idle[connection] = None
        self._users[peer.process] += 1
        return peer

    def busy(self, connection: Connection) -> None:
        """A request has come."""
        self._idle.pop(connection, None)

    def idle(self, connection: Connection) -> None:
        """Its response is sent."""
        if connection in self._all:
            self._idle[connection] = None

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        self._idle.pop(connection, None)
        peer = self._all.pop(connection, None)
        if peer is not None:
            self._users[peer.process] -= 1

    def fault(self, error: Exception) -> None:
        """A fault of ours."""
        self._observer(RpcFault(method="connect", request_id="", error=error))

    def _connection(self) -> Connection:
        return Connection(self._application, self)

    async def _bind_port(self) -> list[socket.socket]:
        host, _, port = self.address.rpartition(":")
        server = await asyncio.get_running_loop().create_server(
            asyncio.Protocol, host.strip("[]"), int(port), start_serving=False
        )
        bound = [socket.socket(fileno=os.dup(each.fileno())) for each in server.sockets]
        server.close()
        return bound

    def _bind_file(self, path: str) -> socket.socket:
        """The socket's file, with its permissions from the first moment."""
        if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
            raise OSError(0, f"a socket's path has at most {_LONGEST_SOCKET_PATH} bytes")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(path)
            except (FileNotFoundError, ConnectionRefusedError):
                pass  # nothing there, or what a process that is gone has left
            except OSError as error:
                raise OSError(0, error.strerror or "it cannot be reached") from None
            else:
                raise OSError(0, "another process listens there")
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                os.unlink(path)
        bound = socket.socket(socket.AF_UNIX)
        mask = os.umask(0o777 & ~self._mode)
        try:
            bound.bind(path)
        except BaseException:
            bound.close()
            raise
        finally:
            os.umask(mask)
        return bound
