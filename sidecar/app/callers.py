"""Callers, put together: proofs, addresses, keys and TLS, by what is configured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.config import Config, is_local
from sidecar.connect import doors as connect
from sidecar.core.callers import ANONYMOUS_NAME, Directory, Proof
from sidecar.core.clock import Clock
from sidecar.core.errors import SettingsError
from sidecar.core.events import Lifecycle, Observer
from sidecar.core.policy import Policy
from sidecar.rpc.doors import Door
from sidecar.rpc.peer_relay import UNIX, PeerRelay
from sidecar.rpc.tls import Tls, TlsFiles
from sidecar.services.access import Listener
from sidecar.services.callers import Callers
from sidecar.services.issuer_keys import Fetch, IssuerKeys
from sidecar.services.proofs import CertificateProof, KeyProof, ProcessProof, TokenProof
from sidecar.web.jwks_client import JwksClient

Task = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerParts:
    """Who finds callers, where they come in, and what must run for it."""

    config: Config
    callers: Callers
    doors: Mapping[Listener, Door]
    connect_door: connect.Door
    tls: Tls | None
    keys: IssuerKeys | None

    def configure(self, policy: Policy) -> None:
        """Puts the callers of a policy in force. Raises SettingsError for those that nobody could be."""
        _check(self.config, policy)
        self.callers.configure(Directory(policy.identities), anonymous=ANONYMOUS_NAME in policy.callers)

    def tasks(self) -> dict[str, Task]:
        """What runs as long as the sidecar, by name."""
        running: dict[str, Task] = {}
        if self.tls is not None:
            running["tls"] = self.tls.run
        if self.keys is not None:
            running["caller keys"] = self.keys.run
        return running


def build_callers(config: Config, policy: Policy | None, clock: Clock, observe: Observer) -> CallerParts:
    """The parts. Raises SettingsError."""
    tls = _tls(config, clock, observe)
    keys = IssuerKeys(_fetch(config), clock, observe) if config.caller_token_issuer else None
    doors = {
        Listener.DATA: _door(config, config.grpc_address, tls, for_admin=False),
        Listener.ADMIN: _door(config, config.grpc_admin_address, tls, for_admin=True),
    }
    proofs = (
        CertificateProof(clock),
        ProcessProof(),
        TokenProof(keys, config.caller_token_issuer, config.caller_token_audience, clock),
        KeyProof(),
    )
    callers = Callers(doors, proofs, observe)
    connect_door = connect.Door(takes_anonymous=config.allow_anonymous or is_local(config.connect_address))
    parts = CallerParts(
        config=config, callers=callers, doors=doors, connect_door=connect_door, tls=tls, keys=keys
    )
    if policy is not None:
        parts.configure(policy)
    observe(Lifecycle(phase="callers", detail=_described(policy)))
    return parts


def _door(config: Config, address: str, tls: Tls | None, *, for_admin: bool) -> Door:
    on_socket = address.startswith(UNIX)
    relay = None
    if on_socket and config.policy_file:
        relay = PeerRelay(address.removeprefix(UNIX), int(config.grpc_socket_mode, 8))
    return Door(
        tls=None if on_socket else tls,
        relay=relay,
        takes_anonymous=config.allow_anonymous or is_local(address),
        for_admin=for_admin and on_socket,
    )


def _tls(config: Config, clock: Clock, observe: Observer) -> Tls | None:
    if not config.tls_cert_file:
        return None
    client_ca = Path(config.tls_client_ca_file) if config.tls_client_ca_file else None
    files = TlsFiles(cert=Path(config.tls_cert_file), key=Path(config.tls_key_file), client_ca=client_ca)
    return Tls(files, clock, observe)


def _fetch(config: Config) -> Fetch:
    if config.caller_jwks_url:
        ca_file, token_file = config.caller_jwks_ca_file, config.caller_jwks_token_file
        return JwksClient(
            config.caller_jwks_url,
            Path(ca_file) if ca_file else None,
            Path(token_file) if token_file else None,
        ).fetch
    path = Path(config.caller_jwks_file)

    async def read() -> bytes:
        return await asyncio.to_thread(path.read_bytes)

    return read


def _check(config: Config, policy: Policy) -> None:
    """Raises SettingsError for callers that nobody could ever prove to be."""
    addresses = (config.grpc_address, config.grpc_admin_address, config.connect_address)
    has_socket = any(address.startswith(UNIX) for address in addresses)
    for known in policy.identities:
        name = f"callers.{known.name}"
        if (known.spiffe_ids or known.dns_names) and not config.tls_client_ca_file:
            raise SettingsError(f"{name} is known by a certificate; set tls_client_ca_file to ask for one")
        if (known.uids or known.gids) and not has_socket:
            raise SettingsError(f"{name} is known by uid or gid, and no address is a Unix socket")
        if any(issuer != config.caller_token_issuer for issuer, _ in known.service_accounts):
            raise SettingsError(f"{name} is known by tokens of an issuer that is not caller_token_issuer")


def _described(policy: Policy | None) -> str:
    """What is said at start."""
    if policy is None:
        return "none are configured: every process that reaches the gRPC address is served; set policy_file"
    proofs = Directory(policy.identities).provable
    shown = ", ".join(proof.value for proof in Proof if proof in proofs) or "nothing"
    anonymous = "taken as anonymous" if ANONYMOUS_NAME in policy.callers else "refused"
    return f"known by {shown}; whoever proves nothing is {anonymous}"
