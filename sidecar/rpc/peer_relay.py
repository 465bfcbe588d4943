"""A Unix socket whose connections are known by user and group before gRPC sees them.

gRPC does not tell who is at the other end of a Unix socket. So this process accepts the connections itself,
asks the kernel, and passes the bytes on to gRPC, which listens on a second socket in a private folder. Each
connection to it is bound to a name of its own there, and gRPC shows that name as the peer of its calls
(docs/adr/0008-callers.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import stat
import struct
from collections import Counter
from typing import Final, cast
from urllib.parse import unquote

from sidecar.services.peers import PeerCredentials, credentials_behind

UNIX: Final = "unix:"
"""What the address of a Unix socket starts with; a relative path is fine."""
LONGEST_PATH: Final = 88
"""Bytes of the socket's path: names in the private folder are longer, and macOS takes 103."""
MAX_CONNECTIONS_EACH: Final = 256
"""Of one user at a time, so that none keeps the others out."""
_LAST_BYTES_SECONDS: Final = 0.5
_ACCEPTED_AT_ONCE: Final = 128
"""Connections, before the event loop has other work done."""


class PeerRelay:
    """The socket at `path`, with these permissions, and the private folder beside it."""

    def __init__(self, path: str, mode: int = 0o600) -> None:
        self._path = path
        self._mode = mode
        self._folder = f"{path}~"
        self._numbers = itertools.count(1)
        self._peers: dict[str, PeerCredentials] = {}
        self._count: Counter[int] = Counter()
        self._open: set[_Outer] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def inner_address(self) -> str:
        """Where gRPC listens."""
        return f"{UNIX}{self._folder}/grpc"

    def credentials(self, peer: str) -> PeerCredentials | None:
        """Who is behind a connection to gRPC; `peer` as gRPC shows it. None for one that is not ours."""
        if not peer.startswith(UNIX):
            return None
        name = peer.removeprefix(UNIX)
        found = self._peers.get(name)
        # gRPC escapes what has no place in a URI.
        return self._peers.get(unquote(name)) if found is None and "%" in name else found

    def prepare(self) -> None:
        """Makes the private folder, or empties the one that a killed process left. Raises OSError."""
        try:
            os.mkdir(self._folder, 0o700)
        except FileExistsError:
            found = os.lstat(self._folder)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                raise OSError(f"{self._folder} is no private folder of this user") from None
            for name in os.listdir(self._folder):
                os.unlink(f"{self._folder}/{name}")

    async def start(self) -> None:
        """Listens; gRPC must do so already. Raises OSError."""
        listening = socket.socket(socket.AF_UNIX)
        try:
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISSOCK(os.lstat(self._path).st_mode):
                    os.unlink(self._path)
            mask = os.umask(0o777 & ~self._mode)
            try:
                listening.bind(self._path)
            finally:
                os.umask(mask)
            listening.setblocking(False)
            loop = asyncio.get_running_loop()
            self._server = await loop.create_unix_server(
                lambda: _Outer(self), sock=listening, backlog=_ACCEPTED_AT_ONCE
            )
            # A full queue turns everybody away: it must outlast a burst of whoever connects and leaves.
            listening.listen(socket.SOMAXCONN)
        except BaseException:
            listening.close()
            raise

    def stop_accepting(self) -> None:
        """Listens no more; the connections that are there go on."""
        if self._server is not None:
            self._server.close()
            self._server = None
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    async def close(self) -> None:
        """Closes every connection, after the bytes that are on their way, and removes the folder."""
        self.stop_accepting()
        for task in self._connecting:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_BYTES_SECONDS):
                await asyncio.gather(*(outer.gone.wait() for outer in self._open))
        for outer in list(self._open):
            outer.abort()
        with contextlib.suppress(OSError):
            for name in os.listdir(self._folder):
                os.unlink(f"{self._folder}/{name}")
            os.rmdir(self._folder)

    def admit(self, outer: _Outer, credentials: PeerCredentials) -> bool:
        """Takes a new connection, or says that its user has enough of them."""
        if self._count[credentials.uid] >= MAX_CONNECTIONS_EACH:
            return False
        self._count[credentials.uid] += 1
        self._open.add(outer)
        task = asyncio.get_running_loop().create_task(self._connect(outer, credentials))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return True

    def forget(self, outer: _Outer, credentials: PeerCredentials, name: str) -> None:
        """A connection is gone at both ends. Its name is never given again."""
        self._open.discard(outer)
        self._peers.pop(name, None)
        self._count[credentials.uid] -= 1
        if not self._count[credentials.uid]:
            del self._count[credentials.uid]

    async def _connect(self, outer: _Outer, credentials: PeerCredentials) -> None:
        """Makes the connection to gRPC. Its name is known before gRPC can see it."""
        name = f"{self._folder}/{next(self._numbers):x}"
        inner = _Inner(outer)
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.setblocking(False)
            connection.bind(name)
            self._peers[name] = credentials
            try:
                connection.connect(f"{self._folder}/grpc")
            finally:
                os.unlink(name)  # the name outlives the file
            await asyncio.get_running_loop().create_unix_connection(lambda: inner, sock=connection)
            outer.join(inner, name)
        except BaseException as error:
            inner.abort()
            connection.close()
            outer.fail(name)
            if not isinstance(error, OSError):  # which says that gRPC is gone, or does not keep up
                raise


