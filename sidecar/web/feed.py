"""What passes between the sidecar and the process of its public listener: lines of JSON on two sockets.

Down go the key set, whenever it changes, and the order to stop; up go reports of what was served. A key set
is public, and nothing else goes down: the other process has neither keys nor passwords.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sidecar.core.keyring import PublishedKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Requests that were alike, as in the event JwksServed."""

    status: int
    agent: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What happened since the last one."""

    ready: bool = False
    """That it listens now."""
    served: Mapping[Served, int] = field(default_factory=dict)
    """How many requests of each kind."""
    faults: int = 0
    """Faults of ours, each logged where it happened."""
    late: float = 0.0
    """By how many seconds its event loop was late at worst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A key set to serve, or with `stop` the seconds for requests in flight."""

    published: PublishedKeys | None = None
    stop: float | None = None


def order_line(order: Order) -> bytes:
    """An order as a line. `settled_at` stays behind: which `max_age` holds is for the sender to say."""
    keys = order.published
    return _line(
        {
            "stop": order.stop,
            "set": keys
            and {
                "body": keys.body.decode("ascii"),
                "etag": keys.etag,
                "max_age": keys.max_age,
                "algorithms": keys.algorithms,
                "version": keys.version,
            },
        }
    )


def order_of(line: bytes) -> Order:
    """The order of a line."""
    read: dict[str, Any] = json.loads(line)
    keys = read["set"]
    return Order(
        stop=read["stop"],
        published=keys
        and PublishedKeys(
            body=keys["body"].encode("ascii"),
            etag=keys["etag"],
            max_age=keys["max_age"],
            algorithms=tuple(keys["algorithms"]),
            version=keys["version"],
        ),
    )


def report_line(report: Report) -> bytes:
    """A report as a line."""
    served = [[each.status, each.agent, each.version, count] for each, count in report.served.items()]
    return _line(
        {"ready": report.ready, "served": served, "faults": report.faults, "late": round(report.late, 6)}
    )


def report_of(line: bytes) -> Report:
    """The report of a line."""
    read: dict[str, Any] = json.loads(line)
    return Report(
        ready=read["ready"],
        served={
            Served(status=status, agent=agent, version=version): count
            for status, agent, version, count in read["served"]
        },
        faults=read["faults"],
        late=read["late"],
    )


class Lines(asyncio.Protocol):
    """Calls `line` with each line that comes, and `ended` once, when the other end is gone."""

    def __init__(self, line: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        self._line = line
        self._ended = ended
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended()


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"
