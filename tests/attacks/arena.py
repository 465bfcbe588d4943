"""Where the attacks take place: one server, and on it the same tables three times.

`ours` is served by the product, `naive` by an executor that has never met an attack, and `bare` by one that
protects nothing: a case that even succeeds there has shown that it can see what it looks for.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.attacks import databases
from tests.attacks.corpus import CANARY, Attack, Step
from tests.attacks.databases import Database
from tests.attacks.naive import Naive
from tests.attacks.ours import Ours, attacked
from tests.attacks.targets import Outcome, Target
from tests.processes import running
from tests.servers import Servers

SLEEP_SECONDS: Final = 10.0
SEEN_TIMES: Final = 4
"""How often in a row an answer must be late."""
_SLEEPING: Final = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'
"""
_PASSWORD: Final = re.compile(r":([^:@/]+)@")
_OWN_NOTES: Final = "SELECT body FROM notes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One database and who executes in it."""

    target: Target
    database: Database


class Arena:
    """The three sides on one version of PostgreSQL; `by_token`: ours has pg_session_jwt, by its stand-in."""

    def __init__(
        self, version: int, sides: dict[str, Side], ours: Ours, settings: dict[str, str], *, by_token: bool
    ) -> None:
        self.version = version
        self.by_token = by_token
        self.sides = sides
        self.ours = ours
        self.secrets = (settings["claim_key"].split(":")[1], *_PASSWORD.findall(settings["database_url"]))
        """What no log may hold."""
        self._untouched: set[str] = set()
        self.fallen: dict[str, dict[str, bool]] = {}
        """What the attacks so far have come to: by name, whether each side fell."""

    def run(self, attack: Attack) -> dict[str, bool]:
        """Runs an attack against each side; which of them fell. `bare` is only asked when `naive` holds."""
        fallen = {"naive": self._falls("naive", attack), "ours": self._falls_each_time("ours", attack)}
        if not fallen["naive"]:
            fallen["bare"] = self._falls("bare", attack)
        self.fallen[attack.name] = fallen
        return fallen

    def falls_by_stream(self, attack: Attack) -> bool:
        """Whether ours falls to an attack whose statements are streamed."""
        self.ours.streams = True
        try:
            return self._falls_each_time("ours", attack)
        finally:
            self.ours.streams = False

    def request(self, side: str, who: str, sql: str) -> Outcome:
        """One request of a user's."""
        self._untouched.discard(side)
        return self.sides[side].target.start(Step(who=who, sql=sql))()

    def serves(self) -> bool:
        """Whether both tenants see their own rows and no others, by each of our sidecars."""
        self.restore("ours")
        steps = [
            (Step(who=who, sql=_OWN_NOTES, background=second), body)
            for who, body in (("A", "acme note"), ("B", CANARY))
            for second in (False, True)
        ]
        return all(self.ours.start(step)().rows == ((body,),) for step, body in steps)

    def restore(self, name: str) -> Side:
        """Makes a side as it was before any attack."""
        side = self.sides[name]
        if name not in self._untouched:
            side.target.forget()
            side.database.restore()
            self._untouched.add(name)
        return side

    def _falls_each_time(self, name: str, attack: Attack) -> bool:
        """As _falls. What is told by time alone must be seen each time: the machine may be slow once."""
        times = SEEN_TIMES if "slower_than" in attack.success else 1
        return all(self._falls(name, attack) for _ in range(times))

    def _falls(self, name: str, attack: Attack) -> bool:
        side = self.restore(name)
        self._untouched.discard(name)
        if attack.set_up:
            side.database.set_up(attack.set_up)
        answers: list[Callable[[], Outcome]] = []
        for step in attack.steps:
            answer = side.target.start(step)
            if not step.background:
                answer = _answered(answer())
            elif "pg_sleep" in step.sql:
                _await_sleep(side.database)
            answers.append(answer)
        fell = succeeded(attack, [answer() for answer in answers], side)
        if name != "ours":
            # Roles and locks are the server's: the next side must not be taken for what this one left.
            side.target.forget()
            side.database.mend_roles()
        return fell


def succeeded(attack: Attack, outcomes: list[Outcome], side: Side) -> bool:
    """Whether these are the outcomes of an attack that succeeded; see corpus.py."""
    if not attack.success:
        shown = zip(outcomes, attack.steps, strict=True)
        return any(CANARY in outcome.text for outcome, step in shown if step.who != "B")
    wanted = dict(attack.success)
    outcome = outcomes[wanted.pop("step", 1) - 1]
    ((detector, value),) = wanted.items()
    detectors: dict[str, Callable[[Any], bool]] = {
        "admin": lambda sql: bool(side.database.value(sql)),
        "same_as": lambda sql: outcome.text.strip() == side.database.value(sql),
        "contains": lambda text: text in outcome.text,
        "fails": lambda wanted: (outcome.error is not None) is wanted,
        "succeeds": lambda wanted: (outcome.error is None) is wanted,
        "slower_than": lambda seconds: outcome.seconds > seconds,
        "rows_over": lambda count: len(outcome.rows) > count,
        "memory_over": lambda size: side.target.memory(outcome) > size,
    }
    return detectors[detector](value)


@contextlib.contextmanager
def arena(version: int, servers: Servers, *, by_token: bool = False) -> Iterator[Arena]:
    """An arena on a server of its own: attacks change roles, and end other sessions."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(servers.spare(version))
        # An attack is to prepare transactions, which need a restart to be allowed.
        servers.execute(server.superuser_dsn(), "ALTER SYSTEM SET max_prepared_transactions = 5")
        servers.run(server.stop())
        servers.run(server.start())
        settings = databases.make(servers, server, by_token=by_token) | {
            "pool_min_size": "1",
            "pool_max_size": "1",
            "pool_acquire_timeout": "0.5s",
            "statement_timeout": "10s",
            "log_level": "debug",
        }
        first, second = (
            stack.enter_context(running("serve", **settings)).wait_for("ready") for _ in range(2)
        )
        ours = stack.enter_context(attacked(first, second))
        targets: dict[str, Target] = {
            "naive": stack.enter_context(
                contextlib.closing(Naive(server.dsn("naive", "naive"), scoped=True))
            ),
            "bare": stack.enter_context(contextlib.closing(Naive(server.dsn("bare", "bare"), scoped=False))),
            "ours": ours,
        }
        sides = {
            name: Side(
                target=target,
                database=stack.enter_context(contextlib.closing(Database(name, server))),
            )
            for name, target in targets.items()
        }
        yield Arena(version, sides, ours, settings, by_token=by_token)


def _answered(outcome: Outcome) -> Callable[[], Outcome]:
    return lambda: outcome


def _await_sleep(database: Database) -> None:
    """Returns once a statement in the background has come to its pg_sleep."""
    deadline = time.monotonic() + SLEEP_SECONDS
    while not database.value(_SLEEPING):
        assert time.monotonic() < deadline, "the step in the background does not sleep"
