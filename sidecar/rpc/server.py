"""The gRPC listeners: what is served where, and how they start, report health and stop."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterable, Mapping
from typing import Any, Final

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from sidecar.core.errors import SettingsError
from sidecar.rpc.calls import CallFactory
from sidecar.rpc.doors import OPEN_DOOR, Door
from sidecar.rpc.peer_relay import LONGEST_PATH, UNIX, PeerRelay
from sidecar.services.access import ACCESS, Listener
from sidecar.services.rpcs import StreamRpc, UnaryRpc

Handlers = Mapping[str, Mapping[str, "grpc.RpcMethodHandler[bytes, bytes]"]]
"""Method handlers by service and method name."""

LONGEST_SOCKET_PATH: Final = 100
"""Bytes: macOS takes 103, Linux 107."""


def handlers(calls: CallFactory, rpcs: Iterable[UnaryRpc | StreamRpc]) -> Handlers:
    """The handlers of RPCs."""
    found: dict[str, dict[str, grpc.RpcMethodHandler[bytes, bytes]]] = {}
    for rpc in rpcs:
        named = (rpc.service, rpc.method, rpc.request_class)
        if isinstance(rpc, StreamRpc):
            handler = calls.stream(*named, rpc.behaviour, rpc.max_request_bytes)
        else:
            handler = calls.unary(*named, rpc.behaviour, rpc.max_request_bytes)
        found.setdefault(rpc.service, {})[rpc.method] = handler
    return found


_OWN_LINE: Final = frozenset({"IssueToken", "VerifyToken", "Check"})
"""Methods whose calls do not wait behind those of others: tokens, and the health of the whole, are to be had
while queries flood."""


class _Lines:
    """A server of which only _OWN_LINE is registered; the other methods are found by name, and share a line.

    grpc.aio has a waiter for each registered method, and every call of any method goes through all of them:
    with a dozen that is a twentieth of a small call, or more.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """As grpc.aio.Server's, for those that have a line of their own."""
        own = {name: handler for name, handler in handlers.items() if name in _OWN_LINE}
        self._server.add_registered_method_handlers(service, own)


