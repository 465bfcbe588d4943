"""A worker seen from the supervisor: its process, its link, and what it last said of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.events import Observer
from sidecar.core.health import Check
from sidecar.web.child_process import ENDING_SECONDS, ChildProcess
from sidecar.workers.link import Answerer, Link

START_SECONDS: Final = 60.0
"""For a worker to open its ports: about a second, more on a machine that is busy, or with a slow KMS."""
METRICS_SECONDS: Final = 2.0
"""For a worker to say what it counted; Prometheus gives up after 10 s."""
NOT_STARTED: Final = (Check(name="running", ok=False, detail="the worker starts"),)


class WorkerProcess:
    """One worker, from its start to its end."""

    def __init__(
        self,
        number: int,
        answers: Mapping[str, Answerer],
        observer: Observer,
        checked: Callable[[], None],
        replicas: set[str],
    ) -> None:
        """`answers` are what it may ask of the supervisor. `checked` is called when `checks` have changed.

        `replicas` are the names under which the key store knows it.
        """
        self.number = number
        self.addresses: Mapping[str, str] = {}
        """Where it listens, by the names of the log's `started`."""
        self.checks: tuple[Check, ...] = NOT_STARTED
        self.silent_looks = 0
        self.replicas = replicas
        self._checked = checked
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._process: ChildProcess
        news = {
            "started": self._has_started,
            "refused": self._has_refused,
            "checks": self._has_checked,
            "beat": lambda _: None,
        }
        self._link = Link(lambda line: self._process.send(line), observer, answers, news)

    async def start(self, command: Sequence[str], handed_over: bytes) -> None:
        """Starts it, and returns once its ports are open.

        Raises SettingsError or UsherError as the worker did, and OSError or EOFError when it said nothing.
        """
        self._process = await ChildProcess.start(command, self._heard, stdin=handed_over)
        try:
            async with asyncio.timeout(START_SECONDS):
                await asyncio.wait([self._started, self.ended], return_when=asyncio.FIRST_COMPLETED)
            if not self._started.done():
                raise EOFError("a worker ended at once")
            self._started.result()
        except BaseException:
            self.kill()
            await self.reap(ENDING_SECONDS)
            raise

    @property
    def ended(self) -> asyncio.Future[None]:
        """When it has ended."""
        return self._process.ended

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    @property
    def ready(self) -> bool:
        """Whether all that it checks is well."""
        return all(check.ok for check in self.checks)

    def tell(self, what: str) -> None:
        """Passes news on."""
        self._link.tell(what)

    async def metrics(self) -> Any:
        """What it counted, as telemetry's `families_of`. Raises LinkError."""
        return await self._link.ask("metrics", seconds=METRICS_SECONDS)

    async def stop(self, grace: float) -> int:
        """Has it drain and end; by force when it does not. Returns its exit status."""
        self.tell("stop")
        # Calls have `grace`, and so have the connections of those that were cut off.
        return await self.reap(2 * grace + ENDING_SECONDS)

    async def reap(self, patience: float) -> int:
        """Waits for the end, makes one after `patience` seconds, and returns the exit status."""
        code = await self._process.reap(patience)
        self._link.end()
        return code

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()

    def _heard(self, line: bytes) -> None:
        self.silent_looks = 0
        self._link.heard(line)

    def _has_started(self, said: Any) -> None:
        self.addresses = said["addresses"]
        self.replicas.add(said["replica"])
        if not self._started.done():
            self._started.set_result(None)

    def _has_refused(self, said: Any) -> None:
        if not self._started.done():
            self._started.set_exception(
                UsherError(Reason(said["reason"]), said["message"])
                if said["reason"]
                else SettingsError(said["message"])
            )

    def _has_checked(self, said: Any) -> None:
        self.checks = tuple(Check(**each) for each in said)
        self._checked()
