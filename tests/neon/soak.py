"""In real time: real sidecars behind real HTTP, one killed each minute, and doubles of Neon's verifier.

python -m tests.neon.soak --minutes 20

Keys rotate once a minute, far faster than any verifier could follow. So the ages of the doubles' caches are
scaled down with the lead time: one of 40 s stands for the shortest of 330 s to the verifier as published, and
for the default of 3900 s to the one that keeps a set for an hour. Time limits, retries and leeway stay as
they are.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from usher.v1 import token_service_pb2 as pb
from usher.v1 import token_service_pb2_grpc

from sidecar.core.clock import SystemClock
from sidecar.core.rotation_settings import SAFE_LEAD_SECONDS, SHORTEST_LEAD_SECONDS
from tests.neon.fetching import Answer, over_http
from tests.neon.refusals import RefusedError
from tests.neon.token_claims import read_token
from tests.neon.verifier import HOSTED, PUBLISHED, Rule, Verifier, one_rule
from tests.processes import Process
from tests.servers import Servers
from tests.system.clients import struct

PERIOD_SECONDS = 60
LEAD_SECONDS = 40
"""A killed replica is waited for during a third of it: with the lead time that is less than a period, so that
keys change each minute all the same."""
TTL_SECONDS = 60
DEADLINE_SECONDS = 5.0
DOWN_SECONDS = 3.0
"""From the kill to the start of the next process."""
CONNECTING_SECONDS = 2.0
"""For a client to notice that a replica is up again."""
LATE_SECONDS = 3.0
"""How long before its end a token is shown once more."""
JWKS_PATH = "/.well-known/jwks.json"


@dataclass(slots=True)
class Tally:
    """What was seen."""

    issued: int = 0
    kids: set[str] = field(default_factory=set)
    kills: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    """RPCs without an answer, by code and what the replica was doing."""
    unserved: int = 0
    """Tokens that no replica could issue."""
    slowest: float = 0.0


class Fleet:
    """Processes of `usher serve` at addresses that stay the same, behind a balancer of our own."""

    def __init__(self, settings: Mapping[str, str], addresses: list[dict[str, str]], tally: Tally) -> None:
        self._settings = settings
        self._addresses = addresses
        self._tally = tally
        self._processes: list[Process | None] = [None] * len(addresses)
        self._turn = 0
        self.up_at = [float("-inf")] * len(addresses)
        options = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))
        self._channels = [grpc.aio.insecure_channel(to["grpc_address"], options=options) for to in addresses]
        self._stubs = [
            token_service_pb2_grpc.TokenServiceStub(channel)  # type: ignore[no-untyped-call]
            for channel in self._channels
        ]

    def __len__(self) -> int:
        return len(self._addresses)

    async def start(self, number: int) -> None:
        """Returns once its ports are open."""

        def start() -> Process:
            return Process(["serve"], {**self._settings, **self._addresses[number]}).wait_for("started")

        self._processes[number] = await asyncio.to_thread(start)
        self.up_at[number] = time.monotonic()

    async def kill(self, number: int) -> None:
        """kill -9."""
        process, self._processes[number] = self._processes[number], None
        assert process is not None
        self._tally.kills += 1
        await asyncio.to_thread(process.kill)

    async def close(self) -> None:
        for process in self._processes:
            if process is not None:
                await asyncio.to_thread(process.kill)
        for channel in self._channels:
            await channel.close()

    async def issue(self) -> str | None:
        """A token, of the replicas in turn; one that gives no answer is passed over."""
        request = pb.IssueTokenRequest(subject="alice", claims=struct({"role": "authenticated"}))
        request.ttl.CopyFrom(Duration(seconds=TTL_SECONDS))
        for number in self._in_turn():
            began = time.monotonic()
            try:
                answer = await self._stubs[number].IssueToken(request, timeout=DEADLINE_SECONDS)
            except grpc.aio.AioRpcError as error:
                self._tally.lost[f"{error.code().name}, {self._state(number, error)}"] += 1
                continue
            self._tally.issued += 1
            self._tally.slowest = max(self._tally.slowest, time.monotonic() - began)
            return str(answer.token)
        self._tally.unserved += 1
        return None

    def _in_turn(self) -> list[int]:
        """All replicas, beginning with another one each time. At once: others take turns meanwhile."""
        self._turn += 1
        return [(self._turn + offset) % len(self) for offset in range(len(self))]

    @contextlib.asynccontextmanager
    async def fetch(self, url: str) -> AsyncIterator[Answer]:
        """The balancer: a replica that refuses the connection is passed over, as all of them do."""
        for number in self._in_turn():
            async with contextlib.AsyncExitStack() as stack:
                try:
                    answer = await stack.enter_async_context(
                        over_http(f"http://{self._addresses[number]['http_address']}{JWKS_PATH}")
                    )
                except OSError:
                    continue
                yield answer
                return
        raise ConnectionRefusedError

    def _state(self, number: int, error: grpc.aio.AioRpcError) -> str:
        """What the replica was doing; of one that is up, what it said as well."""
        if self._processes[number] is None:
            return "replica killed and not up yet"
        if time.monotonic() - self.up_at[number] < CONNECTING_SECONDS:
            return "replica just up, and the client about to connect again"
        said = str(error.details()).replace(self._addresses[number]["grpc_address"], "ADDRESS")
        return f"replica up: {said}"


class Load:
    """Issues tokens at a constant rate, and shows each when it is new and when it is old."""

    def __init__(self, fleet: Fleet, tally: Tally, seed: int) -> None:
        self._fleet = fleet
        self._tally = tally
        self._good: dict[str, int] = {}
        self._old: deque[str] = deque()
        self._chance = random.Random(seed)
        self._showing: set[asyncio.Task[None]] = set()
        rules = one_rule(Rule(jwks_url=JWKS_PATH))
        shortest, safe = LEAD_SECONDS / SHORTEST_LEAD_SECONDS, LEAD_SECONDS / SAFE_LEAD_SECONDS
        self.verifiers = {
            name: Verifier(fleet.fetch, rules, SystemClock(), ages=ages, good=self._is_good, seed=seed)
            for name, ages in {
                "published, busy": PUBLISHED.scaled(shortest),
                "published, mostly idle": PUBLISHED.scaled(shortest),
                "an hour, busy": HOSTED.scaled(safe),
                "an hour, mostly idle": HOSTED.scaled(safe),
            }.items()
        }
        self._idle_until = dict.fromkeys(self.verifiers, 0.0)

    async def run(self, until: float, rate: float) -> None:
        """Until that monotonic time, at so many tokens a second."""
        due = time.monotonic()
        while (now := time.monotonic()) < until:
            await asyncio.sleep(max(0.0, due - now))
            due = max(due + 1 / rate, now - 1)
            self._spawn(self._one())
        while self._showing:
            await asyncio.wait(self._showing)
        for verifier in self.verifiers.values():
            await verifier.close()

    async def _one(self) -> None:
        if (token := await self._fleet.issue()) is not None:
            read = read_token(token)
            self._tally.kids.add(read.kid)
            self._good[token] = read.claims["exp"]
            self._old.append(token)
            self._show(token)
        while self._old and self._good[self._old[0]] < time.time() + LATE_SECONDS:
            old = self._old.popleft()
            self._show(old)

    def _show(self, token: str) -> None:
        now = time.monotonic()
        for name, verifier in self.verifiers.items():
            if name.endswith("idle"):
                if now < self._idle_until[name]:
                    continue
                self._idle_until[name] = now + self._chance.uniform(0, 1.5 * LEAD_SECONDS)
            self._spawn(self._verify(verifier, token))

    async def _verify(self, verifier: Verifier, token: str) -> None:
        with contextlib.suppress(RefusedError):
            await verifier.verify(token, "ep", "authenticated")

    def _is_good(self, token: str) -> bool:
        return time.time() < self._good[token]

    def _spawn(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        task = asyncio.create_task(work)
        self._showing.add(task)
        task.add_done_callback(self._showing.discard)


async def kill_one_each_minute(fleet: Fleet, minutes: float, chance: random.Random) -> None:
    """At a moment of each minute that is left to chance, the replicas in turn."""
    began = time.monotonic()
    for minute in range(int(minutes)):
        await asyncio.sleep(began + 60 * minute + chance.uniform(5, 50) - time.monotonic())
        number = minute % len(fleet)
        await fleet.kill(number)
        await asyncio.sleep(DOWN_SECONDS)
        await fleet.start(number)


def report(load: Load, tally: Tally) -> Iterator[str]:
    """The figures."""
    counts = [verifier.counts for verifier in load.verifiers.values()]
    yield (
        f"rotations {max(0, len(tally.kids) - 1)}, kills {tally.kills}, tokens issued {tally.issued}, "
        f"verified {sum(count.checked for count in counts)}, "
        f"refused {sum(len(count.wrongful) for count in counts)}, lost RPCs {tally.lost.total()}, "
        f"tokens that no replica could issue {tally.unserved}"
    )


def details(load: Load, tally: Tally) -> Iterator[str]:
    for name, verifier in load.verifiers.items():
        counts = verifier.counts
        yield (
            f"  verifier ({name}): checked {counts.checked}, fetches {counts.fetches}, "
            f"of them failed {counts.failed_fetches}, refused {dict(counts.by_text) or 0}"
        )
    for why, count in sorted(tally.lost.items()):
        yield f"  lost RPCs: {count} {why}; each was asked again of the next replica"
    yield f"  slowest answer to IssueToken: {tally.slowest * 1000:.0f} ms"


async def soak(fleet: Fleet, tally: Tally, minutes: float, rate: float, seed: int, *, kill: bool) -> Load:
    load = Load(fleet, tally, seed)
    for number in range(len(fleet)):
        await fleet.start(number)
    until = time.monotonic() + 60 * minutes
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(load.run(until, rate))
        if kill:
            tasks.create_task(kill_one_each_minute(fleet, minutes, random.Random(seed)))
        for minute in range(1, int(minutes) + 1):
            await asyncio.sleep(60)
            print(f"{minute:3} min: {next(report(load, tally))}", flush=True)
    return load


def free_addresses(count: int) -> list[dict[str, str]]:
    """Addresses for so many processes that nobody listens at."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(3 * count):
            bound = stack.enter_context(socket.socket())
            bound.bind(("127.0.0.1", 0))
            ports.append(f"127.0.0.1:{bound.getsockname()[1]}")
    names = ("grpc_address", "http_address", "admin_http_address")
    return [dict(zip(names, ports[3 * n : 3 * n + 3], strict=True)) for n in range(count)]