class _Side(asyncio.Protocol):
    """One end of a relayed connection: what it receives is for the other, at the other's pace.

    The end of one direction ends both: HTTP/2 has no use for half a connection.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None
        self.early = b""
        """What came before both ends were there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's has the methods, not the class
        # Until both ends are there.
        self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        if self.other is None and self.transport is not None:
            # uvloop reads once it has called connection_made, paused or not.
            self.early += data
            self.transport.pause_reading()
        elif self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()  # after what is still to be written
        self.lost()

    def lost(self) -> None:
        """This end is gone."""


class _Outer(_Side):
    """The end towards the caller."""

    def __init__(self, relay: PeerRelay) -> None:
        super().__init__()
        self.gone = asyncio.Event()
        self._relay = relay
        self._credentials: PeerCredentials | None = None
        self._name = ""
        self._pending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        try:
            credentials = credentials_behind(transport)
        except (OSError, struct.error):
            self.transport.abort()
            return
        self._credentials = credentials
        self._pending = self._relay.admit(self, credentials)
        if not self._pending:
            self._credentials = None
            self.transport.abort()

    def join(self, inner: _Inner, name: str) -> None:
        """The connection to gRPC is there."""
        self._name, self._pending, self.other = name, False, inner
        if self.transport is None:  # the caller left meanwhile
            inner.abort()
        elif inner.transport is None:
            self.transport.close()
        else:
            inner.transport.write(self.early)
            self.early = b""
            self.transport.resume_reading()
            inner.transport.resume_reading()
        self.lost()

    def fail(self, name: str) -> None:
        """The connection to gRPC could not be made."""
        self._name, self._pending = name, False
        self.abort()
        self.lost()

    def abort(self) -> None:
        """Drops both ends."""
        for side in (self, self.other):
            if side is not None and side.transport is not None:
                side.transport.abort()

    def lost(self) -> None:
        both = self.transport is None and (self.other is None or self.other.transport is None)
        if both and not self._pending and self._credentials is not None:
            self._relay.forget(self, self._credentials, self._name)
            self._credentials = None
            self.gone.set()


class _Inner(_Side):
    """The end towards gRPC."""

    def __init__(self, outer: _Outer) -> None:
        super().__init__()
        self.other = outer

    def abort(self) -> None:
        """Drops this end."""
        if self.transport is not None:
            self.transport.abort()

    def lost(self) -> None:
        if isinstance(self.other, _Outer):
            self.other.lost()
