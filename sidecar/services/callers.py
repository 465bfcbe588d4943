"""Who makes a call: the proofs that its connection and its metadata carry, tried in the order of preference.

A proof that was offered and does not hold refuses the call; a weaker one is never taken in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from sidecar.core.callers import ANONYMOUS, Caller, Directory, Proof, unproven
from sidecar.core.errors import UsherError
from sidecar.core.events import CallerRefused, Observer
from sidecar.services.access import Listener
from sidecar.services.peers import PeerCredentials

LOCAL_ADMIN: Final = replace(ANONYMOUS, admin=True)
"""Whoever reaches the admin socket while no callers are configured: it is for this user alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a call brings that may prove who makes it."""

    certificate: bytes | None = None
    """The client's leaf certificate in PEM, whose chain TLS has verified."""
    process: PeerCredentials | None = None
    authorization: tuple[str | bytes, ...] = ()
    """Every value of the metadata key `authorization`."""


class Authenticator(Protocol):
    """One way to prove who calls."""

    async def authenticate(self, facts: Facts, directory: Directory) -> Caller | None:
        """The caller; None when this proof is not offered. Raises UsherError for one that does not hold."""
        ...


class Door(Protocol):
    """An address that callers come through, by whatever transport."""

    @property
    def takes_anonymous(self) -> bool:
        """Whether whoever proves nothing may come in: false where other machines do, unless allowed."""
        ...

    @property
    def for_admin(self) -> bool:
        """Whether it is the admin Unix socket."""
        ...

    def facts(self, call: Any) -> Facts:
        """What a call brings. Raises UsherError for a connection that must not be here."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Configured:
    directory: Directory
    anonymous: bool


class Callers:
    """Finds the caller of every call. Without configured callers everyone is anonymous."""

    def __init__(
        self, doors: Mapping[Listener, Door], authenticators: Sequence[Authenticator], observer: Observer
    ) -> None:
        """`authenticators` stand in the order of preference."""
        self._doors = doors
        self._authenticators = tuple(authenticators)
        self._observer = observer
        self._configured: _Configured | None = None

    def configure(self, directory: Directory, *, anonymous: bool) -> None:
        """Puts these callers in force, whole; `anonymous`: those that offer no proof are taken as well."""
        self._configured = _Configured(directory=directory, anonymous=anonymous)

    async def identify(self, call: Any, listener: Listener) -> Caller:
        """Who makes a call to a gRPC address. Raises UsherError CALLER_UNAUTHENTICATED."""
        return await self.identify_at(self._doors[listener], call)

    async def identify_at(self, door: Door, call: Any) -> Caller:
        """Who makes a call that came through this door. Raises UsherError CALLER_UNAUTHENTICATED."""
        while True:
            configured = self._configured
            if configured is None:
                return LOCAL_ADMIN if door.for_admin else ANONYMOUS
            try:
                caller = await self._known(door, configured, call)
            except UsherError as error:
                self._observer(CallerRefused(proof=error.metadata["proof"], detail=error.message))
                raise
            # A proof may wait for its keys. A name of callers that are in force no more would get the rights
            # that another caller of this name has now.
            if configured is self._configured:
                return caller

    async def _known(self, door: Door, configured: _Configured, call: Any) -> Caller:
        facts = door.facts(call)
        for authenticator in self._authenticators:
            caller = await authenticator.authenticate(facts, configured.directory)
            if caller is not None:
                return caller
        if configured.anonymous and door.takes_anonymous:
            return ANONYMOUS
        raise unproven(_how_to_prove(facts, configured.directory), Proof.ANONYMOUS)


def _how_to_prove(facts: Facts, directory: Directory) -> str:
    """What a caller reads that offered nothing."""
    text = "callers are configured, and this call proves none"
    if facts.process is not None and Proof.UNIX in directory.provable:
        text += f": uid {facts.process.uid} and gid {facts.process.gid} are no caller's"
    return (
        f"{text}; send a client certificate, or a bearer key or service-account token as `authorization: "
        "Bearer ...`, as this sidecar's policy names it"
    )