class RpcListener:
    """One gRPC address. `listener` chooses by the access table which RPCs it serves.

    At most `max_unread` calls wait in each line to be looked at.
    """

    def __init__(
        self,
        listener: Listener,
        address: str,
        every: Handlers,
        *,
        max_message_bytes: int,
        max_unread: int = 500,
        reflection: bool,
        door: Door = OPEN_DOOR,
    ) -> None:
        self._listener = listener
        self._address = address
        self._max_message_bytes = max_message_bytes
        self._max_unread = max_unread
        self._reflection = reflection
        self._tls = door.tls
        self._relay = door.relay
        self._handlers = {
            service: {name: handler for name, handler in methods.items() if _served(listener, service, name)}
            for service, methods in every.items()
        }
        self._health = HealthServicer()
        self._server: grpc.aio.Server | None = None
        self.address = address
        """Where it listens, with the port that port 0 became."""

    @property
    def services(self) -> list[str]:
        """The services of the contract that are served here."""
        return [service for service, methods in self._handlers.items() if methods]

    async def start(self) -> None:
        """Listens; not healthy until set_serving says so. Raises SettingsError when the address is taken."""
        server = grpc.aio.server(
            options=(
                # Two servers on one port would share its calls unseen.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", self._max_message_bytes),
                # The server refuses a large result itself, with a better error than the transport's.
                ("grpc.max_send_message_length", -1),
                # gRPC hands calls over one by one, as fast as we take them; what is beyond it cancels itself,
                # in C++. Calls that waited until nobody wants their answer would cost all that others need.
                ("grpc.server.max_pending_requests", self._max_unread),
                ("grpc.server.max_pending_requests_hard_limit", self._max_unread),
            )
        )
        lines: Any = _Lines(server)
        for service in self.services:
            lines.add_registered_method_handlers(service, dict(self._handlers[service]))
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service, dict(self._handlers[service])),)
            )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, lines)
        if self._reflection:
            health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
            services = [*self.services, health_name, reflection.SERVICE_NAME]
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
                reflection.aio.ReflectionServicer(services), lines
            )
        await self.set_serving(dict.fromkeys(("", *self.services), False))
        self.address = self._bind(server)
        await server.start()
        self._server = server
        if self._relay is not None:
            try:
                await self._relay.start()
            except OSError as error:
                await self.stop(0)
                raise self._refused(f"{error.strerror or error}.") from None

    async def set_serving(self, states: Mapping[str, bool]) -> None:
        """Publishes the health of services ("" is the whole server) by grpc.health.v1."""
        for service, serving in states.items():
            if service == "" or service in self.services:
                await self._health.set(
                    service,
                    health_pb2.HealthCheckResponse.SERVING
                    if serving
                    else health_pb2.HealthCheckResponse.NOT_SERVING,
                )

    async def turn_unhealthy(self) -> None:
        """Says NOT_SERVING for good: clients that look look elsewhere."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace: float) -> None:
        """Takes no new call, lets those in flight end for `grace` seconds, then cancels them.

        May be called again, with less grace to be quicker. gRPC removes the file of a Unix socket.
        """
        server = self._server
        if server is not None:
            if self._relay is not None:
                self._relay.stop_accepting()
            await self.turn_unhealthy()
            await server.stop(grace)
            if self._relay is not None:
                await self._relay.close()
            self._server = None

    def _bind(self, server: grpc.aio.Server) -> str:
        address = self._address
        if address.startswith(UNIX):
            self._check_socket(address.removeprefix(UNIX))
            if self._relay is not None:
                self._prepare(self._relay, address.removeprefix(UNIX))
                address = self._relay.inner_address
        else:
            self._check_port()
        # A Unix socket is for this user alone. grpc creates the file, so the mask is set around the call.
        mask = os.umask(0o177)
        try:
            if self._tls is not None:
                port = server.add_secure_port(address, self._tls.credentials())
            else:
                port = server.add_insecure_port(address)
        except RuntimeError:
            port = 0
        finally:
            os.umask(mask)
        if not port:
            raise self._refused("is it an address of this machine, and free?")
        if self._address.startswith(UNIX):
            return self._address
        return f"{self._address.rpartition(':')[0]}:{port}"

    def _prepare(self, relay: PeerRelay, path: str) -> None:
        if len(os.fsencode(path)) > LONGEST_PATH:
            raise self._refused(f"with a policy, a socket's path has at most {LONGEST_PATH} bytes.")
        try:
            relay.prepare()
        except OSError as error:
            raise self._refused(f"the private folder beside it: {error.strerror or error}.") from None

    def _check_socket(self, path: str) -> None:
        """Raises SettingsError unless the path is free: gRPC would take it from a process that listens."""
        if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
            raise self._refused(f"a socket's path has at most {LONGEST_SOCKET_PATH} bytes.")
        if not os.path.isdir(os.path.dirname(path) or "."):
            raise self._refused("its folder does not exist; create it, for this user alone.")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(path)
            except (FileNotFoundError, ConnectionRefusedError):
                return  # nothing there, or what a process that is gone has left
            except OSError:
                pass
        raise self._refused("another process listens there.")

    def _check_port(self) -> None:
        """Raises SettingsError when the port is taken on any address of the host.

        gRPC is content with one: of `localhost`, half could belong to another process.
        """
        host, _, port = self._address.rpartition(":")
        with contextlib.suppress(socket.gaierror):  # gRPC says it, too
            for family, kind, _, _, address in socket.getaddrinfo(
                host.strip("[]"), port, type=socket.SOCK_STREAM
            ):
                try:
                    with socket.socket(family, kind) as probe:
                        # As gRPC does: a port that a stopped process has just left is free.
                        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        probe.bind(address)
                except OSError as error:
                    if error.errno == errno.EADDRINUSE:
                        raise self._refused("the port is taken by another process.") from None

    def _refused(self, cause: str) -> SettingsError:
        setting = self._listener.value
        return SettingsError(
            f"{setting}: cannot listen on {self._address}; {cause} Choose another with "
            f"--{setting.replace('_', '-')}"
        )


def _served(listener: Listener, service: str, method: str) -> bool:
    return ACCESS[f"{service}/{method}"].listener is listener
