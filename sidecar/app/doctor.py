"""`usher doctor`: every check of a deployment, from the settings to the key set that the world is served.

Each group of checks looks for itself: one that fails, or breaks, hides nothing of the others.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import SplitResult, urlsplit

from sidecar.app import doctor_database, doctor_keys, doctor_settings
from sidecar.app.backends import PROBE_SUBJECT
from sidecar.app.doctor_database import AuditAsked
from sidecar.config import Config
from sidecar.config.neon_settings import NEON_HTTP
from sidecar.core.clock import Clock
from sidecar.core.diagnosis import Diagnosis, failed, not_looked_at, ok, warning
from sidecar.core.issuer import Scope
from sidecar.core.key_set_check import check_key_set
from sidecar.web import jwks_check, jwks_probe
from sidecar.web.discovery import JWKS_PATH
from sidecar.web.jwks_probe import Answer, Place
from sidecar.web.probes import READY_PATH

SIDECAR: Final = "sidecar"
CURRENT: Final = "jwks_current"

CHECKS: Final = (
    *doctor_settings.CHECKS,
    SIDECAR,
    doctor_keys.STORE,
    *doctor_database.CHECKS,
    *jwks_check.CHECKS,
    CURRENT,
)
"""Every check, in the order in which they are told. docs/doctor.md has them all."""


class Sidecar(Protocol):
    """A running sidecar, asked by gRPC."""

    async def health(self) -> str | None:
        """What it says of itself: SERVING or another status; None when nothing answers."""
        ...

    async def token(self, subject: str, audiences: Sequence[str]) -> tuple[str, str] | None:
        """A token that it signs now, and the `kid` of its key; None when it gives none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be looked at.

    `wrong` is what is wrong with the settings that `config` is made of, one text each. `jwks_url` is the URL
    of the key set, "" for the issuer's.
    """

    config: Config
    wrong: Sequence[str] = ()
    jwks_url: str = ""
    ca_file: Path | None = None
    connect_to: tuple[str, int] | None = None
    audit: AuditAsked = field(default_factory=AuditAsked)

    @property
    def place(self) -> Place | None:
        """Where the world finds the key set; None where no URL is known."""
        config = self.config
        text = self.jwks_url or (config.issuer.removesuffix("/") + JWKS_PATH if config.issuer else "")
        url = url_of(text)
        return Place(url=url, ca_file=self.ca_file, connect_to=self.connect_to) if url else None


def url_of(text: str) -> SplitResult | None:
    """The parts of an http:// or https:// URL; None for what is none."""
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and url.hostname and (url.port or 1) and text.isascii()
    except ValueError:
        return None
    return url if usable and text.isprintable() and " " not in text else None


async def diagnose(asked: Asked, sidecar: Sidecar, clock: Clock) -> list[Diagnosis]:
    """Every check, in the order of CHECKS; those that do not apply to the deployment are left out."""
    config = asked.config
    seen = _Seen()
    groups: tuple[tuple[Sequence[str], Callable[[], Awaitable[list[Diagnosis]]]], ...] = (
        (doctor_settings.CHECKS, functools.partial(doctor_settings.look, config, asked.wrong, clock)),
        ((SIDECAR,), functools.partial(_sidecar, config, sidecar, clock, seen)),
        ((doctor_keys.STORE,), functools.partial(doctor_keys.look, config, clock)),
        (jwks_check.CHECKS, functools.partial(_jwks, asked, clock, seen)),
        ((CURRENT,), functools.partial(_current, config, clock, seen)),
        (
            doctor_database.OWN_CHECKS,
            lambda: doctor_database.look(config, clock, seen.scope, published=seen.published),
        ),
        (
            (doctor_database.AUDIT,),
            functools.partial(doctor_database.audited, config, asked.audit),
        ),
    )
    found: list[Diagnosis] = []
    for names, look in groups:
        found += await guarded(names, look)
    return sorted(found, key=lambda one: CHECKS.index(one.check))


async def guarded(names: Sequence[str], look: Callable[[], Awaitable[list[Diagnosis]]]) -> list[Diagnosis]:
    """What a group found. One that breaks says so under each of its names, by the kind of the error alone."""
    try:
        return await look()
    except Exception as error:
        # Its own text may hold an address, a name or a value.
        why = f"the check itself broke ({type(error).__name__})"
        return [failed(name, why, "please report it") for name in names]


@dataclass(slots=True)
class _Seen:
    """What one group tells the next."""

    answers: bool = False
    scope: Scope | None = None
    """With a token of the running sidecar's."""
    kid: str | None = None
    """The key that signed it."""
    public: frozenset[str] | None = None
    """The kids of the public set."""

    @property
    def published(self) -> bool:
        """Whether Neon can know the key of the token, as far as is known."""
        return self.public is None or self.kid in self.public