def main() -> int:
    """0 when no good token was refused."""
    parser = argparse.ArgumentParser(description="Tokens of real sidecars at doubles of Neon's verifier.")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--rate", type=float, default=40, help="tokens a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--key-store", choices=["postgres", "memory"], default="postgres")
    parser.add_argument("--no-kills", action="store_true")
    options = parser.parse_args()
    servers = Servers()
    try:
        with servers.database() as dsn:
            settings = servers.install_demo(dsn) | {
                "rotation_period": str(PERIOD_SECONDS),
                "rotation_lead_time": str(LEAD_SECONDS),
                "token_ttl": str(TTL_SECONDS),
                "max_token_ttl": str(TTL_SECONDS),
                "unsafe_rotation_timing": "true",
            }
            if options.key_store == "postgres":
                settings |= servers.install_key_store(dsn)
            tally = Tally()
            load = asyncio.run(run(settings, tally, options))
    finally:
        servers.close()
    print(*report(load, tally), *details(load, tally), sep="\n")
    refused = sum(len(verifier.counts.wrongful) for verifier in load.verifiers.values())
    return 1 if refused else 0


async def run(settings: Mapping[str, str], tally: Tally, options: argparse.Namespace) -> Load:
    fleet = Fleet(settings, free_addresses(options.replicas), tally)
    try:
        return await soak(
            fleet, tally, options.minutes, options.rate, options.seed, kill=not options.no_kills
        )
    finally:
        await fleet.close()


if __name__ == "__main__":
    sys.exit(main())
