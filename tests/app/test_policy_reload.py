"""The policy file while the sidecar runs: a good change is taken, a bad one changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidecar.app import policy_reload
from sidecar.app.policy_reload import PolicyReloader
from sidecar.core.errors import SettingsError
from sidecar.core.events import PolicyLoaded
from sidecar.core.policy import Authorizer, Policy
from tests.fakes import FakeClock, Recorder

PATIENCE = 10.0


def caller(name: str) -> str:
    return f"[callers.{name}]\nuid = 1\nsql = ['one']\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    file: Path
    clock: FakeClock
    seen: Recorder
    wake: asyncio.Event
    authorizer: Authorizer

    @property
    def names(self) -> set[str]:
        assert self.authorizer.policy is not None
        return set(self.authorizer.policy.callers)

    @property
    def outcomes(self) -> list[str]:
        return [event.outcome for event in self.seen.of(PolicyLoaded)]

    async def until(self, outcomes: list[str]) -> None:
        """Lets the clock tick until these are all the outcomes."""
        async with asyncio.timeout(PATIENCE):
            while len(self.outcomes) < len(outcomes):
                await self.clock.advance(1.0)
        assert self.outcomes == outcomes


@contextlib.asynccontextmanager
async def watched(folder: Path, text: str = caller("a")) -> AsyncIterator[Watched]:
    file, clock, seen, wake = folder / "policy.toml", FakeClock(), Recorder(), asyncio.Event()
    file.write_text(text)
    reloader = PolicyReloader(file, {"one"}, clock, seen, wake)
    authorizer = Authorizer(reloader.first(), clock, seen)
    running = asyncio.create_task(reloader.run(authorizer, lambda policy: None))
    try:
        yield Watched(file=file, clock=clock, seen=seen, wake=wake, authorizer=authorizer)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    async with watched(tmp_path) as there:
        await there.clock.advance(10.0)
        assert there.outcomes == ["loaded"]
        there.file.write_text(caller("bb"))
        await there.until(["loaded", "loaded"])
        assert there.names == {"bb"}


@pytest.mark.parametrize(
    ("spoil", "detail"),
    [
        (lambda file: file.write_text("[callers.a]\nuid = \n"), "{file}:2: is not TOML"),
        (lambda file: file.write_text(caller("a") + "rows = 1\n"), "{file}:4: callers.a.rows: there is no"),
        (
            lambda file: file.write_text("[callers.a]\nuid=1\nsql=['two']"),
            "{file}:3: callers.a.sql[0]: there",
        ),
        (lambda file: file.unlink(), "{file}: cannot be read"),
        (lambda file: file.write_bytes(b"\xff"), "{file}:1: is not UTF-8 text"),
    ],
)
async def test_a_broken_file_keeps_the_old_policy_and_says_so_once(
    tmp_path: Path, spoil: Callable[[Path], object], detail: str
) -> None:
    async with watched(tmp_path) as there:
        spoil(there.file)
        await there.until(["loaded", "refused"])
        assert there.names == {"a"}
        event = there.seen.of(PolicyLoaded)[-1]
        assert event.callers == 1
        assert event.detail.startswith(detail.format(file=there.file))
        await there.clock.advance(10.0)
        assert there.outcomes == ["loaded", "refused"]
        there.file.write_text(caller("b"))
        await there.until(["loaded", "refused", "loaded"])
        assert there.names == {"b"}


async def test_a_fault_of_the_reader_keeps_the_old_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(path: Path, statements: object) -> Policy:
        raise RuntimeError("hunter2")

    async with watched(tmp_path) as there:
        monkeypatch.setattr(policy_reload, "load_policy", faulty)
        there.wake.set()
        await there.until(["loaded", "refused"])
        assert there.names == {"a"}
        assert there.seen.of(PolicyLoaded)[-1].detail == "the file could not be read: RuntimeError"


async def test_a_file_put_in_its_place_is_seen_whatever_its_age(tmp_path: Path) -> None:
    """As `mv` and a ConfigMap do it: the new file may have the old one's size and time."""
    async with watched(tmp_path) as there:
        fresh = tmp_path / "fresh.toml"
        fresh.write_text(caller("b"))
        old = there.file.stat()
        os.utime(fresh, ns=(old.st_atime_ns, old.st_mtime_ns))
        fresh.replace(there.file)
        await there.until(["loaded", "loaded"])
        assert there.names == {"b"}


async def test_when_woken_it_reads_at_once(tmp_path: Path) -> None:
    async with watched(tmp_path) as there:
        there.wake.set()
        async with asyncio.timeout(PATIENCE):
            while there.outcomes != ["loaded", "loaded"]:  # noqa: ASYNC110 - read in a thread
                await asyncio.sleep(0)
        assert there.clock.monotonic() == 0.0
        assert not there.wake.is_set()


def test_a_broken_file_at_start_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("[callers.a]\n")
    with pytest.raises(SettingsError, match="nothing proves who it is"):
        PolicyReloader(file, (), FakeClock(), Recorder(), asyncio.Event()).first()