async def _sidecar(config: Config, sidecar: Sidecar, clock: Clock, seen: _Seen) -> list[Diagnosis]:
    state = await sidecar.health()
    if state is None:
        return [
            warning(
                SIDECAR,
                "no sidecar answers by gRPC, so that what takes a running one is not looked at",
                "start it, or name it: --address, and --tls-ca where it has TLS",
            )
        ]
    seen.answers = True
    audiences = [config.neon_audience] if config.neon_audience else []
    if given := await sidecar.token(PROBE_SUBJECT, audiences):
        token, seen.kid = given
        seen.scope = doctor_database.probe(token, audiences)
    if state != "SERVING":
        return [
            failed(
                SIDECAR,
                f"it answers, and is not ready: {await _not_ready(config, clock) or state}",
                "mend what is named; /readyz at admin_http_address tells the same",
            )
        ]
    if seen.scope is None:
        return [
            warning(
                SIDECAR,
                "it serves, and gives this caller no token",
                f"call as one who may issue for the subject {PROBE_SUBJECT}: --key, or --tls-cert",
            )
        ]
    return [ok(SIDECAR, "it serves, and signs")]


async def _jwks(asked: Asked, clock: Clock, seen: _Seen) -> list[Diagnosis]:
    config = asked.config
    place = asked.place
    if place is None:
        if asked.jwks_url or config.issuer:
            told = failed(
                jwks_check.URL, "issuer is no URL that a key set could be under", "name it with --jwks-url"
            )
        else:
            told = (failed if config.database_backend == NEON_HTTP else warning)(
                jwks_check.URL,
                "issuer is not set, so that nobody but this machine can find the keys",
                "set issuer to the public URL; there is no need if only Usher checks tokens",
            )
        return [told, *(not_looked_at(name, "no URL is known") for name in jwks_check.CHECKS[1:])]
    looked = await jwks_check.look(
        place, config.rotation_lead_time, clock, for_neon=config.database_backend == NEON_HTTP
    )
    seen.public = looked.kids
    return looked.found


async def _current(config: Config, clock: Clock, seen: _Seen) -> list[Diagnosis]:
    """Whether the world is served the keys of the sidecar that runs here."""
    if seen.public is None:
        return [not_looked_at(CURRENT, "no public key set was seen")]
    local = await _local_kids(config, clock) if seen.answers else None
    if local is None and seen.kid is None:
        return [
            not_looked_at(
                CURRENT, "no sidecar to compare with", "start it, and look again with its own settings"
            )
        ]
    remedy = "let the URL lead to this sidecar; a copy of the set, or a cache, must follow each change"
    if seen.kid is not None and seen.kid not in seen.public:
        return [failed(CURRENT, "the key that the sidecar signs with is not in the public set", remedy)]
    if local is not None and local - seen.public:
        return [
            failed(CURRENT, f"the public set lacks {len(local - seen.public)} of the sidecar's keys", remedy)
        ]
    if local is not None and seen.public - local:
        return [
            warning(
                CURRENT,
                f"the public set has {len(seen.public - local)} keys that the sidecar does not have",
                "right for several issuers or replicas under one URL; else a revoked key is still served",
            )
        ]
    return [ok(CURRENT, "it is the running sidecar's")]


async def _local_kids(config: Config, clock: Clock) -> frozenset[str] | None:
    """The kids at http_address; None where nothing answers, or the port is not known."""
    answer = await _local(config.http_address, JWKS_PATH, clock)
    return check_key_set(answer.body).kids if answer and answer.status == 200 and answer.body else None


async def _not_ready(config: Config, clock: Clock) -> str:
    """What a sidecar that is not ready lacks; "" where it cannot be asked. Its details are public text."""
    answer = await _local(config.admin_http_address, READY_PATH, clock)
    try:
        checks = json.loads(answer.body or b"")["checks"] if answer else []
        return ", ".join(f"{check['name']}: {check['detail']}" for check in checks if not check["ok"])
    except (ValueError, KeyError, TypeError):
        return ""


async def _local(address: str, path: str, clock: Clock) -> Answer | None:
    """What one of the sidecar's own ports answers; None where nothing does, or the port is not known."""
    host, _, port = address.rpartition(":")
    if not int(port):
        return None
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - to ask, not to listen
    try:
        return await jwks_probe.ask(Place(url=urlsplit(f"http://{host}:{port}{path}")), clock)
    except OSError:
        return None
